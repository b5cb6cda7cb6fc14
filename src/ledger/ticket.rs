//! Waiting for a verdict: as long as PostgreSQL answers the loop, but no longer than the patience of the ledger for a command of
//! which nothing was sent to PostgreSQL yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use be8_database::Pool;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::LedgerError;

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// How often a command that waits for longer than it should looks whether PostgreSQL answers.
const AGAIN: Duration = Duration::from_millis(100);

/// When PostgreSQL last answered the loop, which asks it twice a second at least.
#[derive(Debug, Clone)]
pub(super) struct Answers(Arc<Mutex<Instant>>);

impl Answers {
    /// It answers now.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// It has answered.
    pub(super) fn note(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Whether it has not answered for so long.
    pub(super) fn lack_for(&self, time: Duration) -> bool {
        self.0.lock().elapsed() > time
    }
}

/// Whether an append with the command was begun, or the command was given up before: one of them, once.
#[derive(Debug, Clone, Default)]
pub(super) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    /// Whether somebody waits for the command.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::SeqCst) != GIVEN_UP
    }

    /// Begins: from here on the command may be written. Not if it was given up.
    pub(super) fn begin(&self) -> bool {
        self.turn_into(BEGUN) || self.is_wanted()
    }

    fn turn_into(&self, state: u8) -> bool {
        self.0.compare_exchange(WAITING, state, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Waits for the verdict.
    ///
    /// # Errors
    /// The verdict, or [`LedgerError::Unavailable`] for a command that was never begun.
    pub(super) async fn verdict<T>(
        &self,
        mut reply: oneshot::Receiver<Result<T, LedgerError>>,
        pool: &Pool,
        answers: &Answers,
        patience: Duration,
    ) -> Result<T, LedgerError> {
        let mut wait = patience;
        loop {
            match tokio::time::timeout(wait, &mut reply).await {
                Ok(Ok(verdict)) => return verdict,
                // The loop ended without one.
                Ok(Err(_)) if self.0.load(Ordering::SeqCst) == BEGUN => return Err(LedgerError::OutcomeUnknown),
                Ok(Err(_)) => return Err(LedgerError::Unavailable),
                Err(_) => {}
            }
            let silent = pool.is_stalled() || answers.lack_for(patience);
            if silent && self.turn_into(GIVEN_UP) {
                return Err(LedgerError::Unavailable);
            }
            wait = AGAIN;
        }
    }
}
