//! Who is in a group at a position: this decides who receives an event of the group.

use std::collections::{BTreeSet, HashMap};

use be8_events::group::Membership;
use be8_events::{AccId, Event, GroupId, Position, Recorded, StreamName, ThreadId};

use crate::ledger::{Log, LogError};

/// How many groups are kept in memory.
const KEPT: usize = 10_000;

/// The members of groups at one position of the log, which moves on with [`Rosters::apply`].
#[derive(Debug, Default)]
pub struct Rosters(HashMap<GroupId, BTreeSet<AccId>>);

impl Rosters {
    /// The members of a group; none of a group that is not loaded.
    pub fn members(&self, group: GroupId) -> impl Iterator<Item = AccId> + '_ {
        self.0.get(&group).into_iter().flatten().copied()
    }

    /// The groups of one event as they were before it.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn in_front_of(log: &Log, event: &Recorded) -> Result<Self, LogError> {
        let mut rosters = Self::default();
        rosters.load(log, std::slice::from_ref(event)).await?;
        Ok(rosters)
    }

    /// Loads the groups of these events as they were before the first of them.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn load(&mut self, log: &Log, events: &[Recorded]) -> Result<(), LogError> {
        let Some(first) = events.first().map(|event| event.position) else { return Ok(()) };
        if self.0.len() > KEPT {
            self.0.clear();
        }
        for group in events.iter().filter_map(group_of) {
            if !self.0.contains_key(&group) {
                let members = self.read(log, group, first).await?;
                self.0.insert(group, members);
            }
        }
        Ok(())
    }

    async fn read(&self, log: &Log, group: GroupId, before: Position) -> Result<BTreeSet<AccId>, LogError> {
        let mut members = BTreeSet::new();
        for recorded in log.read_kinds(StreamName::Group(group), Membership::KINDS, before).await? {
            change(&mut members, &recorded.event);
        }
        Ok(members)
    }

    /// Moves on past an event.
    pub fn apply(&mut self, recorded: &Recorded) {
        if let StreamName::Group(group) = recorded.stream
            && let Some(members) = self.0.get_mut(&group)
        {
            change(members, &recorded.event);
        }
    }
}

fn change(members: &mut BTreeSet<AccId>, event: &Event) {
    let Event::Group(event) = event else { return };
    match event.membership() {
        Some(Membership::Created(e)) => _ = members.insert(e.admin),
        Some(Membership::Joined(e)) => _ = members.insert(e.account),
        Some(Membership::Added(e)) => _ = members.insert(e.account),
        Some(Membership::Left(e)) => _ = members.remove(&e.account),
        Some(Membership::Kicked(e)) => _ = members.remove(&e.account),
        Some(Membership::Destroyed(_)) => members.clear(),
        // It changes no member. Those that are read leave it out.
        None => {}
    }
}

/// The group whose members receive an event.
fn group_of(recorded: &Recorded) -> Option<GroupId> {
    let (StreamName::Group(group) | StreamName::Chat(group) | StreamName::Reads(ThreadId::Group(group))) =
        recorded.stream
    else {
        return None;
    };
    Some(group)
}
