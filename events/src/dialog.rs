//! Events of the `dialog-LO-HI` streams that are not messages: a conversation of two.

use serde::{Deserialize, Serialize};

use crate::family::family;
use crate::{AccId, MessageNo, Position, ThreadId};

family! {
    /// Conversations of two accounts.
    DialogEvent {
        /// Two accounts began to talk.
        ConversationStarted = 1,
        /// A conversation ended.
        ConversationEnded = 1,
    }
}

/// Two accounts began to talk. The thread names who began; the system message STARTCONVERSATION
/// follows from this event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConversationStarted {
    /// The thread, always a dialog.
    pub thread: ThreadId,
    /// The number of the system message: 1.
    pub message: MessageNo,
    /// The position of the event that set the initiator's nickname.
    pub nickname: Position,
}

/// A conversation ended because one of the two was removed. The keys of both stays die in the same
/// append; the system message ACCDELETED to the other follows from this event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConversationEnded {
    /// The thread, always a dialog.
    pub thread: ThreadId,
    /// Which account was removed.
    pub gone: AccId,
}
