//! The routes of the tag "Accounts" with which an account sees, names and ends its sessions.

use be8_events::session::{Opening, SessionSecret};
use be8_events::{Event, Hash32, Secret, SessionEvent};
use be8_projections::{SessionRow, StoredSealed};
use poem_openapi::param::Path;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Serialize;
use serde_json::json;

use super::profile::{ROUNDS, is_outdated};
use crate::app::Handle;
use crate::app::names::{Unreadable, open};
use crate::domain::Rejection;
use crate::domain::session::{EndOwnSessions, NameSession};
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::request::body::Body;
use crate::http::request::lenient::Lenient;
use crate::http::request::session::Session;
use crate::http::routes::server::accounts::SessionsEnded;
use crate::http::wire::answer::{Answer, Success, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::text::utf16_len;
use crate::vault::Opener;

/// The sessions of an account.
pub struct Sessions(pub Handle);

/// Names the session of the request.
pub(super) const CURRENT: &str = "current";
/// The most UTF-16 units of the name of a session.
const NAME_UNITS: usize = 64;

/// How a session came about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum, Serialize)]
#[oai(rename = "SessionKind", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// With the account, by `/newacc`.
    #[default]
    Created,
    /// With the password, by `/login`.
    Login,
}

/// An open session of one's own account.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "OwnSession", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct OwnSession {
    /// The SHA-256 of its token, in hexadecimal: names the session and opens nothing.
    pub session: String,
    /// Whether it is that of the request.
    pub current: bool,
    /// How it came about.
    pub kind: SessionKind,
    /// When it was opened (RFC 3339).
    pub opened: String,
    /// The last day on which a request showed it, in UTC (`2026-12-01`). It may lag by some minutes, and is missing until the first
    /// such day is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// Its name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The open sessions of one's own account.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "OwnSessionList", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct OwnSessionList {
    /// Always true.
    pub valid: True,
    /// The sessions, in the order in which they were opened.
    pub sessions: Vec<OwnSession>,
}

/// A name for a session.
#[derive(Debug, Default, Object)]
#[oai(rename = "SessionNameInput", rename_all = "camelCase", example)]
pub struct NameInput {
    /// The name, at most 64 characters (UTF-16 units); empty: none any more.
    #[oai(validator(max_length = 64))]
    pub name: Lenient<String>,
}

impl poem_openapi::types::Example for NameInput {
    fn example() -> Self {
        Self { name: json!("The phone").into() }
    }
}

fn example_session() -> String {
    CURRENT.to_owned()
}

/// The session that a part of a path names.
fn named(part: &str, current: Hash32) -> Option<Hash32> {
    if part == CURRENT { Some(current) } else { part.parse().ok() }
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::own("listSessions", &[Always(Code::NotAuth)]),
    Operation::own("endOtherSessions", &[Always(Code::NotAuth)]),
    Operation::own(
        "nameSession",
        &[
            Always(Code::NotAuth),
            When(Code::InvalidInput, "when the name is no string of at most 64 characters"),
            When(Code::NotFound, "when the account has no such open session"),
        ],
    ),
    Operation::own(
        "endSessionByName",
        &[Always(Code::NotAuth), When(Code::NotFound, "when the account has no such open session")],
    ),
];

