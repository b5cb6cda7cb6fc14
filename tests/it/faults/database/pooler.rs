//! PgBouncer between the server and PostgreSQL: sessions are kept safe in session mode, and other modes are refused.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::Own;
use crate::client::two_people;
use crate::cluster::{Database, passable_directory};
use crate::faults::proxy::Proxy;
use crate::patience::{eventually, within};
use crate::server::Setup;

/// Where Debian has it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A PgBouncer in front of a database.
struct PgBouncer {
    port: u16,
    _process: Child,
    // As root it would not run; so another user connects, which only TCP lets.
    _way: Proxy,
    _files: TempDir,
}

impl PgBouncer {
    /// Starts one with these lines of settings; none if it is not installed.
    async fn start(database: &Database, settings: &str) -> Option<Self> {
        if !std::path::Path::new(PROGRAM).exists() {
            eprintln!("skipped: {PROGRAM} is missing (Debian's package pgbouncer)");
            return None;
        }
        let way = Proxy::start(database).await;
        let files = passable_directory();
        let port = {
            let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
            listener.local_addr().expect("its address").port()
        };
        let path = files.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=be8\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\nignore_startup_parameters = extra_float_digits,options\n{settings}\n",
            way.port()
        );
        std::fs::write(&path, text).expect("its settings");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("their mode");
        let mut command = Command::new(PROGRAM);
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        command.arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().expect("PgBouncer");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        eventually("PgBouncer listens", async || TcpStream::connect(address).await.is_ok()).await;
        Some(Self { port, _process: process, _way: way, _files: files })
    }

    fn url(&self, database: &Database) -> String {
        format!("postgres://be8@127.0.0.1:{}/{}?sslmode=disable", self.port, database.name)
    }
}

#[tokio::test]
async fn in_session_mode_what_is_acknowledged_is_durable() {
    for settings in [
        "pool_mode = session\nserver_reset_query =\ndefault_pool_size = 60",
        "pool_mode = session\nserver_reset_query = DISCARD ALL\ndefault_pool_size = 60",
    ] {
        let own = Own::start().await;
        // What a session of be8 does not set itself would be so.
        own.run(&["alter database own set synchronous_commit = off"]).await;
        let Some(pooler) = PgBouncer::start(&own.database, settings).await else { return };
        let setup = Setup::on(&own.database).through(pooler.url(&own.database));
        let server = setup.with("ledger-patience-seconds", 3).with("ledger-outcome-seconds", 4).start().await;
        let (alice, bob, thread) = two_people(&server).await;
        // A commit that waits for the disk waits for a standby, too, and one that does not wait does not wait for it either.
        own.set("synchronous_standby_names", "s1").await;
        let answer = alice.client.post("/writemessage", &alice.letter(&thread, &bob.id, "waits")).await;
        assert_eq!(answer.verdict(), "503 OUTCOMEUNKNOWN", "it was acknowledged before it was on a disk");
        own.set("synchronous_standby_names", "").await;
        eventually("it is ready again", async || server.get("/readyz").await.status == 200).await;
        assert_eq!(alice.write(&thread, &bob, "again").await, 3);
    }
}

#[tokio::test]
async fn what_a_former_client_left_in_a_session_is_no_trouble_for_the_next_one() {
    // Sessions are handed on as they are, the one that was given back last first, and in turns.
    for order in ["server_round_robin = 0", "server_round_robin = 1"] {
        let own = Own::start().await;
        let settings = format!("pool_mode = session\nserver_reset_query =\ndefault_pool_size = 60\n{order}");
        let Some(pooler) = PgBouncer::start(&own.database, &settings).await else { return };
        let setup = Setup::on(&own.database).through(pooler.url(&own.database));
        let mut server = setup.start().await;
        for killed in [true, false, true] {
            let (alice, bob, thread) = two_people(&server).await;
            alice.write(&thread, &bob, "before").await;
            let setup = if killed {
                server.kill().await
            } else {
                server.terminate();
                let (setup, status) = server.ended().await;
                assert!(status.success(), "{}", setup.log());
                setup
            };
            server = setup.start().await;
            let (alice, bob) = (alice.at(&server), bob.at(&server));
            assert_eq!(alice.write(&thread, &bob, "after").await, 3, "{}", server.setup().log());
            assert_eq!(bob.messages(&thread).await.len(), 3);
        }
        // What a dead server locked is free for the next one.
        let (alice, _, _) = two_people(&server).await;
        assert_eq!(alice.client.get("/destroyacc").await.status, 200);
        for _ in 0..2 {
            let checked = server.setup().run(&["check"]).await;
            assert!(checked.success, "{}{}", checked.out, checked.err);
        }
        let said = server.setup().log();
        assert!(!said.contains("42P05") && !said.contains("already exists"), "{said}");
        server.kill().await;
    }
}

#[tokio::test]
async fn other_modes_are_refused_at_the_start() {
    let own = Own::start().await;
    for settings in [
        "pool_mode = transaction\ndefault_pool_size = 1",
        "pool_mode = transaction\ndefault_pool_size = 20",
        "pool_mode = transaction\ndefault_pool_size = 20\nmin_pool_size = 2\nserver_round_robin = 1",
        "pool_mode = transaction\nserver_reset_query_always = 1",
        "pool_mode = statement\ndefault_pool_size = 20",
    ] {
        let Some(pooler) = PgBouncer::start(&own.database, settings).await else { return };
        let setup = Setup::on(&own.database).through(pooler.url(&own.database));
        let (mut process, _printed) = setup.launch();
        let status = within("the end of the server", process.wait()).await.unwrap();
        assert!(!status.success() && setup.log().contains("transaction mode"), "{settings}: {}", setup.log());
    }
    let locks = own.value("select count(*) from pg_locks where locktype = 'advisory'").await;
    assert_eq!(locks, 0, "nothing is left on connections of others");
}
