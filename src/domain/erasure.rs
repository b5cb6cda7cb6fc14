//! Erasure: deleting the data keys of subjects, on demand, and of what was to be kept until now and no
//! longer: the messages of a day, the names of destroyed groups.

#[cfg(test)]
mod tests;

use be8_events::erasure::Cause;
use be8_events::{Day, GroupId, StreamName, Subject, Timestamp};
use chrono::TimeDelta;

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

/// Erases the messages of days, as far as all messages of such a day have expired.
#[derive(Debug, Clone)]
pub struct ExpireDays {
    /// The days.
    pub days: Vec<Day>,
    /// The time that is trusted.
    pub now: Timestamp,
    /// How long a message is shown.
    pub lifetime: TimeDelta,
}

impl Command for ExpireDays {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Erasure]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        // The last message of a day has expired once the day that is a lifetime ago is a later one.
        let kept = self.now.min(view.now).plus(-self.lifetime).day();
        let over = self.days.iter().filter(|day| **day < kept);
        let erase = over.map(|&day| (Subject::Day(day), Cause::Expired)).collect();
        Ok(Decision { events: Vec::new(), erase, reply: () })
    }
}

/// Erases the names of destroyed groups, which were kept for the messages about their destruction
/// (docs/protocol.md, "How long messages are kept").
#[derive(Debug, Clone)]
pub struct ExpireGroupNames {
    /// Groups whose destruction is so long ago that no message of it is shown any more.
    pub groups: Vec<GroupId>,
}

impl Command for ExpireGroupNames {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        self.groups.iter().map(|group| StreamName::Group(*group)).chain([StreamName::Erasure]).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let mut decision = Decision::nothing(());
        for &group in &self.groups {
            if !view.group(group)?.lives() {
                decision.erase.push((Subject::GroupName(group), Cause::Expired));
            }
        }
        Ok(decision)
    }
}
