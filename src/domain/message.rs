//! Writing messages, in conversations of two and in groups.

#[cfg(test)]
mod tests;

use be8_events::message::{MessageSecret, MessageWritten};
use be8_events::{
    AccId, GroupId, GroupVersion, Hash32, MessageEvent, MessageNo, NewEvent, Sealing, Secret, SecretPayload, StayNo,
    StreamName, ThreadId,
};
use serde::{Deserialize, Serialize};

use super::group::next_message_no;
use super::{Command, Decision, Rejection, Stop, View};

/// The state of a `chat-gN` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupMessages {
    last: MessageNo,
}

impl GroupMessages {
    /// The number of the newest message that somebody wrote; 0 if nobody did.
    pub const fn last(&self) -> MessageNo {
        self.last
    }

    pub(super) fn evolve(&mut self, event: &MessageEvent) {
        self.last = event.header().id;
    }
}

/// To whom a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// The partner of a conversation.
    Account(AccId),
    /// A group.
    Group(GroupId),
}

/// The version of a group's key that a message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedVersion {
    /// None.
    Absent,
    /// This one.
    Version(GroupId, GroupVersion),
    /// Something that can be no version.
    Malformed,
}

/// Whose message it is and where it is to go, as the request says.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// To whom.
    pub receiver: Option<Receiver>,
    /// From whom: must be the session's account (docs/protocol.md, "Writing a message").
    pub sender: Option<AccId>,
    /// The thread.
    pub thread: Option<ThreadId>,
}

/// Where a message goes, once the checks have found it.
pub(super) struct Destination {
    /// Who writes.
    pub(super) me: AccId,
    pub(super) stream: StreamName,
    pub(super) thread: ThreadId,
    pub(super) id: MessageNo,
    pub(super) stay: StayNo,
    /// The newest version of the group's key.
    newest: Option<(GroupId, GroupVersion)>,
}

impl Destination {
    /// The version of the group's key that a message names, if it is one of this destination
    /// (docs/protocol.md, "The key version of a message").
    pub(super) fn version(&self, named: NamedVersion) -> Result<Option<GroupVersion>, Rejection> {
        match (named, self.newest) {
            (NamedVersion::Absent, _) => Ok(None),
            (NamedVersion::Version(group, version), Some((here, newest)))
                if group == here && (1..=newest).contains(&version) =>
            {
                Ok(Some(version))
            }
            _ => Err(Rejection::InvalidMessageType),
        }
    }
}

impl Address {
    /// The streams that finding the destination takes.
    pub(super) fn streams(&self) -> Vec<StreamName> {
        let mut streams: Vec<StreamName> = self.session.into_iter().map(StreamName::Session).collect();
        streams.extend(self.sender.map(StreamName::Account));
        match self.receiver {
            Some(Receiver::Account(receiver)) => {
                streams.push(StreamName::Account(receiver));
                if let Some(ThreadId::Dialog { initiator, receiver }) = self.thread {
                    streams.push(StreamName::dialog(initiator, receiver));
                }
            }
            Some(Receiver::Group(group)) => streams.extend([StreamName::Group(group), StreamName::Chat(group)]),
            None => {}
        }
        streams
    }

    /// The checks that every message passes first, in their order: the session, the receiver, the
    /// sender, the thread.
    pub(super) fn find(&self, view: &View<'_>) -> Result<Destination, Stop> {
        let me = view.authenticate(self.session)?;
        let receiver = self.receiver.ok_or(Rejection::AccountNotExisting)?;
        let exists = match receiver {
            Receiver::Account(account) => view.lives(account)?,
            Receiver::Group(group) => view.group(group)?.lives(),
        };
        if !exists || self.sender != Some(me) {
            return Err(Rejection::AccountNotExisting.into());
        }
        self.destination(view, me, receiver)
    }

    /// The check `thread`: it exists, I take part in it, and the receiver is my counterpart.
    fn destination(&self, view: &View<'_>, me: AccId, receiver: Receiver) -> Result<Destination, Stop> {
        let named = self.thread.ok_or(Rejection::InvalidThread)?;
        match receiver {
            Receiver::Account(partner) => {
                if named.partner_of(me) != Some(partner) {
                    return Err(Rejection::InvalidThread.into());
                }
                let dialog = view.dialog(me, partner)?;
                if dialog.thread() != Some(named) {
                    return Err(Rejection::InvalidThread.into());
                }
                let stream = StreamName::dialog(me, partner);
                // Each partner of a dialog has one stay in it.
                Ok(Destination { me, stream, thread: named, id: dialog.last() + 1, stay: 1, newest: None })
            }
            Receiver::Group(group) => {
                let state = view.group(group)?;
                let stay = state.stay_of(me).filter(|_| named == ThreadId::Group(group));
                let stay = stay.ok_or(Rejection::InvalidThread)?;
                let id = next_message_no(view, group, state)?;
                if id == 1 {
                    return Err(Rejection::InvalidThread.into());
                }
                let newest = state.version().map(|version| (group, version));
                Ok(Destination { me, stream: StreamName::Chat(group), thread: named, id, stay, newest })
            }
        }
    }
}

/// Writes a message. `None` in a field: what came can mean nothing valid.
#[derive(Debug, Clone)]
pub struct WriteMessage {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// To whom.
    pub receiver: Option<Receiver>,
    /// From whom: must be the session's account (docs/protocol.md, "Writing a message").
    pub sender: Option<AccId>,
    /// The thread.
    pub thread: Option<ThreadId>,
    /// The version of the group's key that encrypted it (docs/protocol.md, "The key version of a message").
    pub version: NamedVersion,
    /// What it holds, or why that cannot be sent.
    pub content: Result<Secret<MessageSecret>, Rejection>,
}

impl WriteMessage {
    /// Whose it is and where it is to go.
    const fn address(&self) -> Address {
        let Self { session, receiver, sender, thread, .. } = *self;
        Address { session, receiver, sender, thread }
    }
}

impl Command for WriteMessage {
    type Reply = (ThreadId, MessageNo);

    fn streams(&self) -> Vec<StreamName> {
        self.address().streams()
    }

    fn size(&self) -> usize {
        self.content.as_ref().map_or(0, |content| content.expose().text.len())
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<Self::Reply>, Stop> {
        let destination = self.address().find(view)?;
        if matches!(self.content, Err(Rejection::InvalidMessageType)) {
            return Err(Rejection::InvalidMessageType.into());
        }
        let version = destination.version(self.version)?;
        let content = self.content.as_ref().map_err(|rejection| *rejection)?;
        let Destination { me, stream, thread, id, stay, .. } = destination;
        let nickname = view.account(me)?.nickname();
        let event = NewEvent {
            stream,
            actor: Some(me),
            event: MessageWritten { thread, id, sender: me, nickname, stay, version }.into(),
            secret: Some(SecretPayload::new(Sealing::Message { author: me, thread, stay }, content)),
        };
        Ok(Decision::events(vec![event], (thread, id)))
    }
}
