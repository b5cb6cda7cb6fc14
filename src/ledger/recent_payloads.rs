//! What this node has just sealed of messages, for those in this process who follow the log and would read it back otherwise.

use std::collections::VecDeque;
use std::sync::Arc;

use be8_events::{Position, Sealed};
use parking_lot::Mutex;

/// How many payloads are kept, and how many bytes of them: those of a few batches.
const KEPT: usize = 2048;
const BYTES: usize = 8 << 20;

/// Sealed payloads of messages, by the positions of their events. Only of appends of this node.
#[derive(Debug, Clone, Default)]
pub struct RecentPayloads(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    newest: VecDeque<(Position, Sealed)>,
    bytes: usize,
}

impl RecentPayloads {
    /// Keeps payloads that are durable now, in the order of their positions.
    pub(super) fn keep(&self, payloads: impl Iterator<Item = (Position, Sealed)>) {
        let mut kept = self.0.lock();
        for (position, sealed) in payloads {
            kept.bytes += sealed.bytes.len();
            kept.newest.push_back((position, sealed));
        }
        while kept.newest.len() > KEPT || kept.bytes > BYTES {
            let Some((_, oldest)) = kept.newest.pop_front() else { break };
            kept.bytes -= oldest.bytes.len();
        }
    }

    /// What was sealed for the event at this position, if it is kept.
    pub fn get(&self, position: Position) -> Option<Sealed> {
        let kept = self.0.lock();
        let nth = kept.newest.binary_search_by_key(&position, |(position, _)| *position).ok()?;
        kept.newest.get(nth).map(|(_, sealed)| sealed.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(bytes: usize) -> Sealed {
        Sealed { keys: vec![1, 2, 3], nonce: [0; 12], bytes: vec![7; bytes] }
    }

    #[test]
    fn the_newest_are_kept_within_bounds() {
        let fresh = RecentPayloads::default();
        fresh.keep((1..=3000).map(|position| (Position(position), sealed(1))));
        assert_eq!(fresh.get(Position(3000)), Some(sealed(1)));
        assert_eq!(fresh.get(Position(953)), Some(sealed(1)));
        assert_eq!(fresh.get(Position(952)), None);
        fresh.keep([(Position(3001), sealed(BYTES))].into_iter());
        assert_eq!((fresh.get(Position(3000)), fresh.get(Position(3001))), (None, Some(sealed(BYTES))));
    }
}
