//! Idempotency: a command that comes twice under one key happens once, and both get the same answer.
//!
//! The answer of a command is stored in the append of its events, so it is as durable as they are;
//! a command that is refused, or leads to no event, stores none. The rows of a batch's keys are
//! read in every round together with the states: an answer that another node wrote is seen, and
//! what was written since makes the append lose its round. So no two rows ever conflict in an append.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use be8_database::Pool;
use be8_events::{AccId, Hash32, Timestamp};
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use sqlx::Row as _;
use tokio::sync::oneshot;

use super::{Job, Ledger, LedgerError, LogError, Ticket};
use crate::domain::{Command, Decision, Stop, View};
use crate::vault::DataKey;

/// How long an answer is kept.
pub const LIFE: TimeDelta = TimeDelta::hours(24);

/// What identifies a request as one that came before.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// The session: its account is the scope of the key.
    pub session: Hash32,
    /// SHA-256 of the key.
    pub key: Hash32,
    /// SHA-256 of what is asked for: route and body.
    pub request: Hash32,
}

/// The answer of an accepted command, which a repeated request gets again. It is stored as it
/// is, so it must hold nothing that erasing an account would have to find: ids and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// A key in its scope: the account, and SHA-256 of the key.
pub(super) type Claim = (AccId, Hash32);

/// What is stored under a key.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    request: Hash32,
    answered: Answered,
}

impl Stored {
    /// The answer, if it is one to this request.
    pub(super) fn answer_to(&self, key: &DataKey, once: &Idempotency) -> Option<Answered> {
        (self.request == request_mac(key, once)).then(|| self.answered.clone())
    }
}

/// What is known of the keys of a batch: none if nothing is stored.
pub(super) type Known = HashMap<Claim, Option<Stored>>;

/// A row to append.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) account: AccId,
    pub(super) key: Hash32,
    pub(super) request: Hash32,
    pub(super) answered: Answered,
}

impl Row {
    pub(super) fn new(key: &DataKey, account: AccId, once: &Idempotency, answered: Answered) -> Self {
        Self { account, key: key_mac(key, (account, once.key)), request: request_mac(key, once), answered }
    }
}

// A key may be as guessable as "1", and so may a body: neither is stored as a plain hash.
fn key_mac(key: &DataKey, (account, hash): Claim) -> Hash32 {
    key.mac("idempotency key", &[&account.number().to_be_bytes()[..], &hash.0[..]].concat())
}

fn request_mac(key: &DataKey, once: &Idempotency) -> Hash32 {
    key.mac("idempotency request", &once.request.0)
}

/// Reads what is stored under these keys and not too old, with one query.
pub(super) async fn load(pool: Pool, key: DataKey, claims: HashSet<Claim>, now: Timestamp) -> Result<Known, LogError> {
    let claims: Vec<Claim> = claims.into_iter().collect();
    let accounts: Vec<i64> = claims.iter().map(|(account, _)| account.number()).collect();
    let macs: Vec<Hash32> = claims.iter().map(|claim| key_mac(&key, *claim)).collect();
    let rows = sqlx::query(
        "select u.nth, i.request, i.status, i.body
         from unnest($1::bigint[], $2::bytea[]) with ordinality u(account, key, nth)
         cross join lateral (
             select request, status, body from idempotency i
             where i.account = u.account and i.key = u.key and i.time > $3
             order by i.time desc limit 1) i",
    )
    .bind(accounts)
    .bind(macs.iter().map(|mac| &mac.0[..]).collect::<Vec<_>>())
    .bind(now.plus(-LIFE).to_utc())
    .fetch_all(&pool)
    .await?;
    let damaged = || LogError::Stored("malformed stored answer");
    let mut known: Known = claims.iter().map(|claim| (*claim, None)).collect();
    for row in rows {
        let nth = usize::try_from(row.try_get::<i64, _>("nth")? - 1).map_err(|_| damaged())?;
        let request = row.try_get::<&[u8], _>("request")?.try_into().map_err(|_| damaged())?;
        let status = u16::try_from(row.try_get::<i16, _>("status")?).map_err(|_| damaged())?;
        let answered = Answered { status, body: row.try_get("body")? };
        known.insert(claims[nth], Some(Stored { request: Hash32(request), answered }));
    }
    Ok(known)
}

/// The keys whose first request is still running on this node, each with its session.
#[derive(Debug, Clone, Default)]
pub(super) struct Running(Arc<Mutex<HashSet<(Hash32, Hash32)>>>);

