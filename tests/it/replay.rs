//! After any commands: the state in use, the state folded from the log, the read models and a
//! fresh replay of the log into another generation all say the same.

use std::collections::HashMap;
use std::sync::Arc;

use be8::clock::{Clock, SystemClock};
use be8::domain::account::SetPublicKey;
use be8::domain::dialog::StartConversation;
use be8::domain::erasure::Erase;
use be8::domain::reads::MarkRead;
use be8::domain::{Occurred, State};
use be8::ledger::LedgerError;
use be8_events::account::{Curve, PublicKeySecret};
use be8_events::erasure::Cause;
use be8_events::{AccId, Event, Hash32, MessageNo, Secret, StreamName, Subject, ThreadId};
use be8_projections::{Changes, Generation, Parameters};
use chrono::TimeDelta;
use futures_util::future::join_all;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng};
use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::rig::{Dial, Node, Rig, any_clock, create, token, write};

/// Random commands of several accounts, on two nodes with clocks of their own.
struct Storm {
    random: SmallRng,
    nodes: [Node; 2],
    dials: [Arc<Dial>; 2],
    accounts: Vec<AccId>,
    threads: Vec<ThreadId>,
    sessions: u64,
    accepted: u32,
    refused: u32,
}

impl Storm {
    async fn new(rig: &Rig, seed: u64) -> Self {
        let dials = [0, -40].map(|seconds| Dial::at(SystemClock.now().plus(TimeDelta::seconds(seconds))));
        let nodes =
            [rig.node_with(dials[0].clone(), any_clock()).await, rig.node_with(dials[1].clone(), any_clock()).await];
        let random = SmallRng::seed_from_u64(seed);
        let (accounts, threads) = (Vec::new(), Vec::new());
        Self { random, nodes, dials, accounts, threads, sessions: 0, accepted: 0, refused: 0 }
    }

    /// Sends up to ten commands at once, so that they share batches and race each other.
    async fn blow(&mut self) {
        let count = self.random.random_range(1..=10);
        let node = self.random.random_range(0..2);
        for dial in &self.dials {
            dial.turn(TimeDelta::minutes(self.random.random_range(-30..90)));
        }
        let mut kinds: Vec<u32> = (0..count).map(|_| self.random.random_range(0..100)).collect();
        if self.accounts.len() < 3 {
            kinds = vec![0, 0, 0];
        }
        let mut verdicts = Vec::new();
        for kind in kinds {
            verdicts.push(self.command(kind, node));
        }
        let results = join_all(verdicts).await;
        for result in results {
            match result {
                Ok(Some(Got::Account(account))) => self.accounts.push(account),
                Ok(Some(Got::Thread(thread))) if !self.threads.contains(&thread) => self.threads.push(thread),
                Ok(_) => {}
                Err(LedgerError::Rejected(_) | LedgerError::Internal) => self.refused += 1,
                Err(error) => panic!("{error}"),
            }
            self.accepted += 1;
        }
    }

    fn command(&mut self, kind: u32, node: usize) -> impl Future<Output = Result<Option<Got>, LedgerError>> + use<> {
        let ledger = self.nodes[node].ledger.clone();
        // Session n came with account 10,000 + n; some of them ended, some do not exist.
        let session = self.random.random_range(0..self.sessions + 2);
        let sender = AccId::new(10_000 + session as i64).filter(|_| session > 0);
        let receiver = AccId::new(self.random.random_range(10_001..10_003 + self.sessions as i64));
        let pick = self.random.random_range(0..self.threads.len().max(1));
        let thread = self.threads.get(pick).copied();
        let shown: u32 = self.random.random();
        if kind < 12 {
            self.sessions += 1;
        }
        let new = self.sessions;
        async move {
            Ok(match (kind, thread) {
                (0..12, _) => {
                    let replaces = (kind < 4 && session > 0).then(|| token(session));
                    let created =
                        ledger.execute(be8::domain::account::CreateAccount { replaces, ..create(new) }).await?;
                    Some(Got::Account(created))
                }
                (12..20, _) => {
                    let secret = Secret::new(PublicKeySecret { x: "x".to_owned(), y: "y".to_owned() });
                    let sha256 = Hash32([kind as u8 % 3; 32]);
                    let session = Some(token(session));
                    ledger.execute(SetPublicKey { session, curve: Curve::P256, sha256, secret }).await?;
                    None
                }
                (20..45, _) | (_, None) => {
                    let session = Some(token(session));
                    Some(Got::Thread(ledger.execute(StartConversation { session, receiver }).await?))
                }
                (45..75, Some(thread)) => {
                    let ThreadId::Dialog { initiator, receiver } = thread else { return Ok(None) };
                    // Mostly one of the two, now and then somebody else.
                    let sender = match kind {
                        45..58 => initiator,
                        58..71 => receiver,
                        _ => sender.unwrap_or(initiator),
                    };
                    ledger.execute(write(sender.number() as u64 - 10_000, sender, thread)).await?;
                    None
                }
                (75..98, Some(thread)) => {
                    let ThreadId::Dialog { initiator, receiver } = thread else { return Ok(None) };
                    let reader = if kind % 2 == 0 { initiator } else { receiver };
                    let numbers = (1..32).filter(|no: &MessageNo| shown >> no & 1 == 1);
                    let senders = [None, Some(initiator), Some(receiver)];
                    let shown =
                        numbers.map(|no| (no, senders[if no == 1 { 0 } else { 1 + no as usize % 2 }])).collect();
                    let session = token(reader.number() as u64 - 10_000);
                    ledger.execute(MarkRead { session, thread, shown }).await?;
                    None
                }
                (_, Some(thread)) => {
                    let ThreadId::Dialog { initiator, .. } = thread else { return Ok(None) };
                    let stay = Subject::Stay { thread, author: initiator, stay: 1 };
                    ledger.execute(Erase { subjects: vec![stay], cause: Cause::Operator }).await?;
                    None
                }
            })
        }
    }
}

