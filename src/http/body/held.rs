//! The bytes of a body while it comes in: clients decide how long that is, so they have their place in a room.

use crate::http::error::{Code, WireError};
use crate::http::room::{Place, Room};

/// So much of each body is free: whoever sends little is served however many send much.
const FREE: usize = 64 * 1024;

/// The bytes of one body that is coming in, with their place in the room.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    most: usize,
    room: Option<Room>,
    place: Place,
}

impl Held {
    /// None yet; no more than `most` will come.
    pub(super) fn new(most: usize, room: Option<Room>) -> Self {
        Self { bytes: Vec::new(), most, room, place: Place::default() }
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
        let Some(room) = &self.room else { return Ok(()) };
        let more = places.saturating_sub(self.place.bytes());
        if more > 0 {
            self.place.merge(room.claim(more).ok_or(WireError::from(Code::Unavailable))?);
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
        let room = Room::new(100_000, None);
        let left = || room.left();
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
