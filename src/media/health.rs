//! Whether the store of images answers: a warning once a minute, a gauge, and a line for `/readyz`.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often at most a warning says that the store fails.
const WARNING: Duration = Duration::from_secs(60);

/// What became of the newest request to the store.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    fails: bool,
    warned: Option<Instant>,
    /// How many requests failed since the last warning.
    failures: u64,
}

impl Health {
    /// The store answered as it should.
    pub(super) fn answers(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.fails) {
            tracing::info!("the store of images answers again");
        }
        metrics::gauge!("be8_image_store_failing").set(0.0);
    }

    /// The store failed.
    pub(super) fn failed(&self, error: &dyn Display) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.fails = true;
        state.failures += 1;
        metrics::gauge!("be8_image_store_failing").set(1.0);
        metrics::counter!("be8_image_store_errors_total").increment(1);
        if state.warned.is_none_or(|at| at.elapsed() >= WARNING) {
            let failures = std::mem::take(&mut state.failures);
            tracing::warn!(%error, failures, "the store of images fails");
            state.warned = Some(Instant::now());
        }
    }

    /// Whether the newest request failed.
    pub(super) fn fails(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fails
    }
}
