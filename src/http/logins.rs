//! The routes of the tag "Accounts" that open a session with the password and end one.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use crate::domain::throttle::{self, Attempts};
use crate::password::Place;

/// Sessions by password.
pub struct Logins(pub Handle);

/// How many pairs of account and network are remembered, of those that have to wait and of the others each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Who tried to log in from where: a growing delay for each account and network. It is kept in
/// memory, for it costs a stranger at most the delays of one network more to find another node.
#[derive(Debug)]
pub struct LoginAttempts(Mutex<Kept>);

/// Pairs that have to wait are not pushed out by those that have not: made-up accounts cost one attempt each, and as many wrong
/// passwords for each of 65,536 accounts as make it wait cost more than a delay that was flushed is worth.
#[derive(Debug)]
struct Kept {
    waiting: LruCache<(Option<AccId>, IpAddr), Attempts>,
    others: LruCache<(Option<AccId>, IpAddr), Attempts>,
}

/// An attempt that was counted when it began.
#[derive(Debug, Clone, Copy)]
struct Counted {
    account: Option<AccId>,
    network: IpAddr,
    before: Attempts,
    after: Attempts,
}

impl Default for LoginAttempts {
    fn default() -> Self {
        Self(Mutex::new(Kept { waiting: LruCache::new(REMEMBERED), others: LruCache::new(REMEMBERED) }))
    }
}

impl LoginAttempts {
    /// Counts an attempt as it begins, so that many at once get no further than one after the other.
    ///
    /// # Errors
    /// [`Code::RateLimited`] when it is too early.
    fn admit(&self, account: Option<AccId>, address: IpAddr, now: Timestamp) -> Result<Counted, WireError> {
        let network = network(address);
        let mut kept = self.kept();
        let before = kept.get(account, network);
        let after = before
            .admit(now)
            .map_err(|early| WireError::retry(Code::RateLimited, early.to_std().unwrap_or(Duration::from_secs(1))))?;
        kept.put(account, network, after);
        Ok(Counted { account, network, before, after })
    }

    /// The password was right.
    fn forget(&self, Counted { account, network, .. }: Counted) {
        self.kept().put(account, network, Attempts::NONE);
    }

    /// The password was not judged: the attempt does not count.
    fn withdraw(&self, Counted { account, network, before, after }: Counted) {
        let mut kept = self.kept();
        let now = kept.get(account, network);
        let less = Attempts { count: now.count.saturating_sub(1), ..now };
        kept.put(account, network, if now == after { before } else { less });
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn get(&self, account: Option<AccId>, network: IpAddr) -> Attempts {
        let key = (account, network);
        self.waiting.peek(&key).or_else(|| self.others.peek(&key)).copied().unwrap_or(Attempts::NONE)
    }

    fn put(&mut self, account: Option<AccId>, network: IpAddr, attempts: Attempts) {
        let key = (account, network);
        self.waiting.pop(&key);
        self.others.pop(&key);
        if attempts.count >= throttle::FREE {
            self.waiting.put(key, attempts);
        } else if attempts.count > 0 {
            self.others.put(key, attempts);
        }
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

/// Whether this is the password of an account. Whatever is wrong, it takes as long.
async fn check(
    app: &App,
    place: &Place,
    account: Option<AccId>,
    password: Secret<String>,
) -> Result<Option<AccId>, WireError> {
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
    let [right] = place.verify(password, [hash]).await?;
    Ok(account.filter(|_| right))
}

/// The account of a login whose password is right. An attempt counts if it was judged, and it is judged once it has a place,
/// also when the client has left.
async fn attempt(
    app: &Arc<App>,
    caller: Caller,
    account: Option<AccId>,
    password: Secret<String>,
) -> Result<AccId, WireError> {
    let place = app.logins.enter(caller.requester(account));
    let place = place.map_err(|_| WireError::retry(Code::RateLimited, Duration::from_secs(5)))?;
    // Before anything is hashed, so that guessing costs the server nothing.
    let counted = app.login_attempts.admit(account, caller.address, app.now())?;
    let app = Arc::clone(app);
    let judged = tokio::spawn(async move {
        let checked = check(&app, &place, account, password).await;
        match checked {
            Ok(Some(_)) => app.login_attempts.forget(counted),
            Ok(None) => {}
            Err(_) => app.login_attempts.withdraw(counted),
        }
        checked
    });
    let account = judged.await.map_err(|_| WireError::from(Code::Internal))??;
    account.ok_or_else(|| Code::NotAuth.into())
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
        let password = Secret::new(body.password.into_string().unwrap_or_default());
        let account = attempt(app, caller, account, password).await?;
        let most = app.settings.sessions_per_account;
        let mut displaces = app.read.sessions(account).await?;
        displaces.truncate((displaces.len() + 1).saturating_sub(most));
        let token = SessionToken::generate();
        app.ledger.execute(OpenSession { account, session: token.hash(), displaces }).await?;
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
        attempts.forget(Counted {
            account: zoe,
            network: network(at("2001:db8::2")),
            before: Attempts::NONE,
            after: Attempts::NONE,
        });
        assert!(attempts.admit(zoe, at("2001:db8::1"), now).is_ok());
    }

    #[test]
    fn an_attempt_that_was_not_judged_does_not_count() {
        let attempts = LoginAttempts::default();
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let (zoe, home) = (AccId::new(10_001), "192.0.2.1".parse().unwrap());
        // One after the other, as many as one likes,
        for _ in 0..3 * throttle::FREE {
            attempts.withdraw(attempts.admit(zoe, home, now).unwrap());
        }
        // and several at once, which end in another order, leave all free attempts but the one that was judged.
        let mut many: Vec<Counted> = (0..throttle::FREE).map(|_| attempts.admit(zoe, home, now).unwrap()).collect();
        many.remove(2);
        many.into_iter().for_each(|counted| attempts.withdraw(counted));
        for _ in 1..throttle::FREE {
            assert!(attempts.admit(zoe, home, now).is_ok());
        }
        assert!(attempts.admit(zoe, home, now).is_err());
    }

    #[test]
    fn made_up_accounts_push_out_no_delay() {
        let attempts = LoginAttempts::default();
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let (zoe, home) = (AccId::new(10_001), "192.0.2.1".parse().unwrap());
        while attempts.admit(zoe, home, now).is_ok() {}
        for made_up in (0_i64..).take(2 * REMEMBERED.get()) {
            attempts.admit(AccId::new(20_000 + made_up), home, now).unwrap();
        }
        assert!(attempts.admit(zoe, home, now).is_err());
        let kept = attempts.kept();
        assert_eq!((kept.waiting.len(), kept.others.len()), (1, REMEMBERED.get()), "memory is bounded");
    }
}
