//! Events of the `reads-THREAD` streams: who has read which messages.

use serde::{Deserialize, Serialize};

use crate::family::family;
use crate::{AccId, MessageNo};

family! {
    /// Read marks.
    ReadsEvent {
        /// Somebody read messages of others.
        MessagesRead = 1,
    }
}

/// Somebody read messages of others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MessagesRead {
    /// Who read.
    pub reader: AccId,
    /// Runs of consecutive shown messages, first and last inclusive, ascending. The reader's own
    /// messages inside a run belong to it, so that an alternating dialog stays one run; code that
    /// shows read marks leaves a sender out of the readers of its own messages.
    pub ranges: Vec<(MessageNo, MessageNo)>,
    /// Whom to notify: each sender of a newly read message with the newest of them.
    pub tell: Vec<(AccId, MessageNo)>,
}
