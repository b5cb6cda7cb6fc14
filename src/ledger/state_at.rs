//! The state of any stream as it was at any position.

use be8_events::{Position, StreamName, Timestamp};
use futures_util::TryStreamExt;
use serde::Serialize;

use super::{Log, LogError};
use crate::domain::{Occurred, State};

/// A stream as it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateAt {
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

/// The state of a stream after the position `at`; none if it had no event.
///
/// # Errors
/// [`LogError`]
pub async fn state_at(log: &Log, stream: StreamName, at: Position) -> Result<Option<StateAt>, LogError> {
    let mut state = State::new(&stream);
    let mut newest: Option<(i64, Position, Timestamp)> = None;
    let mut pages = std::pin::pin!(log.whole_stream(stream));
    while let Some(page) = pages.try_next().await? {
        let len = page.len();
        let then: Vec<_> = page.into_iter().take_while(|event| event.position <= at).collect();
        for event in &then {
            state.evolve(Occurred { position: event.position, event: &event.event });
            newest = Some((event.version, event.position, event.time));
        }
        if then.len() < len {
            break;
        }
    }
    let found = |(version, position, time)| StateAt { stream: stream.to_string(), version, position, time, state };
    Ok(newest.map(found))
}
