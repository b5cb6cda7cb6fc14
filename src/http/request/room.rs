//! A room for bytes: what many connections may hold together, so that memory is bounded however many there are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Room for a number of bytes.
#[derive(Clone, Debug)]
pub struct Room {
    places: Arc<Semaphore>,
    size: usize,
    /// The name of the gauge that says how much of it is taken.
    gauge: Option<&'static str>,
}

/// The place of some bytes, as long as it is held.
#[derive(Debug, Default)]
pub(in crate::http) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    gauge: Option<&'static str>,
}

impl Room {
    /// Of this many bytes, which `gauge` reports.
    pub fn new(bytes: usize, gauge: Option<&'static str>) -> Self {
        // More cannot be claimed at once.
        let size = bytes.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self { places: Arc::new(Semaphore::new(size)), size, gauge }
    }

    /// This many bytes, or all that it has room for if they are more.
    pub(in crate::http) fn at_most(&self, bytes: usize) -> usize {
        bytes.min(self.size)
    }

    /// A place, if there is one now.
    pub(in crate::http) fn claim(&self, bytes: usize) -> Option<Place> {
        let count = u32::try_from(bytes).ok()?;
        self.places.clone().try_acquire_many_owned(count).ok().map(|permit| self.place(permit))
    }

    /// A place for as many of these bytes as there is room for now, which may be none.
    pub(in crate::http) fn claim_some(&self, bytes: usize) -> Place {
        loop {
            match bytes.min(self.places.available_permits()) {
                0 => return Place::default(),
                // Another one may have been faster: it took some, so that this ends.
                some => {
                    if let Some(place) = self.claim(some) {
                        return place;
                    }
                }
            }
        }
    }

    /// A place, waiting in line for it; none when the patience has run out.
    pub(in crate::http) async fn wait(&self, bytes: usize, patience: Duration) -> Option<Place> {
        let count = u32::try_from(bytes).ok()?;
        // Nobody closes the semaphore.
        let permit = timeout(patience, self.places.clone().acquire_many_owned(count)).await.ok()?.ok()?;
        Some(self.place(permit))
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        if let Some(gauge) = self.gauge {
            metrics::gauge!(gauge).increment(permit.num_permits() as f64);
        }
        Place { permit: Some(permit), gauge: self.gauge }
    }

    #[cfg(test)]
    pub(in crate::http) fn left(&self) -> usize {
        self.places.available_permits()
    }
}

impl Place {
    /// For how many bytes.
    pub(in crate::http) fn bytes(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Takes another place of the same room in.
    pub(in crate::http) fn merge(&mut self, mut other: Self) {
        match (&mut self.permit, other.permit.take()) {
            (Some(permit), Some(more)) => permit.merge(more),
            (None, more) => (self.permit, self.gauge) = (more, other.gauge),
            (Some(_), None) => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (Some(gauge), 1..) = (self.gauge, self.bytes()) {
            metrics::gauge!(gauge).decrement(self.bytes() as f64);
        }
    }
}
