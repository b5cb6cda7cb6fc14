//! The commitments to how far each history goes: the stream `histories`.

use be8_events::server::HistoriesCommitted;
use be8_events::{Hash32, NewEvent, Position, ServerEvent, StreamName};
use serde::{Deserialize, Serialize};

use super::{Command, Decision, Stop, View};

/// The state of the stream `histories`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histories {
    /// Up to where the last map went.
    until: Position,
}

impl Histories {
    pub(super) const fn evolve(&mut self, event: &ServerEvent) {
        match event {
            ServerEvent::HistoriesCommitted(e) => self.until = e.until,
            // In streams of their own.
            ServerEvent::LinkCounted(_) | ServerEvent::HourStruck(_) => {}
        }
    }
}

/// Commits to the map of histories, unless one that goes further was committed to already.
#[derive(Debug, Clone, Copy)]
pub struct CommitHistories {
    /// The last event that the map covers.
    pub until: Position,
    /// Its root.
    pub root: Hash32,
}

impl Command for CommitHistories {
    /// Whether it is committed to.
    type Reply = bool;

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Histories]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<bool>, Stop> {
        let Self { until, root } = *self;
        if view.histories()?.until > until {
            return Ok(Decision::nothing(false));
        }
        let event = HistoriesCommitted { until, root }.into();
        let committed = NewEvent { stream: StreamName::Histories, actor: None, event, secret: None };
        Ok(Decision::events(vec![committed], true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::World;

    #[test]
    fn a_map_that_goes_back_is_not_committed_to() {
        let mut world = World::new();
        let map = |until| CommitHistories { until: Position(until), root: Hash32([7; 32]) };
        for (until, committed) in [(5, true), (5, true), (4, false), (6, true)] {
            let decided = world.when(&map(until)).unwrap();
            assert_eq!(decided.reply, committed, "{until}");
            assert_eq!(decided.events.len(), usize::from(committed));
            for new in decided.events {
                world.given(new.stream, new.event);
            }
        }
    }
}
