//! Removes the contents of images that nobody can see any more: those whose message is erased, and
//! those that never got a message.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use be8_events::{Hash32, StreamName, Subject, Timestamp};
use be8_projections::ReadModels;
use chrono::TimeDelta;
use parking_lot::Mutex;

use super::{Process, ProcessError};
use crate::ledger::{Direction, Lead, Log};
use crate::media::{Blobs, MediaError, SHARDS};
use crate::support::clock::Clock;

/// The pause between two looks at the log.
const LOOK: Duration = Duration::from_secs(1);
/// The pause between two parts of the store, while it is walked through.
const STEP: Duration = Duration::from_millis(5);
/// After this many blobs in a row that could not be removed, or one that took too long, the store itself is checked: if
/// it fails as a whole, they are tried again soon.
const DOUBTS: u32 = 10;
/// When a store that fails is looked at again. That it fails is in the log by then, and in the measurements.
const LATER: Duration = Duration::from_secs(5);
/// How many erasures are followed in one tick.
const PAGE: u32 = 50;

/// The process that sweeps.
#[derive(Debug)]
pub struct MediaSweeper {
    /// What was erased.
    pub log: Log,
    /// Which blobs are of use.
    pub read: ReadModels,
    /// The store.
    pub blobs: Blobs,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How old a blob without a message must be.
    pub grace: TimeDelta,
    /// Where the walk through the store is.
    pub walk: Mutex<Walk>,
}

/// A walk through the store, part by part; it starts again every hour.
#[derive(Debug, Default)]
pub struct Walk {
    /// The part that comes next; none once the walk has ended.
    next: Option<u16>,
    /// When it began.
    begun: Option<Timestamp>,
}

impl Walk {
    /// The part to look through now.
    fn part(&mut self, now: Timestamp) -> Option<u16> {
        if self.next.is_none() && self.begun.is_none_or(|begun| begun.plus(TimeDelta::hours(1)) <= now) {
            (self.next, self.begun) = (Some(0), Some(now));
        }
        self.next
    }

    /// A part is looked through.
    fn done(&mut self, part: u16) {
        self.next = Some(part + 1).filter(|next| *next < SHARDS);
        if self.next.is_none() {
            metrics::counter!("be8_image_walks_total").increment(1);
        }
    }
}

#[async_trait]
impl Process for MediaSweeper {
    fn name(&self) -> &'static str {
        "media"
    }

    async fn tick(&self, lead: &mut Lead) -> Result<Duration, ProcessError> {
        match self.sweep(lead).await {
            Err(ProcessError::Media(error)) => {
                tracing::debug!(%error, "nothing is swept for now");
                Ok(LATER)
            }
            other => other,
        }
    }
}

impl MediaSweeper {
    /// Follows some erasures, and looks through a part of the store.
    async fn sweep(&self, lead: &mut Lead) -> Result<Duration, ProcessError> {
        // The checkpoint is the version of the stream of erasures.
        let seen = lead.checkpoint().await?;
        let page = self.log.read_stream(StreamName::Erasure, seen + 1, Direction::Forwards, PAGE).await?;
        for recorded in &page {
            if let Some(deleted) = recorded.event.deleted_keys() {
                for key in &deleted.keys {
                    self.forget(key.subject).await?;
                }
            }
            lead.save(recorded.version).await?;
        }
        let part = self.walk.lock().part(self.clock.now());
        if let Some(part) = part {
            self.collect(part).await?;
            self.walk.lock().done(part);
        }
        Ok(if page.is_empty() && part.is_none() { LOOK } else { STEP })
    }

    /// Removes all that was sealed under a deleted key.
    async fn forget(&self, gone: Subject) -> Result<(), ProcessError> {
        let mut after = Hash32([0; 32]);
        loop {
            let blobs = self.read.forgotten_blobs(gone, after).await?;
            let Some(last) = blobs.last() else { return Ok(()) };
            after = *last;
            self.remove(&blobs, "its message is erased").await?;
        }
    }

    /// Looks through one part of the store for what is of no use and older than the grace time.
    async fn collect(&self, part: u16) -> Result<(), ProcessError> {
        let before = self.clock.now().plus(-self.grace).to_utc();
        let old = self.blobs.list(part).await?.into_iter().filter(|(_, stored)| *stored < before);
        let old: Vec<Hash32> = old.map(|(name, _)| name).collect();
        for some in old.chunks(500) {
            let needed = self.read.needed_blobs(some).await?;
            let orphans: Vec<Hash32> = some.iter().filter(|blob| !needed.contains(blob)).copied().collect();
            self.remove(&orphans, "no message needs it").await?;
        }
        Ok(())
    }

    /// Removes these blobs. One that cannot be removed keeps no other, and is left to the next walk through the store.
    async fn remove(&self, blobs: &[Hash32], why: &'static str) -> Result<(), ProcessError> {
        // Since the store was last known to work.
        let mut failures = 0;
        for blob in blobs {
            let Err(error) = self.blobs.remove(*blob).await else {
                failures = 0;
                metrics::counter!("be8_images_swept_total").increment(1);
                tracing::debug!(%blob, why, "the content of an image was removed");
                continue;
            };
            metrics::counter!("be8_images_not_swept_total").increment(1);
            tracing::debug!(%blob, %error, "the content of an image was not removed");
            failures += 1;
            if failures == DOUBTS || matches!(error, MediaError::Late(_)) {
                self.blobs.works().await?;
                failures = 0;
            }
        }
        if failures > 0 { Ok(self.blobs.works().await?) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_walked_through_once_an_hour() {
        let mut walk = Walk::default();
        let noon: Timestamp = "2026-11-24T12:00:00.000000Z".parse().unwrap();
        for expected in 0..SHARDS {
            let part = walk.part(noon.plus(TimeDelta::seconds(i64::from(expected)))).unwrap();
            assert_eq!(part, expected);
            walk.done(part);
        }
        assert_eq!(walk.part(noon.plus(TimeDelta::minutes(59))), None);
        assert_eq!(walk.part(noon.plus(TimeDelta::minutes(60))), Some(0));
    }
}
