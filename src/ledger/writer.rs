//! The loop: takes the commands that wait, decides them, appends, answers. There is one on every
//! node and no other way into the log.

mod follow;
mod snapshots;
mod unknown_outcome;

use std::sync::Arc;
use std::time::{Duration, Instant};

use be8_database::{Connector, is_timeout, reason, with_deadline};
use be8_events::{Day, Position, Subject};
use sqlx::{Connection, PgConnection};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::append_outcome::{Failure, Outcome};
use super::batch::{Draft, Missing, Pass};
use super::fork_check::Seen;
use super::head::Head;
use super::idempotency::{self, Known};
use super::log::Log;
use super::recent_payloads::RecentPayloads;
use super::refusal::{ErrorKind, kind_of};
use super::states::{self, Cache, KeyState};
use super::ticket::Answers;
use super::{Batch, Job, LedgerError, LedgerSettings, LogError, TrustedTime, append, listener, partitions};
use crate::support::clock::Clock;
use crate::vault::{Found, Vault};

/// How often the head is looked at when no notification comes: a lost one costs latency only.
const POLL: Duration = Duration::from_millis(500);
/// How often a database that is away is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How long making partitions may take.
const MAKING: Duration = Duration::from_secs(30);
/// How long what is under way may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(3);
/// How many rounds a batch may lose to other nodes before it takes the row lock first.
const LOST_ROUNDS: u32 = 2;

pub(super) struct Writer {
    log: Log,
    connect: Connector,
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
    /// The newest position that somebody said there is.
    wake: watch::Sender<Position>,
    recent_payloads: RecentPayloads,
    snapshots: Option<tokio::task::JoinHandle<()>>,
    /// The runtime of everything but the loop.
    runtime: tokio::runtime::Handle,
    /// When PostgreSQL last answered.
    answers: Answers,
    /// An append of this node may still be in flight on a dead connection.
    unsettled: bool,
    /// An append of the batch in hand was sent, and its outcome is not known yet.
    in_flight: bool,
    /// The day on which partitions were last made ahead.
    partitions_of: Day,
    /// Why this node must not go on: another version of be8 serves this log in a way that this one cannot follow, or the
    /// database does not continue the log that this node has seen.
    ended: Option<LogError>,
}