enum Got {
    Account(AccId),
    Thread(ThreadId),
}

/// The states of all streams, folded from the log alone.
async fn folded(rig: &Rig) -> HashMap<StreamName, (State, i64)> {
    let mut states = HashMap::new();
    for event in rig.events().await {
        let (state, version) = states.entry(event.stream).or_insert_with(|| (State::new(&event.stream), 0));
        state.evolve(Occurred { position: event.position, time: event.time, event: &event.event });
        *version += 1;
        assert_eq!(*version, event.version, "{}", event.stream);
    }
    states
}

/// Folds the log into a new generation, a page at a time, and compares its tables with the live ones.
pub async fn replay(rig: &Rig, page: u32) {
    let mut connection = rig.pool.acquire().await.unwrap();
    let fresh = Generation(2);
    run(&mut connection, format!("drop schema if exists {fresh} cascade")).await;
    fresh.create(&mut connection).await.unwrap();
    let log = rig.log();
    let mut at = be8_events::Position::START;
    loop {
        let events = log.read_all(at, page).await.unwrap();
        let Some(last) = events.last() else { break };
        at = last.position;
        let mut changes = Changes::default();
        events.iter().for_each(|event| changes.apply(event));
        // The statement of the append without the log itself.
        let sql = changes.sql(fresh, &mut Parameters::after(0));
        let sql = format!("with head as (select 1){sql} select from head");
        let mut arguments = PgArguments::default();
        changes.bind(&mut arguments).unwrap();
        sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *connection).await.unwrap();
    }
    let tables: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.tables where table_schema = 'read_1' order by 1",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    assert!(tables.len() >= 6, "{tables:?}");
    for table in tables {
        let differ = format!(
            "select (select count(*) from (table read_1.{table} except all table {fresh}.{table}) d),
                    (select count(*) from (table {fresh}.{table} except all table read_1.{table}) d)"
        );
        let differ: (i64, i64) = sqlx::query_as(AssertSqlSafe(differ)).fetch_one(&mut *connection).await.unwrap();
        assert_eq!(differ, (0, 0), "{table}: rows of the live table only, of the replayed one only (pages of {page})");
    }
}

