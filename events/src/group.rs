//! Events of the `group-gN` streams: who is in a group, and which keys it has. Small, since
//! auditors replay them; the messages are in `chat-gN`.

use serde::{Deserialize, Serialize};

use crate::family::family;
use crate::{AccId, GroupId, GroupVersion, Hash32, MessageNo, Position, Sealing, StayNo, StreamName, Subject};

family! {
    /// Groups, their members and keys.
    GroupEvent {
        /// A group came into being.
        GroupCreated = 1,
        /// Somebody joined a group.
        MemberJoined = 1,
        /// A member added somebody to a group.
        MemberAdded = 1,
        /// A member left a group.
        MemberLeft = 1,
        /// The admin removed a member from a group.
        MemberKicked = 1,
        /// A member took the next version of a group's key.
        VersionAllocated = 1,
        /// A wrapped group key was stored for a member.
        GroupKeyStored = 1,
        /// A group was destroyed.
        GroupDestroyed = 1,
        /// A member asked all members to look at a group again.
        GroupUpdateSignalled = 1,
    }
}

impl GroupEvent {
    /// Under which key the secret part is sealed; none if there is none.
    pub(crate) fn sealing(&self, stream: StreamName) -> Option<Sealing> {
        let StreamName::Group(group) = stream else { return None };
        let subject = match self {
            Self::GroupCreated(_) => Subject::GroupName(group),
            Self::GroupKeyStored(_) => Subject::GroupKeys(group),
            Self::MemberJoined(_)
            | Self::MemberAdded(_)
            | Self::MemberLeft(_)
            | Self::MemberKicked(_)
            | Self::VersionAllocated(_)
            | Self::GroupDestroyed(_)
            | Self::GroupUpdateSignalled(_) => return None,
        };
        Some(Sealing::Lasting(subject))
    }

    /// How it changes who is in the group; none if it does not.
    pub const fn membership(&self) -> Option<Membership<'_>> {
        Some(match self {
            Self::GroupCreated(e) => Membership::Created(e),
            Self::MemberJoined(e) => Membership::Joined(e),
            Self::MemberAdded(e) => Membership::Added(e),
            Self::MemberLeft(e) => Membership::Left(e),
            Self::MemberKicked(e) => Membership::Kicked(e),
            Self::GroupDestroyed(e) => Membership::Destroyed(e),
            Self::VersionAllocated(_) | Self::GroupKeyStored(_) | Self::GroupUpdateSignalled(_) => return None,
        })
    }

    /// How it changes the keys of the group; none if it does not.
    pub const fn keys(&self) -> Option<KeyChange<'_>> {
        Some(match self {
            Self::VersionAllocated(e) => KeyChange::Allocated(e),
            Self::GroupKeyStored(e) => KeyChange::Stored(e),
            Self::GroupCreated(_)
            | Self::MemberJoined(_)
            | Self::MemberAdded(_)
            | Self::MemberLeft(_)
            | Self::MemberKicked(_)
            | Self::GroupDestroyed(_)
            | Self::GroupUpdateSignalled(_) => return None,
        })
    }
}

