//! The routes of the tag "Accounts" that open a session with the password and end one.

use std::sync::Arc;

use be8_events::{AccId, Hash32, Secret};
use poem_openapi::{Object, OpenApi};
use serde_json::json;

use super::passwords::{Proven, ROUNDS, attempt};
use super::profile::is_outdated;
use crate::app::{App, Handle};
use crate::domain::Rejection;
use crate::domain::session::{DisplaceSessions, EndSession, OpenSession};
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::request::address::Caller;
use crate::http::request::body::Body;
use crate::http::request::cookie::{SessionToken, forget_cookie};
use crate::http::request::lenient::Lenient;
use crate::http::request::session::{OptionalSession, Session};
use crate::http::wire::answer::{Answer, Success};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// Sessions by password.
pub struct Logins(pub Handle);

/// Who wants a session.
#[derive(Debug, Default, Object)]
#[oai(rename = "LoginInput", example)]
pub struct LoginInput {
    /// The account, as a string or a number.
    #[oai(rename = "accID")]
    pub acc_id: Lenient<String>,
    /// The password as it stands, before the web client encrypts it for `/newacc`.
    pub password: Lenient<String>,
}

impl poem_openapi::types::Example for LoginInput {
    fn example() -> Self {
        Self { acc_id: json!("10001").into(), password: json!("correct horse battery staple").into() }
    }
}

/// Opens a session of the account whose password was sent.
async fn open_session(
    app: &Arc<App>,
    caller: Caller,
    account: Option<AccId>,
    password: Secret<String>,
    session: Hash32,
    replaced: OptionalSession,
) -> Result<AccId, WireError> {
    for _ in 0..ROUNDS {
        let proven = attempt(app, caller, account, password.clone()).await?;
        let Proven { account, set, .. } = proven.ok_or(WireError::from(Code::NotAuth))?;
        let mut displaces = app.read.sessions(account).await?;
        displaces.truncate((displaces.len() + 1).saturating_sub(app.settings.sessions_per_account));
        let command = OpenSession { account, checked: set, session, displaces, replaces: replaced.0 };
        match app.ledger.execute(command).await {
            // The password was changed this moment.
            Err(error) if is_outdated(&error) => {}
            opened => return opened.map(|()| account).map_err(WireError::from),
        }
    }
    Err(Rejection::Outdated.into())
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::added(
        "openSession",
        &[
            When(
                Code::RateLimited,
                "when there were too many attempts from this address for this account, also with the right \
                 password",
            ),
            When(Code::NotAuth, "whatever is wrong"),
        ],
    )
    .sets_cookie(),
    Operation::added("endSession", &[Always(Code::NotAuth)]),
];

#[OpenApi]
impl Logins {
    /// Open a session with the password
    ///
    /// Opens a session of an account on another device: the answer carries the `Set-Cookie`. An
    /// account has a bounded number of sessions; one more ends the oldest. A session of the request stays open, but devices
    /// that it subscribed to pushes are dropped: its browser has another session from now on.
    #[oai(path = "/login", method = "post", operation_id = "openSession", tag = "Tag::Accounts")]
    async fn login(
        &self,
        caller: Caller,
        replaced: OptionalSession,
        body: Body<LoginInput>,
    ) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        let body = body.into_inner();
        let account: Option<AccId> = body.acc_id.str_or_number().and_then(|id| id.parse().ok());
        let password = Secret::new(body.password.into_string().unwrap_or_default());
        let most = app.settings.sessions_per_account;
        let token = SessionToken::generate();
        let account = open_session(app, caller, account, password, token.hash(), replaced).await?;
        // Concurrent logins each made room for themselves only: the last one sees them all.
        let mut sessions = app.read.sessions(account).await?;
        sessions.truncate(sessions.len().saturating_sub(most));
        if !sessions.is_empty() {
            app.ledger.execute(DisplaceSessions { account, sessions }).await?;
        }
        let cookie = token.set_cookie(app.now(), caller.https);
        Ok(Answer::new(&Success::default()).with_cookie(cookie))
    }

    /// End the session
    ///
    /// Its event streams end, and the answer's `Set-Cookie` makes a browser forget the cookie. The
    /// account and its other sessions live on; without any, only the password leads back to it.
    #[oai(path = "/logout", method = "post", operation_id = "endSession", tag = "Tag::Accounts")]
    async fn logout(&self, caller: Caller, session: Session) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        app.ledger.execute(EndSession { session: session.0 }).await?;
        Ok(Answer::new(&Success::default()).with_cookie(forget_cookie(caller.https)))
    }
}