async fn run(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

/// What the read models say of the streams is what the states say.
async fn models_agree(rig: &Rig, states: &HashMap<StreamName, (State, i64)>) {
    let mut connection = rig.pool.acquire().await.unwrap();
    let mut accounts = Vec::new();
    let mut sessions = Vec::new();
    let mut threads = Vec::new();
    let mut marks = Vec::new();
    for (stream, (state, version)) in states {
        let json = serde_json::to_value(state).unwrap();
        match (stream, state) {
            (StreamName::Account(account), State::Account(state)) => {
                accounts.push((
                    account.number(),
                    state.nickname().0,
                    json["Account"]["until"].as_str().unwrap().to_owned(),
                ));
            }
            (StreamName::Session(hash), State::Session(state)) => {
                sessions.extend(state.account().map(|account| (hash.0.to_vec(), account.number())));
            }
            (StreamName::Dialog(..), State::Dialog(state)) => {
                // Each event of a dialog is a message.
                threads.push((state.thread().unwrap().key(), *version));
            }
            (StreamName::Reads(thread), State::Reads(_)) => {
                let Value::Object(readers) = &json["Reads"] else { panic!("{json}") };
                for (reader, ranges) in readers {
                    let ranges: Vec<_> = ranges.as_array().unwrap().iter().map(run_of).collect();
                    let reader: i64 = reader.parse().unwrap();
                    marks.push((thread.key(), reader, format!("{{{}}}", ranges.join(","))));
                }
            }
            _ => {}
        }
    }
    let until = "to_char(until at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    accounts.sort();
    let stored: Vec<(i64, i64, String)> =
        rows(&mut connection, format!("select id, nickname, {until} from read_1.account order by id")).await;
    assert_eq!(stored, accounts);
    sessions.sort();
    let stored: Vec<(Vec<u8>, i64)> =
        rows(&mut connection, "select hash, account from read_1.session order by hash".to_owned()).await;
    assert_eq!(stored, sessions);
    threads.sort();
    let stored: Vec<(i64, i64)> =
        rows(&mut connection, "select id, last_id::bigint from read_1.thread where id > 0 order by id".to_owned())
            .await;
    assert_eq!(stored, threads);
    let stored: Vec<(i64, i64)> = rows(
        &mut connection,
        "select thread, count(*) from read_1.message where thread > 0 group by thread order by thread".to_owned(),
    )
    .await;
    assert_eq!(stored, threads);
    marks.sort();
    let stored: Vec<(i64, i64, String)> = rows(
        &mut connection,
        "select thread, reader, ranges::text from read_1.read_mark order by thread, reader".to_owned(),
    )
    .await;
    assert_eq!(stored, marks);
}

/// A run of a state's set as PostgreSQL writes it.
fn run_of(range: &Value) -> String {
    let end = |nth: usize| range[nth].as_i64().unwrap_or_else(|| panic!("{range}"));
    format!("[{},{})", end(0), end(1) + 1)
}

async fn rows<R>(connection: &mut PgConnection, sql: String) -> Vec<R>
where
    R: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
{
    sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap()
}

async fn everything_agrees(rig: &Rig, storm: &Storm, page: u32) {
    let expected = folded(rig).await;
    let streams = rig.streams().await;
    assert_eq!(streams.len(), expected.len());
    let fresh = rig.node_with(Arc::new(SystemClock), any_clock()).await;
    for node in storm.nodes.iter().chain([&fresh]) {
        for (stream, state) in streams.iter().zip(node.look(&streams).await) {
            assert_eq!(state, expected[stream], "{stream}");
        }
    }
    models_agree(rig, &expected).await;
    replay(rig, page).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_commands_everything_agrees() {
    for seed in 1..=3 {
        let rig = Rig::new().await;
        let mut storm = Storm::new(&rig, seed).await;
        for page in [1, 3, 64, 1000] {
            for _ in 0..25 {
                storm.blow().await;
            }
            everything_agrees(&rig, &storm, page).await;
        }
        let events = rig.events().await;
        assert!(events.iter().zip(1..).all(|(event, position)| event.position.0 == position));
        assert!(events.iter().map(|event| event.time).is_sorted());
        let happened = |kind: &str| events.iter().filter(|event| event.event.kind() == kind).count();
        for (kind, _) in Event::KINDS {
            // Kinds of groups come through commands of their own.
            let expected = ["AccountCreated", "SessionEnded", "MessageWritten", "MessagesRead", "KeysDeleted"];
            assert!(!expected.contains(kind) || happened(kind) > 0, "seed {seed}: no {kind}");
        }
        assert!(storm.refused > 20, "seed {seed}: {} of {} refused", storm.refused, storm.accepted);
    }
}

/// The comparison sees what differs.
#[tokio::test]
#[should_panic(expected = "read_mark: rows of the live table only")]
async fn a_row_that_differs_is_seen() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let (zoe, _, thread) = node.talk().await;
    let shown = vec![(1, None)];
    node.ledger.execute(MarkRead { session: token(1), thread, shown }).await.unwrap();
    node.write(1, zoe, thread).await.unwrap();
    replay(&rig, 2).await;
    run(&mut rig.pool.acquire().await.unwrap(), "update read_1.read_mark set ranges = '{[1,3)}'".to_owned()).await;
    replay(&rig, 2).await;
}
