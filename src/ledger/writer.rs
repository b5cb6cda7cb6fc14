//! The loop: takes the commands that wait, decides them, appends, answers. There is one on every
//! node and no other way into the log.

mod follow;

use std::sync::Arc;
use std::time::{Duration, Instant};

use be8_events::{Day, Position, Subject};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::attempt::{Failure, Outcome};
use super::batch::{Draft, Missing, Pass};
use super::head::Head;
use super::idempotency::{self, Known};
use super::log::Log;
use super::refusal::{ErrorKind, kind_of};
use super::seen::Seen;
use super::states::{self, Cache, KeyState, Snapshot, store_snapshots};
use super::{Batch, Job, LedgerError, LedgerSettings, LogError, TrustedTime, append, listener, partitions};
use crate::clock::Clock;
use crate::vault::{Found, Vault};

/// How often the head is looked at when no notification comes: a lost one costs latency only.
const POLL: Duration = Duration::from_millis(500);
/// How often a database that is away is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How many rounds a batch may lose to other nodes before it takes the row lock first.
const LOST_ROUNDS: u32 = 2;

pub(super) struct Writer {
    log: Log,
    connect: PgConnectOptions,
    connection: Option<PgConnection>,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
    trusted: TrustedTime,
    settings: LedgerSettings,
    head: Head,
    /// What the database is held against whenever its head is read.
    seen: Seen,
    cache: Cache,
    tail: broadcast::Sender<Batch>,
    position: watch::Sender<Position>,
    snapshots: Option<tokio::task::JoinHandle<()>>,
    /// The runtime of everything but the loop.
    runtime: tokio::runtime::Handle,
    /// An append of this node may still be in flight on a dead connection.
    unsettled: bool,
    /// The day on which partitions were last made ahead.
    partitions_of: Day,
    /// Why this node must not go on: another version of be8 serves this log in a way that this one cannot follow, or the
    /// database does not continue the log that this node has seen.
    ended: Option<LogError>,
}

impl Writer {
    pub(super) async fn new(
        log: Log,
        connect: PgConnectOptions,
        vault: Arc<Vault>,
        clock: Arc<dyn Clock>,
        trusted: TrustedTime,
        settings: LedgerSettings,
        tail: broadcast::Sender<Batch>,
    ) -> Result<(Self, watch::Receiver<Position>), LogError> {
        // A frozen node must not hold the head. Plans are kept, so they must not be those of a
        // young database: by key whatever the statistics say.
        let connect = connect.options([
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("idle_in_transaction_session_timeout", "5s"),
            ("synchronous_commit", "on"),
            ("default_transaction_isolation", "read committed"),
        ]);
        let mut connection = PgConnection::connect_with(&connect).await?;
        let head = Head::read(&mut connection).await?;
        let today = clock.now().max(head.time);
        partitions::ensure(&mut connection, today).await?;
        // It belongs to this runtime; the loop has one of its own.
        connection.close().await?;
        let (position, watcher) = watch::channel(head.position);
        let cache = Cache::new(settings.cached_streams);
        let writer = Self {
            log,
            connect,
            connection: None,
            vault,
            clock,
            trusted,
            settings,
            seen: Seen::new(&head),
            head,
            cache,
            tail,
            position,
            snapshots: None,
            runtime: tokio::runtime::Handle::current(),
            unsettled: false,
            partitions_of: today.day(),
            ended: None,
        };
        Ok((writer, watcher))
    }

