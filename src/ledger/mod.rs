//! The ledger: the one way through which events reach the log, and the log as it is read back.
//!
//! Handlers send [`Command`]s to the loop of their node ([`Ledger::execute`]). The loop takes what
//! waits, decides each command in order against the newest states, seals what is secret, and
//! appends all events of the batch together with their read models in one statement
//! (`writer`, `batch`, `append`). [`Log`] reads; [`Ledger::subscribe_all`] follows.

mod append;
mod append_outcome;
mod batch;
pub mod check;
mod clock_skew;
mod clock_trust;
mod code_attempts;
mod fork_check;
mod head;
mod history_map;
mod idempotency;
mod lead;
mod listener;
mod log;
mod pages;
mod partitions;
pub mod portable;
mod push_attempts;
pub mod push_endpoints;
mod read_index;
pub mod rebuild;
mod recent_payloads;
mod refusal;
mod registration;
mod sealed;
mod session_days;
pub mod state_at;
mod states;
mod subscription;
mod sweep;
mod ticket;
mod tile_store;
mod traces;
mod trusted_time;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use be8_database::{ConnectError, Connector, Pool, reason};
use be8_events::{Hash32, NewEvent, Position, Recorded, StreamName, Subject};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::device::DeviceName;
use crate::domain::{Command, Decision, Rejection, Stop, View};
use crate::settings::{count, seconds, settings};
use crate::support::clock::Clock;
use crate::vault::{Vault, VaultError};
use ticket::{Answers, Ticket};

pub use code_attempts::CodeAttempts;
pub use history_map::{MapState, RebuiltMap, rebuild_map};
pub use idempotency::{Answered, Idempotency};
pub use lead::{Lead, Leads};
pub use log::{Direction, Log};
pub use push_attempts::{Again, Attempt, Delivery};
pub use push_endpoints::PushEndpoints;
pub use read_index::{Index, NoIndex, ReadIndex};
pub use recent_payloads::RecentPayloads;
pub use session_days::SessionDays;
pub use subscription::Subscription;
pub use sweep::{SweepConnection, SweepConnector};
pub use tile_store::{SignedHead, TileId, Tiles, TransparencyTables, Witnessed};
pub use traces::Trace;
pub use trusted_time::{ClockState, TrustedTime};

settings! {
    /// Limits of the ledger loop.
    #[derive(Debug, Clone)]
    pub struct LedgerSettings {
        queue: usize = count, "ledger-queue", "N", "8192", "Commands that may wait for the log; one more is refused as UNAVAILABLE";
        batch_commands: usize = count, "ledger-batch-commands", "N", "512", "The most commands that are written at once";
        batch_bytes: usize = count, "ledger-batch-bytes", "BYTES", "8388608", "The most bytes of content that are written at once";
        cached_streams: usize = count, "ledger-cached-streams", "N", "100000", "States of streams that are kept in memory";
        patience: Duration = seconds, "ledger-patience-seconds", "SECONDS", "5", "How long a command waits for a database that is away before it is refused as UNAVAILABLE";
        outcome_patience: Duration = seconds, "ledger-outcome-seconds", "SECONDS", "30", "How long a command waits to learn whether it was written before it is answered OUTCOMEUNKNOWN";
    }
}

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The rules refuse it. Nothing was written.
    #[error("rejected: {0}")]
    Rejected(#[from] Rejection),
    /// Too many commands wait. Nothing was written.
    #[error("too many commands wait")]
    Overloaded,
    /// The first request with this idempotency key is still running.
    #[error("the first request with this idempotency key is still running")]
    InFlight,
    /// The idempotency key was used for another request. Nothing was written.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The database is away, or the server stops. Nothing was written.
    #[error("the log cannot be written now")]
    Unavailable,
    /// The connection died in the middle of an append and the database stayed away: the command
    /// may have happened.
    #[error("it is unknown whether the command was written")]
    OutcomeUnknown,
    /// Something that must not happen; the cause is in the server's log. Nothing was written.
    #[error("internal error")]
    Internal,
}

/// Why the log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database did not answer, or refused.
    #[error("the log could not be reached: {}", reason(.0))]
    Database(#[from] sqlx::Error),
    /// A stored event that this build cannot read.
    #[error("position {position}: {cause}")]
    Undecodable {
        /// Where it stands.
        position: i64,
        /// What is wrong.
        cause: be8_events::DecodeError,
    },
    /// A stored event that cannot be what it should be.
    #[error("position {position}: {what}")]
    Damaged {
        /// Where it stands.
        position: i64,
        /// What is wrong.
        what: &'static str,
    },
    /// Something stored beside the events that cannot be what it should be.
    #[error("{0}")]
    Stored(&'static str),
    /// The keys of what is sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Another version of be8 has made its own read models live.
    #[error("the read models are those of another version of be8")]
    Foreign,
    /// A newer version of be8 writes to this log.
    #[error("a newer version of be8 writes to this log")]
    Newer,
    /// The database does not continue the log that this node has seen.
    #[error(
        "the database does not continue the log that this node has seen: the node has seen position {seen}, the \
         database ends at position {end}, and from position {lost} on it lacks what was seen"
    )]
    Fork {
        /// The newest position that this node has seen.
        seen: Position,
        /// The newest position of the database.
        end: Position,
        /// The first position, of those that the node remembers, whose event the database does not have.
        lost: Position,
    },
    /// Readers are connected to another database than the loop, as during a failover.
    #[error("the connections for reading lead to another database than the one that is written to")]
    OtherDatabase,
    /// The loop that writes the log ended by a panic.
    #[error("the loop of the ledger died")]
    Died,
    /// This machine's clock is ahead of PostgreSQL's.
    #[error("this machine's clock is more than 5 s ahead of PostgreSQL's: not appending")]
    Clock,
}

