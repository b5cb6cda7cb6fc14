//! The library beside a running server, on the same database: a ledger that appends what no route does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use be8::ledger::{Ledger, LedgerSettings};
use be8::support::clock::{Clock, SystemClock};
use be8::vault::{KeyFiles, Vault};
use be8_database::{Address, Connector};
use be8_events::account::LifetimeExtended;
use be8_events::message::MessageSecret;
use be8_events::{
    AccId, Event, Hash32, MessageEvent, NewEvent, Position, Sealed, SealedContext, SecretPayload, StreamName, Timestamp,
};
use chrono::{TimeDelta, Utc};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::client::Person;
use crate::server::{Server, Setup};

/// A ledger in this process. It stops with this value.
pub struct Library {
    /// The ledger.
    pub ledger: Ledger,
    /// The vault.
    pub vault: Arc<Vault>,
    /// The database.
    pub pool: PgPool,
    stop: CancellationToken,
}

impl Library {
    /// Beside a server.
    pub async fn open(server: &Server) -> Self {
        Self::with_clock(server.setup(), Arc::new(SystemClock)).await
    }

    /// On the database of a setup, whose schema must be there; with any clock, even one that is far ahead.
    pub async fn with_clock(setup: &Setup, clock: Arc<dyn Clock>) -> Self {
        let connect = Connector::from(Address::parse(setup.database_url()).expect("a database URL"));
        let pool = be8::node::reading_pool(&connect, 4, Duration::from_secs(30));
        let master = setup.master_key();
        let files = KeyFiles { rotating: master.with_file_name("rotating.key"), master, rotate: true };
        let vault = Vault::open_files(pool.clone(), &files).await.expect("a vault");
        let settings = LedgerSettings::default();
        let stop = CancellationToken::new();
        let started = Ledger::start(pool.clone(), connect, vault.clone(), clock, settings, stop.clone()).await;
        let (ledger, _) = started.expect("a ledger");
        let pool = PgPool::connect(setup.database_url()).await.expect("a pool");
        Self { ledger, vault, pool, stop }
    }

    /// Lets the time of an account be over.
    pub async fn expires(&self, person: &Person) {
        let account: AccId = person.id.parse().expect("an account");
        let until = Timestamp::from(Utc::now() - TimeDelta::seconds(1));
        let event: Event = LifetimeExtended { until, endless: false, token: Hash32([0; 32]) }.into();
        let stream = StreamName::Account(account);
        let new = NewEvent { stream, actor: None, event, secret: None };
        let appended = self.ledger.append(stream, be8::ledger::ExpectedVersion::Any, vec![new]).await;
        appended.expect("the event");
    }

    /// The texts of a thread by number, unsealed from the log itself.
    pub async fn texts(&self, thread: &str) -> BTreeMap<u32, String> {
        let log = self.ledger.log().read_all(Position::START, u32::MAX).await.expect("the log");
        // Position, the three keys, nonce, bytes.
        type Row = (i64, i64, i64, i64, Vec<u8>, Vec<u8>);
        let rows: Vec<Row> =
            sqlx::query_as("select position, account_key, stay_key, day_key, nonce, bytes from sealed_message")
                .fetch_all(&self.pool)
                .await
                .expect("what is sealed");
        let mut texts = BTreeMap::new();
        for (position, account, stay, day, nonce, bytes) in rows {
            let event = &log[usize::try_from(position).expect("a position") - 1];
            let Event::Message(MessageEvent::MessageWritten(written)) = &event.event else {
                panic!("{position} is no message")
            };
            let sealed = Sealed { keys: vec![account, stay, day], nonce: nonce.try_into().expect("12 bytes"), bytes };
            assert_eq!(Some(sealed.commitment()), event.sealed, "the event at {position} commits to other bytes");
            if written.thread.to_string() == thread {
                let opener = self.vault.opener(&sealed.keys).await.expect("keys");
                let context = SealedContext { kind: event.event.kind(), schema: event.schema, salt: &event.salt };
                let plain = opener.open(&sealed, context).expect("a sealed message").expect("living keys");
                let secret = SecretPayload::read::<MessageSecret>(plain.expose()).expect("a message");
                assert_eq!(texts.insert(written.id, secret.into_inner().text), None, "message {} twice", written.id);
            }
        }
        texts
    }
}

/// Keeps a process from running on any node for as long as the connection lives, by taking its lead. The nodes must not be
/// there yet.
pub async fn hold_up(database_url: &str, process: &str) -> PgConnection {
    take_lead(database_url, process).await.expect("a lead that no node has")
}

/// The lead of a process; none if somebody has it already, or the database does not answer.
pub async fn take_lead(database_url: &str, process: &str) -> Option<PgConnection> {
    let mut connection = PgConnection::connect(database_url).await.ok()?;
    let lead = sqlx::query_scalar("select pg_try_advisory_lock(hashtext('be8 process'), hashtext($1))").bind(process);
    let taken: bool = lead.fetch_one(&mut connection).await.ok()?;
    taken.then_some(connection)
}

impl Drop for Library {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
