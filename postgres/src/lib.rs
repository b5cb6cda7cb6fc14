//! The private PostgreSQL of the zero-configuration mode: an installed PostgreSQL is run as a child of this process, on a
//! cluster of its own, with full durability, reachable by a socket for this program alone.
//!
//! It lives no longer than this process, however that ends; it is started again when it dies; and whatever state a crash
//! left unclean, the next start recovers it.

pub mod data_dir;
mod directory;
mod error;
mod identity;
mod install;
mod locks;
mod pidfile;
mod supervisor;
mod swap;
mod upgrade;

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use be8_database::{is_timeout, with_deadline};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tokio::sync::{oneshot, watch};

use directory::{CLUSTER, Layout};
pub use error::PostgresError;
use locks::{OwnerLock, Use};
use pidfile::Postmaster;
use supervisor::{Phase, Stop, Task};
pub use upgrade::{Upgraded, remove_old_clusters, upgrade};

/// The database superuser.
const SUPERUSER: &str = "be8";

/// The database that is always there.
const MAINTENANCE: &str = "postgres";

/// The port, which only names the socket.
const PORT: u16 = 5432;

/// How long a command waits for the cluster's owner to be ready for it, or to be done.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a ready PostgreSQL may take to answer. One whose processes are stopped takes connections, but never answers.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a PostgreSQL that is to stop may take to answer, before it counts as frozen.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// How long making a database may take: a checkpoint, and copying the template.
const MAKING: Duration = Duration::from_secs(120);

/// How long a cluster that is dropped without [`PrivateCluster::stop`] may hold up its thread.
const DROP_PATIENCE: Duration = Duration::from_secs(10);

/// What a private cluster is like.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// The directory of the cluster and what belongs to it; made when missing.
    pub dir: PathBuf,
    /// The directory of PostgreSQL's programs; without it, an installed PostgreSQL is searched for.
    pub bin: Option<PathBuf>,
    /// How many connections it takes.
    pub max_connections: u16,
    /// How much it keeps of its tables in memory of its own (`shared_buffers`), in MiB.
    pub buffers_mib: u32,
}

impl ClusterSettings {
    /// The usual settings for a cluster in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), bin: None, max_connections: 100, buffers_mib: 128 }
    }

    /// Whether there is a cluster already, be it in the middle of an upgrade, or a directory that may not be looked into.
    #[must_use]
    pub fn has_cluster(&self) -> bool {
        match fs::read_dir(&self.dir) {
            Ok(entries) => entries.flatten().any(|entry| entry.file_name().as_bytes().starts_with(CLUSTER.as_bytes())),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }
}

/// A running private cluster: one that this process owns, or one of another process that it is attached to.
#[derive(Debug)]
pub struct PrivateCluster {
    layout: Layout,
    socket: PathBuf,
    owned: Option<Owned>,
}

/// Our end of the thread that supervises PostgreSQL.
#[derive(Debug)]
struct Owned {
    stop: mpsc::Sender<Stop>,
    /// It does not answer, so there is nothing to wait for when it is stopped.
    frozen: Arc<AtomicBool>,
    phase: watch::Receiver<Phase>,
    thread: JoinHandle<()>,
}

impl PrivateCluster {
    /// Starts the cluster, which it makes when there is none yet, for a server.
    ///
    /// # Errors
    ///
    /// [`PostgresError::Busy`] when another process owns it; else whatever stands in the way.
    pub async fn start(settings: &ClusterSettings) -> Result<Self, PostgresError> {
        let layout = Layout::open(&settings.dir)?;
        match OwnerLock::take(&layout)? {
            Ok(lock) => Self::launch(settings, layout, lock, Use::Starting).await,
            Err(holder) => Err(busy(settings, holder)),
        }
    }

