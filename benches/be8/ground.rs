//! What is measured with one size of the data: a database with the real server on it, beside it the same data with an older build
//! on it, and a copy with a ledger in this process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use be8::node::{Database, reading_pool};
use be8_database::Pool;
use be8_events::Hash32;
use be8_projections::ReadModels;

use crate::closed_loop::{Laps, Sample, Window};
use crate::community::Communities;
use crate::cpu::Clocks;
use crate::data::{Conversation, Data};
use crate::driver::{self, Requests};
use crate::floors;
use crate::groups::{found, set_keys};
use crate::questions::Questions;
use crate::rows::{Load, Size};
use crate::servers::{Build, Flags, ServerProcess};
use crate::world::{Resident, World};

/// Connections to a server.
const CLIENTS: usize = 64;
/// Members of the groups whose members are asked for.
const CROWD: usize = 20;
/// How long a server is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(3);
/// What a second server gets to know the data while the first one is written to, before that counts.
const SETTLING: Duration = Duration::from_secs(2);

/// Makes the partitions of past days, as they are there while messages of those days are shown.
const PAST_DAYS: &str = "do $$ declare past date; name text; begin
    for back in 1..{days} loop
        past := (now() at time zone 'UTC')::date - back;
        name := 'sealed_message_' || to_char(past, 'YYYYMMDD');
        execute format('create table %I (like sealed_message including all)', name);
        execute format('alter table sealed_message attach partition %I for values in (%L)', name, past);
    end loop; end $$";

/// Whose server is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This build's.
    This,
    /// The older build's.
    Baseline,
}

/// All of one size.
pub struct Ground {
    /// In this process, on the copy.
    resident: Resident,
    this: Deployment,
    baseline: Option<Deployment>,
    memory: ServerProcess,
    /// Set as the server's own.
    pool: Pool,
    read: ReadModels,
    questions: Questions,
}

/// A build with a server on a database.
struct Deployment {
    build: Build,
    flags: Flags,
    server: ServerProcess,
}

impl Deployment {
    /// Starts a server, and waits until it answers.
    async fn start(build: Build, flags: Flags, question: &[u8]) -> Self {
        let server = build.serve(&flags);
        answers(&server, question).await;
        Self { build, flags, server }
    }

