//! The routes of the tag "Accounts" for what an account says of itself.

use be8_events::Secret;
use be8_events::account::{NicknameSecret, StatusSecret};
use poem_openapi::{Object, OpenApi};
use serde_json::json;

use crate::app::names::{open_name, open_status};
use crate::app::{App, Handle};
use crate::domain::profile::{ChangeNickname, SetStatus};
use crate::domain::{Command, Rejection};
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::Always;
use crate::http::document::tag::Tag;
use crate::http::request::body::Body;
use crate::http::request::lenient::Lenient;
use crate::http::request::once::{IdempotencyKey, Once};
use crate::http::request::session::Session;
use crate::http::wire::answer::{Answer, Refused, Success};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::text::{cut_utf16, utf16_len};
use crate::ledger::LedgerError;

/// What an account says of itself.
pub struct Profile(pub Handle);

/// The most UTF-16 units of a status that are kept.
const STATUS_UNITS: usize = 280;
/// How often a value is compared again when others set it in the meantime.
pub(in crate::http) const ROUNDS: usize = 64;

/// A new nickname.
#[derive(Debug, Default, Object)]
#[oai(rename = "NicknameInput", rename_all = "camelCase", example)]
pub struct NicknameInput {
    /// The nickname, 1 to 30 characters (UTF-16 units).
    #[oai(validator(min_length = 1, max_length = 30))]
    pub new_nickname: Lenient<String>,
    /// Not looked at.
    pub old_nickname: Lenient<Option<String>>,
}

impl poem_openapi::types::Example for NicknameInput {
    fn example() -> Self {
        Self { new_nickname: json!("Alicia").into(), old_nickname: Lenient::default() }
    }
}

/// A new status.
#[derive(Debug, Default, Object)]
#[oai(rename = "StatusInput", rename_all = "camelCase", example)]
pub struct StatusInput {
    /// The text, which may be empty; what is beyond 280 characters (UTF-16 units) is cut off.
    pub user_status: Lenient<String>,
}

impl poem_openapi::types::Example for StatusInput {
    fn example() -> Self {
        Self { user_status: json!("At the sea").into() }
    }
}

/// Whether others set a value between the comparison and the command.
pub(in crate::http) const fn is_outdated(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Rejected(Rejection::Outdated))
}

/// Has a command decided that carries what was compared; none if that has changed since.
async fn unless_outdated<C: Command<Reply = ()>, R>(
    app: &App,
    once: &Once,
    command: C,
) -> Option<Result<Answer<Success, R>, WireError>> {
    let mut outdated = false;
    let refused = |rejection: Rejection| {
        outdated = rejection == Rejection::Outdated;
        Err(rejection.into())
    };
    let answer = app.execute_or(once.clone(), command, |()| Success::default(), refused).await;
    (!outdated).then_some(answer)
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract("changeNickname", &[Always(Code::NotAuth), Always(Code::InvalidNickname)]),
    Operation::contract("setStatus", &[Always(Code::NotAuth), Always(Code::InvalidStatus)]),
];

#[OpenApi]
impl Profile {
    /// Take another nickname
    ///
    /// Messages keep the nickname under which they were sent.
    #[oai(path = "/changenickname", method = "post", operation_id = "changeNickname", tag = "Tag::Accounts")]
    async fn nickname(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<NicknameInput>,
    ) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        let once = key.with(&body);
        let session = session.required()?;
        for _ in 0..ROUNDS {
            let me = app.signed_in(session).await?;
            let name = body.new_nickname.str().filter(|name| (1..=30).contains(&utf16_len(name)));
            let name = name.ok_or(WireError::from(Code::InvalidNickname))?;
            let opener = app.vault.opener(&me.live).await?;
            if open_name(&opener, &me.nickname)? == name {
                return Ok(Answer::new(&Success::default())); // docs/protocol.md, "Unchanged values"
            }
            let nickname = Secret::new(NicknameSecret { nickname: name.to_owned() });
            let compared = me.nickname.stored.position;
            let command = ChangeNickname { session, nickname, compared };
            if let Some(answer) = unless_outdated(app, &once, command).await {
                return answer;
            }
        }
        Err(Rejection::Outdated.into())
    }

    /// Set the status text
    ///
    /// Others see it in their list of threads and in groups.
    #[oai(path = "/userstatusset", method = "post", operation_id = "setStatus", tag = "Tag::Accounts")]
    async fn status(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<StatusInput>,
    ) -> Result<Answer<Success, Refused>, WireError> {
        let app = self.0.get()?;
        let once = key.with(&body);
        let session = session.required()?;
        for _ in 0..ROUNDS {
            let me = app.signed_in(session).await?;
            let status = body.user_status.str().ok_or(WireError::from(Code::InvalidStatus))?;
            let status = cut_utf16(status, STATUS_UNITS);
            let opener = app.vault.opener(&me.live).await?;
            if open_status(&opener, me.status.as_ref())? == status {
                return Ok(Answer::new(&Success::default())); // docs/protocol.md, "Unchanged values"
            }
            let compared = me.status.map(|event| event.stored.position);
            let status = Secret::new(StatusSecret { status: status.to_owned() });
            let command = SetStatus { session, status, compared };
            if let Some(answer) = unless_outdated(app, &once, command).await {
                return answer;
            }
        }
        Err(Rejection::Outdated.into())
    }
}
