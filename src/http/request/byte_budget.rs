//! A budget of bytes: what many connections may hold together, so that memory is bounded however many there are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A number of bytes that many share.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    free: Arc<Semaphore>,
    size: usize,
    /// The name of the gauge that says how much of it is taken.
    gauge: Option<&'static str>,
}

/// Some bytes of a budget, until it is dropped.
#[derive(Debug, Default)]
pub(in crate::http) struct Reservation {
    permit: Option<OwnedSemaphorePermit>,
    gauge: Option<&'static str>,
}

impl ByteBudget {
    /// Of this many bytes, which `gauge` reports.
    pub fn new(bytes: usize, gauge: Option<&'static str>) -> Self {
        // More cannot be claimed at once.
        let size = bytes.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self { free: Arc::new(Semaphore::new(size)), size, gauge }
    }

    /// This many bytes, or all that there are if they are more.
    pub(in crate::http) fn at_most(&self, bytes: usize) -> usize {
        bytes.min(self.size)
    }

    /// This many bytes, if they are free now.
    pub(in crate::http) fn claim(&self, bytes: usize) -> Option<Reservation> {
        let count = u32::try_from(bytes).ok()?;
        self.free.clone().try_acquire_many_owned(count).ok().map(|permit| self.reserve(permit))
    }

    /// As many of these bytes as are free now, which may be none.
    pub(in crate::http) fn claim_some(&self, bytes: usize) -> Reservation {
        loop {
            match bytes.min(self.free.available_permits()) {
                0 => return Reservation::default(),
                // Another one may have been faster: it took some, so that this ends.
                some => {
                    if let Some(reservation) = self.claim(some) {
                        return reservation;
                    }
                }
            }
        }
    }

    /// This many bytes, waiting in line for them; none when the patience has run out.
    pub(in crate::http) async fn wait(&self, bytes: usize, patience: Duration) -> Option<Reservation> {
        let count = u32::try_from(bytes).ok()?;
        // Nobody closes the semaphore.
        let permit = timeout(patience, self.free.clone().acquire_many_owned(count)).await.ok()?.ok()?;
        Some(self.reserve(permit))
    }

    fn reserve(&self, permit: OwnedSemaphorePermit) -> Reservation {
        if let Some(gauge) = self.gauge {
            metrics::gauge!(gauge).increment(permit.num_permits() as f64);
        }
        Reservation { permit: Some(permit), gauge: self.gauge }
    }

    #[cfg(test)]
    pub(in crate::http) fn left(&self) -> usize {
        self.free.available_permits()
    }
}

impl Reservation {
    /// For how many bytes.
    pub(in crate::http) fn bytes(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Takes in another reservation of the same budget.
    pub(in crate::http) fn merge(&mut self, mut other: Self) {
        match (&mut self.permit, other.permit.take()) {
            (Some(permit), Some(more)) => permit.merge(more),
            (None, more) => (self.permit, self.gauge) = (more, other.gauge),
            (Some(_), None) => {}
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let (Some(gauge), 1..) = (self.gauge, self.bytes()) {
            metrics::gauge!(gauge).decrement(self.bytes() as f64);
        }
    }
}
