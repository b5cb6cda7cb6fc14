//! The hub: the open streams of this node and what is sent to them.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use be8_events::{AccId, Event, Hash32, Position, Recorded, SessionEvent, StreamName};
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::change::changes_of;
use super::delivery::{ChangeId, Delivery, Shared};
use super::roster::Rosters;
use super::written::Written;
use crate::ledger::{Log, LogError, Subscription};
use crate::settings::{count, settings};

/// How soon a log that cannot be read is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_millis(200);

/// For how many accounts without a stream the last change that was sent is remembered. The others are
/// sent what is recent.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

settings! {
    /// Limits of the hub.
    #[derive(Debug, Clone, Copy)]
    pub struct HubSettings {
        queue: usize = count, "events-queue", "N", "256", "Changes that may wait for a slow reader before its stream ends";
        streams_per_account: usize = count, "events-per-account", "N", "64", "Event streams that an account may have open";
    }
    given {
        /// For how long what was written to a stream may not have arrived: until then a dead connection is noticed.
        unproven: Duration,
    }
}

/// The account has as many streams open as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account has too many open streams")]
pub struct Overcrowded;

#[derive(Debug)]
struct Sink {
    id: u64,
    session: Hash32,
    queue: mpsc::Sender<Delivery>,
    written: Arc<Mutex<Written>>,
}

#[derive(Debug)]
struct Streams {
    /// Events up to here were sent.
    position: Position,
    sinks: HashMap<AccId, Vec<Sink>>,
    next_id: u64,
    /// The last change that arrived at the last stream of an account.
    arrived: LruCache<AccId, ChangeId>,
}

/// Where a stream begins that does not say what it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// After the last change that has arrived at each of the account's streams on this node, or at its last one.
    After(ChangeId),
    /// With what is recent: this node knows of no stream of the account.
    Recent,
}

/// The open streams of this node.
#[derive(Debug)]
pub struct Hub {
    streams: Mutex<Streams>,
    settings: HubSettings,
    closed: CancellationToken,
}

/// An open stream: what happens after [`Subscriber::from`]. It ends when the reader is too slow,
/// the session ends or the server stops; dropping it closes it.
#[derive(Debug)]
pub struct Subscriber {
    hub: Arc<Hub>,
    account: AccId,
    id: u64,
    /// The stream begins after this position.
    pub from: Position,
    /// Where it is to begin if it does not say what it saw.
    pub beginning: Beginning,
    queue: mpsc::Receiver<Delivery>,
    /// What is sent before the queue.
    first: VecDeque<Delivery>,
    /// The queue is sent from after this change.
    after: ChangeId,
    /// The last change that was handed out.
    handed: Option<ChangeId>,
    written: Arc<Mutex<Written>>,
    /// Whether the connection was lost, so that what was written lately may not have arrived.
    lost: Arc<AtomicBool>,
}

impl Hub {
    /// A hub that begins after `from`.
    pub fn new(settings: HubSettings, from: Position, closed: CancellationToken) -> Arc<Self> {
        let arrived = LruCache::new(REMEMBERED);
        let streams = Streams { position: from, sinks: HashMap::new(), next_id: 0, arrived };
        Arc::new(Self { streams: Mutex::new(streams), settings, closed })
    }

    /// Sends the streams what happens, until the log or the server ends.
    pub async fn run(self: Arc<Self>, log: Log, mut events: Subscription) {
        let mut rosters = Rosters::default();
        loop {
            let next = tokio::select! {
                () = self.closed.cancelled() => break,
                next = events.next() => next,
            };
            match next {
                Ok(Some(batch)) => {
                    while let Err(error) = rosters.load(&log, &batch).await {
                        self.retry_later(&error).await;
                        if self.closed.is_cancelled() {
                            return;
                        }
                    }
                    self.send(&batch, &mut rosters);
                }
                Ok(None) => break,
                Err(error) => self.retry_later(&error).await,
            }
        }
        self.lock().sinks.clear();
    }

    async fn retry_later(&self, error: &LogError) {
        tracing::warn!(%error, "the feed cannot read the log, trying again");
        tokio::time::sleep(RETRY).await;
    }

