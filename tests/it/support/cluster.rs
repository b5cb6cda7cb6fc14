//! One PostgreSQL for the whole test process, and in it a new, empty database for every test that wants one.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use be8::postgres::{ClusterSettings, PrivateCluster};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// How the names of all temporary directories of tests begin.
const PREFIX: &str = "be8-test-";

/// What an older directory is taken for: left behind, since no test run takes so long.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// An empty database for one test. It is not dropped, since that costs a checkpoint, but goes with the whole cluster.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its name in the cluster.
    pub name: String,
    /// How another process connects to it: a value for `DATABASE_URL`.
    pub url: String,
    /// How this process connects to it.
    pub options: PgConnectOptions,
}

/// The cluster with the helper that removes it after us.
struct Shared {
    cluster: PrivateCluster,
    _janitor: Child,
}

/// Makes a new, empty database.
pub async fn fresh_database() -> Database {
    static SHARED: OnceCell<Shared> = OnceCell::const_new();
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let cluster = &SHARED.get_or_init(Shared::start).await.cluster;
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    cluster.create_database(&name).await.expect("a new database");
    Database { url: cluster.url(&name), options: cluster.connect_options(&name), name }
}

/// Makes a copy of a database that nobody is connected to.
pub async fn copy_of(original: &Database) -> Database {
    let copy = fresh_database().await;
    let mut connection = copy.options.clone().database("postgres").connect().await.expect("a connection");
    let sql = format!("drop database {0}; create database {0} template {1}", copy.name, original.name);
    for statement in sql.split(';') {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.expect("a copy");
    }
    connection.close().await.expect("the end of the connection");
    copy
}

/// A temporary directory that PostgreSQL's unprivileged user can get through to what is his.
pub fn passable_directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).expect("rights of the directory");
    directory
}

impl Shared {
    async fn start() -> Self {
        sweep();
        // Nothing is dropped at the end of a test process, so the directory's removal is the janitor's.
        let directory = passable_directory().keep();
        let janitor = janitor(&directory);
        // Every test may run a server with a pool of connections, and several tests run at a time.
        let settings = ClusterSettings { max_connections: 200, ..ClusterSettings::new(directory.join("postgres")) };
        let cluster = PrivateCluster::start(&settings).await.expect("a PostgreSQL for the tests");
        Self { cluster, _janitor: janitor }
    }
}

/// Starts a process that waits for the end of this one, however that comes about, and for the end of PostgreSQL, which
/// ends with it; then it removes the directory.
fn janitor(directory: &Path) -> Child {
    // The pipe to its standard input is closed when we end. Every process of PostgreSQL holds postgres.lock.
    let script = r#"read -r _; exec flock "$1/postgres/postgres.lock" rm -rf "$1""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "janitor"]).arg(directory).current_dir("/");
    // Ctrl-C in a terminal is not for it.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a shell")
}

/// Removes what test runs of days ago left behind because they were killed.
fn sweep() {
    let entries = fs::read_dir(std::env::temp_dir()).expect("the directory of temporary files").flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        let unused = File::open(entry.path().join("postgres/be8.lock")).map_or(true, |lock| lock.try_lock().is_ok());
        if unused && age.is_some_and(|age| age > STALE) {
            // It may belong to another user.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
