//! The bytes of a body while it comes in: clients decide how long that is, so the memory for them is bounded.

use poem::Request;

use crate::http::request::byte_budget::{ByteBudget, Reservation};
use crate::http::request::resolved::Resolved;
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// How many bytes of the bodies that come in over one connection are not counted: a client that sends little is served
/// however many others send much.
const FREE: usize = 64 * 1024;

/// The uncounted share of one connection. Its requests have it together: HTTP/2 sends a hundred at once.
#[derive(Clone, Debug)]
pub struct FreeShare(ByteBudget);

impl Default for FreeShare {
    fn default() -> Self {
        Self(ByteBudget::new(FREE, None))
    }
}

/// The memory that a body may take.
#[derive(Clone, Debug)]
pub struct BodyMemory {
    /// Of its connection, not counted.
    free: FreeShare,
    /// Of all bodies together.
    shared: ByteBudget,
}

impl BodyMemory {
    /// That of a request. None: there is no bound.
    pub fn of(request: &Request) -> Option<Self> {
        let Resolved { rule, common, .. } = Resolved::of(request);
        // Those that take turns are few, and nobody else's bodies shall keep them out.
        let shared = common.as_ref().filter(|_| !rule.is_some_and(|rule| rule.large_bodies))?.memory.clone();
        Some(Self { free: request.data::<FreeShare>().cloned().unwrap_or_default(), shared })
    }
}

/// What a body has taken of it, until this is dropped.
#[derive(Debug, Default)]
pub struct Claimed {
    free: Reservation,
    shared: Reservation,
}

/// The bytes of one body that is coming in, with what they have claimed.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    most: usize,
    memory: Option<BodyMemory>,
    claimed: Claimed,
}

impl Held {
    /// None yet; no more than `most` will come.
    pub(super) fn new(most: usize, memory: Option<BodyMemory>) -> Self {
        Self { bytes: Vec::new(), most, memory, claimed: Claimed::default() }
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes in a piece, if memory is left for it.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), WireError> {
        let length = self.bytes.len() + piece.len();
        if length > self.bytes.capacity() {
            // At least doubled, so that a body is copied a few times and not once a piece.
            let capacity = length.max((self.bytes.capacity() * 2).min(self.most));
            self.claim(capacity)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Claims this many bytes in total, first from what is not counted.
    fn claim(&mut self, bytes: usize) -> Result<(), WireError> {
        let Some(BodyMemory { free, shared }) = &self.memory else { return Ok(()) };
        let claimed = &mut self.claimed;
        let missing = |claimed: &Claimed| bytes.saturating_sub(claimed.free.bytes() + claimed.shared.bytes());
        claimed.free.merge(free.0.claim_some(missing(claimed)));
        let more = missing(claimed);
        if more > 0 {
            claimed.shared.merge(shared.claim(more).ok_or(WireError::from(Code::Unavailable))?);
        }
        Ok(())
    }

    /// The bytes, and what they claimed, which is theirs as long as what is made of them is there.
    pub(super) fn into_parts(self) -> (Vec<u8>, Claimed) {
        (self.bytes, self.claimed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_claimed_and_given_back() {
        let budget = ByteBudget::new(100_000, None);
        let left = || budget.left();
        let memory = || Some(BodyMemory { free: FreeShare::default(), shared: budget.clone() });
        let (mut one, mut other) = (Held::new(1 << 20, memory()), Held::new(1 << 20, memory()));
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
        let (bytes, reservation) = one.into_parts();
        assert_eq!((bytes.len(), bytes[FREE - 1], bytes[FREE]), (2 * FREE, 1, 2));
        drop(bytes);
        assert_eq!(left(), 100_000 - FREE, "what was made of them is still there");
        drop(reservation);
        assert_eq!(left(), 100_000);
        other.push(&[5; 1]).unwrap();
        assert_eq!(left(), 100_000 - FREE);
        drop(other);
        assert_eq!(left(), 100_000);
        // No more than can come.
        let mut last = Held::new(FREE + 2, memory());
        last.push(&[6; FREE]).unwrap();
        last.push(&[7; 1]).unwrap();
        assert_eq!(left(), 100_000 - 2);
        Held::new(1 << 20, None).push(&[0; 10 * FREE]).unwrap();
    }

    #[test]
    fn the_bodies_of_a_connection_have_one_free_share_together() {
        // Given a connection over which three bodies come in at once
        let budget = ByteBudget::new(FREE, None);
        let memory = BodyMemory { free: FreeShare::default(), shared: budget.clone() };
        let held = || Held::new(1 << 20, Some(memory.clone()));
        let (mut first, mut second, mut third) = (held(), held(), held());
        // when the first two take more than the share, then what is beyond it is counted,
        first.push(&[1; FREE - 1000]).unwrap();
        assert_eq!(budget.left(), FREE);
        second.push(&[2; 3000]).unwrap();
        assert_eq!(budget.left(), FREE - 2000);
        // and when nothing is left of either, then another body is refused,
        second.push(&[2; FREE - 5000]).unwrap();
        third.push(&[3; 3000]).unwrap();
        assert_eq!(budget.left(), 0);
        assert_eq!(third.push(&[3; 1]), Err(Code::Unavailable.into()));
        // but one over another connection has a share of its own.
        let other = BodyMemory { free: FreeShare::default(), shared: budget.clone() };
        Held::new(1 << 20, Some(other)).push(&[4; FREE]).unwrap();
        // When the first one ends, its part of the share can be used again.
        drop((first, third));
        assert_eq!(budget.left(), 3000);
        held().push(&[5; FREE - 1000]).unwrap();
        drop(second);
        assert_eq!(budget.left(), FREE);
    }
}
