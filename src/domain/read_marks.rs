//! Read marks: who has read which messages of a thread.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use be8_events::read_marks::MessagesRead;
use be8_events::{AccId, Hash32, MessageNo, NewEvent, ReadsEvent, StreamName, ThreadId};
use rangemap::RangeInclusiveSet;
use serde::{Deserialize, Serialize};

use super::{Command, Decision, Rejection, Stop, View};

/// The state of a `reads-THREAD` stream: per reader the messages it has read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reads(BTreeMap<AccId, RangeInclusiveSet<MessageNo>>);

impl Reads {
    /// Whether a reader has read a message.
    pub fn contains(&self, reader: AccId, message: MessageNo) -> bool {
        self.0.get(&reader).is_some_and(|read| read.contains(&message))
    }

    pub(super) fn evolve(&mut self, event: &ReadsEvent) {
        match event {
            ReadsEvent::MessagesRead(e) => {
                let read = self.0.entry(e.reader).or_default();
                read.extend(e.ranges.iter().map(|&(first, last)| first..=last));
            }
        }
    }
}

/// Marks as read what an account was shown.
#[derive(Debug, Clone)]
pub struct MarkRead {
    /// The session of the request.
    pub session: Hash32,
    /// The thread that it was shown from, under its stored name.
    pub thread: ThreadId,
    /// The shown messages, ascending, each with its sender; none for messages of the system.
    pub shown: Vec<(MessageNo, Option<AccId>)>,
}

impl Command for MarkRead {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Session(self.session), StreamName::Reads(self.thread)]
    }

    fn size(&self) -> usize {
        self.shown.len() * size_of::<(MessageNo, Option<AccId>)>()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let reader = view.authenticate(Some(self.session))?;
        let takes_part = match self.thread {
            ThreadId::Dialog { .. } => self.thread.partner_of(reader).is_some(),
            ThreadId::System(owner) => owner == reader,
            ThreadId::Group(group) => view.group(group)?.is_member(reader),
        };
        if !takes_part {
            return Err(Rejection::InvalidThread.into());
        }
        let reads = view.reads(self.thread)?;
        let unmarked = || self.shown.iter().filter(|(id, _)| !reads.contains(reader, *id));
        // Ascending ids: the last one of a sender is the newest (docs/protocol.md, "Read marks").
        let mut newest = BTreeMap::new();
        for (id, sender) in unmarked().filter(|(_, sender)| *sender != Some(reader)) {
            newest.insert(*sender, *id);
        }
        if newest.is_empty() {
            return Ok(Decision::nothing(()));
        }
        let runs: RangeInclusiveSet<MessageNo> = unmarked().map(|&(id, _)| id..=id).collect();
        let event = NewEvent {
            stream: StreamName::Reads(self.thread),
            actor: Some(reader),
            event: MessagesRead {
                reader,
                ranges: runs.iter().map(|run| (*run.start(), *run.end())).collect(),
                tell: newest.into_iter().filter_map(|(sender, id)| Some((sender?, id))).collect(),
            }
            .into(),
            secret: None,
        };
        Ok(Decision::events(vec![event], ()))
    }
}
