//! Builds and stores the tiles of the transparency log: extends it by the new events of the event log, page by page, and signs its
//! head (a checkpoint) at intervals, or sooner on request. None of it delays a write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use be8_events::Position;
use parking_lot::Mutex;

use super::{Process, ProcessError};
use crate::audit::Transparency;
use crate::ledger::{Lead, Ledger, Subscription};

/// The name of the process: only the holder of its lead may write to the transparency log.
pub const NAME: &str = "transparency log";

/// How many events are taken in, or some more, before their hashes are stored.
const PAGE: usize = 4096;
/// How many pages a tick takes at most.
const PAGES: usize = 4;
/// The longest time between two looks at the log.
const LOOK: Duration = Duration::from_secs(1);

/// The process that grows and signs.
#[derive(Debug)]
pub struct Checkpoints {
    transparency: Arc<Transparency>,
    ledger: Ledger,
    interval: Duration,
    on_request: Duration,
    /// The intervals are counted from here: when a head is signed must not reveal when something was written.
    started: Instant,
    /// The last interval whose head was signed, or had nothing new to sign, and the size that this node signed last.
    done: Mutex<(Option<u128>, u64)>,
    /// Where the last tick ended: what this node appends since need not be read from the tables.
    followed: Mutex<Option<Subscription>>,
}

impl Checkpoints {
    /// Signs every `interval` if there is something new. A head that is requested in between is signed if the last head is
    /// older than `on_request`.
    pub fn new(transparency: Arc<Transparency>, ledger: Ledger, interval: Duration, on_request: Duration) -> Self {
        let (started, done, followed) = (Instant::now(), Mutex::default(), Mutex::default());
        Self { transparency, ledger, interval, on_request, started, done, followed }
    }

    /// The events after a position. What the last tick left is of no use if another node has led since.
    fn follow(&self, after: Position) -> Subscription {
        let left = self.followed.lock().take();
        left.filter(|left| left.position() == after).unwrap_or_else(|| self.ledger.subscribe_all(after))
    }

    /// The number of the interval that it is now.
    fn this_interval(&self) -> u128 {
        self.started.elapsed().as_nanos() / self.interval.as_nanos().max(1)
    }
}

#[async_trait]
impl Process for Checkpoints {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tick(&self, lead: &mut Lead) -> Result<Duration, ProcessError> {
        // Read again each time: another node may have led in between.
        let mut tree = self.transparency.growth().await?;
        let mut events = self.follow(Position(i64::try_from(tree.size()).unwrap_or(i64::MAX)));
        let newest = self.ledger.position();
        for _ in 0..PAGES {
            let (mut taken, mut last) = (0, None);
            while taken < PAGE && events.position() < newest {
                let Some(batch) = events.next().await? else { break };
                batch.iter().for_each(|recorded| tree.push(recorded.hash()));
                taken += batch.len();
                last = batch.last().map(|recorded| (recorded.position, recorded.salt)).or(last);
            }
            let Some(last) = last else { break };
            if !lead.store_tiles(tree.changed(), last).await? {
                // The ledger finds out which events are lost, and stops this node.
                return Ok(LOOK.min(self.interval));
            }
        }
        let behind = events.position() < newest;
        *self.followed.lock() = Some(events);
        metrics::gauge!("be8_audit_log_entries").set(tree.size() as f64);
        let interval = self.this_interval();
        let (done, signed) = *self.done.lock();
        let due = done.is_none_or(|done| done < interval);
        let tables = self.transparency.tables();
        // A request is for what is there when it comes, so the tree need not be further.
        let requested =
            tables.wanted_head(self.on_request).await?.is_some_and(|size| size > signed && tree.size() >= size);
        if due || requested {
            let mut size = tables.newest_head().await?.map_or(0, |head| head.size);
            if tree.size() > size {
                // The tiles are durable, then the file beside the key is, then everybody sees it.
                let head = self.transparency.sign(self.ledger.log(), tree.size(), tree.root()?).await?;
                lead.store_head(&head).await?;
                lead.no_head_on_request_for(self.on_request).await?;
                metrics::gauge!("be8_audit_log_signed").set(head.size as f64);
                size = head.size;
            }
            let done = if due { Some(interval) } else { done };
            *self.done.lock() = (done, size);
        }
        Ok(if behind { Duration::ZERO } else { LOOK.min(self.interval) })
    }
}
