//! Strikes the hours: one event for each, on which the snapshots of the counters hang.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Process, ProcessError};
use crate::domain::hours::StrikeHour;
use crate::ledger::{Lead, Ledger};
use crate::support::clock::Clock;

/// An hour in microseconds.
const HOUR: i64 = 3_600_000_000;
/// The longest time between two looks at the clock, which may be turned.
const LOOK: Duration = Duration::from_secs(1);

/// The process that strikes them.
#[derive(Debug)]
pub struct HourTicker {
    /// Where to write.
    pub ledger: Ledger,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Process for HourTicker {
    fn name(&self) -> &'static str {
        "hours"
    }

    async fn tick(&self, lead: &mut Lead) -> Result<Duration, ProcessError> {
        // The checkpoint is the last hour that was struck, so the ledger need not be asked about it again.
        let hour = self.clock.now().micros().div_euclid(HOUR);
        if lead.checkpoint().await? < hour {
            self.ledger.execute(StrikeHour).await?;
            lead.save(hour).await?;
        }
        Ok(LOOK)
    }
}