    /// Opens a stream for an account. `lost` is set before it is dropped if its connection was lost.
    ///
    /// # Errors
    /// [`Overcrowded`]
    pub fn subscribe(
        self: &Arc<Self>,
        account: AccId,
        session: Hash32,
        lost: Arc<AtomicBool>,
    ) -> Result<Subscriber, Overcrowded> {
        let mut streams = self.lock();
        streams.next_id += 1;
        let (id, from) = (streams.next_id, streams.position);
        let open = streams.sinks.get(&account).map_or(0, Vec::len);
        if open >= self.settings.streams_per_account || self.closed.is_cancelled() {
            return Err(Overcrowded);
        }
        // Any of the open ones may be the dead half of a connection whose client has come back.
        let now = Instant::now();
        let others = streams.sinks.get(&account).into_iter().flatten();
        let others = others.filter_map(|sink| lock(&sink.written).arrived(now, self.settings.unproven));
        let arrived = others.min().or_else(|| streams.arrived.get(&account).copied());
        let beginning = arrived.map_or(Beginning::Recent, Beginning::After);
        let written = Arc::new(Mutex::new(Written::from(arrived)));
        let (sender, queue) = mpsc::channel(self.settings.queue.max(1));
        streams.sinks.entry(account).or_default().push(Sink { id, session, queue: sender, written: written.clone() });
        metrics::gauge!("be8_feed_streams").increment(1.0);
        let after = ChangeId { position: from, nth: u32::MAX };
        Ok(Subscriber {
            hub: self.clone(),
            account,
            id,
            from,
            beginning,
            queue,
            first: VecDeque::new(),
            after,
            handed: None,
            // If it comes to no beginning, no more has arrived than before.
            written,
            lost,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock()
    }

    fn send(&self, batch: &[Recorded], rosters: &mut Rosters) {
        let mut streams = self.lock();
        for recorded in batch {
            streams.position = recorded.position;
            if let (Event::Session(event), StreamName::Session(hash)) = (&recorded.event, recorded.stream) {
                match event {
                    SessionEvent::SessionEnded(e) => streams.remove(e.account, |sink| sink.session == hash),
                    SessionEvent::SessionOpened(_) | SessionEvent::SessionNamed(_) => {}
                }
            }
            // A removed account receives nothing more.
            if let Some(removed) = recorded.event.removed() {
                streams.remove(removed.account, |_| true);
            }
            // Without a listener nothing need be sent, but the rosters move on.
            let changes = if streams.sinks.is_empty() { Vec::new() } else { changes_of(recorded, rosters) };
            rosters.apply(recorded);
            let mut numbers: HashMap<AccId, u32> = HashMap::new();
            for addressed in changes {
                // Made only if anybody of them listens here.
                let mut shared = None;
                for account in addressed.to {
                    let nth = numbers.entry(account).or_default();
                    let id = ChangeId { position: recorded.position, nth: *nth };
                    *nth += 1;
                    let Some(sinks) = streams.sinks.get(&account) else { continue };
                    let shared = shared.get_or_insert_with(|| Shared::new(addressed.change.clone()));
                    let slow: Vec<u64> = sinks
                        .iter()
                        .filter(|sink| sink.queue.try_send(Delivery { id, shared: shared.clone() }).is_err())
                        .map(|sink| sink.id)
                        .collect();
                    if !slow.is_empty() {
                        // It comes back and names what it saw last; what it missed is in the log.
                        metrics::counter!("be8_feed_slow_readers_total").increment(slow.len() as u64);
                        streams.remove(account, |sink| slow.contains(&sink.id));
                    }
                }
            }
        }
        metrics::gauge!("be8_feed_position").set(streams.position.0 as f64);
    }
}

impl Streams {
    fn remove(&mut self, account: AccId, which: impl Fn(&Sink) -> bool) {
        if let Some(sinks) = self.sinks.get_mut(&account) {
            sinks.retain(|sink| !which(sink));
            if sinks.is_empty() {
                self.sinks.remove(&account);
            }
        }
    }
}

impl Subscriber {
    /// Begins with these changes, which follow `seen`, and goes on after it.
    pub fn begin(&mut self, seen: ChangeId, missed: Vec<Delivery>) {
        lock(&self.written).begin(seen);
        self.after = self.after.max(seen);
        self.first = missed.into();
    }

    /// The next change; none once the stream has ended. A caller asks only after it has written the one before.
    pub async fn next(&mut self) -> Option<Delivery> {
        if let Some(handed) = self.handed.take() {
            lock(&self.written).write(handed, Instant::now(), self.hub.settings.unproven);
        }
        let next = match self.first.pop_front() {
            Some(delivery) => Some(delivery),
            None => loop {
                match self.queue.recv().await {
                    Some(delivery) if delivery.id <= self.after => {}
                    next => break next,
                }
            },
        };
        self.handed = next.as_ref().map(|delivery| delivery.id);
        next
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        metrics::gauge!("be8_feed_streams").decrement(1.0);
        let mut streams = self.hub.lock();
        streams.remove(self.account, |sink| sink.id == self.id);
        // Of several that end one after the other, the last one counts.
        if !streams.sinks.contains_key(&self.account) {
            let written = lock(&self.written);
            let arrived = if self.lost.load(Ordering::Relaxed) {
                written.arrived(Instant::now(), self.hub.settings.unproven)
            } else {
                written.upto()
            };
            if let Some(arrived) = arrived {
                streams.arrived.put(self.account, arrived);
            }
        }
    }
}

fn lock(written: &Mutex<Written>) -> MutexGuard<'_, Written> {
    written.lock()
}
