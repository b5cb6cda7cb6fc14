//! The operator's routes that act on accounts.

use be8_events::{AccId, StreamName};
use poem_openapi::param::Path;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use crate::app::{App, Handle};
use crate::domain::Rejection;
use crate::domain::operator::EndSessions;
use crate::domain::removal::RemoveAccount;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::Always;
use crate::http::document::tag::Tag;
use crate::http::request::operator::Operator;
use crate::http::wire::answer::{Answer, Success, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::json::sessions::SessionEntry;
use crate::ledger::{Direction, LedgerError};
use crate::process::removal::remove;

/// What the operator does to accounts.
pub struct OperatorAccounts(pub Handle);

/// The open sessions of an account.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "SessionList", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct SessionList {
    /// Always true.
    pub valid: True,
    /// The sessions, in the order in which they were opened.
    pub sessions: Vec<SessionEntry>,
}

/// How many sessions ended.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "SessionsEnded", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct SessionsEnded {
    /// Always true.
    pub valid: True,
    /// How many there were.
    #[oai(validator(minimum(value = "0")))]
    pub ended: u32,
}

impl SessionsEnded {
    /// So many.
    pub(in crate::http) fn of(count: usize) -> Self {
        Self { valid: True, ended: u32::try_from(count).unwrap_or(u32::MAX) }
    }
}

fn example_account() -> String {
    "10003".to_owned()
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::own("removeAccountAsOperator", &[Always(Code::NotAuth), Always(Code::NotFound)]),
    Operation::own("listSessionsAsOperator", &[Always(Code::NotAuth), Always(Code::NotFound)]),
    Operation::own("endSessionsAsOperator", &[Always(Code::NotAuth), Always(Code::NotFound)]),
];

#[OpenApi]
impl OperatorAccounts {
    /// Remove an account
    ///
    /// For the operator. The account is removed at once, as if by its owner; what hangs on it
    /// follows, mostly before the answer.
    #[oai(
        path = "/operator/accounts/:accID",
        method = "delete",
        operation_id = "removeAccountAsOperator",
        tag = "Tag::Operations"
    )]
    async fn remove(
        &self,
        operator: Operator,
        /// The account.
        #[oai(name = "accID", example = "example_account")]
        account: Path<String>,
    ) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        let account = admit(app, &operator, &account.0, "remove an account").await?;
        remove(&app.ledger, &app.read, RemoveAccount::Operator { account }).await.map_err(|error| match error {
            LedgerError::Rejected(Rejection::AccountNotExisting) => Code::NotFound.into(),
            error => WireError::from(error),
        })?;
        Ok(Answer::new(&Success::default()))
    }

    /// List the sessions of an account
    ///
    /// For the operator. A removed account has none.
    #[oai(
        path = "/operator/accounts/:accID/sessions",
        method = "get",
        operation_id = "listSessionsAsOperator",
        tag = "Tag::Operations"
    )]
    async fn sessions(
        &self,
        operator: Operator,
        /// The account.
        #[oai(name = "accID", example = "example_account")]
        account: Path<String>,
    ) -> Result<Answer<SessionList>, WireError> {
        let app = self.0.get()?;
        let account = admit(app, &operator, &account.0, "list sessions").await?;
        let sessions = app.read.open_sessions(account).await?;
        let sessions = sessions.found.iter().map(SessionEntry::from).collect();
        Ok(Answer::new(&SessionList { valid: True, sessions }))
    }

    /// End the sessions of an account
    ///
    /// For the operator. All of them; their event streams end with them.
    #[oai(
        path = "/operator/accounts/:accID/sessions",
        method = "delete",
        operation_id = "endSessionsAsOperator",
        tag = "Tag::Operations"
    )]
    async fn end_sessions(
        &self,
        operator: Operator,
        /// The account.
        #[oai(name = "accID", example = "example_account")]
        account: Path<String>,
    ) -> Result<Answer<SessionsEnded>, WireError> {
        let app = self.0.get()?;
        let account = admit(app, &operator, &account.0, "end sessions").await?;
        let sessions = app.read.sessions(account).await?;
        let ended = app.ledger.execute(EndSessions { account, sessions }).await?;
        Ok(Answer::new(&SessionsEnded::of(ended)))
    }
}

/// The account that the operator names, which lives or once did. Every access is logged.
async fn admit(app: &App, operator: &Operator, account: &str, what: &str) -> Result<AccId, WireError> {
    operator.check(app.operator.as_ref(), what)?;
    let not_found = || WireError::from(Code::NotFound);
    let account: AccId = account.parse().map_err(|_| not_found())?;
    let first = app.ledger.log().read_stream(StreamName::Account(account), 1, Direction::Forwards, 1).await?;
    if first.is_empty() { Err(not_found()) } else { Ok(account) }
}
