//! What the kinds of messages have in common.

use crate::message::{ImagePosted, MessageWritten};
use crate::{AccId, GroupVersion, MessageEvent, MessageNo, Position, StayNo, ThreadId};

/// What is in the clear of every message, whatever its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// The thread.
    pub thread: ThreadId,
    /// The number of the message in the thread.
    pub id: MessageNo,
    /// Who wrote it.
    pub sender: AccId,
    /// The position of the event that set the nickname under which it was written.
    pub nickname: Position,
    /// Which of the sender's stays in the thread.
    pub stay: StayNo,
    /// In groups: the version of the group's key that encrypted it, if the client names one.
    pub version: Option<GroupVersion>,
}

impl MessageEvent {
    /// What is in the clear of every message.
    pub const fn header(&self) -> MessageHeader {
        match self {
            Self::MessageWritten(MessageWritten { thread, id, sender, nickname, stay, version })
            | Self::ImagePosted(ImagePosted { thread, id, sender, nickname, stay, version, .. }) => MessageHeader {
                thread: *thread,
                id: *id,
                sender: *sender,
                nickname: *nickname,
                stay: *stay,
                version: *version,
            },
        }
    }
}
