//! Waiting for a verdict: as long as the loop works, but no longer than the patience of the ledger for a command that was not
//! taken up while the database does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use be8_database::Pool;
use tokio::sync::oneshot;

use super::LedgerError;

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// How often a command that waits for longer than it should looks whether the loop works.
const AGAIN: Duration = Duration::from_millis(100);

/// Whether a command was taken up or given up: one of them, once.
#[derive(Debug, Clone, Default)]
pub(super) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    /// Takes the command up; not if it was given up.
    pub(super) fn begin(&self) -> bool {
        self.turn_into(BEGUN)
    }

    fn turn_into(&self, state: u8) -> bool {
        self.0.compare_exchange(WAITING, state, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Waits for the verdict.
    ///
    /// # Errors
    /// The verdict, or [`LedgerError::Unavailable`] for a command that was never taken up.
    pub(super) async fn verdict<T>(
        &self,
        mut reply: oneshot::Receiver<Result<T, LedgerError>>,
        pool: &Pool,
        patience: Duration,
    ) -> Result<T, LedgerError> {
        let mut wait = patience;
        loop {
            match tokio::time::timeout(wait, &mut reply).await {
                Ok(Ok(verdict)) => return verdict,
                // The loop ended without one.
                Ok(Err(_)) if self.0.load(Ordering::SeqCst) == BEGUN => return Err(LedgerError::OutcomeUnknown),
                Ok(Err(_)) => return Err(LedgerError::Unavailable),
                Err(_) if pool.is_stalled() && self.turn_into(GIVEN_UP) => return Err(LedgerError::Unavailable),
                Err(_) => wait = AGAIN,
            }
        }
    }
}
