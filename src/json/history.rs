//! A group's history: its entries, and the group as it was at a point.

use be8_events::AccId;
use poem_openapi::{Enum, Object};
use serde::Serialize;

use crate::audit::{self, Act, Entry, StateThen};

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "camelCase")]
#[serde(rename_all = "camelCase")]
pub enum ActKind {
    /// The group was created; its creator is its first member.
    #[default]
    Created,
    /// An account joined.
    Joined,
    /// A member added an account.
    Added,
    /// A member left.
    Left,
    /// The admin removed a member.
    Kicked,
    /// A member took the next version of the key.
    VersionAllocated,
    /// A wrapped key was stored for a member.
    KeyStored,
    /// The group was destroyed.
    Destroyed,
    /// A message was written.
    Message,
}

/// Something that happened in a group.
#[derive(Debug, Clone, Default, PartialEq, Object, Serialize)]
#[oai(rename = "HistoryEntry", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Where it stands in the log.
    #[oai(validator(minimum(value = "1")))]
    pub position: i64,
    /// When (RFC 3339).
    pub time: String,
    /// The account that acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What happened.
    pub act: ActKind,
    /// Whom it happened to, or for whom a key was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Which of the account's stays began or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stay: Option<u32>,
    /// Of which version of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Whose key pair wrapped the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyholder: Option<String>,
    /// SHA-256 of the wrapped key as it was sent, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The position of the event whose key this one replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(validator(minimum(value = "0")))]
    pub replaces: Option<i64>,
    /// The number of the message in the thread.
    #[oai(rename = "messageID")]
    #[serde(rename = "messageID", skip_serializing_if = "Option::is_none")]
    pub message_id: Option<u32>,
    /// `public` or `private`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_type: Option<String>,
    /// The most members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_members: Option<u32>,
    /// Who was a member when the group was destroyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<String>>,
}

impl From<&Entry> for HistoryEntry {
    fn from(entry: &Entry) -> Self {
        let base = Self {
            position: entry.position.0,
            time: entry.time.to_string(),
            actor: entry.actor.map(|actor| actor.to_string()),
            ..Self::default()
        };
        let of = |act, account: &AccId, stay: &u32| Self {
            act,
            account: Some(account.to_string()),
            stay: Some(*stay),
            ..base.clone()
        };
        match &entry.act {
            Act::Created { access, capacity } => Self {
                act: ActKind::Created,
                group_type: Some(access.name().to_owned()),
                max_members: Some(*capacity),
                ..base
            },
            Act::Joined { account, stay } => of(ActKind::Joined, account, stay),
            Act::Added { account, stay } => of(ActKind::Added, account, stay),
            Act::Left { account, stay } => of(ActKind::Left, account, stay),
            Act::Kicked { account, stay } => of(ActKind::Kicked, account, stay),
            Act::VersionAllocated { version } => {
                Self { act: ActKind::VersionAllocated, version: Some(*version), ..base }
            }
            Act::KeyStored { version, account, keyholder, fingerprint, replaces } => Self {
                act: ActKind::KeyStored,
                version: Some(*version),
                account: Some(account.to_string()),
                keyholder: Some(keyholder.to_string()),
                fingerprint: Some(fingerprint.to_string()),
                replaces: replaces.map(|position| position.0),
                ..base
            },
            Act::Destroyed { members } => Self {
                act: ActKind::Destroyed,
                members: Some(members.iter().map(ToString::to_string).collect()),
                ..base
            },
            Act::Message { id, version } => {
                Self { act: ActKind::Message, message_id: Some(*id), version: *version, ..base }
            }
        }
    }
}

/// A member at a point of the log.
#[derive(Debug, Clone, Default, PartialEq, Object, Serialize)]
#[oai(rename = "MemberThen", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct MemberThen {
    /// The account.
    pub account: String,
    /// Which of its stays.
    pub stay: u32,
    /// Where the stay began.
    #[oai(validator(minimum(value = "0")))]
    pub since: i64,
}

/// Who held which key at a point of the log.
#[derive(Debug, Clone, Default, PartialEq, Object, Serialize)]
#[oai(rename = "KeyThen", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct KeyThen {
    /// The version.
    pub version: u32,
    /// For whom it was stored.
    pub account: String,
    /// Who stored it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_by: Option<String>,
    /// Whose key pair wrapped it.
    pub keyholder: String,
    /// SHA-256 of the wrapped key as it was sent, in hexadecimal.
    pub fingerprint: String,
    /// The event that stored it.
    #[oai(validator(minimum(value = "0")))]
    pub position: i64,
}

/// A group as it was at a point of the log.
#[derive(Debug, Clone, Default, PartialEq, Object, Serialize)]
#[oai(rename = "GroupThen", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct GroupThen {
    /// The group's newest event up to that point.
    #[oai(validator(minimum(value = "0")))]
    pub position: i64,
    /// Its time (RFC 3339).
    pub time: String,
    /// The admin.
    pub admin: String,
    /// It was destroyed by then.
    pub destroyed: bool,
    /// The members, ascending.
    pub members: Vec<MemberThen>,
    /// The newest version of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// All keys that were stored by then, by version and account.
    pub keys: Vec<KeyThen>,
}

impl From<&StateThen> for GroupThen {
    fn from(state: &StateThen) -> Self {
        let member = |(account, member): (&AccId, &audit::MemberThen)| MemberThen {
            account: account.to_string(),
            stay: member.stay,
            since: member.since.0,
        };
        let keys = state
            .keys
            .iter()
            .flat_map(|(version, keys)| keys.iter().map(move |(account, key)| (version, account, key)));
        Self {
            position: state.position.0,
            time: state.time.map(|time| time.to_string()).unwrap_or_default(),
            admin: state.admin.map(|admin| admin.to_string()).unwrap_or_default(),
            destroyed: state.destroyed,
            members: state.members.iter().map(member).collect(),
            version: state.version.map(|(version, ..)| version),
            keys: keys
                .map(|(version, account, key)| KeyThen {
                    version: *version,
                    account: account.to_string(),
                    stored_by: key.by.map(|by| by.to_string()),
                    keyholder: key.keyholder.to_string(),
                    fingerprint: key.fingerprint.to_string(),
                    position: key.position.0,
                })
                .collect(),
        }
    }
}
