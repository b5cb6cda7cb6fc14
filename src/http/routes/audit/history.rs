//! The routes of the tag "Audit": a group's history, its state at a point, and the findings.

use be8_events::{AccId, GroupId, Position, StreamName};
use poem_openapi::param::{Path, Query};
use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use crate::app::{App, Handle};
use crate::audit::{self, AuditError, PageRequest, Point, Visibility};
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::Always;
use crate::http::document::tag::Tag;
use crate::http::request::operator::Auditor;
use crate::http::wire::answer::{Answer, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::json::findings::Finding;
use crate::json::history::{GroupThen, HistoryEntry};
use crate::ledger::Direction;

/// The history of groups.
pub struct Audit(pub Handle);

/// The entries of a page if the request does not say.
const PAGE: u32 = 100;
/// The most entries of a page.
const MOST: u32 = 1000;

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
    let admitted = admit_to_absent(app, auditor, group, what).await?;
    // A member's group is there.
    if admitted.reader.is_none() {
        let life = StreamName::Group(admitted.group);
        if app.ledger.log().read_stream(life, 1, Direction::Forwards, 1).await?.is_empty() {
            return Err(Code::NotFound.into());
        }
    }
    Ok(admitted)
}

/// The same where the operator may also ask about a group that does not exist.
pub(in crate::http) async fn admit_to_absent(
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
