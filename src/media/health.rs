//! Whether the store of images answers: a warning once a minute, a gauge, and a line for `/readyz`.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::occasional::Occasional;

/// What became of the newest request to the store.
#[derive(Debug)]
pub(super) struct Health {
    fails: AtomicBool,
    /// The folder is not the one which it was, and that is why.
    unmounted: AtomicBool,
    failures: Occasional,
}

impl Default for Health {
    fn default() -> Self {
        Self { fails: AtomicBool::new(false), unmounted: AtomicBool::new(false), failures: Occasional::new() }
    }
}

impl Health {
    /// The store answered as it should.
    pub(super) fn answers(&self) {
        if self.fails.swap(false, Ordering::SeqCst) {
            tracing::info!("the store of images answers again");
        }
        metrics::gauge!("be8_image_store_failing").set(0.0);
    }

    /// The store failed.
    pub(super) fn failed(&self, error: &dyn Display) {
        self.fails.store(true, Ordering::SeqCst);
        metrics::gauge!("be8_image_store_failing").set(1.0);
        metrics::counter!("be8_image_store_errors_total").increment(1);
        if let Some(failures) = self.failures.count() {
            tracing::warn!(%error, failures, "the store of images fails");
        }
    }

    /// The folder is not the one which it was.
    pub(super) fn unmounted(&self, error: &dyn Display) {
        self.unmounted.store(true, Ordering::SeqCst);
        self.failed(error);
    }

    /// The folder is the one which it was. Another failure is over when a request says so.
    pub(super) fn mounted(&self) {
        if self.unmounted.swap(false, Ordering::SeqCst) {
            self.answers();
        }
    }

    /// What is to be said of the store, if the newest request failed.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        let fails = self.fails.load(Ordering::SeqCst);
        fails.then(|| match self.unmounted.load(Ordering::SeqCst) {
            true => "the folder of images is not the one that it was: its disk may not be mounted",
            false => "the store of images does not answer as it should",
        })
    }
}
