//! A change on its way to a stream, and its id there.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use be8_events::Position;
use tokio::sync::OnceCell;

use super::change::Change;

/// The id of a change in a stream: `P-n`, the log position of the event and which of the
/// account's changes of that event it is, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeId {
    /// The position of the event.
    pub position: Position,
    /// Which of its changes.
    pub nth: u32,
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.position, self.nth)
    }
}

/// A text that is no id of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoChangeId;

impl FromStr for ChangeId {
    type Err = NoChangeId;

    /// Reads `P-n`, and a bare `P`, which means that all of the event was seen.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (position, nth) = match text.split_once('-') {
            Some((position, nth)) if digits(nth) => (position, nth.parse().map_err(|_| NoChangeId)?),
            Some(_) => return Err(NoChangeId),
            None => (text, u32::MAX),
        };
        if !digits(position) {
            return Err(NoChangeId);
        }
        Ok(Self { position: Position(position.parse().map_err(|_| NoChangeId)?), nth })
    }
}

/// A change as all its recipients share it, with room for what is written to the client, so that
/// it is made once.
#[derive(Debug)]
pub struct Shared {
    /// The change.
    pub change: Change,
    /// The text for the client, once somebody made it.
    pub rendered: OnceCell<Arc<str>>,
}

impl Shared {
    /// A change that nobody has written yet.
    pub fn new(change: Change) -> Arc<Self> {
        Arc::new(Self { change, rendered: OnceCell::new() })
    }
}

/// A change for one stream.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where it stands.
    pub id: ChangeId,
    /// The change.
    pub shared: Arc<Shared>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_of_ours_are_read() {
        let id = |position, nth| ChangeId { position: Position(position), nth };
        assert_eq!("17-0".parse(), Ok(id(17, 0)));
        assert_eq!("17".parse(), Ok(id(17, u32::MAX)));
        for bad in ["", "-", "17-", "-0", "+1-0", "17-x", "17 ", "99999999999999999999", "1-2-3"] {
            assert_eq!(bad.parse::<ChangeId>(), Err(NoChangeId), "{bad}");
        }
    }
}
