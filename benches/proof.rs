//! The benchmark of the transparency log: a proof out of a million events against reading that
//! event alone, and what the log costs those who write. `cargo bench --bench proof`.

#[allow(dead_code)]
#[path = "be8/closed_loop.rs"]
mod closed_loop;
#[allow(dead_code)]
#[path = "be8/cpu.rs"]
mod cpu;
#[allow(dead_code)]
#[path = "be8/data.rs"]
mod data;
#[allow(dead_code)]
#[path = "be8/driver.rs"]
mod driver;
#[allow(dead_code)]
#[path = "be8/servers.rs"]
mod servers;

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use be8::config::{Config, flags};
use be8::node::{Database, Node};
use be8::postgres::{ClusterSettings, PrivateCluster};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use closed_loop::{Laps, Window};
use servers::ServerProcess;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The operator's token.
const TOKEN: &str = "an operator token of more than thirty-two bytes";
/// How many groups the events of the first part belong to.
const GROUPS: u64 = 1000;
/// Rounds of both parts; figures are medians.
const ROUNDS: usize = 7;
/// Connections that write.
const CLIENTS: usize = 64;
/// Accounts that write to each other.
const ACCOUNTS: usize = 64;

fn main() {
    let events = std::env::var("BE8_BENCH_EVENTS").map_or(1_000_000, |text| text.parse().expect("a number"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::Builder::new().prefix("be8-bench-").tempdir().expect("a temporary directory");
        // PostgreSQL's own user must be able to pass through.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).expect("rights of the directory");
        std::fs::write(directory.path().join("token"), TOKEN).expect("the operator's token");
        let cluster = PrivateCluster::start(&ClusterSettings::new(directory.path().join("postgres"))).await;
        let cluster = cluster.expect("a PostgreSQL");
        proofs(directory.path(), &cluster, events).await;
        writes(directory.path(), &cluster).await;
        cluster.stop().await;
    });
}

/// The flags of a server on a database of its own.
fn arguments(directory: &Path, cluster: &PrivateCluster, database: &str) -> Vec<String> {
    let path = |name: &str| directory.join(name).display().to_string();
    let flags = [
        ("--listen", "127.0.0.1:0".to_owned()),
        ("--data-dir", path(database)),
        ("--database-url", cluster.url(database)),
        ("--operator-token-file", path("token")),
        ("--checkpoint-interval", "1".to_owned()),
        ("--log", "warn".to_owned()),
    ];
    flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

fn config(arguments: &[String]) -> Config {
    let command = flags(clap::Command::new("be8")).no_binary_name(true);
    Config::new(&command.get_matches_from(arguments)).expect("settings")
}

async fn connection(cluster: &PrivateCluster, database: &str) -> PgConnection {
    cluster.connect_options(database).connect().await.expect("a connection")
}

/// Waits until all events are in tiles, and signed if wanted.
async fn caught_up(connection: &mut PgConnection, signed: bool) {
    let tiles =
        "(select number * 256 + length(hashes) / 32 from audit_tiles where level = 0 order by number desc limit 1)";
    let heads = "(select max(size) from audit_heads)";
    let sql = format!("select coalesce({}, 0) >= position from log_head", if signed { heads } else { tiles });
    while !sqlx::query_scalar::<_, bool>(AssertSqlSafe(sql.clone())).fetch_one(&mut *connection).await.expect("the log")
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The median time of a request, in microseconds, over one connection.
async fn time(address: SocketAddr, requests: Vec<Box<[u8]>>) -> f64 {
    let window = Window { warm_up: Duration::from_millis(300), measured: Duration::from_secs(2) };
    let laps: Laps = driver::drive(address, 1, requests.into(), window).await;
    laps.sample(window, 1, cpu::Used::default()).p50
}

/// A proof out of so many events, and reading one alone.
async fn proofs(directory: &Path, cluster: &PrivateCluster, events: u64) {
    cluster.create_database("proofs").await.expect("a database");
    let arguments = arguments(directory, cluster, "proofs");
    let database = Database::open(&config(&arguments), false).await.expect("the database");
    database.migrate().await.expect("its schema");
    let mut connection = connection(cluster, "proofs").await;
    let fill = format!(
        "insert into streams select n, 'group-g' || (10000 + n) from generate_series(1, {GROUPS}) n;
         insert into events select n, (n - 1) % {GROUPS} + 1, (n - 1) / {GROUPS} + 1, 'GroupUpdateSignalled', 1,
             '2026-01-01'::timestamptz + n * interval '1 millisecond', 10001, sha256(n::text::bytea),
             convert_to('{{\"by\":10001,\"update\":\"join\"}}', 'UTF8'), null from generate_series(1, {events}) n;
         update log_head set position = {events}, streams = {GROUPS}, time = '2026-02-01';
         analyze"
    );
    sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut connection).await.expect("events");
    let begun = std::time::Instant::now();
    let server = ServerProcess::be8(&arguments);
    caught_up(&mut connection, true).await;
    println!("{events} events in tiles and signed after {:.1} s", begun.elapsed().as_secs_f64());

    let ask = |path: &dyn Fn(u64, u64) -> String| -> Vec<Box<[u8]>> {
        let request = |n: u64| {
            // Anywhere in the log, in no order.
            let position = n * 2_654_435_761 % events + 1;
            let path = path((position - 1) % GROUPS + 10_001, position);
            format!("GET {path} HTTP/1.1\r\nhost: be8\r\nauthorization: Bearer {TOKEN}\r\n\r\n").into_bytes().into()
        };
        (0..10_000).map(request).collect()
    };
    let read = ask(&|group, at| format!("/audit/groups/g{group}/history?after={}&limit=1", at - 1));
    let proof = ask(&|group, at| format!("/audit/groups/g{group}/proof?position={at}"));
    let (mut reads, mut proved) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        reads.push(time(server.address, read.clone()).await);
        proved.push(time(server.address, proof.clone()).await);
    }
    let ratios = reads.iter().zip(&proved).map(|(read, proof)| proof / read).collect();
    println!(
        "reading an event alone {:.0} us, with its proof {:.0} us: {:.2} times (wanted: under 3)",
        median(reads),
        median(proved),
        median(ratios)
    );
}

