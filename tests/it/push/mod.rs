//! Web Push: subscribing, whom a message is pushed to, what the answers of a push service lead to, and that nothing is
//! sent twice or where it must not go.

mod answers;
mod faults;
mod limits;
pub mod peer;
mod sending;
mod sessions;
mod subscribing;

use std::path::PathBuf;
use std::sync::Arc;

use be8::push::Vapid;
use be8_events::{DeviceEvent, Event};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Person;
use crate::cluster::fresh_database;
use crate::server::{Server, Setup};
use peer::{Device, Peer};

/// The contact that the server gives.
const SUBJECT: &str = "mailto:push@be8.example";

/// A key pair of Web Push in a file of its own.
struct Pair {
    file: PathBuf,
    public: String,
    _directory: Arc<TempDir>,
}

impl Pair {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("vapid.key");
        let (public, _) = Vapid::make(&file).expect("a key pair");
        Self { file, public, _directory: Arc::new(directory) }
    }
}

/// A server that pushes to a push service of the test, with short times.
pub struct Pushing {
    pub server: Server,
    pub peer: Peer,
    _pair: Pair,
}

impl Pushing {
    pub async fn start() -> Self {
        Self::start_with(|setup| setup.with("push-timeout-seconds", 2)).await
    }

    async fn start_with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let pair = Pair::new();
        let peer = Peer::start(&pair.public).await;
        let setup = change(setup(&peer, &pair).await);
        Self { server: setup.start().await, peer, _pair: pair }
    }
}

/// A server on a new database that pushes to this peer.
async fn setup(peer: &Peer, pair: &Pair) -> Setup {
    pushes(Setup::on(&fresh_database().await), peer, pair)
}

/// The same for a server that is set up already.
fn pushes(setup: Setup, peer: &Peer, pair: &Pair) -> Setup {
    let setup = setup.with("vapid-key-file", pair.file.display()).with("vapid-subject", SUBJECT);
    setup.with("push-test-peer", peer.url())
}

impl Person {
    /// Subscribes a device.
    pub async fn subscribes(&self, device: &Device) {
        let answer = self.client.post("/subscribe", &device.subscription()).await;
        assert_eq!((answer.status, answer.json()), (201, json!({ "valid": true, "subscribe": true })));
    }
}

/// The payload of a push about a message from somebody.
fn payload(from: &Person) -> Value {
    json!({ "action": "newMessage", "nickname": from.nickname, "sender": from.id })
}

/// The events of devices in the log of a server's database, and who has each.
async fn device_events(server: &Server) -> Vec<Event> {
    let pool = sqlx::PgPool::connect(server.setup().database_url()).await.expect("the database");
    let log = be8::ledger::Log::new(pool);
    let events = log.read_all(be8_events::Position::START, 100_000).await.expect("the log");
    let of_devices = |event: &Event| {
        matches!(event, Event::Device(DeviceEvent::DeviceSubscribed(_)) | Event::Device(DeviceEvent::DeviceDropped(_)))
    };
    events.into_iter().map(|recorded| recorded.event).filter(of_devices).collect()
}

/// How many deliveries wait for their time: their answers, if there were any, are settled.
async fn waiting(server: &Setup) -> i64 {
    let pool = sqlx::PgPool::connect(server.database_url()).await.expect("the database");
    sqlx::query_scalar("select count(*) from push_attempts where not sent").fetch_one(&pool).await.expect("a count")
}

/// How many deliveries are not over.
async fn unfinished(server: &Setup) -> i64 {
    let pool = sqlx::PgPool::connect(server.database_url()).await.expect("the database");
    sqlx::query_scalar("select count(*) from push_attempts").fetch_one(&pool).await.expect("a count")
}
