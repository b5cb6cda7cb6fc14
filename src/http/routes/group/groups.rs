//! The routes of the tag "Groups": who is in them.

use be8_events::group::{Access, GroupSecret, Update};
use be8_events::{AccId, GroupId, Secret};
use be8_projections::GroupMember;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::Handle;
use crate::app::names::{open_name, open_status};
use crate::domain::group::{AddMember, CreateGroup, DestroyGroup, JoinGroup, KickMember, LeaveGroup, SignalUpdate};
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::reads;
use crate::http::request::body::Body;
use crate::http::request::json::double;
use crate::http::request::lenient::Lenient;
use crate::http::request::once::IdempotencyKey;
use crate::http::request::session::Session;
use crate::http::wire::answer::{Answer, Refused, Success, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::js_date::js_date;
use crate::http::wire::shown::GroupType;
use crate::http::wire::text::utf16_len;
use crate::vault::Opener;

/// Groups.
pub struct Groups(pub Handle);

/// How many members a group may have if its creator does not say (docs/protocol.md, "Size of a group").
const DEFAULT_CAPACITY: u32 = 20;

/// A group to create.
#[derive(Debug, Default, Object)]
#[oai(rename = "GroupCreateInput", rename_all = "camelCase", example)]
pub struct CreateInput {
    /// The name, 1 to 30 characters (UTF-16 units).
    #[oai(validator(min_length = 1, max_length = 30))]
    pub nickname: Lenient<String>,
    /// `public`: anyone who knows its id can join, any member can add. `private`: only the admin can add.
    pub group_type: Lenient<GroupType>,
    /// The most members; 20 if it is missing or no positive number, never more than the server allows.
    pub max_members: Lenient<Option<u32>>,
}

impl poem_openapi::types::Example for CreateInput {
    fn example() -> Self {
        Self { nickname: json!("Friends").into(), group_type: json!("public").into(), max_members: Lenient::default() }
    }
}

/// Which group.
#[derive(Debug, Default, Object)]
#[oai(rename = "GroupInput", example)]
pub struct GroupInput {
    /// The group.
    #[oai(rename = "groupID")]
    pub group_id: Lenient<String>,
}

impl poem_openapi::types::Example for GroupInput {
    fn example() -> Self {
        Self { group_id: json!("g10001").into() }
    }
}

/// Whom to add to which group.
#[derive(Debug, Default, Object)]
#[oai(rename = "GroupAddInput", example)]
pub struct AddInput {
    /// The group.
    #[oai(rename = "groupID")]
    pub group_id: Lenient<String>,
    /// The account.
    #[oai(rename = "memberID")]
    pub member_id: Lenient<String>,
    /// Looked at where `memberID` is missing.
    #[oai(rename = "accID")]
    pub acc_id: Lenient<Option<String>>,
}

impl poem_openapi::types::Example for AddInput {
    fn example() -> Self {
        Self { group_id: json!("g10001").into(), member_id: json!("10001").into(), acc_id: Lenient::default() }
    }
}

/// Whom to remove from which group.
#[derive(Debug, Default, Object)]
#[oai(rename = "GroupKickInput", example)]
pub struct KickInput {
    /// The group.
    #[oai(rename = "groupID")]
    pub group_id: Lenient<String>,
    /// The member.
    #[oai(rename = "accID")]
    pub acc_id: Lenient<String>,
}

impl poem_openapi::types::Example for KickInput {
    fn example() -> Self {
        Self { group_id: json!("g10001").into(), acc_id: json!("10001").into() }
    }
}

/// What members do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum GroupUpdateType {
    /// Somebody joined.
    JoinMember,
    /// Somebody left.
    LeaveGroup,
}

/// What to notify the members of a group of.
#[derive(Debug, Default, Object)]
#[oai(rename = "GroupUpdateInput", example)]
pub struct UpdateInput {
    /// The group.
    #[oai(rename = "groupID")]
    pub group_id: Lenient<String>,
    /// `joinmember` or `leavegroup`.
    pub update: Lenient<GroupUpdateType>,
    /// Looked at where `update` is missing.
    #[oai(rename = "type")]
    pub kind: Lenient<Option<String>>,
}

impl poem_openapi::types::Example for UpdateInput {
    fn example() -> Self {
        Self { group_id: json!("g10001").into(), update: json!("joinmember").into(), kind: Lenient::default() }
    }
}

/// The group was created.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "GroupCreated", read_only_all)]
pub struct Created {
    /// Always true.
    pub valid: True,
    /// The group.
    #[oai(rename = "groupID")]
    #[serde(rename = "groupID")]
    pub group_id: String,
}

/// Who is in the group now.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "GroupMemberIds", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct MemberIds {
    /// Always true.
    pub valid: True,
    /// The accounts, ascending.
    pub group_members: Vec<String>,
}

/// A member as the others see it.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "GroupMember", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The nickname.
    pub nickname: String,
    /// Always `user`.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Until when the account lives.
    pub expire: String,
    /// The account.
    pub id: String,
    /// The status text.
    pub user_status: String,
    /// Whether a token made it endless.
    pub endless: bool,
}

