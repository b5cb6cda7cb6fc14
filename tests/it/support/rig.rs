//! Nodes without HTTP: a database with its schema, and ledgers on it with clocks that tests turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use be8::config::{self, Config};
use be8::domain::account::CreateAccount;
use be8::domain::dialog::StartConversation;
use be8::domain::image::{Fingerprints, PostImage, StoredBlob};
use be8::domain::message::{Address, NamedVersion, Receiver, WriteMessage};
use be8::domain::{Command, Decision, State, States, Stop, View};
use be8::ledger::{Ledger, LedgerError, LedgerSettings, Log, LogError, SweepConnector};
use be8::node::{self, Database};
use be8::support::clock::{Clock, SystemClock};
use be8::vault::{MasterKey, Vault};
use be8_events::account::AccountSecret;
use be8_events::message::{ImageSecret, MessageSecret};
use be8_events::{AccId, Hash32, MessageNo, Position, Recorded, Secret, StreamName, ThreadId, Timestamp};
use chrono::TimeDelta;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgPool};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::fresh_database;
use crate::patience::within;

/// A clock that stands still until it is turned. Turning it forwards lets time pass. PostgreSQL has the same time.
#[derive(Debug)]
pub struct Dial {
    time: AtomicI64,
    /// How many microseconds have passed.
    passed: AtomicU64,
}

impl Dial {
    pub fn at(time: Timestamp) -> Arc<Self> {
        Arc::new(Self { time: AtomicI64::new(time.micros()), passed: AtomicU64::new(0) })
    }

    pub fn turn(&self, by: TimeDelta) {
        let micros = by.num_microseconds().unwrap();
        self.passed.fetch_add(micros.max(0).unsigned_abs(), Ordering::SeqCst);
        self.time.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for Dial {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.time.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.passed.load(Ordering::SeqCst))
    }

    fn moved(&self) -> TimeDelta {
        TimeDelta::microseconds(self.now().micros() - SystemClock.now().micros())
    }
}

/// A clock that is wrong by this much, while PostgreSQL's is right.
#[derive(Debug)]
pub struct Wrong(AtomicI64);

impl Wrong {
    pub fn by(offset: TimeDelta) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(offset.num_microseconds().unwrap())))
    }

    pub fn set(&self, offset: TimeDelta) {
        self.0.store(offset.num_microseconds().unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(TimeDelta::microseconds(self.0.load(Ordering::SeqCst)))
    }
}

/// A database with its schema.
pub struct Rig {
    pub pool: PgPool,
    database: Database,
    files: TempDir,
}

/// A ledger on it.
pub struct Node {
    pub ledger: Ledger,
    pub vault: Arc<Vault>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), LogError>>,
}

impl Rig {
    pub async fn new() -> Self {
        Self::on(&fresh_database().await.url).await
    }

    /// On a database that others may use, too.
    pub async fn on(url: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let command = config::flags(clap::Command::new("be8"));
        let arguments = ["be8", "--database-url", url, "--data-dir", files.path().to_str().unwrap()];
        let config = Config::new(&command.get_matches_from(arguments)).unwrap();
        let database = Database::open(&config, true).await.unwrap();
        database.migrate().await.unwrap();
        let pool = PgPoolOptions::new().max_connections(8).connect_lazy(url).unwrap();
        Self { pool, database, files }
    }

    /// The file of the key that opens the vault.
    pub fn master_key(&self) -> std::path::PathBuf {
        self.files.path().join("key")
    }

    pub fn log(&self) -> Log {
        Log::new(self.pool.clone())
    }

    /// What sweeps in it.
    pub fn sweepers(&self) -> SweepConnector {
        SweepConnector::new(&self.database.connect)
    }

    /// A node with the clock of the machine.
    pub async fn node(&self) -> Node {
        self.node_with(Arc::new(SystemClock), LedgerSettings::default()).await
    }

    pub async fn node_with(&self, clock: Arc<dyn Clock>, settings: LedgerSettings) -> Node {
        let pool = node::reading_pool(&self.database.connect, 8, Duration::from_secs(30));
        let master = MasterKey::load_or_create(self.master_key()).unwrap();
        let vault = Vault::open(pool.clone(), master).await.unwrap();
        let stop = CancellationToken::new();
        let connect = self.database.connect.clone();
        let (ledger, task) = Ledger::start(pool, connect, vault.clone(), clock, settings, stop.clone()).await.unwrap();
        Node { ledger, vault, stop, task }
    }

