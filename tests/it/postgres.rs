//! The private PostgreSQL: made, shared, refused, and brought in order after every kind of violent death.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use be8::postgres::{ClusterSettings, PostgresError, PrivateCluster};
use rustix::process::{Pid, Signal, geteuid, getpid, kill_process};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tempfile::TempDir;

use crate::cluster::{fresh_database, passable_directory};

/// The variable that makes [`a_process_of_its_own`] hold a cluster in the directory that it names.
const HOLD: &str = "BE8_TEST_HOLD_CLUSTER";

/// How long anything here may take on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A directory for one cluster.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: passable_directory() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("postgres")
    }

    fn settings(&self) -> ClusterSettings {
        ClusterSettings::new(self.path())
    }

    async fn start(&self) -> Result<PrivateCluster, PostgresError> {
        PrivateCluster::start(&self.settings()).await
    }

    async fn attach(&self) -> Result<PrivateCluster, PostgresError> {
        PrivateCluster::attach(&self.settings()).await
    }

    /// Whether any process of PostgreSQL lives on the cluster.
    fn is_alive(&self) -> bool {
        File::open(self.path().join("postgres.lock")).expect("the lock file").try_lock().is_err()
    }
}

/// The process of [`a_process_of_its_own`], and the PostgreSQL that it holds.
struct Holder {
    process: Child,
    postmaster: Pid,
}

impl Holder {
    /// Runs this test program again, as `command` begins.
    fn start(mut command: Command, dir: &Path) -> Self {
        let test = concat!(module_path!(), "::a_process_of_its_own").split_once("::").expect("a module of a crate").1;
        command.args(["--exact", test, "--nocapture"]).env(HOLD, dir).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("this program");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let postmaster = lines.map_while(Result::ok).find_map(|line| {
            let (_, pid) = line.split_once("postmaster ")?;
            Pid::from_raw(pid.parse().ok()?)
        });
        Self { process, postmaster: postmaster.expect("the holder to start PostgreSQL") }
    }

    fn kill(&mut self) {
        self.process.kill().expect("it lives");
        self.process.wait().expect("it is ours");
    }
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("the path of this program"))
}

/// Waits until something has come about.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LONG, "{what} takes too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn connect(cluster: &PrivateCluster) -> PgConnection {
    cluster.connect_options("postgres").connect().await.expect("a connection")
}

/// Commits a row.
async fn write(cluster: &PrivateCluster) {
    let mut connection = connect(cluster).await;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES (1)")
        .execute(&mut connection)
        .await
        .expect("a row");
}

/// Counts the rows that were committed.
async fn rows(cluster: &PrivateCluster) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut connect(cluster).await).await.expect("a count")
}

/// Not a test, but what [`Holder`] runs: a process with a cluster, there to be killed.
#[tokio::test]
async fn a_process_of_its_own() {
    let Some(dir) = std::env::var_os(HOLD) else { return };
    let cluster = PrivateCluster::start(&ClusterSettings::new(dir)).await.expect("a cluster");
    write(&cluster).await;
    println!("\npostmaster {}", cluster.postmaster_pid().expect("a process"));
    std::thread::sleep(10 * LONG);
}

#[tokio::test]
async fn a_cluster_is_durable_closed_and_the_same_everywhere() {
    let place = Place::new();
    let cluster = place.start().await.expect("a cluster");
    let mut connection = connect(&cluster).await;
    for (setting, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("max_connections", "100"),
        ("shared_buffers", "128MB"),
        ("max_wal_size", "4GB"),
        ("jit", "off"),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
    ] {
        let shown: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .expect("a setting");
        assert_eq!(shown, value, "{setting}");
    }
    // Tuning is the operator's; durability is not.
    sqlx::raw_sql("ALTER SYSTEM SET max_wal_size = '2GB'").execute(&mut connection).await.expect("a setting");
    sqlx::raw_sql("ALTER SYSTEM SET fsync = off").execute(&mut connection).await.expect("a setting");
    drop(connection);
    cluster.stop().await;
    let cluster = place.start().await.expect("the same cluster");
    let shown: (String, String) = sqlx::query_as("SELECT current_setting('max_wal_size'), current_setting('fsync')")
        .fetch_one(&mut connect(&cluster).await)
        .await
        .expect("settings");
    assert_eq!(shown, ("2GB".into(), "on".into()));
    let socket = fs::metadata(place.path().join("socket")).expect("the socket's directory");
    assert_eq!(socket.mode() & 0o777, 0o700);
}