impl Writer {
    pub(super) async fn new(
        log: Log,
        connect: Connector,
        vault: Arc<Vault>,
        clock: Arc<dyn Clock>,
        trusted: TrustedTime,
        settings: LedgerSettings,
        tail: broadcast::Sender<Batch>,
    ) -> Result<(Self, watch::Receiver<Position>), LogError> {
        // A frozen node must not hold the head. What waits for a lock ends on PostgreSQL's side before this side gives up:
        // nothing is left there that waits, too.
        let lock = format!("{}ms", settings.patience.as_millis() * 4 / 5);
        let connect =
            connect.by_key().with([("idle_in_transaction_session_timeout", "5s"), ("lock_timeout", lock.as_str())]);
        let mut connection = connect.connect().await?;
        let head = with_deadline(settings.patience, Head::read(&mut connection)).await?;
        let today = clock.now().max(head.time);
        with_deadline(MAKING, partitions::ensure(&mut connection, today)).await?;
        // It belongs to this runtime; the loop has one of its own.
        with_deadline(settings.patience, connection.close()).await?;
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
            wake: watch::Sender::new(Position::START),
            recent_payloads: RecentPayloads::default(),
            snapshots: None,
            runtime: tokio::runtime::Handle::current(),
            answers: Answers::new(),
            unsettled: false,
            in_flight: false,
            partitions_of: today.day(),
            ended: None,
        };
        Ok((writer, watcher))
    }

    /// When PostgreSQL last answered the loop.
    pub(super) fn answers(&self) -> Answers {
        self.answers.clone()
    }

    /// What wakes the loop for events of other nodes: a position that the log has reached.
    pub(super) fn wake(&self) -> watch::Sender<Position> {
        self.wake.clone()
    }

    /// What was just sealed of messages.
    pub(super) fn recent_payloads(&self) -> RecentPayloads {
        self.recent_payloads.clone()
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
        let mut woken = self.wake.subscribe();
        let listener = tokio::spawn(listener::listen(self.connect.clone(), self.wake(), stop.clone()));
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
                        tokio::select! {
                            () = self.process(&mut jobs) => {}
                            // The database does not answer, and this server is to end.
                            () = overdue(&stop) => {
                                let unknown = self.in_flight;
                                finish_all(&mut jobs, || {
                                    if unknown { LedgerError::OutcomeUnknown } else { LedgerError::Unavailable }
                                });
                            }
                        }
                        self.cache.trim();
                    }
                },
                Ok(()) = woken.changed() => {
                    if *woken.borrow_and_update() > self.head.position {
                        tokio::select! { () = self.follow() => {}, () = overdue(&stop) => {} }
                    }
                }
                _ = poll.tick() => tokio::select! { () = self.follow() => {}, () = overdue(&stop) => {} },
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
            let _ = with_deadline(RETRY * 10, connection.close()).await;
        }
        match self.ended {
            // A newer version serves: an end in good order.
            None | Some(LogError::Foreign | LogError::Newer) => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Fills a batch with what waits, never waiting for more.
    fn take(&self, commands: &mut mpsc::Receiver<Box<dyn Job>>, first: Box<dyn Job>, jobs: &mut Vec<Box<dyn Job>>) {
        let mut bytes = 0;
        if first.is_wanted() {
            bytes = first.size();
            jobs.push(first);
        }
        while jobs.len() < self.settings.batch_commands && bytes < self.settings.batch_bytes {
            let Ok(job) = commands.try_recv() else { break };
            if job.is_wanted() {
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
        let mut failed = false;
        if jobs.is_empty() {
            return;
        }
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
                    tracing::warn!(
                        error = %reason(&error),
                        "connection lost during an append, finding out what became of it"
                    );
                    let settled = self.resolve_unknown_outcome(&draft, begun).await;
                    self.in_flight = false;
                    match settled {
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
                    // Said once: while that lasts, many batches fail, and each of them many times.
                    if self.connect.is_stalled() {
                        tracing::debug!(%error, "the log still cannot be written");
                        return finish_all(jobs, || LedgerError::Unavailable);
                    }
                    if begun.elapsed() > self.settings.patience {
                        tracing::error!(%error, "the log cannot be written");
                        self.connect.set_stalled(true);
                        return finish_all(jobs, || LedgerError::Unavailable);
                    }
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(%error, "append failed before anything was written, trying again");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// One round: decide, append. With `lock_first` the head cannot move in between.
    async fn attempt(&mut self, jobs: &mut Vec<Box<dyn Job>>, lock_first: bool) -> Result<Outcome, Failure> {
        let limit = self.settings.patience;
        let mut connection = self.connection().await?;
        if lock_first {
            with_deadline(limit, async {
                sqlx::query("begin").execute(&mut connection).await?;
                let head = Head::lock(&mut connection).await?;
                self.catch_up(&mut connection, head).await
            })
            .await?;
        }
        let draft = loop {
            let draft = match self.decide(jobs).await {
                Ok(draft) => draft,
                Err(error) => {
                    // Nothing was asked on it. With the lock it is dropped, which rolls back.
                    self.connection = (!lock_first).then_some(connection);
                    return Err(error.into());
                }
            };
            let decided = jobs.len();
            if !draft.events.is_empty() {
                jobs.retain(|job| job.begin());
            }
            // What was given up meanwhile is not written.
            if jobs.len() == decided {
                break draft;
            }
        };
        if draft.events.is_empty() {
            // A verdict without events is only as good as the states that it was found on.
            let head = with_deadline(limit, Head::read(&mut connection)).await?;
            if lock_first {
                with_deadline(limit, sqlx::query("commit").execute(&mut connection)).await?;
            }
            if head == self.head {
                self.answers.note();
                self.connection = Some(connection);
                return Ok(Outcome::Committed(Box::new(draft)));
            }
            with_deadline(limit, self.catch_up(&mut connection, head)).await?;
            self.connection = Some(connection);
            return Ok(Outcome::Lost);
        }
        let before = self.head.generation;
        self.in_flight = true;
        let append = append::execute(&mut connection, &self.head, &draft, self.trusted.allowance());
        let mut written = with_deadline(limit, append).await;
        if lock_first && matches!(written, Ok(true)) {
            written = with_deadline(limit, sqlx::query("commit").execute(&mut connection)).await.map(|_| true);
        }
        if is_timeout(&written) {
            self.connect.set_stalled(true);
        } else {
            self.answers.note();
        }
        self.in_flight = matches!(&written, Err(error) if matches!(kind_of(error), ErrorKind::Unknown));
        match written {
            Ok(true) => {
                self.connection = Some(connection);
                Ok(Outcome::Committed(Box::new(draft)))
            }
            Ok(false) => {
                if lock_first {
                    with_deadline(limit, sqlx::query("rollback").execute(&mut connection)).await?;
                }
                let head = with_deadline(limit, Head::read(&mut connection)).await?;
                if head == self.head {
                    self.connection = Some(connection);
                    // Nobody was faster, so it is the clock.
                    return Err(LogError::Clock.into());
                }
                with_deadline(limit, self.catch_up(&mut connection, head)).await?;
                self.connection = Some(connection);
                Ok(Outcome::Lost)
            }
            Err(error) => match kind_of(&error) {
                // The connection is dropped: a transaction that it holds open is rolled back.
                ErrorKind::Transient => Err(error.into()),
                ErrorKind::Refused if Vault::is_outdated(&error) => {
                    // The master key was rotated: new keys are wrapped by the new one from here on.
                    let vault = self.vault.clone();
                    self.on_main_runtime(async move { vault.refresh().await }).await??;
                    Ok(Outcome::Lost)
                }
                ErrorKind::Refused => Err(Failure::Refused(error.into())),
                ErrorKind::Unknown => Err(Failure::Unknown(error, Box::new(draft))),
                ErrorKind::NoTable => {
                    // A generation that is dropped since: this node slept through a switch.
                    let mut connection = self.connection().await?;
                    let head = with_deadline(limit, Head::read(&mut connection)).await?;
                    if head.generation == before {
                        self.connection = Some(connection);
                        return Err(Failure::Refused(error.into()));
                    }
                    with_deadline(limit, self.catch_up(&mut connection, head)).await?;
                    self.connection = Some(connection);
                    Ok(Outcome::Lost)
                }
                ErrorKind::NoPartition => {
                    let mut connection = self.connection().await?;
                    with_deadline(MAKING, partitions::ensure(&mut connection, draft.head.time)).await?;
                    self.connection = Some(connection);
                    Ok(Outcome::Lost)
                }
            },
        }
    }

    /// Decides all commands, loading what that takes.
    async fn decide(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Draft, LogError> {
        // Read again in every round: another node may have answered in the meantime.
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
                    known.extend(self.on_main_runtime(load).await??);
                }
                // What no key was ever made for was never stored.
                _ => known.extend(claims.into_iter().map(|claim| (claim, None))),
            }
            let subjects: Vec<_> = subjects.into_iter().collect();
            let (vault, wanted) = (self.vault.clone(), subjects.clone());
            let (entries, found) = tokio::join!(
                self.on_main_runtime(states::load(self.log.pool().clone(), streams, self.head)),
                self.on_main_runtime(async move { vault.find(&wanted).await }),
            );
            for (stream, entry) in entries?? {
                self.cache.put_stream(stream, entry);
            }
            let mut found = found??;
            self.answers.note();
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
    async fn on_main_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, LogError> {
        // It does not fail unless the process is ending.
        self.runtime.spawn(work).await.map_err(|_| LogError::Database(sqlx::Error::WorkerCrashed))
    }

    /// A batch is durable: takes over its states, notifies the feed, answers the callers.
    fn committed(&mut self, mut draft: Draft, jobs: impl Iterator<Item = Box<dyn Job>>) {
        let head = Head { fence: self.head.fence, generation: self.head.generation, ..draft.head };
        let messages = draft.take_messages();
        let (events, snapshots, verdicts) = draft.commit(&mut self.cache, &self.vault);
        if !events.is_empty() {
            metrics::counter!("be8_ledger_events_total").increment(events.len() as u64);
            self.head = head;
            self.seen.extend(&events);
            self.recent_payloads.keep(messages.into_iter());
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
        // There may be no subscriber; a later one reads the tables.
        let _ = self.tail.send(events.into());
        self.position.send_replace(self.head.position);
    }
}

/// Ends some time after the server was asked to stop.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn finish_all(jobs: &mut Vec<Box<dyn Job>>, error: impl Fn() -> LedgerError) {
    for job in jobs.drain(..) {
        job.finish(Err(error()));
    }
}
