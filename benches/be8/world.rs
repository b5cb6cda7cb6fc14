//! The world of a run: one PostgreSQL, and in it, for each size of the data, a database with the
//! real server on it and a copy of that with a ledger in this process.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use be8::app::App;
use be8::config::{Config, flags};
use be8::node::{Database, Node, reading_pool};
use be8::postgres::{ClusterSettings, PrivateCluster};
use be8_database::Pool;
use be8_events::Hash32;
use be8_projections::ReadModels;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::closed_loop::{Laps, Sample, Window};
use crate::cpu::Clocks;
use crate::data::{Conversation, Data};
use crate::driver::{self, Requests};
use crate::floors::{self, Writing};
use crate::report::{Row, Size};
use crate::servers::ServerProcess;

/// Connections to a server.
const CLIENTS: usize = 64;
/// Commands in flight in the ledger.
const COMMANDS: usize = 256;

/// `shared_buffers` of PostgreSQL: what a server takes by itself on a machine of 16 GiB.
const BUFFERS_MIB: u32 = 4096;

/// Makes the partitions of past days, as they are there while messages of those days are shown.
const PAST_DAYS: &str = "do $$ declare past date; name text; begin
    for back in 1..{days} loop
        past := (now() at time zone 'UTC')::date - back;
        name := 'sealed_message_' || to_char(past, 'YYYYMMDD');
        execute format('create table %I (like sealed_message including all)', name);
        execute format('alter table sealed_message attach partition %I for values in (%L)', name, past);
    end loop; end $$";

/// Everything that is measured.
pub struct World {
    directory: TempDir,
    cluster: PrivateCluster,
    floors: Writing,
    once: Option<Ground>,
    tenfold: Option<Ground>,
}

/// What is measured with one size of the data.
struct Ground {
    /// In this process, on the copy.
    resident: Resident,
    server: ServerProcess,
    memory: ServerProcess,
    /// Set as the server's own.
    pool: Pool,
    read: ReadModels,
    questions: Questions,
}

/// What is asked over HTTP, and for floor 3 the parameters of the same.
struct Questions {
    write_many: Requests,
    write_one: Requests,
    threads: Requests,
    messages: Requests,
    threads_sql: Arc<[(Hash32, Option<i64>)]>,
    messages_sql: Arc<[(Hash32, Option<i64>)]>,
}

