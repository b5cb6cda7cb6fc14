//! Accounts: coming into being, and setting a public key.

#[cfg(test)]
mod tests;

use be8_events::account::{AccountCreated, AccountSecret, CodeKind, Curve, PublicKeySecret, PublicKeySet};
use be8_events::session::{Ending, Opening};
use be8_events::{
    AccId, AccountEvent, Event, Hash32, NewEvent, Position, Sealing, Secret, SecretPayload, StreamName, Subject,
    Timestamp,
};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::session::{ends, opened, replaced};
use super::{Command, Decision, Rejection, Stop, View};

/// The state of an `account-N` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Until when it lives; none while it does not exist, and once it was removed.
    until: Option<Timestamp>,
    removed: bool,
    endless: bool,
    /// The endless token that it took.
    token: Option<Hash32>,
    /// The event that set the nickname.
    nickname: Position,
    /// The event that set the password.
    password: Position,
    /// The event that set the status.
    status: Option<Position>,
    /// The events that hold the hashes of the lock codes.
    unlock: Option<Position>,
    destroy: Option<Position>,
    /// The fingerprint of the public key.
    public_key: Option<Hash32>,
}

impl Account {
    /// Whether it exists and lives.
    pub fn lives_at(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Until when it lives; none while it does not exist, and once it was removed.
    pub const fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether it was removed.
    pub const fn removed(&self) -> bool {
        self.removed
    }

    /// Whether a token made it endless.
    pub const fn endless(&self) -> bool {
        self.endless
    }

    /// The endless token that it took, by its HMAC.
    pub const fn token(&self) -> Option<Hash32> {
        self.token
    }

    /// The position of the event that set the nickname.
    pub const fn nickname(&self) -> Position {
        self.nickname
    }

    /// The position of the event that set the password.
    pub const fn password(&self) -> Position {
        self.password
    }

    /// The position of the event that set the status, which may be empty; none until one was first set.
    pub const fn status(&self) -> Option<Position> {
        self.status
    }

    /// The positions of the events that hold the hashes of the codes that unlock and that destroy.
    pub fn codes(&self) -> Option<(Position, Position)> {
        self.unlock.zip(self.destroy)
    }

    pub(super) fn evolve(&mut self, position: Position, event: &AccountEvent) {
        match event {
            AccountEvent::AccountCreated(e) => {
                self.until = Some(e.until);
                (self.nickname, self.password) = (position, position);
            }
            AccountEvent::NicknameChanged(_) => self.nickname = position,
            AccountEvent::StatusSet(_) => self.status = Some(position),
            AccountEvent::PasswordChanged(_) => self.password = position,
            AccountEvent::PublicKeySet(e) => self.public_key = Some(e.sha256),
            AccountEvent::CodesSet(_) => (self.unlock, self.destroy) = (Some(position), Some(position)),
            AccountEvent::CodeChanged(e) => match e.which {
                CodeKind::Unlock => self.unlock = Some(position),
                CodeKind::Destroy => self.destroy = Some(position),
            },
            AccountEvent::LifetimeExtended(e) => {
                self.until = Some(e.until);
                // A promo token that an endless account uses up is not the one that made it endless.
                if e.endless && !self.endless {
                    self.token = Some(e.token);
                }
                self.endless = e.endless;
            }
            AccountEvent::AccountRemoved(_) => {
                self.until = None;
                self.removed = true;
            }
        }
    }
}

/// An event of an account that the account itself brings about.
pub(super) fn own(account: AccId, event: impl Into<Event>, secret: SecretPayload) -> NewEvent {
    let stream = StreamName::Account(account);
    NewEvent { stream, actor: Some(account), event: event.into(), secret: Some(secret) }
}

/// Makes an account with its first session. Nickname and password were checked before, and the
/// password is hashed.
#[derive(Debug, Clone)]
pub struct CreateAccount {
    /// Nickname and password hash.
    pub secret: Secret<AccountSecret>,
    /// The hash of the new session's token.
    pub session: Hash32,
    /// The session of the request, which ends if it is open (docs/protocol.md, "Where a session begins and ends").
    pub replaces: Option<Hash32>,
    /// How long the account lives unless its life is extended.
    pub lifetime: TimeDelta,
}

impl Command for CreateAccount {
    type Reply = AccId;

    fn streams(&self) -> Vec<StreamName> {
        [Some(self.session), self.replaces].into_iter().flatten().map(StreamName::Session).collect()
    }

    fn size(&self) -> usize {
        self.secret.expose().nickname.len() + self.secret.expose().password.len()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<AccId>, Stop> {
        let account = AccId::new(view.next_account).ok_or(Rejection::NumbersExhausted)?;
        let secret = SecretPayload::new(Sealing::Lasting(Subject::Account(account)), &self.secret);
        let created = AccountCreated { account, until: view.now.plus(self.lifetime) };
        let mut events = vec![own(account, created, secret)];
        if let Some((old, owner)) = replaced(view, self.replaces)? {
            events.extend(ends(view, owner, &[old], Ending::Replaced)?);
        }
        events.push(opened(self.session, account, Opening::Created));
        Ok(Decision::events(events, account))
    }
}

/// Sets the public key of the session's account. The key was checked before.
#[derive(Debug, Clone)]
pub struct SetPublicKey {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The curve.
    pub curve: Curve,
    /// SHA-256 of the uncompressed point.
    pub sha256: Hash32,
    /// The coordinates.
    pub secret: Secret<PublicKeySecret>,
}

impl Command for SetPublicKey {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        self.session.into_iter().map(StreamName::Session).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let account = view.authenticate(self.session)?;
        if view.account(account)?.public_key == Some(self.sha256) {
            return Ok(Decision::nothing(())); // docs/protocol.md, "Unchanged values"
        }
        let secret = SecretPayload::new(Sealing::Lasting(Subject::PublicKey(account)), &self.secret);
        let event = PublicKeySet { curve: self.curve, sha256: self.sha256 };
        Ok(Decision::events(vec![own(account, event, secret)], ()))
    }
}
