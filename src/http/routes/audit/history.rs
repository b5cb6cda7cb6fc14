//! The routes of the tag "Audit": a group's history, its state at a point, and the findings.

use be8_events::{AccId, GroupId, Position, StreamName};
use poem_openapi::param::{Path, Query};
use poem_openapi::{Enum, Object, OpenApi};
use serde::Serialize;

use crate::app::{App, Handle};
use crate::audit::{self, Act, AuditError, PageRequest, Point, Visibility};
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::Always;
use crate::http::document::tag::Tag;
use crate::http::request::operator::Auditor;
use crate::http::wire::answer::{Answer, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::ledger::Direction;

/// The history of groups.
pub struct Audit(pub Handle);

/// The entries of a page if the request does not say.
const PAGE: u32 = 100;
/// The most entries of a page.
const MOST: u32 = 1000;

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

impl From<&audit::Entry> for HistoryEntry {
    fn from(entry: &audit::Entry) -> Self {
        let base = Self {
            position: entry.position.0,
            time: entry.time.to_string(),
            actor: entry.actor.map(|actor| actor.to_string()),
            ..Self::default()
        };
        let of = |act, account: &be8_events::AccId, stay: &u32| Self {
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

impl From<&audit::StateThen> for GroupThen {
    fn from(state: &audit::StateThen) -> Self {
        let member = |(account, member): (&be8_events::AccId, &audit::MemberThen)| MemberThen {
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

/// A page of a group's history, or the group as it was at a point.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "GroupHistory", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct GroupHistory {
    /// Always true.
    pub valid: True,
    /// The group.
    #[oai(rename = "groupID")]
    #[serde(rename = "groupID")]
    pub group_id: String,
    /// The entries, ascending; empty when a state was asked for.
    pub entries: Vec<HistoryEntry>,
    /// Whether there is more in the direction of the page.
    pub more: bool,
    /// The group then; only when `at` was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<GroupThen>,
}

/// Something that is wrong in a group's history.
#[derive(Debug, Clone, Default, PartialEq, Object, Serialize)]
#[oai(rename = "Finding", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `exposure-window`, `missing-key`, `stray-key`, `undistributed-version` or `replaced-key`.
    pub rule: String,
    /// Whom it is about.
    pub account: String,
    /// Which version of the key.
    pub version: u32,
    /// Of an exposure window: `holds-key` or `knows-key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<String>,
    /// Where it began.
    #[oai(validator(minimum(value = "0")))]
    pub from: i64,
    /// When it began (RFC 3339).
    pub since: String,
    /// Where it ended; absent: it lasts, or is of a moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(validator(minimum(value = "0")))]
    pub until: Option<i64>,
    /// Of an exposure window: the messages that were written in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(validator(minimum(value = "0")))]
    pub messages: Option<i64>,
    /// The positions of the events that prove it.
    pub proof: Vec<i64>,
}

impl From<&audit::Finding> for Finding {
    fn from(finding: &audit::Finding) -> Self {
        Self {
            rule: finding.rule.name().to_owned(),
            account: finding.account.to_string(),
            version: finding.version,
            knowledge: finding.knowledge.map(|knowledge| knowledge.name().to_owned()),
            from: finding.from.0,
            since: finding.since.to_string(),
            until: finding.until.map(|position| position.0),
            messages: finding.messages,
            proof: finding.proof.iter().map(|position| position.0).collect(),
        }
    }
}

/// What is wrong in a group's history.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "GroupFindings", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct GroupFindings {
    /// Always true.
    pub valid: True,
    /// The group.
    #[oai(rename = "groupID")]
    #[serde(rename = "groupID")]
    pub group_id: String,
    /// In the order in which they began.
    pub findings: Vec<Finding>,
}

pub(in crate::http) fn example_group() -> String {
    "g10001".to_owned()
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::own("getGroupHistory", &[Always(Code::NotAuth), Always(Code::NotFound), Always(Code::InvalidInput)]),
    Operation::own("getGroupFindings", &[Always(Code::NotAuth), Always(Code::NotFound)]),
];

#[OpenApi]
impl Audit {
    /// Read a group's history
    ///
    /// Created, joined, added, left, kicked, versions, stored keys with their fingerprints,
    /// destroyed; each with its position in the log, its time and who did it. A member sees all of
    /// that for the group's whole life, and the positions of messages inside its own stays. Former
    /// members, strangers and anyone who names a group that does not exist get the same 404. A
    /// destroyed group is for the operator only.
    ///
    /// Pages go forwards from `after`, or backwards from `before`. With `at` (a position or a
    /// time) the answer is the group as it was then.
    #[oai(
        path = "/audit/groups/:groupID/history",
        method = "get",
        operation_id = "getGroupHistory",
        tag = "Tag::Audit"
    )]
    #[allow(clippy::too_many_arguments)] // one for each parameter of the request
    async fn history(
        &self,
        auditor: Auditor,
        /// The group.
        #[oai(name = "groupID", example = "example_group")]
        group: Path<String>,
        /// Entries after this position.
        #[oai(validator(minimum(value = "0")))]
        after: Query<Option<i64>>,
        /// Entries before this position, the nearest ones.
        #[oai(validator(minimum(value = "1")))]
        before: Query<Option<i64>>,
        /// The most entries; 100 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<u32>>,
        /// A position or a time (RFC 3339): the group as it was then.
        at: Query<Option<String>>,
    ) -> Result<Answer<GroupHistory>, WireError> {
        let app = self.0.get()?;
        let log = app.ledger.log();
        let Admitted { group, sight, .. } = admit(app, &auditor, &group.0, "history").await?;
        let group_id = group.to_string();
        if let Some(at) = at.0 {
            let point: Point = at.parse().map_err(|_| WireError::from(Code::InvalidInput))?;
            let state = audit::state_at(log, group, point).await?;
            let state = state.as_ref().map(GroupThen::from);
            let (entries, more) = (Vec::new(), false);
            return Ok(Answer::new(&GroupHistory { valid: True, group_id, entries, more, state }));
        }
        let turn = match (after.0, before.0) {
            (Some(_), Some(_)) => return Err(Code::InvalidInput.into()),
            (_, Some(before)) => PageRequest::Before(Position(before)),
            (after, None) => PageRequest::After(Position(after.unwrap_or(0))),
        };
        let count = limit.0.unwrap_or(PAGE).clamp(1, MOST);
        let page = audit::history(log, group, &sight, turn, count).await?;
        let entries = page.entries.iter().map(HistoryEntry::from).collect();
        Ok(Answer::new(&GroupHistory { valid: True, group_id, entries, more: page.more, state: None }))
    }

    /// Judge a group's history
    ///
    /// What is wrong in it by the rules of `docs/audit.md`, with the positions that prove it:
    /// exposure windows after departures, missing, stray and replaced keys, versions that were
    /// never handed out. Who may ask is as for the history.
    #[oai(
        path = "/audit/groups/:groupID/findings",
        method = "get",
        operation_id = "getGroupFindings",
        tag = "Tag::Audit"
    )]
    async fn findings(
        &self,
        auditor: Auditor,
        /// The group.
        #[oai(name = "groupID", example = "example_group")]
        group: Path<String>,
    ) -> Result<Answer<GroupFindings>, WireError> {
        let app = self.0.get()?;
        let Admitted { group, sight, .. } = admit(app, &auditor, &group.0, "findings").await?;
        let findings = audit::findings(app.ledger.log(), group, &sight, app.now()).await?;
        let findings = findings.iter().map(Finding::from).collect();
        Ok(Answer::new(&GroupFindings { valid: True, group_id: group.to_string(), findings }))
    }
}

