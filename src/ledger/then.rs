//! The state of any stream as it was at any position.

use be8_events::{Position, StreamName, Timestamp};
use serde::Serialize;

use super::{Direction, Log, LogError};
use crate::domain::{Occurred, State};

/// How many events are read at once.
const PAGE: u32 = 2000;

/// A stream as it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Then {
    /// Its name.
    pub stream: String,
    /// How many events it had.
    pub version: i64,
    /// The position of the newest of them.
    pub position: Position,
    /// Its time.
    pub time: Timestamp,
    /// What decisions saw of it: public facts and positions, never what is sealed.
    pub state: State,
}

/// The state of a stream behind the position `at`; none if it had no event.
///
/// # Errors
/// [`LogError`]
pub async fn state_then(log: &Log, stream: StreamName, at: Position) -> Result<Option<Then>, LogError> {
    let mut state = State::new(&stream);
    let mut newest: Option<(i64, Position, Timestamp)> = None;
    'pages: loop {
        let from = newest.map_or(1, |(version, ..)| version + 1);
        let page = log.read_stream(stream, from, Direction::Forwards, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for event in &page {
            if event.position > at {
                break 'pages;
            }
            state.evolve(Occurred { position: event.position, time: event.time, event: &event.event });
            newest = Some((event.version, event.position, event.time));
        }
    }
    let told = |(version, position, time)| Then { stream: stream.to_string(), version, position, time, state };
    Ok(newest.map(told))
}
