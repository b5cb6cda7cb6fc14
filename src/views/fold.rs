//! What an event does to what is kept: which entries it touches, and how each of those folds it, or is dropped.

#![deny(clippy::wildcard_enum_match_arm)]

use std::sync::Arc;

use be8_events::account::Life;
use be8_events::group::{KeyChange, Membership};
use be8_events::{
    AccId, DialogEvent, Event, GroupEvent, KeyId, MessageHeader, MessageNo, ReadsEvent, Recorded, ServerEvent, StayNo,
    StreamName, ThreadId,
};

use super::facts::{Fact, Group, Key, Newest, Thread};
use super::presenter::{Line, Shown};

/// A message that was just written, ready to be kept.
#[derive(Debug, Clone)]
pub struct Content {
    /// As it is shown in its thread, if that is kept.
    pub shown: Option<Shown>,
    /// The nickname that is shown with it, unless the thread showed that already when this was made.
    pub new_nickname: Option<Arc<str>>,
    /// As it is shown in a list of threads.
    pub line: Line,
    /// The data keys that sealed it and the new nickname.
    pub sealers: Vec<KeyId>,
}

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Folded {
    /// It is what it would be if it were loaded now.
    Exact,
    /// It has to be loaded again.
    Forget,
}

/// Names every entry that the event may change, besides those whose data keys it deletes.
pub fn touched(recorded: &Recorded, mut touch: impl FnMut(Key)) {
    match &recorded.event {
        Event::Account(event) => {
            if let StreamName::Account(account) = recorded.stream {
                touch(Key::Account(account));
            }
            match event.life() {
                Some(Life::Created(e)) => {
                    touch(Key::List(e.account));
                    system(e.account, &mut touch);
                    touch(Key::Insights);
                }
                Some(Life::Removed(_)) => touch(Key::Insights),
                Some(Life::Extended(_)) | None => {}
            }
        }
        // The sessions of an account that is removed are of one that lives at no time.
        Event::Session(_) => {
            if let StreamName::Session(session) = recorded.stream {
                touch(Key::Session(session));
            }
        }
        Event::Dialog(event) => {
            touch(Key::Insights);
            let thread = match event {
                DialogEvent::ConversationStarted(e) => e.thread,
                DialogEvent::ConversationEnded(e) => {
                    if let Some(left) = e.thread.partner_of(e.gone) {
                        system(left, &mut touch);
                    }
                    e.thread
                }
            };
            messages(thread, &mut touch);
            if let ThreadId::Dialog { initiator, receiver } = thread {
                touch(Key::List(initiator));
                touch(Key::List(receiver));
            }
        }
        Event::Group(event) => group(recorded, event, &mut touch),
        Event::Message(event) => {
            let thread = event.header().thread;
            messages(thread, &mut touch);
            touch(Key::Insights);
        }
        Event::Reads(ReadsEvent::MessagesRead(_)) => {
            if let StreamName::Reads(thread) = recorded.stream {
                messages(thread, &mut touch);
            }
        }
        Event::Server(ServerEvent::LinkCounted(_)) => touch(Key::Insights),
        Event::Server(ServerEvent::HourStruck(_) | ServerEvent::HistoriesCommitted(_))
        | Event::Device(_)
        | Event::Media(_)
        | Event::Token(_)
        | Event::Erasure(_) => {}
    }
}

fn group(recorded: &Recorded, event: &GroupEvent, touch: &mut impl FnMut(Key)) {
    let StreamName::Group(group) = recorded.stream else { return };
    touch(Key::Insights);
    touch(Key::Group(group));
    match event.membership() {
        Some(Membership::Created(e)) => system(e.admin, touch),
        Some(Membership::Joined(e)) => {
            messages(ThreadId::Group(group), touch);
            touch(Key::List(e.account));
        }
        Some(Membership::Added(e)) => {
            messages(ThreadId::Group(group), touch);
            touch(Key::List(e.account));
            system(e.account, touch);
        }
        Some(Membership::Left(e)) => {
            messages(ThreadId::Group(group), touch);
            touch(Key::List(e.account));
            system(e.account, touch);
        }
        Some(Membership::Kicked(e)) => {
            messages(ThreadId::Group(group), touch);
            touch(Key::List(e.account));
            system(e.account, touch);
        }
        Some(Membership::Destroyed(e)) => {
            messages(ThreadId::Group(group), touch);
            for &(account, _) in &e.members {
                touch(Key::List(account));
                system(account, touch);
            }
        }
        None => {}
    }
    if let Some(KeyChange::Stored(e)) = event.keys() {
        touch(Key::GroupKeys(group, e.account));
    }
}

fn messages(thread: ThreadId, touch: &mut impl FnMut(Key)) {
    touch(Key::Newest(thread.key()));
    touch(Key::Thread(thread.key()));
}

fn system(account: AccId, touch: &mut impl FnMut(Key)) {
    messages(ThreadId::System(account), touch);
}