/// Who may ask about a group.
pub(in crate::http) struct Admitted {
    /// Which group.
    pub group: GroupId,
    /// What they see of it.
    pub sight: Visibility,
    /// Which member asks; none is the operator.
    pub reader: Option<AccId>,
}

/// Who asks, about which group, and what they see of it.
pub(in crate::http) async fn admit(
    app: &App,
    auditor: &Auditor,
    group: &str,
    what: &str,
) -> Result<Admitted, WireError> {
    let named: Option<GroupId> = group.parse().ok();
    let not_found = || WireError::from(Code::NotFound);
    match auditor {
        Auditor::Bearer(token) => {
            if !token.is_operator(app.operator.as_ref()) {
                crate::http::request::operator::warn_of_wrong_token(what);
                return Err(WireError::not_operator());
            }
            tracing::info!(group, what, "operator access");
            let group = named.ok_or_else(not_found)?;
            let first = app.ledger.log().read_stream(StreamName::Group(group), 1, Direction::Forwards, 1).await?;
            if first.is_empty() {
                return Err(not_found());
            }
            Ok(Admitted { group, sight: Visibility::Everything, reader: None })
        }
        Auditor::Session(session) => {
            let standing = app.read.group_standing(session.required()?, app.now(), named).await?;
            let standing = standing.ok_or(WireError::from(Code::NotAuth))?;
            let group = named.filter(|_| standing.member).ok_or_else(not_found)?;
            let sight = Visibility::of_member(&app.read, group, standing.reader).await?;
            Ok(Admitted { group, sight, reader: Some(standing.reader) })
        }
    }
}

impl From<AuditError> for WireError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Log(error) => error.into(),
            AuditError::Read(error) => error.into(),
            AuditError::Worker(error) => {
                tracing::error!(%error, "a history could not be judged");
                Code::Internal.into()
            }
        }
    }
}