impl World {
    /// Starts PostgreSQL.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("be8-bench-").tempdir().expect("a temporary directory");
        // PostgreSQL's own user must be able to pass through.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).expect("rights of the directory");
        let dir = directory.path().join("postgres");
        let settings = ClusterSettings { max_connections: 200, buffers_mib: BUFFERS_MIB, ..ClusterSettings::new(dir) };
        let cluster = PrivateCluster::start(&settings).await.expect("a PostgreSQL");
        let config = config(&arguments(&directory, &cluster, "floors"));
        cluster.create_database("floors").await.expect("a database");
        let database = Database::open(&config, false).await.expect("the database");
        database.migrate().await.expect("its schema");
        let floors = Writing::new(database.connect);
        Self { directory, cluster, floors, once: None, tenfold: None }
    }

    /// Makes the data of one size, and all that serves it, with partitions of messages for `days` days back.
    pub async fn settle(&mut self, size: Size, days: u64) {
        let (main, copy) = (format!("be8_{}", size.name()), format!("ledger_{}", size.name()));
        eprintln!("filling {main}");
        self.cluster.create_database(&main).await.expect("a database");
        let (node, stop) = self.node(&main).await;
        let data = Arc::new(Data::fill(&node.app, size.accounts()).await);
        stop.cancel();
        node.stop().await.expect("the end of a node");
        self.execute(&main, &PAST_DAYS.replace("{days}", &days.to_string())).await;
        // Statistics now, not when autovacuum finds the time: in the middle of a measurement.
        self.execute(&main, "vacuum analyze").await;
        self.execute("postgres", &format!("create database {copy} template {main}")).await;
        self.execute("postgres", "checkpoint").await;
        let key = |database: &str| self.directory.path().join(format!("{database}.audit.key"));
        std::fs::copy(key(&main), key(&copy)).expect("the key of the copy's log");

        let (node, stop) = self.node(&copy).await;
        let server = ServerProcess::be8(&arguments(&self.directory, &self.cluster, &main));
        let connect = config(&arguments(&self.directory, &self.cluster, &main));
        let connect = Database::open(&connect, false).await.expect("the database").connect;
        let pool = reading_pool(&connect, floors::CONNECTIONS as u32, std::time::Duration::from_secs(30));
        let read = ReadModels::new(pool.clone());
        let questions = Questions::new(&data);
        while !driver::says_yes(server.address, &questions.threads[0]).await {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }

        let answers = self.directory.path().join(format!("answers_{}", size.name()));
        std::fs::create_dir(&answers).expect("a directory");
        for (name, request) in [("getthreads", &questions.threads[0]), ("getmessages", &questions.messages[0])] {
            let answer = driver::ask(server.address, request).await;
            std::fs::write(answers.join(name), answer).expect("a file");
        }
        let memory = ServerProcess::memory(&answers);
        let written = data.written().into();
        let resident = Resident { node, stop, data, written };
        let ground = Ground { resident, server, memory, pool, read, questions };
        // A server that has been running knows the states of the conversations that go on.
        driver::send_all(ground.server.address, CLIENTS, &ground.questions.write_many).await;
        let Resident { node, data, written, .. } = &ground.resident;
        data.write_all(&node.app, written).await;
        match size {
            Size::Once => self.once = Some(ground),
            Size::Tenfold => self.tenfold = Some(ground),
        }
    }

    /// A database with the data of so many accounts and nobody on it.
    pub async fn quiet(&self, accounts: usize) -> Database {
        let name = "rebuilt";
        self.cluster.create_database(name).await.expect("a database");
        let (node, stop) = self.node(name).await;
        Data::fill(&node.app, accounts).await;
        stop.cancel();
        node.stop().await.expect("the end of a node");
        self.execute(name, "vacuum analyze").await;
        self.execute("postgres", "checkpoint").await;
        let config = config(&arguments(&self.directory, &self.cluster, name));
        Database::open(&config, false).await.expect("the database")
    }

    /// Two databases with the same data, each with a node that signs checkpoints at intervals of its own, in seconds.
    pub async fn twins(&self, accounts: usize, [first, second]: [(&str, &str); 2]) -> [Resident; 2] {
        let names = [first.1, second.1];
        self.cluster.create_database(names[0]).await.expect("a database");
        let (node, stop) = self.node(names[0]).await;
        let data = Arc::new(Data::fill(&node.app, accounts).await);
        stop.cancel();
        node.stop().await.expect("the end of a node");
        self.execute(names[0], "vacuum analyze").await;
        self.execute("postgres", &format!("create database {} template {}", names[1], names[0])).await;
        self.execute("postgres", "checkpoint").await;
        let [from, to] = names.map(|name| self.directory.path().join(format!("{name}.audit.key")));
        std::fs::copy(from, to).expect("the key of the copy's log");
        let written: Arc<[Conversation]> = data.written().into();
        let inhabit = async |(interval, name): (&str, &str)| {
            let (node, stop) = self.node_with(name, &["--checkpoint-interval", interval]).await;
            Resident { node, stop, data: data.clone(), written: written.clone() }
        };
        [inhabit(first).await, inhabit(second).await]
    }

    async fn node(&self, database: &str) -> (Node, CancellationToken) {
        self.node_with(database, &[]).await
    }

    async fn node_with(&self, database: &str, more: &[&str]) -> (Node, CancellationToken) {
        let stop = CancellationToken::new();
        let mut arguments = arguments(&self.directory, &self.cluster, database);
        arguments.extend(more.iter().map(|more| (*more).to_owned()));
        let config = config(&arguments);
        (Node::start(&config, None, stop.clone()).await.expect("a node"), stop)
    }

    async fn execute(&self, database: &str, sql: &str) {
        let mut connection = self.cluster.connect_options(database).connect().await.expect("a connection");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("a statement");
        connection.close().await.expect("the end of a connection");
    }

    /// One row, once.
    pub async fn measure(&self, row: Row, size: Size, window: Window) -> Sample {
        let ground = match size {
            Size::Once => &self.once,
            Size::Tenfold => &self.tenfold,
        };
        let ground = ground.as_ref().expect("the data was made");
        let server = if row.is_from_memory() { &ground.memory } else { &ground.server };
        let clocks = Clocks::read(Some(server.id()), self.cluster.postmaster_pid().unwrap_or(0));
        let questions = &ground.questions;
        let ask = |requests: &Requests| driver::drive(server.address, CLIENTS, requests.clone(), window);
        let laps = match row {
            Row::SingleInserts => self.floors.single_inserts(window).await,
            Row::Batches => self.floors.batches(window).await,
            Row::ThreadsStatement => ground.statement("threads", &questions.threads_sql, window).await,
            Row::MessagesStatement => ground.statement("messages", &questions.messages_sql, window).await,
            Row::Ledger => ground.resident.write(window).await,
            Row::WriteMany => ask(&questions.write_many).await,
            Row::WriteOne => ask(&questions.write_one).await,
            Row::Threads | Row::ThreadsFromMemory => ask(&questions.threads).await,
            Row::Messages | Row::MessagesFromMemory => ask(&questions.messages).await,
        };
        laps.sample(window, if row == Row::Batches { floors::ROWS } else { 1 }, clocks.used())
    }

    /// Ends everything and removes it.
    pub async fn end(self) {
        for ground in [self.once, self.tenfold].into_iter().flatten() {
            drop(ground.server);
            ground.resident.leave().await;
        }
        self.cluster.stop().await;
    }
}

