//! What a stream missed: read from the streams of the account's threads, by position.

use std::fmt;
use std::str::FromStr;

use be8_events::{AccId, Event, Position, Recorded, StreamName, ThreadId};

use super::change::changes_for;
use super::hub::{Delivery, Shared};
use crate::ledger::{Log, LogError};

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

/// Beyond this many missed changes a stream gets one `newMessage` a thread instead.
const MOST: usize = 1000;

/// The changes of an account behind `seen`, up to and including the position `until`.
///
/// # Errors
/// [`LogError`]
pub async fn missed(
    log: &Log,
    account: AccId,
    threads: &[ThreadId],
    seen: ChangeId,
    until: Position,
) -> Result<Vec<Delivery>, LogError> {
    let streams: Vec<StreamName> = threads.iter().flat_map(streams_of).collect();
    // One event brings an account at most one change per sender of messages that it read, so
    // reading one event more than fits is enough to know that there are too many.
    let after = Position(seen.position.0.saturating_sub(1));
    let events = log.read_streams(&streams, after, until, MOST as u32 + 1).await?;
    let changes: Vec<Delivery> =
        events.iter().flat_map(|event| deliveries(event, account)).filter(|delivery| delivery.id > seen).collect();
    if changes.len() <= MOST {
        return Ok(changes);
    }
    let newest = log.newest_of_streams(&streams, seen.position, until).await?;
    Ok(newest
        .iter()
        .filter(|event| matches!(event.event, Event::MessageWritten(_) | Event::ConversationStarted(_)))
        .flat_map(|event| deliveries(event, account))
        .filter(|delivery| matches!(delivery.shared.change, super::Change::NewMessage { .. }))
        .collect())
}

fn deliveries(event: &Recorded, account: AccId) -> Vec<Delivery> {
    let numbered = changes_for(event, account).into_iter().zip(0..);
    numbered
        .map(|(change, nth)| Delivery { id: ChangeId { position: event.position, nth }, shared: Shared::new(change) })
        .collect()
}

/// The streams whose events are told to those who take part in a thread.
fn streams_of(thread: &ThreadId) -> Vec<StreamName> {
    match *thread {
        ThreadId::Dialog { initiator, receiver } => {
            vec![StreamName::dialog(initiator, receiver), StreamName::Reads(*thread)]
        }
        ThreadId::Group(_) | ThreadId::System(_) => Vec::new(),
    }
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