#[tokio::test]
async fn what_was_written_is_there_after_a_stop_and_nothing_else_is_left() {
    let place = Place::new();
    let cluster = place.start().await.expect("a cluster");
    write(&cluster).await;
    cluster.stop().await;
    assert!(!place.is_alive());
    assert_eq!(cluster.postmaster_pid(), None);
    let cluster = place.start().await.expect("the same cluster, though the stopped one is not dropped yet");
    assert_eq!(rows(&cluster).await, 1);
    drop(cluster);
    assert!(!place.is_alive());
    assert!(!place.path().join("cluster/postmaster.pid").exists());
}

#[tokio::test]
async fn a_second_server_is_refused_and_a_command_attaches() {
    let place = Place::new();
    let server = place.start().await.expect("a cluster");
    let error = place.start().await.expect_err("it is in use").to_string();
    assert!(error.ends_with(&format!("is in use: a server, process {}, runs on it", std::process::id())), "{error}");
    let command = place.attach().await.expect("the server's cluster");
    assert_eq!(command.postmaster_pid(), server.postmaster_pid());
    write(&command).await;
    command.stop().await;
    drop(command);
    assert_eq!(rows(&server).await, 1);
}

#[tokio::test]
async fn commands_without_a_server_take_turns() {
    let place = Place::new();
    let first = place.attach().await.expect("a cluster for a command");
    let error = place.start().await.expect_err("it is in use").to_string();
    assert!(error.ends_with(&format!("a command, process {}, works on it", std::process::id())), "{error}");
    let second = async {
        let second = place.attach().await.expect("a cluster for the second command");
        assert_eq!(rows(&second).await, 1);
    };
    let first = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        // The second has not disturbed us, and does not notice how we end.
        write(&first).await;
        drop(first);
    };
    tokio::join!(first, second);
    assert!(!place.is_alive());
}

#[tokio::test]
async fn a_killed_postgresql_is_started_again() {
    let place = Place::new();
    let cluster = place.start().await.expect("a cluster");
    for round in 1..=3 {
        write(&cluster).await;
        let killed = cluster.postmaster_pid().expect("a process");
        // A transaction in flight makes a process of PostgreSQL outlive its master for a moment.
        let mut busy = connect(&cluster).await;
        sqlx::raw_sql("BEGIN; INSERT INTO t VALUES (2)").execute(&mut busy).await.expect("a row");
        let pid = Pid::from_raw(killed.cast_signed()).expect("a process");
        kill_process(pid, Signal::KILL).expect("it lives");
        until("the restart", || cluster.postmaster_pid().is_some_and(|pid| pid != killed)).await;
        assert_eq!(rows(&cluster).await, round);
    }
}

#[tokio::test]
async fn postgresql_ends_with_a_killed_server_and_the_next_start_recovers() {
    let place = Place::new();
    for round in 1..=2 {
        let mut holder = Holder::start(this_program(), &place.path());
        assert!(matches!(place.start().await, Err(PostgresError::Busy { .. })));
        holder.kill();
        // Not even the rest of the shutdown has to be waited for.
        let cluster = place.start().await.expect("the cluster of the killed server");
        assert_eq!(rows(&cluster).await, round);
        cluster.stop().await;
    }
    let mut holder = Holder::start(this_program(), &place.path());
    holder.kill();
    until("the end of PostgreSQL", || !place.is_alive()).await;
}

#[tokio::test]
async fn server_and_postgresql_killed_together_leave_a_cluster_that_starts() {
    let place = Place::new();
    let mut holder = Holder::start(this_program(), &place.path());
    // The server must not come to restart it.
    kill_process(Pid::from_child(&holder.process), Signal::STOP).expect("it lives");
    kill_process(holder.postmaster, Signal::KILL).expect("it lives");
    holder.kill();
    let pidfile = place.path().join("cluster/postmaster.pid");
    let text = fs::read_to_string(&pidfile).expect("the dead process's file");
    assert!(text.contains("ready"));
    // The number may be another process's by now, even one that may not be killed.
    let rest = text.split_once('\n').expect("lines").1;
    fs::write(&pidfile, format!("{}\n{rest}", getpid())).expect("a file");
    let cluster = place.start().await.expect("the cluster of the killed server");
    assert_eq!(rows(&cluster).await, 1);
}

#[tokio::test]
async fn a_cluster_half_made_is_swept() {
    let place = Place::new();
    let unfinished = place.path().join("cluster.new-abc");
    fs::create_dir_all(unfinished.join("base")).expect("a directory");
    let cluster = place.start().await.expect("a whole cluster");
    assert!(!unfinished.exists());
    drop(cluster);
}