/// Ends with the request.
struct Run<'a>(&'a Running, (Hash32, Hash32));

impl Running {
    /// Takes a key for as long as the value lives; none if it is taken.
    fn begin(&self, once: &Idempotency) -> Option<Run<'_>> {
        let key = (once.session, once.key);
        let first = self.0.lock().insert(key);
        first.then(|| Run(self, key))
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}

impl Ledger {
    /// [`Ledger::execute`] for a request that may come again: the first accepted answer stands.
    /// `encode` writes the reply as the answer that is stored.
    ///
    /// # Errors
    /// [`LedgerError::InFlight`], [`LedgerError::KeyReused`] and the rest of [`LedgerError`].
    pub async fn execute_once<C: Command>(
        &self,
        command: C,
        once: Idempotency,
        encode: impl Fn(C::Reply) -> Answered + Send + 'static,
    ) -> Result<Answered, LedgerError> {
        let _run = self.running.begin(&once).ok_or(LedgerError::InFlight)?;
        let (reply_to, reply) = oneshot::channel();
        let ticket = Ticket::default();
        self.enqueue(Box::new(Pending { command, once, encode, answered: None, ticket: ticket.clone(), reply_to }))?;
        ticket.verdict(reply, self.log.pool(), &self.answers, self.patience).await
    }

    /// Deletes expired answers, at most `most` of those that are too old and as many of
    /// removed accounts. Answers how many.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn sweep_answers(&self, now: Timestamp, most: u32) -> Result<u64, LogError> {
        let (pool, before): (_, DateTime<Utc>) = (self.log.pool(), now.plus(-LIFE).to_utc());
        let old = sqlx::query(
            "delete from idempotency where ctid = any (array(
                 select ctid from idempotency where time <= $1 order by time limit $2))",
        )
        .bind(before)
        .bind(i64::from(most))
        .execute(pool)
        .await?
        .rows_affected();
        let removed = sqlx::query(
            "delete from idempotency where ctid = any (array(
                 select i.ctid from idempotency_over o join idempotency i on i.account = o.account limit $1))",
        )
        .bind(i64::from(most))
        .execute(pool)
        .await?
        .rows_affected();
        if removed < u64::from(most) {
            // Its rows and the note of a removed account appear at once, so this sees both or none.
            sqlx::query(
                "delete from idempotency_over o
                 where not exists (select from idempotency i where i.account = o.account)",
            )
            .execute(pool)
            .await?;
        }
        Ok(old + removed)
    }
}

/// A command under a key that waits for its verdict.
struct Pending<C, F> {
    command: C,
    once: Idempotency,
    encode: F,
    answered: Option<Answered>,
    ticket: Ticket,
    reply_to: oneshot::Sender<Result<Answered, LedgerError>>,
}

impl<C: Command, F: Fn(C::Reply) -> Answered + Send> Job for Pending<C, F> {
    fn streams(&self) -> Vec<be8_events::StreamName> {
        let session = be8_events::StreamName::Session(self.once.session);
        let mut streams = self.command.streams();
        if !streams.contains(&session) {
            streams.push(session);
        }
        streams
    }

    fn keys(&self) -> Vec<be8_events::Subject> {
        self.command.keys()
    }

    fn endpoint(&self) -> Option<(Hash32, crate::domain::device::DeviceName)> {
        self.command.endpoint()
    }

    fn size(&self) -> usize {
        self.command.size()
    }

    fn is_wanted(&self) -> bool {
        !self.reply_to.is_closed() && self.ticket.is_wanted()
    }

    fn begin(&self) -> bool {
        self.ticket.begin()
    }

    fn decide(&mut self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let Decision { events, erase, reply } = self.command.decide(view)?;
        self.answered = Some((self.encode)(reply));
        Ok(Decision { events, erase, reply: () })
    }

    fn once(&self) -> Option<&Idempotency> {
        Some(&self.once)
    }

    fn answered(&self) -> Option<Answered> {
        self.answered.clone()
    }

    fn replay(&mut self, answered: Answered) {
        self.answered = Some(answered);
    }

    fn finish(self: Box<Self>, verdict: Result<(), LedgerError>) {
        let Self { answered, reply_to, .. } = *self;
        // The caller may be gone; what was decided stands all the same.
        let _ = reply_to.send(verdict.and_then(|()| answered.ok_or(LedgerError::Internal)));
    }
}
