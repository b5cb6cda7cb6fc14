//! Passwords: changing the one of an account.

#[cfg(test)]
mod tests;

use be8_events::account::{PasswordChanged, PasswordSecret};
use be8_events::session::Ending;
use be8_events::{Hash32, Position, Sealing, Secret, SecretPayload, StreamName, Subject};

use super::account::own;
use super::session::ends;
use super::{Command, Decision, Rejection, Stop, View};

/// Changes the password of the session's account. The old one was checked before, and the new one is hashed.
#[derive(Debug, Clone)]
pub struct ChangePassword {
    /// The session of the request.
    pub session: Hash32,
    /// The hash of the new password.
    pub password: Secret<PasswordSecret>,
    /// The event that set the password that was checked.
    pub checked: Position,
    /// Sessions that end with the old password, as far as they are open and the account's; that of the request does not.
    pub ends: Vec<Hash32>,
}

impl Command for ChangePassword {
    /// How many sessions end.
    type Reply = usize;

    fn streams(&self) -> Vec<StreamName> {
        self.ends.iter().chain([&self.session]).copied().map(StreamName::Session).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<usize>, Stop> {
        let account = view.authenticate(Some(self.session))?;
        if view.account(account)?.password() != self.checked {
            return Err(Rejection::Outdated.into());
        }
        let mut others = Vec::new();
        for &session in self.ends.iter().filter(|session| **session != self.session) {
            if view.session(session)?.account() == Some(account) {
                others.push(session);
            }
        }
        let secret = SecretPayload::new(Sealing::Lasting(Subject::Account(account)), &self.password);
        let mut events = vec![own(account, PasswordChanged {}, secret)];
        events.extend(ends(view, account, &others, Ending::LoggedOut)?);
        Ok(Decision::events(events, others.len()))
    }
}
