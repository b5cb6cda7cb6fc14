//! Builds and stores the tiles of the transparency log: extends it by the new events of the event log, page by page, and signs its
//! head (a checkpoint) at intervals, or sooner on request. Before it signs, it brings the map of histories up to date and commits to
//! its root by an event, which is the last entry of what is signed: so one signed head stands for one map. None of it delays a write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use be8_events::{Hash32, Position, StreamName};
use parking_lot::Mutex;

use super::{Process, ProcessError};
use crate::audit::Transparency;
use crate::audit::tree::Growth;
use crate::domain::histories::CommitHistories;
use crate::histories::Changes;
use crate::ledger::{Direction, Lead, Ledger, SignedHead, Subscription};

/// The name of the process: only the holder of its lead may write to the transparency log.
pub const NAME: &str = "transparency log";

/// How many events are taken in, or some more, before their hashes are stored.
const PAGE: usize = 4096;
/// How many pages a tick takes at most.
const PAGES: usize = 4;
/// How many groups may have changed before their histories are stored, also between checkpoints.
const GROUPS: usize = 20_000;
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
    /// The last interval whose head was signed, or had nothing new to sign, and how many events the map covers that this node
    /// committed to last.
    done: Mutex<(Option<u128>, u64)>,
    /// Where the last tick ended: what this node appends since need not be read from the tables.
    followed: Mutex<Option<Subscription>>,
    /// What happened to histories since the map was last stored.
    histories: Mutex<Option<Histories>>,
}

/// What happened to histories, and the events that follow.
#[derive(Debug)]
struct Histories {
    changes: Changes,
    events: Subscription,
    /// The newest event that was taken in, with its salt.
    newest: Option<(Position, Hash32)>,
}

