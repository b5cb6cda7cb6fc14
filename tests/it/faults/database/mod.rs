//! A PostgreSQL that does not answer, takes no writes, or is behind something that changes sessions.

mod addresses;
mod clock;
mod pooler;
mod read_only;
mod silence;
mod standby;
mod tables;
mod tls;

use be8::postgres::{ClusterSettings, PrivateCluster};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;

use crate::cluster::{Database, passable_directory};
use crate::patience::{eventually, within};

/// A PostgreSQL of a test's own, whose settings and processes it may touch.
struct Own {
    cluster: PrivateCluster,
    settings: ClusterSettings,
    database: Database,
    _directory: TempDir,
}

impl Own {
    async fn start() -> Self {
        let directory = passable_directory();
        let settings = ClusterSettings::new(directory.path().join("postgres"));
        let cluster = PrivateCluster::start(&settings).await.expect("a PostgreSQL");
        cluster.create_database("own").await.expect("a database");
        let (url, options) = (cluster.url("own"), cluster.connect_options("own"));
        let database = Database { name: "own".to_owned(), url, options };
        Self { cluster, settings, database, _directory: directory }
    }

    /// Makes a standby of it, which waits for a primary that never comes, as after a switchover to another host.
    async fn becomes_standby(&mut self) {
        self.cluster.stop().await;
        std::fs::write(self.settings.dir.join("cluster/standby.signal"), "").expect("the sign of a standby");
        self.cluster = within("a standby", PrivateCluster::start(&self.settings)).await.expect("a standby");
        assert_eq!(self.value("select pg_is_in_recovery()::int::bigint").await, 1);
    }

    /// Makes a primary of it again.
    async fn is_promoted(&self) {
        assert_eq!(self.value("select pg_promote()::int::bigint").await, 1);
    }

    /// Runs statements, one by one.
    async fn run(&self, statements: &[&str]) {
        let mut connection = PgConnection::connect_with(&self.database.options).await.expect("a connection");
        for statement in statements {
            sqlx::raw_sql(AssertSqlSafe((*statement).to_owned())).execute(&mut connection).await.expect(statement);
        }
    }

    /// A connection that has run a statement, and holds what that holds until it is dropped.
    async fn holds(&self, statement: &str) -> PgConnection {
        let mut connection = PgConnection::connect_with(&self.database.options).await.expect("a connection");
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.expect(statement);
        connection
    }

    /// Takes connections until PostgreSQL has none left.
    async fn takes_all_connections(&self) -> Vec<PgConnection> {
        let mut taken = Vec::new();
        loop {
            match PgConnection::connect_with(&self.database.options).await {
                Ok(connection) => taken.push(connection),
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("53300") => return taken,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn value(&self, query: &str) -> i64 {
        let mut connection = PgConnection::connect_with(&self.database.options).await.expect("a connection");
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.expect(query)
    }

    /// Changes a setting of the server, and waits until sessions have it.
    async fn set(&self, name: &str, value: &str) {
        self.run(&[&format!("alter system set {name} = '{value}'"), "select pg_reload_conf()"]).await;
        let has = format!("select (current_setting('{name}') = '{value}')::int::bigint");
        eventually("the setting is in effect", async || self.value(&has).await == 1).await;
        // Other sessions look at it between two statements, so a moment later.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }

    /// How many sessions wait for a standby.
    async fn waiting(&self) -> i64 {
        self.value("select count(*) from pg_stat_activity where wait_event = 'SyncRep'").await
    }

    /// Stops all processes of PostgreSQL where they are, until the value is dropped.
    fn freeze(&self) -> Frozen {
        freeze(self.cluster.postmaster_pid().expect("it runs"))
    }
}

/// Stops all processes of a PostgreSQL where they are, until the value is dropped.
fn freeze(postmaster: u32) -> Frozen {
    let mut pids = vec![postmaster];
    kill(postmaster, Signal::STOP);
    for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // After the name in parentheses: the state, then the parent.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        if parent == Some(postmaster) {
            kill(pid, Signal::STOP);
            pids.push(pid);
        }
    }
    Frozen(pids)
}

/// Processes that are stopped. They go on when this is dropped.
struct Frozen(Vec<u32>);

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.iter().for_each(|pid| kill(*pid, Signal::CONT));
    }
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    // One that has ended meanwhile needs no signal.
    let _ = kill_process(pid, signal);
}