    /// Does what the database refuses, as a superuser can.
    pub async fn damage(&self, sql: &str) {
        let mut connection = self.database.connect.connect().await.unwrap();
        sqlx::raw_sql("set session_replication_role = replica").execute(&mut connection).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The whole log.
    pub async fn events(&self) -> Vec<Recorded> {
        self.log().read_all(Position::START, u32::MAX >> 1).await.unwrap()
    }

    /// How many events there are.
    pub async fn count(&self) -> i64 {
        sqlx::query_scalar("select count(*) from events").fetch_one(&self.pool).await.unwrap()
    }

    /// All streams that have events.
    pub async fn streams(&self) -> Vec<StreamName> {
        let names = sqlx::query_scalar("select name from streams order by id").fetch_all(&self.pool).await;
        names.unwrap().iter().map(|name: &String| name.parse().unwrap()).collect()
    }
}

impl Node {
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Waits until the loop has ended by itself, and demands that it stopped the node, too; returns how it ended.
    pub async fn ended(self) -> Result<(), LogError> {
        let ended = within("the end of the loop", self.task).await.unwrap();
        assert!(self.stop.is_cancelled());
        ended
    }

    /// A new account; its session is [`token`] of the same number.
    pub async fn account(&self, session: u64) -> AccId {
        self.ledger.execute(create(session)).await.unwrap()
    }

    /// Two accounts (sessions 1 and 2) and the conversation that the first one began.
    pub async fn talk(&self) -> (AccId, AccId, ThreadId) {
        let (zoe, yan) = (self.account(1).await, self.account(2).await);
        (zoe, yan, self.ledger.execute(start(1, yan)).await.unwrap())
    }

    pub async fn write(&self, session: u64, sender: AccId, thread: ThreadId) -> Result<MessageNo, LedgerError> {
        self.ledger.execute(write(session, sender, thread)).await.map(|(_, no)| no)
    }

    /// The states that this node decides on, with their versions.
    pub async fn look(&self, streams: &[StreamName]) -> Vec<(State, i64)> {
        self.ledger.execute(Look(streams.to_vec())).await.unwrap()
    }
}

/// Looks at states, as any decision does, and changes nothing.
struct Look(Vec<StreamName>);

impl Command for Look {
    type Reply = Vec<(State, i64)>;

    fn streams(&self) -> Vec<StreamName> {
        self.0.clone()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<Self::Reply>, Stop> {
        let states: &dyn States = view.states;
        let look = |stream: &StreamName| {
            states.get(stream).map(|(state, version)| (state.clone(), version)).ok_or(Stop::Need(*stream))
        };
        Ok(Decision::nothing(self.0.iter().map(look).collect::<Result<_, _>>()?))
    }
}

/// The hash of a session's token.
pub fn token(session: u64) -> Hash32 {
    Hash32::sha256(&secret(session))
}

/// The token of a session: a number that a cookie can hold.
pub fn secret(session: u64) -> [u8; 32] {
    let mut token = [0; 32];
    token[24..].copy_from_slice(&session.to_be_bytes());
    token
}

pub fn create(session: u64) -> CreateAccount {
    let secret = AccountSecret { nickname: format!("nickname {session}"), password: "$argon2id$".to_owned() };
    let lifetime = TimeDelta::days(3000);
    CreateAccount { secret: Secret::new(secret), session: token(session), replaces: None, lifetime }
}

pub fn start(session: u64, receiver: AccId) -> StartConversation {
    StartConversation { session: Some(token(session)), receiver: Some(receiver) }
}

/// A message of `sender` to the other one of the dialog, or to the group.
pub fn write(session: u64, sender: AccId, thread: ThreadId) -> WriteMessage {
    let text = format!("secret of {sender}");
    WriteMessage {
        session: Some(token(session)),
        receiver: match thread {
            ThreadId::Group(group) => Some(Receiver::Group(group)),
            _ => thread.partner_of(sender).map(Receiver::Account),
        },
        sender: Some(sender),
        thread: Some(thread),
        version: NamedVersion::Absent,
        content: Ok(Secret::new(MessageSecret { text, iv: None, kind: None, endless: None })),
    }
}

/// An image of `sender` in the place of such a message, of a few names and contents.
pub fn picture(session: u64, sender: AccId, thread: ThreadId, chance: u32) -> PostImage {
    let WriteMessage { session, receiver, sender, thread, version, .. } = write(session, sender, thread);
    let byte = chance as u8;
    let secret = ImageSecret {
        blob_key: "secret key".to_owned(),
        content_id: "secret name".to_owned(),
        content_type: None,
        height: None,
        width: None,
        is_group: None,
        iv: None,
        kind: None,
        endless: None,
    };
    let blob =
        StoredBlob { blob: Hash32(rand::random()), size: 1, sha256: Hash32([byte; 32]), secret: Secret::new(secret) };
    PostImage {
        address: Address { session, receiver, sender, thread },
        version,
        image: Ok(Fingerprints { name: Hash32([byte % 32; 32]), content: Hash32([byte % 64; 32]) }),
        blob: (!chance.is_multiple_of(5)).then_some(blob),
    }
}

/// Waits until something holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}
