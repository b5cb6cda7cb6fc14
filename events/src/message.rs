//! Messages, of dialogs (`dialog-LO-HI`) and groups alike.

use serde::{Deserialize, Serialize};

use crate::family::family;
use crate::{AccId, GroupVersion, Hash32, MessageNo, Position, StayNo, ThreadId};

family! {
    /// Messages, of conversations and groups.
    MessageEvent {
        /// Somebody wrote a message.
        MessageWritten = 1,
        /// Somebody posted an image.
        ImagePosted = 1,
    }
}

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

/// Somebody posted an image. Sealed under a message key: [`ImageSecret`]. The content is a blob
/// beside the log, encrypted under a key of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ImagePosted {
    /// The thread.
    pub thread: ThreadId,
    /// The number of the message in the thread.
    pub id: MessageNo,
    /// Who posted it.
    pub sender: AccId,
    /// The position of the event that set the nickname under which it was posted.
    pub nickname: Position,
    /// Which of the sender's stays in the thread.
    pub stay: StayNo,
    /// In groups: the version of the group's key that encrypted it, if the client names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<GroupVersion>,
    /// The random name of the blob.
    pub blob: Hash32,
    /// The bytes of the blob as it is stored.
    pub size: u64,
    /// SHA-256 of the blob as it is stored, which is encrypted.
    pub sha256: Hash32,
    /// The sender's name for the image (`contentID`), as an HMAC under a key of its account: the
    /// stream `media-ACC-HMAC` says whether it is known.
    pub content: Hash32,
}

/// The secret part of [`ImagePosted`]: what the client sent besides the content. All as the
/// strings that are returned.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ImageSecret {
    /// The data key of the blob: AES-256-GCM, in base64.
    pub blob_key: String,
    /// The sender's name for the image.
    pub content_id: String,
    /// The client's `contentType` field, echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The height in pixels, echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<String>,
    /// The width in pixels, echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<String>,
    /// The client's `isGroup` field, echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_group: Option<String>,
    /// The initialisation vector of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iv: Option<String>,
    /// The client's `type` field, echoed.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The client's `endless` field, echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endless: Option<String>,
}
