//! Sweeps the expired answers under idempotency keys: those of removed accounts, and what
//! is older than a day.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Process, ProcessError};
use crate::ledger::{Lead, Ledger};
use crate::support::clock::Clock;

/// How many of each kind are deleted at once: few enough to be in nobody's way.
const MOST: u32 = 1000;
/// The pause when there was nothing to do, or little.
const PAUSE: Duration = Duration::from_secs(2);
/// The pause when there is more.
const PAUSE_BETWEEN_STEPS: Duration = Duration::from_millis(20);

/// The process that sweeps.
#[derive(Debug)]
pub struct AnswerSweeper {
    /// Where the answers are.
    pub ledger: Ledger,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Process for AnswerSweeper {
    fn name(&self) -> &'static str {
        "answers"
    }

    async fn tick(&self, _: &mut Lead) -> Result<Duration, ProcessError> {
        let swept = self.ledger.sweep_answers(self.clock.now(), MOST).await?;
        metrics::counter!("be8_idempotency_swept_total").increment(swept);
        Ok(if swept < u64::from(MOST) { PAUSE } else { PAUSE_BETWEEN_STEPS })
    }
}