impl Fact {
    /// Brings the entry up to this event, which touches it; `content` if it is a message.
    pub fn fold(&mut self, recorded: &Recorded, content: Option<&Content>) -> Folded {
        match self {
            Self::Session(_) | Self::Account(_) | Self::GroupKeys(_) => Folded::Forget,
            Self::Insights(counters) => {
                *counters = counters.after(recorded);
                Folded::Exact
            }
            Self::List(list) => {
                let list = Arc::make_mut(list);
                match &recorded.event {
                    Event::Dialog(DialogEvent::ConversationStarted(e)) => _ = list.insert(e.thread.key(), e.thread),
                    Event::Dialog(DialogEvent::ConversationEnded(e)) => _ = list.remove(&e.thread.key()),
                    Event::Group(event) => {
                        let (group, is_in) = match event.membership() {
                            Some(Membership::Joined(e)) => (e.group, true),
                            Some(Membership::Added(e)) => (e.group, true),
                            Some(Membership::Left(e)) => (e.group, false),
                            Some(Membership::Kicked(e)) => (e.group, false),
                            Some(Membership::Destroyed(e)) => (e.group, false),
                            Some(Membership::Created(_)) | None => return Folded::Forget,
                        };
                        let thread = ThreadId::Group(group);
                        if is_in {
                            list.insert(thread.key(), thread);
                        } else {
                            list.remove(&thread.key());
                        }
                    }
                    Event::Account(_)
                    | Event::Session(_)
                    | Event::Device(_)
                    | Event::Message(_)
                    | Event::Media(_)
                    | Event::Reads(_)
                    | Event::Token(_)
                    | Event::Server(_)
                    | Event::Erasure(_) => return Folded::Forget,
                }
                Folded::Exact
            }
            Self::Group(group) => Arc::make_mut(group).fold(recorded),
            Self::Newest(newest) => Arc::make_mut(newest).fold(recorded, content),
            Self::Thread(thread) => Arc::make_mut(thread).fold(recorded, content),
        }
    }
}

impl Group {
    /// A stay begins; a creator's first one has begun with the group, and goes on.
    fn arrived(&mut self, account: AccId, stay: StayNo, first: MessageNo) {
        let member = self.members.entry(account).or_insert((stay, first));
        if member.0 != stay {
            *member = (stay, first);
        }
    }

    fn fold(&mut self, recorded: &Recorded) -> Folded {
        let Event::Group(event) = &recorded.event else { return Folded::Forget };
        match (event.membership(), event.keys()) {
            (Some(Membership::Joined(e)), _) => self.arrived(e.account, e.stay, e.message),
            (Some(Membership::Added(e)), _) => self.arrived(e.account, e.stay, e.message),
            (Some(Membership::Left(e)), _) => _ = self.members.remove(&e.account),
            (Some(Membership::Kicked(e)), _) => _ = self.members.remove(&e.account),
            (Some(Membership::Created(_) | Membership::Destroyed(_)), _) => return Folded::Forget,
            (None, Some(KeyChange::Allocated(e))) => self.version = Some(e.version),
            (None, Some(KeyChange::Stored(_)) | None) => {}
        }
        Folded::Exact
    }
}

impl Newest {
    fn fold(&mut self, recorded: &Recorded, content: Option<&Content>) -> Folded {
        match &recorded.event {
            Event::Reads(ReadsEvent::MessagesRead(e)) => {
                if e.ranges.iter().any(|&(first, last)| (first..=last).contains(&self.id)) {
                    self.marked.insert(e.reader);
                }
                self.ahead |= e.ranges.iter().any(|&(_, last)| last > self.id);
                Folded::Exact
            }
            Event::Message(event) => {
                let MessageHeader { thread, id, .. } = event.header();
                let Some(content) = content.filter(|_| thread == self.thread && id == self.id + 1 && !self.ahead)
                else {
                    return Folded::Forget;
                };
                (self.id, self.position, self.time) = (id, recorded.position, recorded.time);
                self.line = content.line.clone();
                self.marked.clear();
                Folded::Exact
            }
            // What the system says is loaded again.
            Event::Account(_)
            | Event::Session(_)
            | Event::Device(_)
            | Event::Dialog(_)
            | Event::Group(_)
            | Event::Media(_)
            | Event::Token(_)
            | Event::Server(_)
            | Event::Erasure(_) => Folded::Forget,
        }
    }
}

impl Thread {
    fn fold(&mut self, recorded: &Recorded, content: Option<&Content>) -> Folded {
        match &recorded.event {
            Event::Reads(ReadsEvent::MessagesRead(e)) => {
                let read = e.ranges.iter().map(|&(first, last)| first..=last);
                self.marks.entry(e.reader).or_default().extend(read);
                Folded::Exact
            }
            Event::Message(event) => {
                let MessageHeader { thread, id, nickname, .. } = event.header();
                let follows = self.messages.back().is_some_and(|last| last.id + 1 == id) && thread == self.thread;
                let Some(Content { shown: Some(shown), new_nickname, .. }) = content.filter(|_| follows) else {
                    return Folded::Forget;
                };
                match new_nickname {
                    Some(name) => _ = self.names.insert(nickname, name.clone()),
                    None if self.names.contains_key(&nickname) => {}
                    // It was loaded again meanwhile, without a name that only older messages have.
                    None => return Folded::Forget,
                }
                if self.messages.len() >= Self::MOST {
                    self.messages.pop_front();
                }
                self.messages.push_back(shown.clone());
                if self.names.len() > Self::NAMES { Folded::Forget } else { Folded::Exact }
            }
            // What the system says is loaded again.
            Event::Account(_)
            | Event::Session(_)
            | Event::Device(_)
            | Event::Dialog(_)
            | Event::Group(_)
            | Event::Media(_)
            | Event::Token(_)
            | Event::Server(_)
            | Event::Erasure(_) => Folded::Forget,
        }
    }
}