impl From<ConnectError> for LogError {
    fn from(error: ConnectError) -> Self {
        Self::Database(error.into())
    }
}

impl LogError {
    /// Whether something stored is not as it must be: it will be so at the next attempt, too.
    pub(crate) const fn is_damage(&self) -> bool {
        match self {
            Self::Undecodable { .. } | Self::Damaged { .. } | Self::Stored(_) => true,
            Self::Vault(error) => error.is_damage(),
            Self::Database(_)
            | Self::Foreign
            | Self::Newer
            | Self::Fork { .. }
            | Self::OtherDatabase
            | Self::Died
            | Self::Clock => false,
        }
    }
}

/// Events that were appended together, in order.
pub type Batch = Arc<[Recorded]>;

/// The handle to the ledger of this node.
#[derive(Debug, Clone)]
pub struct Ledger {
    queue: mpsc::Sender<Box<dyn Job>>,
    tail: broadcast::Sender<Batch>,
    position: watch::Receiver<Position>,
    /// Wakes the loop for events of other nodes.
    wake: watch::Sender<Position>,
    recent_payloads: RecentPayloads,
    log: Log,
    running: idempotency::Running,
    trusted: TrustedTime,
    answers: Answers,
    patience: Duration,
}

impl Ledger {
    /// Starts the loop of this node. It runs until `stop` is cancelled, then finishes the batch in
    /// flight and refuses what waits; the returned task ends with it. If the loop cannot go on, it
    /// cancels `stop` itself, and the task says why.
    ///
    /// # Errors
    /// [`LogError`] when the head row cannot be read.
    pub async fn start(
        pool: Pool,
        connect: Connector,
        vault: Arc<Vault>,
        clock: Arc<dyn Clock>,
        settings: LedgerSettings,
        stop: CancellationToken,
    ) -> Result<(Self, tokio::task::JoinHandle<Result<(), LogError>>), LogError> {
        let (queue, commands) = mpsc::channel(settings.queue.max(1));
        let patience = settings.patience;
        let (tail, _) = broadcast::channel(1024);
        let trusted = TrustedTime::open(pool.clone(), clock.clone()).await?;
        let log = Log::new(pool);
        let (writer, position) =
            writer::Writer::new(log.clone(), connect, vault, clock, trusted.clone(), settings, tail.clone()).await?;
        let answers = writer.answers();
        let (wake, recent_payloads) = (writer.wake(), writer.recent_payloads());
        tokio::spawn(trusted.clone().watch(stop.clone()));
        // A thread of its own: the loop never waits for its turn behind the requests, which would
        // leave PostgreSQL idle, and no request waits while a batch is sealed.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(sqlx::Error::Io)?;
        let (done, ended) = oneshot::channel();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        let run = move || {
            let ended = runtime.block_on(writer.run(commands, stopped));
            // The process may be ending.
            let _ = done.send(ended);
        };
        thread.spawn(run).map_err(sqlx::Error::Io)?;
        let task = tokio::spawn(async move {
            ended.await.unwrap_or_else(|_| {
                tracing::error!("the loop of the ledger died: this node stops");
                stop.cancel();
                Err(LogError::Died)
            })
        });
        let running = idempotency::Running::default();
        Ok((Self { queue, tail, position, wake, recent_payloads, log, running, trusted, answers, patience }, task))
    }