    /// Runs until `stop`, then finishes what is in flight and refuses what waits.
    ///
    /// # Errors
    /// Why it had to end before.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Box<dyn Job>>,
        stop: CancellationToken,
    ) -> Result<(), LogError> {
        let (wake, mut woken) = watch::channel(Position::START);
        let listener = tokio::spawn(listener::listen(self.connect.clone(), wake, stop.clone()));
        let mut jobs: Vec<Box<dyn Job>> = Vec::new();
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                job = commands.recv() => match job {
                    None => break,
                    Some(job) => {
                        self.take(&mut commands, job, &mut jobs);
                        self.process(&mut jobs).await;
                        self.cache.trim();
                    }
                },
                Ok(()) = woken.changed() => {
                    if *woken.borrow_and_update() > self.head.position {
                        self.follow().await;
                    }
                }
                _ = poll.tick() => self.follow().await,
            }
            if self.ended.is_some() {
                stop.cancel();
            }
        }
        commands.close();
        while let Ok(job) = commands.try_recv() {
            job.finish(Err(LedgerError::Unavailable));
        }
        listener.abort();
        if let Some(connection) = self.connection.take() {
            // The server is going: a connection that does not close politely is closed anyway.
            let _ = connection.close().await;
        }
        match self.ended {
            // A newer version serves: an end in good order.
            None | Some(LogError::Foreign | LogError::Newer) => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Fills a batch with what waits, never waiting for more.
    fn take(&self, commands: &mut mpsc::Receiver<Box<dyn Job>>, first: Box<dyn Job>, jobs: &mut Vec<Box<dyn Job>>) {
        let mut bytes = first.size();
        jobs.push(first);
        while jobs.len() < self.settings.batch_commands && bytes < self.settings.batch_bytes {
            let Ok(job) = commands.try_recv() else { break };
            if job.wanted() {
                bytes += job.size();
                jobs.push(job);
            }
        }
        metrics::gauge!("be8_ledger_queue").set(commands.len() as f64);
        metrics::histogram!("be8_ledger_batch_commands").record(jobs.len() as f64);
    }

    /// Decides and appends a batch and answers every command in it.
    async fn process(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let begun = Instant::now();
        let mut lost = 0;
        loop {
            match self.attempt(jobs, lost >= LOST_ROUNDS).await {
                Ok(Outcome::Committed(draft)) => {
                    self.committed(*draft, jobs.drain(..));
                    metrics::histogram!("be8_ledger_commit_seconds").record(begun.elapsed().as_secs_f64());
                    return;
                }
                Ok(Outcome::Lost) => {
                    lost += 1;
                    metrics::counter!("be8_ledger_lost_rounds_total").increment(1);
                }
                Err(Failure::Refused(_) | Failure::NotWritten(_)) if self.ended.is_some() => {
                    return finish_all(jobs, || LedgerError::Unavailable);
                }
                Err(Failure::Refused(error)) if jobs.len() > 1 => {
                    // One command must not take the others down: each goes alone.
                    tracing::error!(%error, commands = jobs.len(), "batch refused, trying one by one");
                    for job in std::mem::take(jobs) {
                        let mut alone = vec![job];
                        Box::pin(self.process(&mut alone)).await;
                    }
                    return;
                }
                Err(Failure::Refused(error)) => {
                    tracing::error!(%error, "command refused");
                    return finish_all(jobs, || LedgerError::Internal);
                }
                Err(Failure::Unknown(error, draft)) => {
                    tracing::warn!(%error, "connection lost during an append, finding out what became of it");
                    match self.settle(&draft).await {
                        Some(true) => {
                            self.committed(*draft, jobs.drain(..));
                            return;
                        }
                        Some(false) => {}
                        None => return finish_all(jobs, || LedgerError::OutcomeUnknown),
                    }
                }
                Err(Failure::NotWritten(error)) => {
                    self.connection = None;
                    if begun.elapsed() > self.settings.patience {
                        tracing::error!(%error, "the log cannot be written");
                        return finish_all(jobs, || LedgerError::Unavailable);
                    }
                    tracing::warn!(%error, "append failed before anything was written, trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// One round: decide, append. With `lock_first` the head cannot move in between.
    async fn attempt(&mut self, jobs: &mut [Box<dyn Job>], lock_first: bool) -> Result<Outcome, Failure> {
        let mut connection = self.connection().await?;
        if lock_first {
            sqlx::query("begin").execute(&mut connection).await?;
            let head = Head::lock(&mut connection).await?;
            self.catch_up(&mut connection, head).await?;
        }
        let draft = match self.decide(jobs).await {
            Ok(draft) => draft,
            Err(error) => {
                // Nothing was asked on it. With the lock it is dropped, which rolls back.
                self.connection = (!lock_first).then_some(connection);
                return Err(error.into());
            }
        };
        if draft.events.is_empty() {
            // A verdict without events is only as good as the states that it was found on.
            let head = Head::read(&mut connection).await?;
            if lock_first {
                sqlx::query("commit").execute(&mut connection).await?;
            }
            if head == self.head {
                self.connection = Some(connection);
                return Ok(Outcome::Committed(Box::new(draft)));
            }
            self.catch_up(&mut connection, head).await?;
            self.connection = Some(connection);
            return Ok(Outcome::Lost);
        }
        let before = self.head.generation;
        let mut written = append::execute(&mut connection, &self.head, &draft, self.clock.moved()).await;
        if lock_first && matches!(written, Ok(true)) {
            written = sqlx::query("commit").execute(&mut connection).await.map(|_| true);
        }
        match written {
            Ok(true) => {
                self.connection = Some(connection);
                Ok(Outcome::Committed(Box::new(draft)))
            }
            Ok(false) => {
                if lock_first {
                    sqlx::query("rollback").execute(&mut connection).await?;
                }
                let head = Head::read(&mut connection).await?;
                if head == self.head {
                    self.connection = Some(connection);
                    // Nobody was faster, so it is the clock.
                    return Err(LogError::Clock.into());
                }
                self.catch_up(&mut connection, head).await?;
                self.connection = Some(connection);
                Ok(Outcome::Lost)
            }
            Err(error) => match kind_of(&error) {
                // The connection is dropped: a transaction that it holds open is rolled back.
                ErrorKind::Passing => Err(error.into()),
                ErrorKind::Refused if Vault::is_outdated(&error) => {
                    // The master key was rotated: new keys are wrapped by the new one from here on.
                    let vault = self.vault.clone();
                    self.aside(async move { vault.refresh().await }).await??;
                    Ok(Outcome::Lost)
                }
                ErrorKind::Refused => Err(Failure::Refused(error.into())),
                ErrorKind::Unknown => Err(Failure::Unknown(error, Box::new(draft))),
                ErrorKind::NoTable => {
                    // A generation that is dropped since: this node slept through a switch.
                    let mut connection = self.connection().await?;
                    let head = Head::read(&mut connection).await?;
                    if head.generation == before {
                        self.connection = Some(connection);
                        return Err(Failure::Refused(error.into()));
                    }
                    self.catch_up(&mut connection, head).await?;
                    self.connection = Some(connection);
                    Ok(Outcome::Lost)
                }
                ErrorKind::NoPartition => {
                    let mut connection = self.connection().await?;
                    partitions::ensure(&mut connection, draft.head.time).await?;
                    self.connection = Some(connection);
                    Ok(Outcome::Lost)
                }
            },
        }
    }

    /// Decides all commands, loading what that takes.
    async fn decide(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Draft, LogError> {
        // Read anew in every round: another node may have answered meanwhile.
        let mut known = Known::default();
        loop {
            let clock = self.clock.now();
            let Missing { streams, subjects, claims } =
                match Pass::run(&self.cache, &self.vault, &known, self.head, clock, jobs) {
                    Ok(draft) => return Ok(draft),
                    Err(missing) => *missing,
                };
            match self.cache.key(&Subject::Server) {
                _ if claims.is_empty() => {}
                Some(KeyState::Live(key)) => {
                    let load = idempotency::load(self.log.pool().clone(), key.clone(), claims, self.trusted.now());
                    known.extend(self.aside(load).await??);
                }
                // What no key was ever made for was never stored.
                _ => known.extend(claims.into_iter().map(|claim| (claim, None))),
            }
            let subjects: Vec<_> = subjects.into_iter().collect();
            let (vault, wanted) = (self.vault.clone(), subjects.clone());
            let (entries, found) = tokio::join!(
                self.aside(states::load(self.log.pool().clone(), streams, self.head)),
                self.aside(async move { vault.find(&wanted).await }),
            );
            for (stream, entry) in entries?? {
                self.cache.put_stream(stream, entry);
            }
            let mut found = found??;
            for subject in subjects {
                let state = match found.remove(&subject) {
                    None => KeyState::None,
                    Some(Found::Live(key)) => KeyState::Live(key),
                    Some(Found::Erased(_)) => KeyState::Erased,
                };
                self.cache.put_key(subject, state);
            }
        }
    }

    /// Does what reads through the pool, whose connections belong to the runtime of all others.
    async fn aside<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, LogError> {
        // It does not fail unless the process is ending.
        self.runtime.spawn(work).await.map_err(|_| LogError::Database(sqlx::Error::PoolClosed))
    }

    /// The loop's connection, made anew if need be. Whoever takes it gives it back while it is whole.
    async fn connection(&mut self) -> Result<PgConnection, LogError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let mut connection = PgConnection::connect_with(&self.connect).await?;
        let head =
            if self.unsettled { Head::move_fence(&mut connection).await? } else { Head::read(&mut connection).await? };
        self.catch_up(&mut connection, head).await?;
        self.unsettled = false;
        Ok(connection)
    }

    /// Finds out whether a draft was written: moves the fence, so that a statement which is still
    /// in flight has ended or will find nothing, and looks for the draft's salt. None if the
    /// database stays away too long.
    async fn settle(&mut self, draft: &Draft) -> Option<bool> {
        let begun = Instant::now();
        self.unsettled = true;
        loop {
            match self.look_for(draft).await {
                Ok(found) => return Some(found),
                // What was acknowledged before is lost: of this one nobody can know.
                Err(_) if self.ended.is_some() => return None,
                Err(error) if begun.elapsed() > self.settings.outcome_patience => {
                    tracing::error!(%error, "the outcome of an append stays unknown");
                    return None;
                }
                Err(error) => {
                    tracing::debug!(%error, "the database is away");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn look_for(&mut self, draft: &Draft) -> Result<bool, LogError> {
        let mut connection = PgConnection::connect_with(&self.connect).await?;
        let head = Head::move_fence(&mut connection).await?;
        self.check(&mut connection, &head).await?;
        let salt = Head::salt_at(&mut connection, self.head.position.next()).await?;
        let ours = draft.events.first().map(|event| event.salt);
        // What came behind it, and the fence, are taken over when the next connection is made.
        self.connection = None;
        self.unsettled = false;
        Ok(salt.is_some() && salt == ours)
    }

    /// A batch is durable: takes its states over, tells the feed, answers the callers.
    fn committed(&mut self, draft: Draft, jobs: impl Iterator<Item = Box<dyn Job>>) {
        let head = Head { fence: self.head.fence, generation: self.head.generation, ..draft.head };
        let (events, snapshots, verdicts) = draft.commit(&mut self.cache, &self.vault);
        if !events.is_empty() {
            metrics::counter!("be8_ledger_events_total").increment(events.len() as u64);
            self.head = head;
            self.seen.extend(&events);
            self.publish(events);
            self.store(snapshots);
        }
        for (job, verdict) in jobs.zip(verdicts) {
            for stream in job.streams() {
                self.cache.touch(&stream);
            }
            job.finish(verdict);
        }
    }

    fn publish(&self, events: Vec<be8_events::Recorded>) {
        // Nobody may listen; whoever does later reads the tables.
        let _ = self.tail.send(events.into());
        self.position.send_replace(self.head.position);
    }

    /// Stores snapshots beside the loop; drops them while earlier ones are still being stored.
    fn store(&mut self, snapshots: Vec<Snapshot>) {
        let busy = self.snapshots.as_ref().is_some_and(|task| !task.is_finished());
        if snapshots.is_empty() || busy {
            return;
        }
        let pool = self.log.pool().clone();
        self.snapshots = Some(self.runtime.spawn(async move {
            if let Err(error) = store_snapshots(&pool, snapshots).await {
                tracing::warn!(%error, "snapshots not stored");
            }
        }));
    }
}

fn finish_all(jobs: &mut Vec<Box<dyn Job>>, error: impl Fn() -> LedgerError) {
    for job in jobs.drain(..) {
        job.finish(Err(error()));
    }
}