/// How an event changes who is in a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Membership<'e> {
    /// The group begins, with its admin.
    Created(&'e GroupCreated),
    /// Somebody comes.
    Joined(&'e MemberJoined),
    /// Somebody is brought by a member.
    Added(&'e MemberAdded),
    /// Somebody goes.
    Left(&'e MemberLeft),
    /// Somebody is put out by the admin.
    Kicked(&'e MemberKicked),
    /// The group ends.
    Destroyed(&'e GroupDestroyed),
}

impl Membership<'_> {
    /// The kinds of events that change who is in a group.
    pub const KINDS: &'static [&'static str] =
        &["GroupCreated", "MemberJoined", "MemberAdded", "MemberLeft", "MemberKicked", "GroupDestroyed"];
}

/// How an event changes the keys of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyChange<'e> {
    /// A version is taken.
    Allocated(&'e VersionAllocated),
    /// A wrapped key is stored.
    Stored(&'e GroupKeyStored),
}

/// A group came into being; its creator is its admin and has stay 1 from here on, though the
/// thread appears in the creator's list only with [`MemberJoined`]. Sealed under `GroupName`:
/// [`GroupSecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupCreated {
    /// The group.
    pub group: GroupId,
    /// Who created it.
    pub admin: AccId,
    /// Who may join.
    pub access: Access,
    /// The most members.
    pub capacity: u32,
}

/// Who may join a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Everybody who knows its id, and any member adds others.
    Public,
    /// Whom the admin adds.
    Private,
}

impl Access {
    /// The word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// The secret part of [`GroupCreated`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupSecret {
    /// The name of the group, 1 to 30 UTF-16 units.
    pub name: String,
}

/// Somebody joined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MemberJoined {
    /// The group.
    pub group: GroupId,
    /// Who.
    pub account: AccId,
    /// Which of the account's stays begins (the creator's first one has begun already).
    pub stay: StayNo,
    /// The number of the system message in the group's thread.
    pub message: MessageNo,
    /// The position of the event that set the account's nickname.
    pub nickname: Position,
}

/// A member added somebody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MemberAdded {
    /// The group.
    pub group: GroupId,
    /// Who was added.
    pub account: AccId,
    /// By whom.
    pub by: AccId,
    /// Which of the account's stays begins.
    pub stay: StayNo,
    /// The number of the system message in the group's thread.
    pub message: MessageNo,
    /// The position of the event that set the account's nickname.
    pub nickname: Position,
    /// The position of the event that set the nickname of the member that added it.
    pub by_nickname: Position,
    /// The position of the event that set the group's name.
    pub group_name: Position,
}

/// A member left. The key of its stay dies in the same append.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MemberLeft {
    /// The group.
    pub group: GroupId,
    /// Who.
    pub account: AccId,
    /// Which of the account's stays ends.
    pub stay: StayNo,
    /// The number of the system message in the group's thread.
    pub message: MessageNo,
    /// The position of the event that set the account's nickname.
    pub nickname: Position,
    /// The position of the event that set the group's name.
    pub group_name: Position,
}

/// The admin removed a member. The key of its stay dies in the same append.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MemberKicked {
    /// The group.
    pub group: GroupId,
    /// Who.
    pub account: AccId,
    /// By whom.
    pub by: AccId,
    /// Which of the account's stays ends.
    pub stay: StayNo,
    /// The number of the system message in the group's thread.
    pub message: MessageNo,
    /// The position of the event that set the account's nickname.
    pub nickname: Position,
    /// The position of the event that set the group's name.
    pub group_name: Position,
}

/// A member took the next version of the group's key. No number is ever taken twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VersionAllocated {
    /// The version.
    pub version: GroupVersion,
    /// Who took it.
    pub by: AccId,
}

/// A wrapped key was stored for a member. Sealed under `GroupKeys`: [`GroupKeySecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupKeyStored {
    /// The version of the group's key.
    pub version: GroupVersion,
    /// For whom it is wrapped.
    pub account: AccId,
    /// Who stored it.
    pub by: AccId,
    /// Whose key pair wrapped it.
    pub keyholder: AccId,
    /// SHA-256 of the wrapped key as it was sent: its fingerprint.
    pub sha256: Hash32,
    /// The position of the event whose key this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Position>,
}

/// The secret part of [`GroupKeyStored`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupKeySecret {
    /// The wrapped key as it was sent.
    pub key: String,
    /// The initialisation vector of the wrapping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iv: Option<String>,
}

/// The group was destroyed, with all that was written in it and all its keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupDestroyed {
    /// The group.
    pub group: GroupId,
    /// Who destroyed it.
    pub by: AccId,
    /// Who was a member at that moment, ascending, each with its stay, which ends.
    pub members: Vec<(AccId, StayNo)>,
    /// The position of the event that set the group's name.
    pub group_name: Position,
}

/// A member asked all members to look at the group again. Nothing changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupUpdateSignalled {
    /// Who.
    pub by: AccId,
    /// What they are to believe has happened.
    pub update: Update,
}

/// What a [`GroupUpdateSignalled`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// Somebody joined.
    Join,
    /// The member leaves.
    Leave,
}
