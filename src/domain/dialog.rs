//! Conversations of two: starting one, and writing in it.

use be8_events::dialog::ConversationStarted;
use be8_events::message::{MessageSecret, MessageWritten};
use be8_events::{AccId, Event, Hash32, MessageNo, NewEvent, Sealing, Secret, SecretPayload, StreamName, ThreadId};
use serde::{Deserialize, Serialize};

use super::{Command, Decision, Occurred, Rejection, Stop, View};

/// The state of a `dialog-LO-HI` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Dialog {
    /// The thread; none while nobody began.
    thread: Option<ThreadId>,
    /// The number of the newest message.
    last: MessageNo,
}

impl Dialog {
    pub(super) fn evolve(&mut self, occurred: Occurred<'_>) {
        match occurred.event {
            Event::ConversationStarted(e) => {
                self.thread = Some(e.thread);
                self.last = e.message;
            }
            Event::MessageWritten(e) => self.last = e.id,
            _ => {} // no other kind is in this stream
        }
    }

    /// The thread, once somebody began.
    pub const fn thread(&self) -> Option<ThreadId> {
        self.thread
    }
}

/// Each partner of a dialog has one stay in it: its number.
const ONLY_STAY: u32 = 1;

/// Starts a conversation, or finds the one that the two have.
#[derive(Debug, Clone)]
pub struct StartConversation {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// With whom; none when no account can be meant.
    pub receiver: Option<AccId>,
}

impl Command for StartConversation {
    /// The thread as it is stored, whoever of the two began.
    type Reply = ThreadId;

    fn streams(&self) -> Vec<StreamName> {
        let session = self.session.into_iter().map(StreamName::Session);
        session.chain(self.receiver.map(StreamName::Account)).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<ThreadId>, Stop> {
        let me = view.authenticate(self.session)?;
        let receiver = self.receiver.ok_or(Rejection::AccountNotExisting)?;
        if !view.lives(receiver)? {
            return Err(Rejection::AccountNotExisting.into());
        }
        if receiver == me {
            return Err(Rejection::CircularConversation.into());
        }
        if let Some(thread) = view.dialog(me, receiver)?.thread {
            return Ok(Decision::nothing(thread));
        }
        let thread = ThreadId::Dialog { initiator: me, receiver };
        let nickname = view.account(me)?.nickname();
        let event = NewEvent {
            stream: StreamName::dialog(me, receiver),
            actor: Some(me),
            event: ConversationStarted { thread, message: 1, nickname }.into(),
            secret: None,
        };
        Ok(Decision::events(vec![event], thread))
    }
}

/// Writes a message into a conversation. `None` in a field: what came can mean nothing valid.
#[derive(Debug, Clone)]
pub struct WriteMessage {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// To whom.
    pub receiver: Option<AccId>,
    /// From whom: must be the session's account (H2).
    pub sender: Option<AccId>,
    /// The thread, in either direction.
    pub thread: Option<ThreadId>,
    /// What it holds, or why that cannot be sent.
    pub content: Result<Secret<MessageSecret>, Rejection>,
}

impl Command for WriteMessage {
    type Reply = (ThreadId, MessageNo);

    fn streams(&self) -> Vec<StreamName> {
        let session = self.session.into_iter().map(StreamName::Session);
        let accounts = [self.receiver, self.sender].into_iter().flatten().map(StreamName::Account);
        let dialog = match self.thread {
            Some(ThreadId::Dialog { initiator, receiver }) => Some(StreamName::dialog(initiator, receiver)),
            _ => None,
        };
        session.chain(accounts).chain(dialog).collect()
    }

    fn size(&self) -> usize {
        self.content.as_ref().map_or(0, |content| content.expose().text.len())
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<Self::Reply>, Stop> {
        let me = view.authenticate(self.session)?;
        let receiver = self.receiver.ok_or(Rejection::AccountNotExisting)?;
        if !view.lives(receiver)? || self.sender != Some(me) {
            return Err(Rejection::AccountNotExisting.into());
        }
        let named = self.thread.ok_or(Rejection::InvalidThread)?;
        if named.partner_of(me) != Some(receiver) {
            return Err(Rejection::InvalidThread.into());
        }
        let dialog = view.dialog(me, receiver)?;
        let thread = dialog.thread.filter(|&thread| thread == named).ok_or(Rejection::InvalidThread)?;
        let content = self.content.as_ref().map_err(|rejection| *rejection)?;
        let id = dialog.last + 1;
        let nickname = view.account(me)?.nickname();
        let event = NewEvent {
            stream: StreamName::dialog(me, receiver),
            actor: Some(me),
            event: MessageWritten { thread, id, sender: me, nickname, stay: ONLY_STAY }.into(),
            secret: Some(SecretPayload::new(Sealing::Message { author: me, thread, stay: ONLY_STAY }, content)),
        };
        Ok(Decision::events(vec![event], (thread, id)))
    }
}
