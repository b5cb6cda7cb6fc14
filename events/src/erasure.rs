//! Events of the `erasure` stream: the deletion of data keys.

use serde::{Deserialize, Serialize};

use crate::family::family;
use crate::{KeyId, Subject};

family! {
    /// Erasures.
    ErasureEvent {
        /// Data keys were deleted: what they sealed can never be read again.
        KeysDeleted = 1,
    }
}

/// Data keys were deleted: what they sealed can never be read again, while its place, time and
/// hash in the log remain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KeysDeleted {
    /// The keys, each with its subject.
    pub keys: Vec<DeletedKey>,
    /// Why.
    pub cause: Cause,
}

/// One deleted key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeletedKey {
    /// The number of the key.
    pub id: KeyId,
    /// Whose key it was.
    #[serde(with = "subject_text")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub subject: Subject,
}

/// Why keys were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A member left a group or was removed from it.
    Departure,
    /// A group was destroyed.
    GroupDestroyed,
    /// An account was removed.
    AccountRemoved,
    /// A conversation ended.
    ConversationEnded,
    /// What they sealed was to be kept until now and no longer.
    Expired,
    /// The operator asked for it.
    Operator,
}

/// A subject as its text form.
mod subject_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::Subject;

    pub(super) fn serialize<S: Serializer>(subject: &Subject, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(subject)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Subject, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
