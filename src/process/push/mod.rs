//! Notifies devices of messages by Web Push.
//!
//! Each message of the log becomes deliveries, stored together with the checkpoint, so each message
//! is taken up once. A delivery is recorded as sent *before* it is sent, and sent again only when the
//! answer says that it was not accepted, or when no connection was made. In every other case,
//! even if this process is killed, it counts as sent: a late notification by another way is better
//! than two. Nobody waits for any of it.

mod deliver;
mod work;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use be8_events::{AccId, Position, ThreadId, Timestamp};
use be8_projections::ReadModels;
use chrono::TimeDelta;
use rand::RngExt as _;
use tokio::sync::Mutex;

use super::{Process, ProcessError};
use crate::ledger::{Lead, Ledger};
use crate::push::{PushSettings, Sender};
use crate::support::clock::Clock;
use crate::vault::Vault;
use work::Work;

/// The longest time that a tick waits for something to happen.
const IDLE: Duration = Duration::from_millis(500);
/// The same while deliveries wait for their time.
const WAITING: Duration = Duration::from_millis(100);
/// After this many attempts that were not accepted, a delivery is given up.
const MOST_TRIES: u32 = 16;
/// The longest pause between two attempts, unless the service wants a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// How long what is under way may take when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// The process that pushes.
pub struct Pusher {
    ledger: Ledger,
    read: ReadModels,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
    sender: Arc<Sender>,
    /// How many may be under way to one service.
    at_once: usize,
    /// How many may wait for one service.
    queue: usize,
    /// After this many refused pushes in a row, a device is dropped.
    refusals: u32,
    /// For how long a message is worth a push.
    lifetime: TimeDelta,
    /// Where the log stood when this process was made.
    since: Position,
    work: Mutex<Work>,
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher").field("sender", &self.sender).finish_non_exhaustive()
    }
}

/// A message that devices are notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Message {
    thread: ThreadId,
    position: Position,
    sender: AccId,
    nickname: Position,
    written: Timestamp,
}

impl Pusher {
    /// A process that sends by `sender`.
    pub fn new(
        ledger: Ledger,
        read: ReadModels,
        vault: Arc<Vault>,
        clock: Arc<dyn Clock>,
        sender: Sender,
        settings: &PushSettings,
    ) -> Self {
        Self {
            since: ledger.position(),
            ledger,
            read,
            vault,
            clock,
            sender: Arc::new(sender),
            at_once: settings.at_once,
            queue: settings.queue,
            refusals: settings.refusals,
            lifetime: settings.lifetime,
            work: Mutex::default(),
        }
    }

    /// Until when a message is worth a push.
    fn worth_until(&self, written: Timestamp) -> Timestamp {
        written.plus(self.lifetime)
    }
}

#[async_trait]
impl Process for Pusher {
    fn name(&self) -> &'static str {
        "push"
    }

    async fn begin(&self, lead: &mut Lead) -> Result<(), ProcessError> {
        let mut work = self.work.lock().await;
        // Older messages are not worth a push any more, so they need not be looked at either.
        let worth = self.ledger.log().position_at(self.clock.now().plus(-self.lifetime)).await?;
        let from = match lead.checkpoint().await? {
            // Nothing was ever pushed from this database, which may be a copy of another: what was
            // written before is not news.
            0 => {
                lead.save_position(self.since).await?;
                self.since
            }
            reached => Position(reached).max(worth),
        };
        let lost = lead.forget_sent(&work.known()).await?;
        if lost > 0 {
            tracing::info!(lost, "pushes were under way when a server died: they count as sent");
            count("lost", lost);
        }
        work.begin(self.ledger.subscribe_all(from), lead.backlog().await?);
        Ok(())
    }

    async fn tick(&self, lead: &mut Lead) -> Result<Duration, ProcessError> {
        let mut guard = self.work.lock().await;
        let work = &mut *guard;
        let pause = if work.waiting() > 0 { WAITING } else { IDLE };
        let mut batch = None;
        if let Some(subscription) = &mut work.subscription {
            tokio::select! {
                next = subscription.next() => batch = next?,
                Some(ended) = work.flights.join_next_with_id() => work.landed(ended),
                () = tokio::time::sleep(pause) => {}
            }
        }
        if let Some(batch) = batch {
            self.enqueue(work, lead, &batch).await?;
        }
        self.settle(work, lead).await?;
        self.launch(work, lead).await?;
        metrics::gauge!("be8_push_waiting").set(work.waiting() as f64);
        metrics::gauge!("be8_push_under_way").set(work.flights.len() as f64);
        Ok(Duration::ZERO)
    }

    async fn end(&self, lead: &mut Lead) -> Result<(), ProcessError> {
        let mut guard = self.work.lock().await;
        let work = &mut *guard;
        let landing = async {
            while let Some(ended) = work.flights.join_next_with_id().await {
                work.landed(ended);
            }
        };
        // What takes longer counts as sent.
        let _ = tokio::time::timeout(FAREWELL, landing).await;
        self.settle(work, lead).await?;
        if let Some(subscription) = &work.subscription {
            lead.save_position(subscription.position()).await?;
        }
        Ok(())
    }
}

/// Counts what became of deliveries.
fn count(outcome: &'static str, by: u64) {
    metrics::counter!("be8_push_total", "outcome" => outcome).increment(by);
}

/// The pause before the next attempt: what the service wants, or twice as long each time, a little
/// more or less so that not all come back at once.
fn pause(tries: u32, wanted: Option<Duration>) -> Duration {
    let doubled = Duration::from_secs(1) * (1 << tries.saturating_sub(1).min(20));
    let own = doubled.min(LONGEST_PAUSE).mul_f64(rand::rng().random_range(0.75..1.25));
    wanted.map_or(own, |wanted| wanted.max(Duration::from_millis(100)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let mut before = Duration::ZERO;
        for tries in 1..=MOST_TRIES {
            let pause = pause(tries, None);
            let middle = Duration::from_secs(1 << (tries - 1)).min(LONGEST_PAUSE);
            assert!(pause >= middle.mul_f64(0.75) && pause <= middle.mul_f64(1.25), "{tries}: {pause:?}");
            assert!(tries > 11 || pause > before, "{tries}: {pause:?}");
            before = pause;
        }
    }

    #[test]
    fn what_a_service_wants_is_heeded() {
        assert_eq!(pause(1, Some(Duration::from_secs(7200))), Duration::from_secs(7200));
        assert_eq!(pause(9, Some(Duration::from_secs(2))), Duration::from_secs(2));
        assert!(pause(1, Some(Duration::ZERO)) > Duration::ZERO);
    }
}
