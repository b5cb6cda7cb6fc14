//! Frees the bytes of what can never be read again: what deleted keys had sealed. The log keeps the
//! hashes, so its proofs stay whole.

use std::time::Duration;

use async_trait::async_trait;
use be8_events::erasure::DeletedKey;
use be8_events::{ErasureEvent, Event, Position, StreamName};

use super::{Process, ProcessError};
use crate::ledger::{Lead, Log, LogError, SweepConnector};

/// How often the process looks for deleted keys.
const LOOK: Duration = Duration::from_secs(1);
/// How many deletions are read at once.
const PAGE: u32 = 20;

/// The process that sweeps. Its checkpoint is the position of the newest deletion that is done with.
#[derive(Debug)]
pub struct Sweeping {
    /// Where deletions are read.
    pub log: Log,
    /// What sweeps.
    pub sweepers: SweepConnector,
}

/// The next deletions of keys after a position.
///
/// # Errors
/// [`LogError`]
pub async fn deletions(log: &Log, after: Position) -> Result<Vec<(Position, Vec<DeletedKey>)>, LogError> {
    let newest = log.newest().await?;
    let events = log.read_streams(&[StreamName::Erasure], after, newest, PAGE).await?;
    let deleted = events.into_iter().filter_map(|recorded| match recorded.event {
        Event::Erasure(ErasureEvent::KeysDeleted(deleted)) => Some((recorded.position, deleted.keys)),
        _ => None,
    });
    Ok(deleted.collect())
}

#[async_trait]
impl Process for Sweeping {
    fn name(&self) -> &'static str {
        SWEEPING
    }

    async fn tick(&self, lead: &mut Lead) -> Result<Duration, ProcessError> {
        let after = Position(lead.checkpoint().await?);
        let page = deletions(&self.log, after).await?;
        if page.is_empty() {
            return Ok(LOOK);
        }
        let mut sweeper = self.sweepers.take().await?;
        for (position, keys) in page {
            for key in &keys {
                sweeper.sweep(key).await?;
            }
            lead.save_position(position).await?;
        }
        sweeper.close().await;
        Ok(Duration::ZERO)
    }
}

/// The name of the process, of its lock and of its checkpoint.
pub const SWEEPING: &str = "sweep";
