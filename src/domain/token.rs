//! Tokens: what the operator issues and accounts use to live longer.

use be8_events::token::Grant;
use be8_events::{AccId, Event};
use serde::{Deserialize, Serialize};

use super::Occurred;

/// The state of a `token-HMAC` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// What it gives; none while it was not issued, is used up or revoked.
    grant: Option<Grant>,
    /// Who has it, of an endless one.
    taken_by: Option<AccId>,
}

impl Token {
    /// What it gives; none while it was not issued, is used up or revoked.
    pub const fn grant(&self) -> Option<Grant> {
        self.grant
    }

    /// Who has it, of an endless one.
    pub const fn taken_by(&self) -> Option<AccId> {
        self.taken_by
    }

    pub(super) fn evolve(&mut self, occurred: Occurred<'_>) {
        match occurred.event {
            Event::TokenIssued(e) => self.grant = Some(e.grant),
            Event::TokenTaken(e) => self.taken_by = Some(e.by),
            Event::TokenFreed(_) => self.taken_by = None,
            Event::TokenConsumed(_) | Event::TokenRevoked(_) => self.grant = None,
            _ => {} // no other kind is in this stream
        }
    }
}