/// A node in this process, on data of its own.
pub struct Resident {
    node: Node,
    stop: CancellationToken,
    data: Arc<Data>,
    written: Arc<[Conversation]>,
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

impl Ground {
    async fn statement(&self, name: &str, questions: &Arc<[(Hash32, Option<i64>)]>, window: Window) -> Laps {
        let statements = self.read.statements();
        let (_, sql) = statements.into_iter().find(|(known, _)| *known == name).expect("a statement of this name");
        floors::statement(&self.pool, sql, questions.clone(), window).await
    }
}

impl Questions {
    fn new(data: &Data) -> Self {
        let written = data.written();
        let one = [0, 1].map(|by| data.message_request(&written[0], by));
        let threads = data.reading().map(|(reader, _)| driver::request("GET", "/getthreads", &reader.cookie, ""));
        let messages = data.reading().map(|(reader, thread)| {
            let body = serde_json::json!({ "threadID": thread.to_string() });
            driver::request("POST", "/getmessages", &reader.cookie, &body.to_string())
        });
        Self {
            write_many: written.iter().enumerate().map(|(nth, it)| data.message_request(it, nth % 2)).collect(),
            // Each connection starts at a place of its own: half of them write for each side.
            write_one: one.into_iter().collect(),
            threads: threads.collect(),
            messages: messages.collect(),
            threads_sql: data.reading().map(|(reader, _)| (reader.session, None)).collect(),
            messages_sql: data.reading().map(|(reader, thread)| (reader.session, Some(thread.key()))).collect(),
        }
    }
}

/// The flags of a server, or of a node in this process, on one database of the cluster.
fn arguments(directory: &TempDir, cluster: &PrivateCluster, database: &str) -> Vec<String> {
    let path = |name: &str| directory.path().join(name).display().to_string();
    [
        ("--listen", "127.0.0.1:0".to_owned()),
        ("--data-dir", path(database)),
        ("--database-url", cluster.url(database)),
        ("--master-key-file", path("master.key")),
        // The key of a transparency log belongs to one database.
        ("--audit-key-file", path(&format!("{database}.audit.key"))),
        ("--log", "warn".to_owned()),
        // Counted as for anybody, and never reached.
        ("--limit-account", "1000000/1".to_owned()),
        ("--limit-address", "1000000/1".to_owned()),
        ("--limit-signups", "1000000/1".to_owned()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

fn config(arguments: &[String]) -> Config {
    let command = flags(clap::Command::new("be8")).no_binary_name(true);
    Config::new(&command.get_matches_from(arguments)).expect("settings")
}