/// The members of a group.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "GroupMemberList", read_only_all)]
pub struct MemberList {
    /// Always true.
    pub valid: True,
    /// The admin first, the others ascending.
    pub members: Vec<Member>,
}

/// A member, as the others see it.
pub(in crate::http) fn member(of: &GroupMember, opener: &Opener) -> Result<Member, WireError> {
    Ok(Member {
        nickname: open_name(opener, &of.nickname)?,
        kind: "user",
        expire: js_date(of.until),
        id: of.id.to_string(),
        user_status: open_status(opener, of.status.as_ref())?,
        endless: of.endless,
    })
}

/// The group that a field names.
pub(in crate::http) fn group_id(field: &Lenient<String>) -> Option<GroupId> {
    field.str()?.parse().ok()
}

/// The account that a field names; a number never does.
pub(in crate::http) fn account_id<T>(field: &Lenient<T>) -> Option<AccId> {
    field.str()?.parse().ok()
}

fn member_ids(members: Vec<AccId>) -> MemberIds {
    MemberIds { valid: True, group_members: members.iter().map(AccId::to_string).collect() }
}

/// A positive whole number, or its decimal text, up to the most that is allowed.
fn capacity(value: Option<&Value>, most: u32) -> u32 {
    let number = match value {
        Some(Value::Number(number)) => {
            Some(double(number)).filter(|n| n.is_finite() && n.fract() == 0.0 && *n >= 1.0).map(|n| n as u64)
        }
        Some(Value::String(text)) if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() => {
            // Digits only: what does not fit is more than is allowed.
            Some(text.parse().unwrap_or(u64::MAX))
        }
        _ => None,
    };
    match number {
        None | Some(0) => DEFAULT_CAPACITY.min(most),
        Some(number) => u32::try_from(number).unwrap_or(most).min(most),
    }
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract(
        "createGroup",
        &[Always(Code::NotAuth), Always(Code::InvalidNickname), Always(Code::InvalidGroupType)],
    ),
    Operation::contract(
        "joinGroup",
        &[
            Always(Code::NotAuth),
            Always(Code::GroupNotExisting),
            Always(Code::IsAlreadyMember),
            When(Code::NotAdmin, "(private)"),
            Always(Code::GroupMaxReached),
        ],
    ),
    Operation::contract(
        "addGroupMember",
        &[
            Always(Code::NotAuth),
            Always(Code::GroupNotExisting),
            Always(Code::MemberNotExisting),
            Always(Code::NoGroupMember),
            Always(Code::NotAdmin),
            Always(Code::IsAlreadyMember),
            Always(Code::GroupMaxReached),
        ],
    ),
    Operation::contract(
        "listGroupMembers",
        &[Always(Code::NotAuth), Always(Code::GroupNotExisting), Always(Code::NoGroupMember)],
    ),
    Operation::contract(
        "leaveGroup",
        &[Always(Code::NotAuth), Always(Code::GroupNotExisting), Always(Code::NoGroupMember)],
    ),
    Operation::contract(
        "kickGroupMember",
        &[
            Always(Code::NotAuth),
            Always(Code::GroupNotExisting),
            Always(Code::NotAdmin),
            Always(Code::NoGroupMember),
            Always(Code::CircularKick),
        ],
    ),
    Operation::contract(
        "destroyGroup",
        &[Always(Code::NotAuth), When(Code::NotAdmin, "(also for a group that does not exist)")],
    ),
    Operation::contract(
        "signalGroupUpdate",
        &[
            Always(Code::NotAuth),
            Always(Code::GroupNotExisting),
            Always(Code::NoGroupMember),
            Always(Code::InvalidUpdateType),
        ],
    ),
];

#[OpenApi]
impl Groups {
    /// Create a group
    ///
    /// The session's account is its admin and a member at once; the thread appears in its list
    /// with its first `/groupjoinmember`. Its streams receive `groupCreate`.
    #[oai(path = "/groupcreate", method = "post", operation_id = "createGroup", tag = "Tag::Groups")]
    async fn create(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<CreateInput>,
    ) -> Result<Answer<Created>, WireError> {
        let app = self.0.get()?;
        let name = body.nickname.str().filter(|name| (1..=30).contains(&utf16_len(name)));
        let command = CreateGroup {
            session: session.0,
            name: name.map(|name| Secret::new(GroupSecret { name: name.to_owned() })),
            access: match body.group_type.str() {
                Some("public") => Some(Access::Public),
                Some("private") => Some(Access::Private),
                _ => None,
            },
            capacity: capacity(body.max_members.value(), app.settings.group_members),
        };
        let created = |group: GroupId| Created { valid: True, group_id: group.to_string() };
        app.execute(key.with(&body), command, created).await
    }

    /// Join a group
    ///
    /// Public groups only, except for the creator's own first join. All members receive `groupJoin`.
    #[oai(path = "/groupjoinmember", method = "post", operation_id = "joinGroup", tag = "Tag::Groups")]
    async fn join(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<GroupInput>,
    ) -> Result<Answer<Success, Refused>, WireError> {
        let command = JoinGroup { session: session.0, group: group_id(&body.group_id) };
        self.0.get()?.execute(key.with(&body), command, |()| Success::default()).await
    }

