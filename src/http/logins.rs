//! The routes of the tag "Accounts" that open a session with the password and end one.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use be8_events::account::AccountSecret;
use be8_events::{AccId, Secret, Timestamp};
use lru::LruCache;
use poem_openapi::{Object, OpenApi};
use serde_json::json;

use super::address::{Caller, network};
use super::app::{App, Handle};
use super::body::Body;
use super::cookie::{SessionToken, forget_cookie};
use super::document::Tag;
use super::error::{Code, WireError};
use super::lenient::Lenient;
use super::names::open;
use super::session::Session;
use super::wire::{Answer, Success};
use crate::domain::session::{DisplaceSessions, EndSession, OpenSession};
use crate::domain::throttle::Attempts;
use crate::password::HashError;

/// Sessions by password.
pub struct Logins(pub Handle);

/// How many pairs of account and address are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Who tried to log in from where: a growing delay for each account and address. It is kept in
/// memory, for it costs a stranger at most the delays of one address more to find another node.
#[derive(Debug)]
pub struct LoginAttempts(Mutex<LruCache<(Option<AccId>, IpAddr), Attempts>>);

impl Default for LoginAttempts {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl LoginAttempts {
    /// Counts an attempt.
    ///
    /// # Errors
    /// [`Code::RateLimited`] when it is too early.
    fn admit(&self, account: Option<AccId>, address: IpAddr, now: Timestamp) -> Result<(), WireError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.get(&(account, network(address))).copied().unwrap_or(Attempts::NONE);
        let after = before
            .admit(now)
            .map_err(|early| WireError::retry(Code::RateLimited, early.to_std().unwrap_or(Duration::from_secs(1))))?;
        kept.put((account, network(address)), after);
        Ok(())
    }

    /// The attempt succeeded.
    fn forget(&self, account: AccId, address: IpAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop(&(Some(account), network(address)));
    }
}

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

/// The account whose password this is. Whatever is wrong, it takes as long.
async fn check(app: &App, account: Option<AccId>, password: Secret<String>) -> Result<Option<AccId>, WireError> {
    let credential = match account {
        Some(account) => app.read.credential(account, app.now()).await?,
        None => None,
    };
    let hash = match &credential {
        Some(credential) => {
            let opener = app.vault.opener(&credential.live).await?;
            let secret = open::<AccountSecret>(&opener, &credential.created)?;
            secret.map(|secret| Secret::new(secret.into_inner().password))
        }
        None => None,
    };
    let right = app.logins.verify(password, hash.as_ref()).await.map_err(|error| match error {
        HashError::Overloaded => WireError::retry(Code::RateLimited, Duration::from_secs(5)),
        broken => broken.into(),
    })?;
    Ok(account.filter(|_| right))
}

#[OpenApi]
impl Logins {
    /// Open a session with the password
    ///
    /// Opens a session of an account on another device: the answer carries the `Set-Cookie`. An
    /// account has a bounded number of sessions; one more ends the oldest.
    ///
    /// Checks: `RATELIMITED`, also with the right password, when there were too many attempts
    /// from this address for this account; then `NOTAUTH` whatever is wrong.
    #[oai(path = "/login", method = "post", operation_id = "openSession", tag = "Tag::Accounts")]
    async fn login(&self, caller: Caller, body: Body<LoginInput>) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        let body = body.into_inner();
        let account: Option<AccId> = body.acc_id.str_or_number().and_then(|id| id.parse().ok());
        // Before anything is hashed, so that guessing costs the server nothing.
        app.login_attempts.admit(account, caller.address, app.now())?;
        let password = Secret::new(body.password.into_string().unwrap_or_default());
        let account = check(app, account, password).await?.ok_or(WireError::from(Code::NotAuth))?;
        let most = app.settings.sessions_per_account;
        let mut displaces = app.read.sessions(account).await?;
        displaces.truncate((displaces.len() + 1).saturating_sub(most));
        let token = SessionToken::generate();
        app.ledger.execute(OpenSession { account, session: token.hash(), displaces }).await?;
        app.login_attempts.forget(account, caller.address);
        // Several at once each made room for themselves only: whoever comes last sees all.
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
    ///
    /// Checks: `NOTAUTH`.
    #[oai(path = "/logout", method = "post", operation_id = "endSession", tag = "Tag::Accounts")]
    async fn logout(&self, caller: Caller, session: Session) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        app.ledger.execute(EndSession { session: session.0 }).await?;
        Ok(Answer::new(&Success::default()).with_cookie(forget_cookie(caller.https)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_its_address_or_its_network() {
        let net = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(net("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(net("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(net("192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn an_account_is_guessed_at_from_each_network_apart() {
        let attempts = LoginAttempts::default();
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let zoe = AccId::new(10_001);
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        while attempts.admit(zoe, at("2001:db8::1"), now).is_ok() {}
        let refused = attempts.admit(zoe, at("2001:db8::ffff:1"), now).unwrap_err();
        assert_eq!(refused, WireError::retry(Code::RateLimited, Duration::from_secs(1)));
        // Another network, another account, and nobody at all are not concerned.
        assert!(attempts.admit(zoe, at("2001:db8:0:1::1"), now).is_ok());
        assert!(attempts.admit(AccId::new(10_002), at("2001:db8::1"), now).is_ok());
        assert!(attempts.admit(None, at("2001:db8::1"), now).is_ok());
        attempts.forget(zoe.unwrap(), at("2001:db8::2"));
        assert!(attempts.admit(zoe, at("2001:db8::1"), now).is_ok());
    }
}
