//! Conversations of two: starting one.

#[cfg(test)]
mod tests;

use be8_events::dialog::ConversationStarted;
use be8_events::{AccId, DialogEvent, Hash32, MessageEvent, MessageNo, NewEvent, StreamName, ThreadId};
use serde::{Deserialize, Serialize};

use super::{Command, Decision, Rejection, Stop, View};

/// The state of a `dialog-LO-HI` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Dialog {
    /// The thread; none until someone writes.
    thread: Option<ThreadId>,
    /// The number of the newest message.
    last: MessageNo,
    /// One of the two was removed.
    ended: bool,
}

impl Dialog {
    pub(super) fn evolve(&mut self, event: &DialogEvent) {
        match event {
            DialogEvent::ConversationStarted(e) => {
                self.thread = Some(e.thread);
                self.last = e.message;
            }
            DialogEvent::ConversationEnded(_) => self.ended = true,
        }
    }

    pub(super) const fn written(&mut self, event: &MessageEvent) {
        self.last = event.header().id;
    }

    /// The number of the newest message; 0 while nobody began.
    pub const fn last(&self) -> MessageNo {
        self.last
    }

    /// Whether one of the two was removed and the conversation with it.
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// The thread, once somebody began.
    pub const fn thread(&self) -> Option<ThreadId> {
        self.thread
    }
}

/// Starts a conversation, or finds the one that the two have.
#[derive(Debug, Clone)]
pub struct StartConversation {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// With whom; none when no account can be meant.
    pub receiver: Option<AccId>,
}

impl Command for StartConversation {
    /// The thread as it is stored, whichever of the two began.
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
