//! Erasure: deleting the data keys of subjects.

use be8_events::erasure::Cause;
use be8_events::{StreamName, Subject};

use super::{Command, Decision, Stop, View};

/// Deletes the data keys of these subjects, as far as they have one that lives: what is sealed
/// under them can never be read again. The ledger names the keys in a `KeysDeleted` event.
#[derive(Debug, Clone)]
pub struct Erase {
    /// Whose keys.
    pub subjects: Vec<Subject>,
    /// Why.
    pub cause: Cause,
}

impl Command for Erase {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Erasure]
    }

    fn decide(&self, _view: &View<'_>) -> Result<Decision<()>, Stop> {
        let erase = self.subjects.iter().map(|&subject| (subject, self.cause)).collect();
        Ok(Decision { events: Vec::new(), erase, reply: () })
    }
}
