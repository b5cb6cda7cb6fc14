//! Threads and messages as they are shown: the types of the wire.

use be8_events::group::Access;
use be8_events::{MessageNo, ThreadId};
use poem_openapi::{Enum, Object};
use serde::Serialize;

use super::answer::True;

/// What stands on the other side of a thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ThreadKind {
    /// Another account.
    #[default]
    User,
    /// A group.
    Group,
    /// The system, which welcomes and informs.
    System,
}

/// Who may join a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum GroupType {
    /// Anyone who knows its id.
    #[default]
    Public,
    /// Whom its admin adds.
    Private,
}

impl From<Access> for GroupType {
    fn from(access: Access) -> Self {
        match access {
            Access::Public => Self::Public,
            Access::Private => Self::Private,
        }
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum MessageType {
    /// A text that a client encrypted.
    #[default]
    Text,
    /// An image that a client encrypted.
    Image,
    /// A notice of the system: its text is a code.
    System,
    /// A message whose content was removed.
    Removed,
}

/// Whether the newest message of a thread was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ReadStatus {
    /// Read, or one's own.
    Read,
    /// Not read.
    #[default]
    Unread,
}

/// A thread as one of its participants sees it in the list.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "ListedThread", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct ListedThread {
    /// The partner's nickname, or the group's name; `be8` for the system.
    pub nickname: String,
    /// What stands on the other side.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: ThreadKind,
    /// The partner's account id, or `s1`; absent for groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The group.
    #[oai(rename = "groupID")]
    #[serde(rename = "groupID", skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Who may join the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_type: Option<GroupType>,
    /// The group's admin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// The most members of the group, as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_members: Option<String>,
    /// Until when the partner lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<String>,
    /// The partner's status text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_status: Option<String>,
    /// Whether the partner is endless.
    pub endless: bool,
    /// Always false: nobody learns whether others have lock codes.
    pub codes: bool,
    /// The thread.
    #[oai(rename = "threadID")]
    #[serde(rename = "threadID")]
    pub thread_id: String,
    /// The partner's account id, the group, or `s1`.
    pub partner: String,
    /// The time of the newest message.
    pub ts: String,
    /// The text of the newest message, or the code of a system message.
    pub text: String,
    /// Who sent it.
    pub sender: String,
    /// What the newest message is.
    pub message_type: MessageType,
    /// To whom it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// The initialisation vector of its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iv: Option<String>,
    /// The version of the group's key that encrypted it: `<groupID>:<version>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_version_key: Option<String>,
    /// Whether the newest message was read.
    pub status: ReadStatus,
}

/// A message as it is shown.
#[derive(Debug, Clone, Default, Object, Serialize)]
#[oai(rename = "Message", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The number in the thread.
    #[oai(rename = "messageID")]
    #[serde(rename = "messageID")]
    pub message_id: String,
    /// When it was sent, as JavaScript's `Date.toString()` in UTC.
    pub ts: String,
    /// Who sent it: an account id, or for system messages `s1` or the group.
    pub sender: String,
    /// To whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// The thread.
    #[oai(rename = "threadID")]
    #[serde(rename = "threadID")]
    pub thread_id: String,
    /// The sender's nickname when it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// The ciphertext, the code of a system message, or empty where it was removed. Images have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What it is.
    pub message_type: MessageType,
    /// As it was sent.
    #[oai(rename = "type")]
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The initialisation vector, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iv: Option<String>,
    /// As it was sent, as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endless: Option<String>,
    /// The group.
    #[oai(rename = "groupID")]
    #[serde(rename = "groupID", skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// The version of the group's key that encrypted it: `<groupID>:<version>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_version_key: Option<String>,
    /// Of an image: the sender's name for it, by which `/imageget` finds its content.
    #[oai(rename = "contentID")]
    #[serde(rename = "contentID", skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
    /// Of an image, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Of an image, as it was sent, as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub img_height: Option<String>,
    /// Of an image, as it was sent, as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub img_width: Option<String>,
    /// Of an image, as it was sent, as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_group: Option<String>,
    /// What a system message is about, HTML-escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra1: Option<String>,
    /// More of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra2: Option<String>,
    /// More of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra3: Option<String>,
    /// The accounts that have read it, its sender aside.
    pub status: Vec<String>,
    /// Always true.
    pub valid: True,
}

/// The message was written.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "MessageWritten", read_only_all)]
pub struct MessageWritten {
    /// Always true.
    pub valid: True,
    /// `message:<threadID>:<n>`, n being the number of the message in its thread.
    #[oai(rename = "messageID")]
    #[serde(rename = "messageID")]
    pub message_id: String,
}

impl MessageWritten {
    /// What is said of a message that was written.
    pub(in crate::http) fn of((thread, id): (ThreadId, MessageNo)) -> Self {
        Self { valid: True, message_id: format!("message:{thread}:{id}") }
    }
}