impl Checkpoints {
    /// Signs every `interval` if there is something new. A head that is requested in between is signed if the last head is
    /// older than `on_request`.
    pub fn new(transparency: Arc<Transparency>, ledger: Ledger, interval: Duration, on_request: Duration) -> Self {
        let (started, done) = (Instant::now(), Mutex::default());
        let (followed, histories) = (Mutex::default(), Mutex::default());
        Self { transparency, ledger, interval, on_request, started, done, followed, histories }
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

    /// The changes since the stored map. Those that the last tick left are of no use if somebody else has stored since.
    async fn histories(&self) -> Result<Histories, ProcessError> {
        let until = self.transparency.tables().map().await?.until;
        let left = self.histories.lock().take().filter(|left| left.changes.from() == until);
        Ok(left.unwrap_or_else(|| Histories {
            changes: Changes::after(until),
            events: self.ledger.subscribe_all(until),
            newest: None,
        }))
    }

    /// Takes the events up to a position into the changes; false if there are too many for one tick, or too many groups of them.
    async fn note(histories: &mut Histories, until: Position) -> Result<bool, ProcessError> {
        let mut taken = 0;
        while histories.changes.until() < until {
            if taken >= PAGES * PAGE || histories.changes.len() >= GROUPS {
                return Ok(false);
            }
            let Some(batch) = histories.events.next().await? else { return Ok(false) };
            batch.iter().for_each(|recorded| histories.changes.apply(recorded));
            histories.newest = batch.last().map(|recorded| (recorded.position, recorded.salt)).or(histories.newest);
            taken += batch.len();
        }
        Ok(true)
    }

    /// Stores the map with these changes, and returns its root; none in a database that lost events.
    async fn store(&self, lead: &mut Lead, mut histories: Histories) -> Result<Option<Hash32>, ProcessError> {
        let until = histories.changes.until();
        let newest = match histories.newest {
            Some(newest) => Some(newest),
            None => {
                let event = self.ledger.log().read_all(Position(until.0 - 1), 1).await?;
                event.first().map(|recorded| (recorded.position, recorded.salt))
            }
        };
        let Some(newest) = newest else { return Ok(None) };
        let root = lead.advance_map(&mut histories.changes, newest).await?;
        if root.is_some() {
            let Histories { events, newest, .. } = histories;
            *self.histories.lock() = Some(Histories { changes: Changes::after(until), events, newest });
        }
        Ok(root)
    }

    /// Commits to the map with these changes, and signs the head that ends with that event.
    async fn sign(
        &self,
        lead: &mut Lead,
        mut tree: Growth,
        mut events: Subscription,
        histories: Histories,
    ) -> Result<Option<SignedHead>, ProcessError> {
        let until = histories.changes.until();
        let Some(root) = self.store(lead, histories).await? else { return Ok(None) };
        if !self.ledger.execute(CommitHistories { until, root }).await? {
            return Ok(None);
        }
        let log = self.ledger.log();
        let newest = log.read_stream(StreamName::Histories, i64::MAX, Direction::Backwards, 1).await?;
        let Some(committed) = newest.first() else { return Ok(None) };
        let end = committed.position.0.unsigned_abs();
        while tree.size() < end {
            let Some(batch) = events.next().await? else { return Ok(None) };
            let mut last = (committed.position, committed.salt);
            for recorded in batch.iter().take_while(|recorded| recorded.position <= committed.position) {
                tree.push(recorded.hash());
                last = (recorded.position, recorded.salt);
            }
            if !lead.store_tiles(tree.changed(), last).await? {
                return Ok(None);
            }
        }
        *self.followed.lock() = Some(events);
        // The tiles are durable, then the file beside the key is, then everybody sees it.
        let head = self.transparency.sign(log, (tree.size(), tree.root()?), until.0.unsigned_abs()).await?;
        lead.store_head(&head).await?;
        lead.no_head_on_request_for(self.on_request).await?;
        metrics::gauge!("be8_audit_log_entries").set(tree.size() as f64);
        metrics::gauge!("be8_audit_log_signed").set(head.size as f64);
        Ok(Some(head))
    }
}

/// Whether something happened that a head does not cover, or the map that it commits to.
fn is_outdated(head: Option<&SignedHead>, newest: u64) -> bool {
    head.is_none_or(|head| newest > head.size || head.histories.is_none_or(|until| until + 1 < head.size))
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
        metrics::gauge!("be8_audit_log_entries").set(tree.size() as f64);
        let mut histories = self.histories().await?;
        let noted = Self::note(&mut histories, newest).await?;
        if !noted || events.position() < newest {
            if histories.changes.len() >= GROUPS {
                self.store(lead, histories).await?;
            } else {
                *self.histories.lock() = Some(histories);
            }
            *self.followed.lock() = Some(events);
            return Ok(Duration::ZERO);
        }
        let interval = self.this_interval();
        let (done, covered) = *self.done.lock();
        let due = done.is_none_or(|done| done < interval);
        let tables = self.transparency.tables();
        // A request is for what is there when it comes, so the tree need not be further.
        let requested =
            tables.wanted_head(self.on_request).await?.is_some_and(|size| size > covered && tree.size() >= size);
        if !due && !requested {
            (*self.followed.lock(), *self.histories.lock()) = (Some(events), Some(histories));
            return Ok(LOOK.min(self.interval));
        }
        let mut head = tables.newest_head().await?;
        if is_outdated(head.as_ref(), newest.0.unsigned_abs()) {
            head = self.sign(lead, tree, events, histories).await?;
            if head.is_none() {
                return Ok(LOOK.min(self.interval));
            }
        } else {
            (*self.followed.lock(), *self.histories.lock()) = (Some(events), Some(histories));
        }
        let covered = head.and_then(|head| head.histories).unwrap_or_default();
        *self.done.lock() = (if due { Some(interval) } else { done }, covered);
        Ok(LOOK.min(self.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_outdated_until_its_map_covers_all_before_its_last_entry() {
        let head = |size, histories| {
            let (note, cosignatures) = (String::new(), String::new());
            Some(SignedHead { size, root: Hash32([0; 32]), note, cosignatures, histories })
        };
        for (head, newest, outdated) in [
            (None, 0, true),
            (head(9, Some(8)), 9, false),
            (head(9, Some(8)), 10, true),
            (head(9, Some(7)), 9, true),
            (head(9, None), 9, true),
        ] {
            assert_eq!(is_outdated(head.as_ref(), newest), outdated, "{head:?} {newest}");
        }
    }
}