    /// Add somebody to a group
    ///
    /// In a private group only the admin may. All members receive `groupJoin`.
    #[oai(path = "/groupaddmember", method = "post", operation_id = "addGroupMember", tag = "Tag::Groups")]
    async fn add(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<AddInput>,
    ) -> Result<Answer<MemberIds, Refused>, WireError> {
        let member = if body.member_id.is_truthy() { account_id(&body.member_id) } else { account_id(&body.acc_id) };
        let command = AddMember { session: session.0, group: group_id(&body.group_id), member };
        self.0.get()?.execute(key.with(&body), command, member_ids).await
    }

    /// List the members of a group
    #[oai(path = "/groupgetmembers", method = "post", operation_id = "listGroupMembers", tag = "Tag::Groups")]
    async fn members(
        &self,
        session: Session,
        body: Body<GroupInput>,
    ) -> Result<Answer<MemberList, Refused>, WireError> {
        let app = self.0.get()?;
        let (session, now, group) = (session.required()?, app.now(), group_id(&body.group_id));
        if let Some(members) = reads::members(&app.views, session, now, group).await? {
            return Ok(Answer::written(members?));
        }
        let list = app.read.group_members(session, now, group).await?;
        let list = list.ok_or(WireError::from(Code::NotAuth))?;
        if !list.standing.exists {
            return Err(Code::GroupNotExisting.into());
        }
        if !list.standing.member {
            return Err(Code::NoGroupMember.into());
        }
        let opener = app.vault.opener(&list.live).await?;
        let members = list.members.iter().map(|of| member(of, &opener));
        Ok(Answer::new(&MemberList { valid: True, members: members.collect::<Result<_, WireError>>()? }))
    }

    /// Leave a group
    ///
    /// What the leaver wrote is `removed` for everybody from here on. When the admin leaves, the
    /// group is destroyed. All members receive `groupMemberRemove`.
    #[oai(path = "/groupleavemember", method = "post", operation_id = "leaveGroup", tag = "Tag::Groups")]
    async fn leave(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<GroupInput>,
    ) -> Result<Answer<MemberIds, Refused>, WireError> {
        let command = LeaveGroup { session: session.0, group: group_id(&body.group_id) };
        self.0.get()?.execute(key.with(&body), command, member_ids).await
    }

    /// Remove a member from a group
    ///
    /// What the member wrote is `removed` for everybody from here on. All members receive
    /// `groupMemberRemove`.
    #[oai(path = "/groupkickmember", method = "post", operation_id = "kickGroupMember", tag = "Tag::Groups")]
    async fn kick(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<KickInput>,
    ) -> Result<Answer<Success, Refused>, WireError> {
        let member = account_id(&body.acc_id);
        let command = KickMember { session: session.0, group: group_id(&body.group_id), member };
        self.0.get()?.execute(key.with(&body), command, |()| Success::default()).await
    }

    /// Destroy a group
    ///
    /// All that was written in it, and all its keys, are deleted at once. Each member receives
    /// `groupMemberRemove` with its own id.
    #[oai(path = "/groupdestroygroup", method = "post", operation_id = "destroyGroup", tag = "Tag::Groups")]
    async fn destroy(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<GroupInput>,
    ) -> Result<Answer<Success, Refused>, WireError> {
        let command = DestroyGroup { session: session.0, group: group_id(&body.group_id) };
        self.0.get()?.execute(key.with(&body), command, |()| Success::default()).await
    }

    /// Ask the members to look again
    ///
    /// `joinmember`: all members receive `groupUpdate`; `leavegroup`: `groupMemberRemove` with the
    /// session's account. Nothing else happens.
    #[oai(path = "/grouptriggersseupdate", method = "post", operation_id = "signalGroupUpdate", tag = "Tag::Groups")]
    async fn signal(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<UpdateInput>,
    ) -> Result<Answer<Success, Refused>, WireError> {
        let word = if body.update.value().is_some() { body.update.str() } else { body.kind.str() };
        let update = match word {
            Some("joinmember") => Some(Update::Join),
            Some("leavegroup") => Some(Update::Leave),
            _ => None,
        };
        let command = SignalUpdate { session: session.0, group: group_id(&body.group_id), update };
        self.0.get()?.execute(key.with(&body), command, |()| Success::default()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_are_bounded_and_never_zero() {
        for (value, expected) in [
            (json!(2), 2),
            (json!("2"), 2),
            (json!(2.0), 2),
            (json!(5000), 1000),
            (json!("99999999999999999999999"), 1000),
            (json!(0), 20),
            (json!("0"), 20),
            (json!(-1), 20),
            (json!(1.5), 20),
            (json!("abc"), 20),
            (json!(""), 20),
            (json!(null), 20),
            (json!([3]), 20),
            (json!(true), 20),
        ] {
            assert_eq!(capacity(Some(&value), 1000), expected, "{value}");
        }
        assert_eq!(capacity(None, 1000), 20);
        assert_eq!(capacity(None, 5), 5);
    }
}