#[OpenApi]
impl Sessions {
    /// List one's sessions
    ///
    /// When a session was last used is known by the day: a request costs nothing for it.
    #[oai(path = "/me/sessions", method = "get", operation_id = "listSessions", tag = "Tag::Accounts")]
    async fn list(&self, session: Session) -> Result<Answer<OwnSessionList>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        let me = app.signed_in(session).await?.id;
        let open = app.read.open_sessions(me).await?;
        let opener = app.vault.opener(&open.live).await?;
        let hashes: Vec<Hash32> = open.found.iter().map(|found| found.hash).collect();
        let days = app.ledger.session_days().of(&hashes).await?;
        let sessions = open.found.iter().map(|found| {
            let seen = app.seen.newest(&found.hash, days.get(&found.hash).copied());
            let seen = seen.map(|day| day.to_string());
            Ok(OwnSession {
                session: found.hash.to_string(),
                current: found.hash == session,
                kind: kind_of(found),
                opened: found.opened.time.to_string(),
                seen,
                name: Some(name_of(&opener, found.named.as_ref())?).filter(|name| !name.is_empty()),
            })
        });
        let sessions = sessions.collect::<Result<_, WireError>>()?;
        Ok(Answer::new(&OwnSessionList { valid: True, sessions }))
    }

    /// End all other sessions
    ///
    /// All but that of the request. Their event streams and their devices of Web Push end with them.
    #[oai(path = "/me/sessions", method = "delete", operation_id = "endOtherSessions", tag = "Tag::Accounts")]
    async fn end_others(&self, session: Session) -> Result<Answer<SessionsEnded>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        let me = app.signed_in(session).await?.id;
        let mut sessions = app.read.sessions(me).await?;
        sessions.retain(|other| *other != session);
        let ended = app.ledger.execute(EndOwnSessions { session: Some(session), sessions }).await?;
        Ok(Answer::new(&SessionsEnded::of(ended)))
    }

    /// Name a session
    ///
    /// The name is the account's own note. It is sealed, and erased with the account.
    #[oai(path = "/me/sessions/:session", method = "put", operation_id = "nameSession", tag = "Tag::Accounts")]
    async fn name(
        &self,
        session: Session,
        /// The session, as the list of sessions names it, or `current` for that of the request.
        #[oai(name = "session", example = "example_session")]
        part: Path<String>,
        body: Body<NameInput>,
    ) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        for _ in 0..ROUNDS {
            let me = app.signed_in(session).await?.id;
            let name = body.name.str().filter(|name| utf16_len(name) <= NAME_UNITS);
            let name = name.ok_or(WireError::from(Code::InvalidInput))?.to_owned();
            let named = named(&part.0, session).ok_or(WireError::from(Code::NotFound))?;
            let open = app.read.open_sessions(me).await?;
            let opener = app.vault.opener(&open.live).await?;
            let found = open.found.iter().find(|found| found.hash == named).ok_or(WireError::from(Code::NotFound))?;
            if name_of(&opener, found.named.as_ref())? == name {
                return Ok(Answer::new(&Success::default())); // docs/protocol.md, "Unchanged values"
            }
            let compared = found.named.as_ref().map(|event| event.stored.position);
            let name = Secret::new(SessionSecret { name });
            match app.ledger.execute(NameSession { session: Some(session), named, name, compared }).await {
                Err(error) if is_outdated(&error) => {}
                done => return found_or_not(done?),
            }
        }
        Err(Rejection::Outdated.into())
    }

    /// End a session
    ///
    /// Also that of the request. Its event streams and its devices of Web Push end with it.
    #[oai(path = "/me/sessions/:session", method = "delete", operation_id = "endSessionByName", tag = "Tag::Accounts")]
    async fn end(
        &self,
        session: Session,
        /// The session, as the list of sessions names it, or `current` for that of the request.
        #[oai(name = "session", example = "example_session")]
        part: Path<String>,
    ) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        let sessions = named(&part.0, session).into_iter().collect();
        let ended = app.ledger.execute(EndOwnSessions { session: Some(session), sessions }).await?;
        found_or_not(ended == 1)
    }
}

/// Success, if there was such a session.
fn found_or_not(found: bool) -> Result<Answer<Success>, WireError> {
    if found { Ok(Answer::new(&Success::default())) } else { Err(Code::NotFound.into()) }
}

/// How a session came about.
fn kind_of(session: &SessionRow) -> SessionKind {
    match &session.opened.event {
        Event::Session(SessionEvent::SessionOpened(e)) if e.how == Opening::Login => SessionKind::Login,
        _ => SessionKind::Created,
    }
}

/// The name that an event set; empty without one, and once its key is deleted.
fn name_of(opener: &Opener, event: Option<&StoredSealed>) -> Result<String, Unreadable> {
    let secret = event.map(|event| open::<SessionSecret>(opener, event)).transpose()?.flatten();
    Ok(secret.map_or_else(String::new, |secret| secret.into_inner().name))
}