/// Writing with and without the transparency log.
async fn writes(directory: &Path, cluster: &PrivateCluster) {
    cluster.create_database("writes").await.expect("a database");
    let arguments = arguments(directory, cluster, "writes");
    let stop = CancellationToken::new();
    let node = Node::start(&config(&arguments), stop.clone()).await.expect("a node");
    let data = data::Data::fill(&node.app, ACCOUNTS).await;
    stop.cancel();
    node.stop().await;
    let server = ServerProcess::be8(&arguments);
    let written = data.written();
    let requests: driver::Requests =
        written.iter().enumerate().map(|(nth, it)| data.message_request(it, nth % 2)).collect();
    while !driver::says_yes(server.address, &requests[0]).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    driver::send_all(server.address, CLIENTS, &requests).await;

    let (mut watcher, mut holder) = (connection(cluster, "writes").await, connection(cluster, "writes").await);
    let window = Window { warm_up: Duration::from_secs(1), measured: Duration::from_secs(4) };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for log in [false, true] {
            caught_up(&mut watcher, false).await;
            if !log {
                // The process that grows the log is ended, and its lock taken before it is back.
                let take = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'
                        and classid::bigint = hashtext('be8 process')::bigint & 4294967295
                        and objid::bigint = hashtext('transparency log')::bigint & 4294967295;
                    select pg_advisory_lock(hashtext('be8 process'), hashtext('transparency log'))";
                sqlx::raw_sql(take).execute(&mut holder).await.expect("the lock");
            }
            let laps = driver::drive(server.address, CLIENTS, requests.clone(), window).await;
            let rate = laps.sample(window, 1, cpu::Used::default()).rate;
            if log {
                with.push(rate)
            } else {
                without.push(rate)
            }
            sqlx::raw_sql("select pg_advisory_unlock_all()").execute(&mut holder).await.expect("the end of the lock");
        }
    }
    let costs = with.iter().zip(&without).map(|(with, without)| (1.0 - with / without) * 100.0).collect();
    println!(
        "messages a second without the log {:.0}, with it {:.0}: it costs {:.1} % (wanted: under 10 %)",
        median(without),
        median(with),
        median(costs)
    );
}
