//! Tokens: what the operator issues and accounts use to live longer.

#[cfg(test)]
mod tests;

use be8_events::account::LifetimeExtended;
use be8_events::token::{Grant, TokenConsumed, TokenIssued, TokenRevoked, TokenTaken};
use be8_events::{AccId, Event, Hash32, NewEvent, StreamName, TokenEvent};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::{Command, Decision, Rejection, Stop, View};

/// A hundred years, in days: how long an endless account lives from the use of its token on, the longest time that a token gives,
/// and how long a session cookie is valid.
pub const CENTURY_DAYS: i64 = 36_525;
/// The same as a time.
const CENTURY: TimeDelta = TimeDelta::days(CENTURY_DAYS);

/// The state of a `token-HMAC` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// What it gives; none while it was not issued, is used up or revoked.
    grant: Option<Grant>,
    /// Who has it, of an endless one.
    taken_by: Option<AccId>,
}

impl Token {
    /// What it gives; none while it was not issued, is used up or revoked.
    pub const fn grant(&self) -> Option<Grant> {
        self.grant
    }

    /// Who has it, of an endless one.
    pub const fn taken_by(&self) -> Option<AccId> {
        self.taken_by
    }

    pub(super) fn evolve(&mut self, event: &TokenEvent) {
        match event {
            TokenEvent::TokenIssued(e) => self.grant = Some(e.grant),
            TokenEvent::TokenTaken(e) => self.taken_by = Some(e.by),
            TokenEvent::TokenFreed(_) => self.taken_by = None,
            TokenEvent::TokenConsumed(_) | TokenEvent::TokenRevoked(_) => self.grant = None,
        }
    }
}

/// What became of an order to issue a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issue {
    /// It is issued.
    Issued,
    /// It was issued before, with this grant unless it is used up or revoked: nothing happens.
    Known(Option<Grant>),
}

/// Issues a token. One that was ever issued is never issued again: what is used up or revoked
/// stays so, however often the list is read in which it stands.
#[derive(Debug, Clone, Copy)]
pub struct IssueToken {
    /// The token, by its fingerprint.
    pub token: Hash32,
    /// What it gives.
    pub grant: Grant,
}

impl Command for IssueToken {
    type Reply = Issue;

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Token(self.token)]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<Issue>, Stop> {
        let stream = StreamName::Token(self.token);
        if view.version(stream)? > 0 {
            return Ok(Decision::nothing(Issue::Known(view.token(self.token)?.grant)));
        }
        let event = TokenIssued { grant: self.grant }.into();
        Ok(Decision::events(vec![NewEvent { stream, actor: None, event, secret: None }], Issue::Issued))
    }
}

/// Revokes a token: it gives nothing any more. What it gave stays.
#[derive(Debug, Clone, Copy)]
pub struct RevokeToken {
    /// The token, by its fingerprint.
    pub token: Hash32,
}

impl Command for RevokeToken {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Token(self.token)]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        view.token(self.token)?.grant.ok_or(Rejection::TokenNotExisting)?;
        let (stream, event) = (StreamName::Token(self.token), TokenRevoked {}.into());
        Ok(Decision::events(vec![NewEvent { stream, actor: None, event, secret: None }], ()))
    }
}

/// Uses a token for the session's account.
///
/// An endless account has no use for another endless token: that one is valid, stays free for
/// somebody else, and nothing happens
/// (docs/protocol.md, "Unchanged values"). So an account has at most one, which is freed with it.
#[derive(Debug, Clone, Copy)]
pub struct UseToken {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The token, by its fingerprint.
    pub token: Result<Hash32, Rejection>,
}

impl Command for UseToken {
    /// What the token gives.
    type Reply = Grant;

    fn streams(&self) -> Vec<StreamName> {
        let token = self.token.ok().map(StreamName::Token);
        self.session.into_iter().map(StreamName::Session).chain(token).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<Grant>, Stop> {
        let me = view.authenticate(self.session)?;
        let hmac = self.token?;
        let token = view.token(hmac)?;
        let grant = token.grant.ok_or(Rejection::TokenNotExisting)?;
        let account = view.account(me)?;
        let (used, life, endless) = match grant {
            Grant::Endless if token.taken_by.is_some_and(|by| by != me) => return Err(Rejection::TokenInUse.into()),
            Grant::Endless if account.endless() => return Ok(Decision::nothing(grant)),
            Grant::Endless => (Event::from(TokenTaken { by: me }), CENTURY, true),
            Grant::Promo { millis } => {
                // What is longer than an endless life is as long.
                let life = i64::try_from(millis).ok().and_then(TimeDelta::try_milliseconds).unwrap_or(CENTURY);
                (Event::from(TokenConsumed { by: me }), life.min(CENTURY), account.endless())
            }
        };
        // No token shortens a life.
        let until = view.now.plus(life).max(account.until().unwrap_or(view.now));
        let extended = LifetimeExtended { until, endless, token: hmac };
        let event = |stream, event| NewEvent { stream, actor: Some(me), event, secret: None };
        let events = vec![event(StreamName::Token(hmac), used), event(StreamName::Account(me), extended.into())];
        Ok(Decision::events(events, grant))
    }
}
