//! Events of the server as a whole: the streams `invites`, `clock` and `histories`.

use serde::{Deserialize, Serialize};

use crate::family::family;
use crate::{Hash32, Position, Timestamp};

family! {
    /// The server itself.
    ServerEvent {
        /// An invite link was sent or used.
        LinkCounted = 1,
        /// An hour began.
        HourStruck = 1,
        /// How far each history goes was committed to.
        HistoriesCommitted = 1,
    }
}

/// An invite link was sent or used. A number to count, no more: the actor is known, the invited
/// is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinkCounted {
    /// To what it invites.
    pub link: Link,
    /// What happened to it.
    pub usage: Usage,
}

/// To what an invite link invites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// To a conversation.
    User,
    /// To a group.
    Group,
}

/// What happened to an invite link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Usage {
    /// It was sent.
    Sent,
    /// It was used.
    Used,
}

/// An hour began; once an hour over all nodes. The snapshot of the counters hangs on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HourStruck {
    /// The full hour, UTC.
    pub hour: Timestamp,
}

/// Commits to how many events each history has, and to the newest one of each, by the root of the map of histories
/// (`docs/log-format.md`). It is the last entry of a checkpoint, so that a signed head stands for one map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HistoriesCommitted {
    /// The position of the last event that the map covers.
    pub until: Position,
    /// The root of the map.
    pub root: Hash32,
}