    /// Connects to the cluster of a running server; starts it for the time of a command when there is none. Waits for a
    /// server that is starting, and for another command that has started the cluster, since it will also stop it.
    ///
    /// # Errors
    ///
    /// [`PostgresError::Busy`] when the waiting takes over a minute; else whatever stands in the way.
    pub async fn attach(settings: &ClusterSettings) -> Result<Self, PostgresError> {
        let began = Instant::now();
        loop {
            let layout = Layout::open(&settings.dir)?;
            let holder = match OwnerLock::take(&layout)? {
                Ok(lock) => return Self::launch(settings, layout, lock, Use::Command).await,
                Err(holder) => holder,
            };
            // A holder in another container cannot be seen from here, but its socket in our directory can.
            let socket = match &holder {
                Some(holder) => (holder.used_for == Use::Serving).then(|| holder.socket.clone()),
                None => Some(layout.dir().join("socket")),
            };
            if let Some(socket) = socket {
                let cluster = Self { layout, socket, owned: None };
                match cluster.check().await {
                    Ok(()) => return Ok(cluster),
                    // It takes connections and does not answer: frozen, and not about to be ready.
                    Err(error) if error.is_timeout() => return Err(error),
                    // It may be restarting just now.
                    Err(_) => {}
                }
            }
            if began.elapsed() > PATIENCE {
                return Err(busy(settings, holder));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts the thread that owns PostgreSQL, and waits until it answers.
    async fn launch(
        settings: &ClusterSettings,
        layout: Layout,
        lock: OwnerLock,
        used_for: Use,
    ) -> Result<Self, PostgresError> {
        let (stop, stop_asked) = mpsc::channel();
        let frozen = Arc::new(AtomicBool::new(false));
        let (phase_told, phase) = watch::channel(Phase::Down);
        let (started, start) = oneshot::channel();
        let task = Task {
            settings: settings.clone(),
            layout: layout.clone(),
            lock,
            used_for,
            stop: stop_asked,
            frozen: frozen.clone(),
            phase: phase_told,
            started,
        };
        let thread = thread::Builder::new().name("postgres".into()).spawn(|| task.run());
        let thread = thread.map_err(PostgresError::io("start a thread for", &layout.cluster()))?;
        let socket = start.await.map_err(|_| PostgresError::Stopped)??;
        let cluster = Self { layout, socket, owned: Some(Owned { stop, frozen, phase, thread }) };
        cluster.check().await?;
        Ok(cluster)
    }

    /// Whether a connection works.
    async fn check(&self) -> Result<(), PostgresError> {
        Ok(with_deadline(ANSWER, self.maintenance().await?.close()).await?)
    }

    async fn maintenance(&self) -> Result<PgConnection, PostgresError> {
        Ok(with_deadline(ANSWER, self.connect_options(MAINTENANCE).connect()).await?)
    }

    /// How to connect to one of its databases.
    #[must_use]
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        // Everything is said here, so that PGHOST and the like in the environment have no say.
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket)
            .port(PORT)
            .username(SUPERUSER)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// The same as a URL, for another program: `psql` understands it, and so does `DATABASE_URL`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let (database, socket) =
            (percent_encode(database.as_bytes()), percent_encode(self.socket.as_os_str().as_bytes()));
        format!("postgres:///{database}?host={socket}&port={PORT}&user={SUPERUSER}")
    }

    /// Makes an empty database, unless there is one of this name already.
    ///
    /// # Errors
    ///
    /// [`PostgresError::Sql`].
    pub async fn create_database(&self, name: &str) -> Result<(), PostgresError> {
        let statement = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        let mut connection = self.maintenance().await?;
        // Asked first, since PostgreSQL writes an error into its log when it refuses to make it again.
        let there = sqlx::query_scalar("select exists (select from pg_database where datname = $1)").bind(name);
        if with_deadline(ANSWER, there.fetch_one(&mut connection)).await? {
            return Ok(with_deadline(ANSWER, connection.close()).await?);
        }
        match with_deadline(MAKING, connection.execute(AssertSqlSafe(statement))).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => {}
            result => {
                result?;
            }
        }
        Ok(with_deadline(ANSWER, connection.close()).await?)
    }

    /// Collects the statistics that the planner of PostgreSQL goes by, which an upgrade may not carry over.
    ///
    /// # Errors
    ///
    /// [`PostgresError::Sql`].
    pub async fn analyze(&self, database: &str) -> Result<(), PostgresError> {
        let mut connection = self.connect_options(database).connect().await?;
        connection.execute("analyze").await?;
        Ok(connection.close().await?)
    }

    /// PostgreSQL's main process, while it is ready. For tests that kill it.
    #[must_use]
    pub fn postmaster_pid(&self) -> Option<u32> {
        let pid = match &self.owned {
            Some(owned) => match *owned.phase.borrow() {
                Phase::Ready(pid) => Some(pid),
                Phase::Down | Phase::Ended => None,
            },
            None => Postmaster::of(&self.layout.cluster()).filter(|postmaster| postmaster.ready).map(|it| it.pid),
        };
        pid.and_then(|pid| pid.as_raw_pid().try_into().ok())
    }

    /// Stops the cluster, disconnecting its clients, and waits until it has stopped. One that does not answer is
    /// killed: it writes no checkpoint either, and recovers at its next start. One that belongs to another process goes on.
    pub async fn stop(&self) {
        if let Some(owned) = &self.owned {
            if is_timeout(&with_deadline(SIGN_OF_LIFE, self.connect_options(MAINTENANCE).connect()).await) {
                tracing::warn!("PostgreSQL does not answer: it is killed, and recovers at its next start");
                owned.frozen.store(true, Ordering::SeqCst);
            }
            // It fails if the thread has ended, and so does the wait.
            let _ = owned.stop.send(Stop);
            let _ = owned.phase.clone().wait_for(|phase| *phase == Phase::Ended).await;
        }
    }
}

impl Drop for PrivateCluster {
    /// Stops the cluster if [`PrivateCluster::stop`] has not; holds the thread up for that, but not for long.
    fn drop(&mut self) {
        if let Some(owned) = &self.owned {
            // It fails if the thread has ended.
            let _ = owned.stop.send(Stop);
            let began = Instant::now();
            while !owned.thread.is_finished() && began.elapsed() < DROP_PATIENCE {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn busy(settings: &ClusterSettings, holder: Option<locks::Holder>) -> PostgresError {
    let holder = holder.map_or_else(
        || "a process that has not named itself yet, or that cannot be seen from here, holds its lock".into(),
        |holder| holder.to_string(),
    );
    PostgresError::Busy { dir: settings.dir.clone(), holder }
}

/// Encodes what is not plain in every part of a URL.
fn percent_encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut url, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => url.push(char::from(*byte)),
            // Writing to a string does not fail.
            _ => {
                let _ = write!(url, "%{byte:02X}");
            }
        }
        url
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_url_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::open(dir.path()).expect("a directory of ours");
        let cluster = PrivateCluster { layout, socket: "/tmp/a b&c/socket".into(), owned: None };
        let url = cluster.url("te?st");
        assert_eq!(url, "postgres:///te%3Fst?host=/tmp/a%20b%26c/socket&port=5432&user=be8");
        let options: PgConnectOptions = url.parse().expect("a URL");
        assert_eq!(options.get_socket().map(PathBuf::as_path), Some(Path::new("/tmp/a b&c/socket")));
        assert_eq!((options.get_port(), options.get_username()), (5432, "be8"));
        assert_eq!(options.get_database(), Some("te?st"));
    }
}
