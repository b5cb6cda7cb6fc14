//! What the operator does to the sessions of an account.

#[cfg(test)]
mod tests;

use be8_events::session::Ending;
use be8_events::{AccId, Event, Hash32, SessionEvent, StreamName};

use super::session::ends;
use super::{Command, Decision, Stop, View};

/// Ends sessions of an account.
#[derive(Debug, Clone)]
pub struct EndSessions {
    /// Whose sessions.
    pub account: AccId,
    /// Which, by the hashes of their tokens.
    pub sessions: Vec<Hash32>,
}

impl Command for EndSessions {
    /// How many there were to end.
    type Reply = usize;

    fn streams(&self) -> Vec<StreamName> {
        let sessions = self.sessions.iter().map(|session| StreamName::Session(*session));
        sessions.chain([StreamName::Devices(self.account)]).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<usize>, Stop> {
        let events = ends(view, self.account, &self.sessions, Ending::Operator)?;
        let count =
            events.iter().filter(|new| matches!(new.event, Event::Session(SessionEvent::SessionEnded(_)))).count();
        Ok(Decision::events(events, count))
    }
}
