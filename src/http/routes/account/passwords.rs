//! The password of an account: checking one that was sent, under the limits of attempts, and the route that changes it.

use std::sync::Arc;
use std::time::Duration;

use be8_events::account::{AccountSecret, PasswordSecret};
use be8_events::{AccId, AccountEvent, Event, Position, Secret};
use be8_projections::Credential;
use poem_openapi::{Object, OpenApi};
use serde_json::json;

use super::profile::is_outdated;
use crate::app::names::open;
use crate::app::{App, Handle};
use crate::domain::Rejection;
use crate::domain::password::ChangePassword;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::request::address::Caller;
use crate::http::request::body::Body;
use crate::http::request::lenient::Lenient;
use crate::http::request::session::Session;
use crate::http::routes::account::cryptojs;
use crate::http::routes::server::accounts::SessionsEnded;
use crate::http::wire::answer::Answer;
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::password::HashPermit;
use crate::vault::Opener;

/// How often a password is checked again that is changed at the same time.
pub(super) const ROUNDS: usize = 3;

/// An account whose password was sent.
#[derive(Debug)]
pub(super) struct Proven {
    /// The account.
    pub account: AccId,
    /// The event that set the password.
    pub set: Position,
    /// The place among those for whom hashes are computed.
    pub permit: HashPermit,
}

/// Whether this is the password of an account, and which event set it. Whatever is wrong, it takes as long.
async fn check(
    app: &App,
    permit: &HashPermit,
    account: Option<AccId>,
    password: Secret<String>,
) -> Result<Option<(AccId, Position)>, WireError> {
    let credential = match account {
        Some(account) => app.read.credential(account, app.now()).await?,
        None => None,
    };
    let hash = match &credential {
        Some(credential) => hash_of(&app.vault.opener(&credential.live).await?, credential)?,
        None => None,
    };
    let [right] = permit.verify(password, [hash]).await?;
    let set = credential.map(|credential| credential.set.stored.position);
    Ok(account.zip(set).filter(|_| right))
}

/// The hash that an event set; none once its key is deleted.
fn hash_of(opener: &Opener, Credential { set, .. }: &Credential) -> Result<Option<Secret<String>>, WireError> {
    let hash = match &set.stored.event {
        Event::Account(AccountEvent::PasswordChanged(_)) => {
            open::<PasswordSecret>(opener, set)?.map(|secret| secret.into_inner().password)
        }
        _ => open::<AccountSecret>(opener, set)?.map(|secret| secret.into_inner().password),
    };
    Ok(hash.map(Secret::new))
}

/// The account whose password was sent; none if it is wrong. An attempt counts if it was judged, and it is judged once it has
/// a permit, also when the client has left.
pub(super) async fn attempt(
    app: &Arc<App>,
    caller: Caller,
    account: Option<AccId>,
    password: Secret<String>,
) -> Result<Option<Proven>, WireError> {
    let requester = caller.requester(account);
    let permit = app.logins.enter(requester);
    let permit = permit.map_err(|_| WireError::retry(Code::RateLimited, Duration::from_secs(5)))?;
    // Before anything is hashed, so that guessing costs the server nothing.
    let counted = app.login_attempts.admit(requester, app.now());
    let counted = counted.map_err(|early| WireError::retry(Code::RateLimited, early))?;
    let app = Arc::clone(app);
    let judged = tokio::spawn(async move {
        let checked = check(&app, &permit, account, password).await;
        match checked {
            Ok(Some(_)) => app.login_attempts.forget(counted),
            Ok(None) => {}
            Err(_) => app.login_attempts.withdraw(counted),
        }
        Ok::<_, WireError>(checked?.map(|(account, set)| Proven { account, set, permit }))
    });
    judged.await.map_err(|_| WireError::from(Code::Internal))?
}

/// The password.
pub struct Passwords(pub Handle);

/// A password to change.
#[derive(Debug, Default, Object)]
#[oai(rename = "PasswordInput", rename_all = "camelCase", example)]
pub struct PasswordInput {
    /// The one that it replaces, as it stands.
    pub old_password: Lenient<String>,
    /// The new one, as it stands, 1 to 1024 characters (UTF-16 units).
    #[oai(validator(min_length = 1, max_length = 1024))]
    pub new_password: Lenient<String>,
    /// Whether all other sessions of the account end with the old password; otherwise they stay open.
    pub end_others: Lenient<Option<bool>>,
}

impl poem_openapi::types::Example for PasswordInput {
    fn example() -> Self {
        Self {
            old_password: json!("correct horse battery staple").into(),
            new_password: json!("correct horse battery staple").into(),
            end_others: json!(true).into(),
        }
    }
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[Operation::own(
    "changePassword",
    &[
        Always(Code::NotAuth),
        When(Code::InvalidPassword, "when the new password is no string of 1 to 1024 characters"),
        When(
            Code::RateLimited,
            "when there were too many attempts from this address for this account, also with the right password",
        ),
        When(Code::OldPasswordWrong, "when the old one is another one, or no string"),
    ],
)];

#[OpenApi]
impl Passwords {
    /// Change the password
    ///
    /// Asks for the old one, under the limits of `/login`, and an attempt here counts there. Sessions stay open unless
    /// `endOthers` is true; then all but that of the request end, in the same moment. The answer says how many did.
    #[oai(path = "/me/password", method = "post", operation_id = "changePassword", tag = "Tag::Accounts")]
    async fn change(
        &self,
        caller: Caller,
        session: Session,
        body: Body<PasswordInput>,
    ) -> Result<Answer<SessionsEnded>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        let body = body.into_inner();
        let me = app.signed_in(session).await?.id;
        let new = body.new_password.str().and_then(|new| cryptojs::plain(new).ok());
        let new = new.ok_or(WireError::from(Code::InvalidPassword))?;
        let end_others = body.end_others.bool() == Some(true);
        let old = Secret::new(body.old_password.into_string().unwrap_or_default());
        for _ in 0..ROUNDS {
            let proven = attempt(app, caller, Some(me), old.clone()).await?;
            let Proven { set, permit, .. } = proven.ok_or(WireError::from(Code::OldPasswordWrong))?;
            let password = permit.hash(new.clone()).await?.into_inner();
            let ends = if end_others { app.read.sessions(me).await? } else { Vec::new() };
            let password = Secret::new(PasswordSecret { password });
            match app.ledger.execute(ChangePassword { session, password, checked: set, ends }).await {
                Err(error) if is_outdated(&error) => {}
                ended => return Ok(Answer::new(&SessionsEnded::of(ended?))),
            }
        }
        Err(Rejection::Outdated.into())
    }
}
