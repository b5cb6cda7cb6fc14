//! What an event changes for whom.

use be8_events::{AccId, Event, MessageNo, Position, Recorded, StreamName, ThreadId};

/// Something that changed for an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The account started a conversation.
    NewConversation {
        /// With whom.
        partner: AccId,
    },
    /// A message came into a thread.
    NewMessage {
        /// The thread.
        thread: ThreadId,
        /// Who wrote it.
        sender: AccId,
        /// The event that set the sender's nickname.
        nickname: Position,
    },
    /// Somebody read messages of the account.
    MessageRead {
        /// The thread.
        thread: ThreadId,
        /// The newest of them that was read.
        message: MessageNo,
        /// To whom it was sent: the partner of a dialog.
        receiver: AccId,
    },
}

/// A change and whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// The accounts.
    pub to: Vec<AccId>,
    /// The change.
    pub change: Change,
}

/// The changes of an event, in the order in which they are told.
pub fn changes_of(recorded: &Recorded) -> Vec<Addressed> {
    match &recorded.event {
        Event::ConversationStarted(e) => {
            let ThreadId::Dialog { initiator, receiver } = e.thread else { return Vec::new() };
            // The receiver's list is refreshed by a message: a new conversation would switch its
            // open chat.
            let message = Change::NewMessage { thread: e.thread, sender: initiator, nickname: e.nickname };
            vec![
                Addressed { to: vec![initiator], change: Change::NewConversation { partner: receiver } },
                Addressed { to: vec![receiver], change: message },
            ]
        }
        Event::MessageWritten(e) => {
            let partner = e.thread.partner_of(e.sender);
            let change = Change::NewMessage { thread: e.thread, sender: e.sender, nickname: e.nickname };
            vec![Addressed { to: partner.into_iter().chain([e.sender]).collect(), change }]
        }
        Event::MessagesRead(e) => {
            let StreamName::Reads(thread) = recorded.stream else { return Vec::new() };
            let tell = |&(sender, message): &(AccId, MessageNo)| Addressed {
                to: vec![sender],
                change: Change::MessageRead { thread, message, receiver: e.reader },
            };
            e.tell.iter().map(tell).collect()
        }
        Event::AccountCreated(_)
        | Event::PublicKeySet(_)
        | Event::SessionOpened(_)
        | Event::SessionEnded(_)
        | Event::KeysDeleted(_) => Vec::new(),
    }
}

/// The changes that an event brings to one account, numbered from 0 as in the ids of the stream.
pub(super) fn changes_for(recorded: &Recorded, account: AccId) -> Vec<Change> {
    let mine = changes_of(recorded).into_iter().filter(|addressed| addressed.to.contains(&account));
    mine.map(|addressed| addressed.change).collect()
}
