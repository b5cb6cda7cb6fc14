//! What follows from an event for more than one read model.

use std::collections::BTreeMap;

use be8_events::account::Life;
use be8_events::group::Membership;
use be8_events::{
    AccId, AccountEvent, DialogEvent, Event, GroupEvent, GroupId, MessageHeader, MessageNo, Position, Recorded, StayNo,
    ThreadId,
};

/// The number of a message in its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    /// Given by its event.
    Given(MessageNo),
    /// The n-th, from 1, that the batch adds to a thread of the system: only the projection numbers these, in log order.
    Counted(MessageNo),
}

/// A message that an event adds to a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Posted {
    pub thread: ThreadId,
    pub number: Number,
    /// The positions of the events that set names which are shown with it.
    pub names: [Option<Position>; 2],
}

/// A stay in a group that begins by joining or being added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub group: GroupId,
    pub account: AccId,
    pub stay: StayNo,
    /// The first message that the member sees.
    pub first: MessageNo,
}

/// A stay in a group that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Departure {
    pub group: GroupId,
    pub account: AccId,
    pub stay: StayNo,
    /// The first message that the member does not see any more; none if the group has ended.
    pub until: Option<MessageNo>,
}

/// What follows from one event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Derived {
    pub messages: Vec<Posted>,
    pub arrival: Option<Arrival>,
    pub departures: Vec<Departure>,
}

/// How many messages a batch has added to each thread of the system so far.
#[derive(Debug, Default)]
pub(crate) struct Numbering(BTreeMap<AccId, MessageNo>);

impl Derived {
    /// What follows from this event, which comes after all others that were numbered.
    pub(crate) fn of(recorded: &Recorded, numbering: &mut Numbering) -> Self {
        let mut derived = Self::default();
        match &recorded.event {
            Event::Account(event) => derived.account(event, numbering),
            Event::Dialog(event) => derived.dialog(event, numbering),
            Event::Group(event) => derived.group(event, recorded.position, numbering),
            Event::Message(event) => {
                let MessageHeader { thread, id, nickname, .. } = event.header();
                derived.message(thread, id, Some(nickname));
            }
            Event::Session(_)
            | Event::Device(_)
            | Event::Media(_)
            | Event::Reads(_)
            | Event::Token(_)
            | Event::Server(_)
            | Event::Erasure(_) => {}
        }
        derived
    }

    fn account(&mut self, event: &AccountEvent, numbering: &mut Numbering) {
        match event.life() {
            Some(Life::Created(e)) => self.system(e.account, [None, None], numbering),
            Some(Life::Extended(_) | Life::Removed(_)) | None => {}
        }
    }

    fn dialog(&mut self, event: &DialogEvent, numbering: &mut Numbering) {
        match event {
            DialogEvent::ConversationStarted(e) => self.message(e.thread, e.message, None),
            DialogEvent::ConversationEnded(e) => {
                if let Some(left) = e.thread.partner_of(e.gone) {
                    self.system(left, [None, None], numbering);
                }
            }
        }
    }

    fn group(&mut self, event: &GroupEvent, position: Position, numbering: &mut Numbering) {
        let Some(membership) = event.membership() else { return };
        match membership {
            Membership::Created(e) => self.system(e.admin, [Some(position), None], numbering),
            Membership::Joined(e) => {
                self.arrival = Some(Arrival { group: e.group, account: e.account, stay: e.stay, first: e.message });
                self.message(ThreadId::Group(e.group), e.message, Some(e.nickname));
            }
            Membership::Added(e) => {
                self.arrival = Some(Arrival { group: e.group, account: e.account, stay: e.stay, first: e.message });
                self.message(ThreadId::Group(e.group), e.message, Some(e.nickname));
                self.system(e.account, [Some(e.group_name), Some(e.by_nickname)], numbering);
            }
            Membership::Left(e) => {
                let until = Some(e.message);
                self.departures.push(Departure { group: e.group, account: e.account, stay: e.stay, until });
                self.message(ThreadId::Group(e.group), e.message, Some(e.nickname));
                self.system(e.account, [Some(e.group_name), None], numbering);
            }
            Membership::Kicked(e) => {
                let until = Some(e.message);
                self.departures.push(Departure { group: e.group, account: e.account, stay: e.stay, until });
                self.message(ThreadId::Group(e.group), e.message, Some(e.nickname));
                self.system(e.account, [Some(e.group_name), None], numbering);
            }
            Membership::Destroyed(e) => {
                for &(account, stay) in &e.members {
                    self.departures.push(Departure { group: e.group, account, stay, until: None });
                    self.system(account, [Some(e.group_name), None], numbering);
                }
            }
        }
    }

    /// A message that its event numbers.
    fn message(&mut self, thread: ThreadId, id: MessageNo, name: Option<Position>) {
        self.messages.push(Posted { thread, number: Number::Given(id), names: [name, None] });
    }

    /// A message of the system to one account.
    fn system(&mut self, account: AccId, names: [Option<Position>; 2], Numbering(numbering): &mut Numbering) {
        let count = numbering.entry(account).or_default();
        *count += 1;
        self.messages.push(Posted { thread: ThreadId::System(account), number: Number::Counted(*count), names });
    }
}
