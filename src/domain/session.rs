//! Sessions: a token, known by its hash, speaks for one account until it ends.

use be8_events::{AccId, Event};
use serde::{Deserialize, Serialize};

use super::Occurred;

/// The state of a `session-H` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    account: Option<AccId>,
}

impl Session {
    /// The account, while the session is open.
    pub const fn account(&self) -> Option<AccId> {
        self.account
    }

    pub(super) fn evolve(&mut self, occurred: Occurred<'_>) {
        match occurred.event {
            Event::SessionOpened(e) => self.account = Some(e.account),
            Event::SessionEnded(_) => self.account = None,
            _ => {} // no other kind is in this stream
        }
    }
}
