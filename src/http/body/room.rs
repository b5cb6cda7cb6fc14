//! The memory that all bodies together may take while they come in: clients decide how long that is.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::error::{Code, WireError};

/// So much of each body is free: whoever sends little is served however many send much.
const FREE: usize = 64 * 1024;

/// The memory for bodies. Set it as request data to bound it; without it there is no bound.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Room {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }
}

/// The place of a body in the room.
#[derive(Debug, Default)]
pub(in crate::http) struct Place(Option<OwnedSemaphorePermit>);

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.is_some() {
            gauge().decrement(self.claimed() as f64);
        }
    }
}

impl Place {
    fn claimed(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

/// The bytes of one body that is coming in, with their place in the room.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    most: usize,
    room: Option<Room>,
    place: Place,
}

/// What the bodies of this server have claimed.
fn gauge() -> metrics::Gauge {
    metrics::gauge!("be8_body_bytes")
}

impl Held {
    /// None yet; no more than `most` will come.
    pub(super) const fn new(most: usize, room: Option<Room>) -> Self {
        Self { bytes: Vec::new(), most, room, place: Place(None) }
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes in a piece, if there is room for it.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), WireError> {
        let length = self.bytes.len() + piece.len();
        if length > self.bytes.capacity() {
            // At least doubled, so that a body is copied a few times and not once a piece.
            let capacity = length.max((self.bytes.capacity() * 2).min(self.most));
            self.claim(capacity.saturating_sub(FREE))?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Claims so many places altogether.
    fn claim(&mut self, places: usize) -> Result<(), WireError> {
        let Some(Room(room)) = &self.room else { return Ok(()) };
        let more = places.saturating_sub(self.place.claimed());
        if more > 0 {
            let count = u32::try_from(more).map_err(|_| WireError::from(Code::TooLarge))?;
            let claimed = room.clone().try_acquire_many_owned(count).map_err(|_| WireError::from(Code::Unavailable))?;
            match &mut self.place.0 {
                Some(places) => places.merge(claimed),
                None => self.place.0 = Some(claimed),
            }
            gauge().increment(more as f64);
        }
        Ok(())
    }

    /// The bytes, and their place, which is theirs as long as what is made of them is there.
    pub(super) fn into_parts(self) -> (Vec<u8>, Place) {
        (self.bytes, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_claimed_and_given_back() {
        let room = Room::new(100_000);
        let left = || room.0.available_permits();
        let (mut one, mut other) = (Held::new(1 << 20, Some(room.clone())), Held::new(1 << 20, Some(room.clone())));
        one.push(&[1; FREE]).unwrap();
        assert_eq!(left(), 100_000, "little is free");
        one.push(&[2; 1]).unwrap();
        assert_eq!(left(), 100_000 - FREE, "twice as much memory as before");
        one.push(&[3; FREE - 1]).unwrap();
        assert_eq!(left(), 100_000 - FREE, "which is full now");
        // Nothing is taken where there is not enough for all.
        other.push(&[4; FREE]).unwrap();
        assert_eq!(other.push(&[5; 1]), Err(Code::Unavailable.into()));
        assert_eq!((left(), other.len()), (100_000 - FREE, FREE));
        let (bytes, place) = one.into_parts();
        assert_eq!((bytes.len(), bytes[FREE - 1], bytes[FREE]), (2 * FREE, 1, 2));
        drop(bytes);
        assert_eq!(left(), 100_000 - FREE, "what was made of them is still there");
        drop(place);
        assert_eq!(left(), 100_000);
        other.push(&[5; 1]).unwrap();
        assert_eq!(left(), 100_000 - FREE);
        drop(other);
        assert_eq!(left(), 100_000);
        // No more than can come.
        let mut last = Held::new(FREE + 2, Some(room.clone()));
        last.push(&[6; FREE]).unwrap();
        last.push(&[7; 1]).unwrap();
        assert_eq!(left(), 100_000 - 2);
        Held::new(1 << 20, None).push(&[0; 10 * FREE]).unwrap();
    }
}