#[tokio::test]
async fn a_long_path_gets_a_socket_elsewhere() {
    let directory = passable_directory();
    let settings = ClusterSettings::new(directory.path().join("a long path, with a comma".repeat(4)).join("postgres"));
    let cluster = PrivateCluster::start(&settings).await.expect("a cluster");
    let socket = cluster.connect_options("postgres").get_socket().cloned().expect("a socket");
    assert!(!socket.starts_with(directory.path()));
    assert!(socket.is_dir());
    let command = PrivateCluster::attach(&settings).await.expect("the same cluster");
    assert_eq!(command.postmaster_pid(), cluster.postmaster_pid());
    cluster.stop().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_short_socket_directory_of_a_killed_server_is_removed() {
    let directory = passable_directory();
    let dir = directory.path().join("a long path".repeat(10));
    let mut holder = Holder::start(this_program(), &dir);
    let lock = fs::read_to_string(dir.join("be8.lock")).expect("the lock");
    let socket = PathBuf::from(lock.lines().nth(2).expect("the socket's directory"));
    assert!(socket.is_dir());
    holder.kill();
    let cluster = PrivateCluster::start(&ClusterSettings::new(&dir)).await.expect("the cluster of the killed server");
    assert!(!socket.exists());
    drop(cluster);
}

#[tokio::test]
async fn a_cluster_of_another_version_is_refused() {
    let place = Place::new();
    let cluster = place.path().join("cluster");
    fs::create_dir_all(&cluster).expect("a directory");
    fs::write(cluster.join("PG_VERSION"), "9.6\n").expect("a file");
    let error = place.start().await.expect_err("9.6 is not installed");
    assert!(matches!(&error, PostgresError::OlderCluster { made_by, .. } if made_by == "9.6"), "{error}");
    // The refused start holds nothing.
    fs::remove_dir_all(&cluster).expect("a directory");
    drop(place.start().await.expect("a cluster"));
}

#[tokio::test]
async fn a_start_that_fails_shows_what_postgresql_logged() {
    let place = Place::new();
    drop(place.start().await.expect("a cluster"));
    fs::remove_file(place.path().join("cluster/global/pg_control")).expect("a file");
    let error = place.start().await.expect_err("a broken cluster").to_string();
    assert!(error.contains("pg_control"), "{error}");
    assert!(!place.is_alive());
}

#[tokio::test]
async fn the_error_names_the_directory_that_stops_the_unprivileged_user() {
    if !geteuid().is_root() {
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.directory.path(), Permissions::from_mode(0o700)).expect("rights");
    let error = place.start().await.expect_err("postgres cannot enter");
    let closed = place.directory.path();
    assert!(matches!(&error, PostgresError::OutOfReach { blocked, .. } if blocked == closed), "{error}");
}

/// Copies a program that is to be executed. A process of its own does it: if this process had the copy open for writing,
/// a child that another test forks at that moment would hold it open, too, and executing it would fail with "Text file
/// busy" (ETXTBSY).
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("--").args([from, to]).status().expect("cp");
    assert!(status.success(), "cp: {status}");
}

/// While other threads start processes without pause, a program that was just copied can be executed every time.
#[test]
fn a_copied_program_can_be_executed_beside_forks() {
    let directory = tempfile::tempdir().expect("a directory");
    let source = ["/bin/true", "/usr/bin/true"].map(Path::new).into_iter().find(|path| path.exists());
    let source = source.expect("the program true");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(Command::new(source).status().expect("true").success());
                }
            });
        }
        let outcome: Result<(), std::io::Error> = (0..200).try_for_each(|number| {
            let copy = directory.path().join(format!("copy-{number}"));
            copy_program(source, &copy);
            Command::new(&copy).status().map(|status| assert!(status.success()))
        });
        done.store(true, Ordering::Relaxed);
        outcome.expect("every copy runs");
    });
}

#[tokio::test]
async fn root_and_others_keep_apart() {
    if !geteuid().is_root() {
        return;
    }
    let directory = passable_directory();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("rights");
    let dir = directory.path().join("postgres");
    // A copy, since the path to this program may be closed to others.
    let program = directory.path().join("program");
    copy_program(&std::env::current_exe().expect("the path of this program"), &program);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(&program).current_dir("/");
    let mut holder = Holder::start(command, &dir);
    assert_eq!(fs::metadata(dir.join("cluster")).expect("a cluster").uid(), 65534);
    let error = PrivateCluster::attach(&ClusterSettings::new(&dir)).await.expect_err("not ours");
    assert!(matches!(&error, PostgresError::WrongOwner { owner, .. } if owner == "nobody"), "{error}");
    holder.kill();
}

#[tokio::test]
async fn every_test_gets_a_database_of_its_own() {
    let (first, second) = tokio::join!(fresh_database(), fresh_database());
    assert_ne!(first.name, second.name);
    let mut by_url = PgConnection::connect(&first.url).await.expect("a connection by the URL");
    sqlx::raw_sql("CREATE TABLE t ()").execute(&mut by_url).await.expect("a table");
    let mut by_options = second.options.connect().await.expect("a connection by the options");
    sqlx::raw_sql("CREATE TABLE t ()").execute(&mut by_options).await.expect("a table in an empty database");
}
