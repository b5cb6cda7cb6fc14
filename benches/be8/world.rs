//! The world of a run: one PostgreSQL, and in it the floors and, for each size of the data, its ground.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use be8::app::App;
use be8::config::{Config, flags};
use be8::node::{Database, Node};
use be8::postgres::{ClusterSettings, PrivateCluster};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::closed_loop::{Laps, Sample, Window};
use crate::cpu::Clocks;
use crate::data::{Conversation, Data};
use crate::floors::{self, Writing};
use crate::ground::{Ground, Side};
use crate::rows::{Load, Row, Size};
use crate::servers::Flags;

/// Commands in flight in the ledger.
const COMMANDS: usize = 256;

/// `shared_buffers` of PostgreSQL: what a server takes by itself on a machine of 16 GiB.
const BUFFERS_MIB: u32 = 4096;

/// Everything that is measured.
pub struct World {
    directory: TempDir,
    cluster: PrivateCluster,
    floors: Writing,
    grounds: Vec<(Size, Ground)>,
}

impl World {
    /// Starts PostgreSQL.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("be8-bench-").tempdir().expect("a temporary directory");
        // PostgreSQL's own user must be able to pass through.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).expect("rights of the directory");
        let dir = directory.path().join("postgres");
        let settings = ClusterSettings { max_connections: 300, buffers_mib: BUFFERS_MIB, ..ClusterSettings::new(dir) };
        let cluster = PrivateCluster::start(&settings).await.expect("a PostgreSQL");
        let config = config(&arguments(&directory, &cluster, "floors"));
        cluster.create_database("floors").await.expect("a database");
        let database = Database::open(&config, false).await.expect("the database");
        database.migrate().await.expect("its schema");
        let floors = Writing::new(database.connect);
        Self { directory, cluster, floors, grounds: Vec::new() }
    }

    /// Makes the data of one size, with partitions of messages for `days` days back, and a server of an older build beside it.
    pub async fn settle(&mut self, size: Size, days: u64, baseline: Option<&Path>) {
        let ground = Ground::settle(self, size, days, baseline).await;
        self.grounds.push((size, ground));
    }

    /// A database with the data of so many accounts and nobody on it.
    pub async fn quiet(&self, accounts: usize) -> Database {
        let name = "rebuilt";
        self.create(name).await;
        let (node, stop) = self.node(name).await;
        Data::fill(&node.app, accounts).await;
        stop.cancel();
        node.stop().await.expect("the end of a node");
        self.execute(name, "vacuum analyze").await;
        self.execute("postgres", "checkpoint").await;
        Database::open(&self.config(name), false).await.expect("the database")
    }

    /// Two databases with the same data, each with a node that signs checkpoints at intervals of its own, in seconds.
    pub async fn twins(&self, accounts: usize, [first, second]: [(&str, &str); 2]) -> [Resident; 2] {
        let names = [first.1, second.1];
        self.create(names[0]).await;
        let (node, stop) = self.node(names[0]).await;
        let data = Arc::new(Data::fill(&node.app, accounts).await);
        stop.cancel();
        node.stop().await.expect("the end of a node");
        self.execute(names[0], "vacuum analyze").await;
        self.copy(names[0], names[1]).await;
        let written: Arc<[Conversation]> = data.written().into();
        let inhabit = async |(interval, name): (&str, &str)| {
            let (node, stop) = self.node_with(name, &[("--checkpoint-interval", interval)]).await;
            Resident { node, stop, data: data.clone(), written: written.clone() }
        };
        [inhabit(first).await, inhabit(second).await]
    }

    /// A database with nothing in it.
    pub async fn create(&self, database: &str) {
        self.cluster.create_database(database).await.expect("a database");
    }

    /// A copy of a database with nobody on it.
    pub async fn copy(&self, from: &str, to: &str) {
        self.execute("postgres", &format!("create database {to} template {from}")).await;
        self.execute("postgres", "checkpoint").await;
        let key = |database: &str| self.path(&format!("{database}.audit.key"));
        std::fs::copy(key(from), key(to)).expect("the key of the copy's log");
    }

    /// A node in this process.
    pub async fn node(&self, database: &str) -> (Node, CancellationToken) {
        self.node_with(database, &[]).await
    }

    async fn node_with(&self, database: &str, more: &[(&'static str, &str)]) -> (Node, CancellationToken) {
        let stop = CancellationToken::new();
        let mut flags = self.flags(database);
        for &(flag, value) in more {
            flags.retain(|(known, _)| *known != flag);
            flags.push((flag, value.to_owned()));
        }
        (Node::start(&config(&flags), None, stop.clone()).await.expect("a node"), stop)
    }

    /// Runs statements in a database.
    pub async fn execute(&self, database: &str, sql: &str) {
        let mut connection = self.connect(database).await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("a statement");
        connection.close().await.expect("the end of a connection");
    }

    /// Waits until the transparency log of a database has all that was read in.
    pub async fn covered(&self, database: &str) {
        const LEFT: &str = "select (select position from log_head) - coalesce((select max(size) from audit_heads), 0)";
        let mut connection = self.connect(database).await;
        while sqlx::query_scalar::<_, i64>(LEFT).fetch_one(&mut connection).await.expect("a number") > 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        connection.close().await.expect("the end of a connection");
    }

    async fn connect(&self, database: &str) -> PgConnection {
        self.cluster.connect_options(database).connect().await.expect("a connection")
    }

    /// Where a file of the run is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The flags of a server on a database.
    pub fn flags(&self, database: &str) -> Flags {
        arguments(&self.directory, &self.cluster, database)
    }

    /// The same as settings.
    pub fn config(&self, database: &str) -> Config {
        config(&self.flags(database))
    }

    /// One row, once.
    pub async fn measure(&self, row: &Row, size: Size, side: Side, window: Window) -> Sample {
        let postmaster = self.cluster.postmaster_pid().unwrap_or(0);
        let clocks = Clocks::read(None, postmaster);
        match row.load {
            Load::SingleInserts => self.floors.single_inserts(window).await.sample(window, 1, clocks.used()),
            Load::Batches => self.floors.batches(window).await.sample(window, floors::ROWS, clocks.used()),
            load => {
                let (_, ground) = self.grounds.iter().find(|(of, _)| *of == size).expect("the data was made");
                ground.measure(load, side, postmaster, window).await
            }
        }
    }

    /// Ends everything and removes it.
    pub async fn end(self) {
        for (_, ground) in self.grounds {
            ground.leave().await;
        }
        self.cluster.stop().await;
    }
}

/// A node in this process, on data of its own.
pub struct Resident {
    pub node: Node,
    pub stop: CancellationToken,
    pub data: Arc<Data>,
    pub written: Arc<[Conversation]>,
}

impl Resident {
    /// What it is made of.
    pub fn app(&self) -> &Arc<App> {
        &self.node.app
    }

    /// The ledger alone: messages into all conversations, many in flight.
    pub async fn write(&self, window: Window) -> Laps {
        let mut workers = JoinSet::new();
        for nth in 0..COMMANDS {
            let (app, data, written) = (self.node.app.clone(), self.data.clone(), self.written.clone());
            let mut at = nth * written.len() / COMMANDS;
            workers.spawn(async move {
                Laps::walk(window, || {
                    let command = data.message(&written[at % written.len()], at % 2);
                    at += 1;
                    let app = &app;
                    async move { _ = app.ledger.execute(command).await.expect("a valid message") }
                })
                .await
            });
        }
        Laps::of_all(workers).await
    }

    /// Ends it.
    pub async fn leave(self) {
        self.stop.cancel();
        self.node.stop().await.expect("the end of a node");
    }
}

/// The flags of a server, or of a node in this process, on one database of the cluster.
fn arguments(directory: &TempDir, cluster: &PrivateCluster, database: &str) -> Flags {
    let path = |name: &str| directory.path().join(name).display().to_string();
    vec![
        ("--listen", "127.0.0.1:0".to_owned()),
        ("--data-dir", path(database)),
        ("--database-url", cluster.url(database)),
        ("--master-key-file", path("master.key")),
        // Older builds open the vault with the master key alone.
        ("--vault-rotation-hours", "off".to_owned()),
        // The key of a transparency log belongs to one database.
        ("--audit-key-file", path(&format!("{database}.audit.key"))),
        ("--checkpoint-interval", "10".to_owned()),
        ("--log", "warn".to_owned()),
        // Counted as for anybody, and never reached.
        ("--limit-account", "1000000/1".to_owned()),
        ("--limit-address", "1000000/1".to_owned()),
        ("--limit-signups", "1000000/1".to_owned()),
    ]
}

fn config(of: &Flags) -> Config {
    let command = flags(clap::Command::new("be8")).no_binary_name(true);
    let words = of.iter().flat_map(|(flag, value)| [*flag, value]);
    Config::new(&command.get_matches_from(words)).expect("settings")
}