    /// Another server on the same database, with more settings.
    async fn second(&self, settings: &[(&'static str, &str)], question: &[u8]) -> ServerProcess {
        let more = settings.iter().map(|(flag, value)| (*flag, (*value).to_owned()));
        let server = self.build.serve(&self.flags.iter().cloned().chain(more).collect());
        answers(&server, question).await;
        server
    }
}

impl Ground {
    /// Makes the data, and all that serves it, with partitions of messages for `days` days back.
    pub async fn settle(world: &World, size: Size, days: u64, baseline: Option<&Path>) -> Self {
        let [main, copy] = ["be8", "ledger"].map(|name| format!("{name}_{}", size.name()));
        eprintln!("filling {main}");
        world.create(&main).await;
        let (node, stop) = world.node(&main).await;
        let data = Arc::new(Data::fill(&node.app, size.accounts()).await);
        let communities = Communities::fill(&node.app, size.times()).await;
        let crowds = data.silent().chunks_exact(CROWD).map(<[_]>::to_vec).collect();
        let crowds = found(&node.app, crowds).await;
        set_keys(&node.app, &data.members).await;
        stop.cancel();
        node.stop().await.expect("the end of a node");
        let questions = Questions::new(&data, &crowds, &communities);
        let ready = |database: String| async move {
            world.execute(&database, &PAST_DAYS.replace("{days}", &days.to_string())).await;
            // Statistics now, not when autovacuum finds the time: in the middle of a measurement.
            world.execute(&database, "vacuum analyze").await;
        };
        ready(main.clone()).await;
        world.copy(&main, &copy).await;

        let (this, baseline) = if let Some(program) = baseline {
            // Both builds have read the data in, so that it lies the same in both databases.
            let file = world.path(&format!("{main}.export")).display().to_string();
            Build::this().run(&["export", "--with-vault", &file], &world.flags(&main));
            let mut both = Vec::new();
            for (build, name) in [(Build::this(), "this"), (Build::at(program.to_owned()), "baseline")] {
                let database = format!("{name}_{}", size.name());
                eprintln!("reading {database} in");
                world.create(&database).await;
                build.run(&["import", &file], &world.flags(&database));
                ready(database.clone()).await;
                let deployment = Deployment::start(build, world.flags(&database), &questions.threads[0]).await;
                world.covered(&database).await;
                both.push(deployment);
            }
            std::fs::remove_file(&file).expect("the file of the export");
            let baseline = both.pop();
            (both.pop().expect("two builds"), baseline)
        } else {
            (Deployment::start(Build::this(), world.flags(&main), &questions.threads[0]).await, None)
        };
        world.execute("postgres", "checkpoint").await;

        let connect = Database::open(&world.config(&main), false).await.expect("the database").connect;
        let pool = reading_pool(&connect, floors::CONNECTIONS as u32, Duration::from_secs(30));
        let read = ReadModels::new(pool.clone());
        let answers = world.path(&format!("answers_{}", size.name()));
        std::fs::create_dir(&answers).expect("a directory");
        for (name, request) in questions.recorded() {
            let answer = driver::ask(this.server.address, request).await;
            std::fs::write(answers.join(name), answer).expect("a file");
        }
        let memory = ServerProcess::memory(&answers);

        let (node, stop) = world.node(&copy).await;
        let written: Arc<[Conversation]> = data.written().into();
        let resident = Resident { node, stop, data, written };
        // A server that has been running knows the states of the conversations that go on.
        for deployment in [Some(&this), baseline.as_ref()].into_iter().flatten() {
            driver::send_all(deployment.server.address, CLIENTS, &questions.write_many).await;
        }
        let Resident { node, data, written, .. } = &resident;
        data.write_all(&node.app, written).await;
        Self { resident, this, baseline, memory, pool, read, questions }
    }

    /// One load, once.
    pub async fn measure(&self, load: Load, side: Side, postmaster: u32, window: Window) -> Sample {
        let questions = &self.questions;
        let question = &questions.threads[0];
        let deployment = match side {
            Side::This => &self.this,
            Side::Baseline => self.baseline.as_ref().expect("an older build"),
        };
        let drive = async |server: &ServerProcess, requests: &Requests, window| {
            let clocks = Clocks::read(Some(server.id()), postmaster);
            driver::drive(server.address, CLIENTS, requests.clone(), window).await.sample(window, 1, clocks.used())
        };
        match load {
            Load::SingleInserts | Load::Batches => unreachable!("the floors are no part of the data"),
            Load::Statement(name) => {
                let parameters = match name {
                    "threads" => &questions.threads_sql,
                    _ => &questions.messages_sql,
                };
                let clocks = Clocks::read(None, postmaster);
                self.statement(name, parameters, window).await.sample(window, 1, clocks.used())
            }
            Load::Ledger => {
                let clocks = Clocks::read(None, postmaster);
                self.resident.write(window).await.sample(window, 1, clocks.used())
            }
            Load::Server(ask) => drive(&deployment.server, ask(questions), window).await,
            Load::Memory(ask) => drive(&self.memory, ask(questions), window).await,
            Load::ServerWith(settings, ask) => {
                let server = deployment.second(settings, question).await;
                drive(&server, ask(questions), window).await
            }
            Load::Second(ask, per_second) => {
                let server = deployment.second(&[], question).await;
                let window = Window { warm_up: window.warm_up + SETTLING, ..window };
                let writes = questions.mix_writes.clone();
                let writer = tokio::spawn(driver::pace(deployment.server.address, per_second, writes, window));
                let sample = drive(&server, ask(questions), window).await;
                eprintln!("the first server took {:.0} messages/s meanwhile", writer.await.expect("a writer"));
                sample
            }
            Load::First(ask) => {
                let server = deployment.second(&[], question).await;
                let clocks = Clocks::read(Some(server.id()), postmaster);
                let (laps, measured) = driver::first(server.address, CLIENTS, ask(questions).clone()).await;
                laps.sample(Window { warm_up: Duration::ZERO, measured }, 1, clocks.used())
            }
            Load::Idle => {
                let server = deployment.second(&[], question).await;
                let clocks = Clocks::read(Some(server.id()), postmaster);
                tokio::time::sleep(IDLE).await;
                Sample { rate: server.resident(), p50: 0.0, p99: 0.0, cpu: clocks.used().per(f64::INFINITY) }
            }
            Load::Full(room, asks) => {
                let clocks = Clocks::read(None, postmaster);
                let mib = room.to_string();
                let mut resident = Vec::new();
                for settings in [("--view-memory-mib", &*mib), ("--views", "off")] {
                    let server = deployment.second(&[settings], question).await;
                    for ask in asks {
                        driver::send_all(server.address, CLIENTS, ask(questions)).await;
                    }
                    tokio::time::sleep(IDLE).await;
                    resident.push(server.resident());
                }
                eprintln!("resident with {room} MiB for views, and without views: {resident:.0?} MiB");
                let rate = (resident[0] - resident[1]) / f64::from(room);
                Sample { rate, p50: 0.0, p99: 0.0, cpu: clocks.used().per(f64::INFINITY) }
            }
        }
    }

    /// Ends it.
    pub async fn leave(self) {
        drop((self.this, self.baseline, self.memory));
        self.resident.leave().await;
    }

    async fn statement(&self, name: &str, questions: &Arc<[(Hash32, Option<i64>)]>, window: Window) -> Laps {
        let statements = self.read.statements();
        let (_, sql) = statements.into_iter().find(|(known, _)| *known == name).expect("a statement of this name");
        floors::statement(&self.pool, sql, questions.clone(), window).await
    }
}

async fn answers(server: &ServerProcess, question: &[u8]) {
    while !driver::says_yes(server.address, question).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
