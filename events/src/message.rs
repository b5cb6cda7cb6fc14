//! Messages, of dialogs (`dialog-LO-HI`) and groups alike.

use serde::{Deserialize, Serialize};

use crate::{AccId, GroupVersion, MessageNo, Position, StayNo, ThreadId};

/// Somebody wrote a message. Sealed under a message key: [`MessageSecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MessageWritten {
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<GroupVersion>,
}

/// The secret part of [`MessageWritten`]: what the client encrypted, and what it echoes. All as
/// the strings that are returned.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MessageSecret {
    /// The ciphertext that the client made.
    pub text: String,
    /// Its initialisation vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iv: Option<String>,
    /// The client's `type` field, echoed.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The client's `endless` field, echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endless: Option<String>,
}
