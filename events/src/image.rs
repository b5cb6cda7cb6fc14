//! What the names stand for that senders give to their images (`media-ACC-HMAC`).

use serde::{Deserialize, Serialize};

use crate::family::family;
use crate::{Hash32, MessageNo, ThreadId};

family! {
    /// Senders' names for images.
    MediaEvent {
        /// A sender's name for an image is known from here on.
        MediaStored = 1,
    }
}

/// Which content a sender's `contentID` stands for; one event a stream `media-ACC-HMAC`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MediaStored {
    /// The thread of the image.
    pub thread: ThreadId,
    /// The number of its message.
    pub id: MessageNo,
    /// The content as it was sent, as an HMAC under a key of the sender's account: the same
    /// content again is no new image.
    pub content: Hash32,
}
