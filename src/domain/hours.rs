//! The hours: one event for each full hour, however many nodes strike it.

use be8_events::server::HourStruck;
use be8_events::{NewEvent, ServerEvent, StreamName, Subject, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Command, Decision, Stop, View};

/// An hour in microseconds.
const HOUR: i64 = 3_600_000_000;

/// The state of the stream `clock`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hours {
    /// The hour that struck last.
    last: Option<Timestamp>,
}

impl Hours {
    pub(super) const fn evolve(&mut self, event: &ServerEvent) {
        match event {
            ServerEvent::HourStruck(e) => self.last = Some(e.hour),
            // In streams of their own.
            ServerEvent::LinkCounted(_) | ServerEvent::HistoriesCommitted(_) => {}
        }
    }
}

/// Strikes the hour, if it has not struck yet.
#[derive(Debug, Clone, Copy)]
pub struct StrikeHour;

impl Command for StrikeHour {
    /// Whether it had not struck yet.
    type Reply = bool;

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Clock]
    }

    fn keys(&self) -> Vec<Subject> {
        // Tokens are known by fingerprints under the server's key, and have no event before it: a
        // log has it from its first hour on.
        vec![Subject::Server]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<bool>, Stop> {
        let hour = Timestamp::from_micros(view.now.micros().div_euclid(HOUR) * HOUR);
        if view.hours()?.last.is_some_and(|last| last >= hour) {
            return Ok(Decision::nothing(false));
        }
        let event = HourStruck { hour }.into();
        let struck = NewEvent { stream: StreamName::Clock, actor: None, event, secret: None };
        Ok(Decision::events(vec![struck], true))
    }
}