    /// Has a command decided and its events appended; answers once they are durable.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub async fn execute<C: Command>(&self, command: C) -> Result<C::Reply, LedgerError> {
        let (reply_to, reply) = oneshot::channel();
        let ticket = Ticket::default();
        self.enqueue(Box::new(Pending { command, reply: None, ticket: ticket.clone(), reply_to }))?;
        ticket.verdict(reply, self.log.pool(), &self.answers, self.patience).await
    }

    fn enqueue(&self, job: Box<dyn Job>) -> Result<(), LedgerError> {
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LedgerError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => LedgerError::Unavailable,
        })?;
        metrics::gauge!("be8_ledger_queue").set((self.queue.max_capacity() - self.queue.capacity()) as f64);
        Ok(())
    }

    /// How full the queue of commands is, from 0 to 1.
    pub fn fullness(&self) -> f64 {
        1.0 - self.queue.capacity() as f64 / self.queue.max_capacity() as f64
    }

    /// Appends events to one stream if it is at the expected version; answers the new version.
    /// The events carry what they say: no rule looks at them.
    ///
    /// # Errors
    /// [`Rejection::WrongExpectedVersion`] and the rest of [`LedgerError`].
    pub async fn append(
        &self,
        stream: StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
    ) -> Result<i64, LedgerError> {
        self.execute(Append { stream, expected, events }).await
    }

    /// The log, for reading.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The attempts at lock codes, which are counted beside the log.
    pub fn code_attempts(&self) -> CodeAttempts {
        CodeAttempts::new(self.log.pool().clone())
    }

    /// When sessions were last used, which is kept beside the log.
    pub fn session_days(&self) -> SessionDays {
        SessionDays::new(self.log.pool().clone())
    }

    /// The time by which this node permanently ends what has expired.
    pub const fn trusted_time(&self) -> &TrustedTime {
        &self.trusted
    }

    /// Which device has an endpoint of Web Push, which is kept beside the log.
    pub fn push_endpoints(&self) -> PushEndpoints {
        PushEndpoints::new(self.log.pool().clone())
    }

    /// Whether the database takes writes, as far as is known without writing: it is no standby, not set to read-only, and
    /// nothing that the loop asked it waits for an answer for too long.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn is_writable(&self) -> Result<bool, LogError> {
        if self.log.pool().is_stalled() || self.answers.lack_for(self.patience) {
            return Ok(false);
        }
        self.log.is_writable().await
    }

    /// The newest position that this node knows of.
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Has the loop follow the log up to this position now, if it has not: without waiting to be notified by the node that
    /// appended.
    pub fn follow_to(&self, position: Position) {
        self.wake.send_if_modified(|newest| {
            let newer = position > *newest;
            *newest = position.max(*newest);
            newer
        });
    }

    /// What this node has just sealed of messages.
    pub const fn recent_payloads(&self) -> &RecentPayloads {
        &self.recent_payloads
    }

    /// All events after `from`: first what is there, then what comes, without gap or double.
    pub fn subscribe_all(&self, from: Position) -> Subscription {
        Subscription::new(self.log.clone(), self.tail.subscribe(), self.position.clone(), from)
    }
}

/// At which version a stream must be for an append to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Any.
    Any,
    /// It has no event yet.
    NoStream,
    /// Exactly this one: the number of its newest event.
    Exact(i64),
}

/// Plain appending, as a command.
struct Append {
    stream: StreamName,
    expected: ExpectedVersion,
    events: Vec<NewEvent>,
}

impl Command for Append {
    type Reply = i64;

    fn streams(&self) -> Vec<StreamName> {
        vec![self.stream]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<i64>, Stop> {
        let version = view.version(self.stream)?;
        let expected = match self.expected {
            ExpectedVersion::Any => version,
            ExpectedVersion::NoStream => 0,
            ExpectedVersion::Exact(expected) => expected,
        };
        if version != expected {
            return Err(Rejection::WrongExpectedVersion.into());
        }
        let mut events = self.events.clone();
        for event in &mut events {
            event.stream = self.stream;
        }
        Ok(Decision::events(events, version + self.events.len() as i64))
    }
}

/// A command that waits for its verdict, whatever it replies.
trait Job: Send {
    fn streams(&self) -> Vec<StreamName>;
    fn keys(&self) -> Vec<Subject>;
    fn endpoint(&self) -> Option<(Hash32, DeviceName)>;
    fn size(&self) -> usize;
    /// Whether somebody waits for the verdict.
    fn is_wanted(&self) -> bool;
    /// Begins: from here on it may be written. Not if it was given up.
    fn begin(&self) -> bool;
    /// Decides and keeps the reply for [`Job::finish`].
    fn decide(&mut self, view: &View<'_>) -> Result<Decision<()>, Stop>;
    /// Under which idempotency key it was sent, if under one.
    fn once(&self) -> Option<&Idempotency> {
        None
    }
    /// The answer to store, once it is decided.
    fn answered(&self) -> Option<Answered> {
        None
    }
    /// Takes over an answer that was given before.
    fn replay(&mut self, _: Answered) {}
    fn finish(self: Box<Self>, verdict: Result<(), LedgerError>);
}

struct Pending<C: Command> {
    command: C,
    reply: Option<C::Reply>,
    ticket: Ticket,
    reply_to: oneshot::Sender<Result<C::Reply, LedgerError>>,
}

impl<C: Command> Job for Pending<C> {
    fn streams(&self) -> Vec<StreamName> {
        self.command.streams()
    }

    fn keys(&self) -> Vec<Subject> {
        self.command.keys()
    }

    fn endpoint(&self) -> Option<(Hash32, DeviceName)> {
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
        let decision = self.command.decide(view)?;
        self.reply = Some(decision.reply);
        Ok(Decision { events: decision.events, erase: decision.erase, reply: () })
    }

    fn finish(self: Box<Self>, verdict: Result<(), LedgerError>) {
        let Self { reply, reply_to, .. } = *self;
        // The caller may be gone; what was decided stands all the same.
        let _ = reply_to.send(verdict.and_then(|()| reply.ok_or(LedgerError::Internal)));
    }
}
