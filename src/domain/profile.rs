//! What an account says of itself: its nickname and its status.

#[cfg(test)]
mod tests;

use be8_events::account::{NicknameChanged, NicknameSecret, StatusSecret, StatusSet};
use be8_events::{Hash32, Position, Sealing, Secret, SecretPayload, StreamName, Subject};

use super::account::own;
use super::{Command, Decision, Rejection, Stop, View};

/// Gives the session's account another nickname. It was checked before, and compared with the one
/// that the event at `compared` set (docs/protocol.md, "Unchanged values").
#[derive(Debug, Clone)]
pub struct ChangeNickname {
    /// The session of the request.
    pub session: Hash32,
    /// The nickname.
    pub nickname: Secret<NicknameSecret>,
    /// The event whose nickname it was compared with.
    pub compared: Position,
}

impl Command for ChangeNickname {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Session(self.session)]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let account = view.authenticate(Some(self.session))?;
        if view.account(account)?.nickname() != self.compared {
            return Err(Rejection::Outdated.into());
        }
        let secret = SecretPayload::new(Sealing::Lasting(Subject::Account(account)), &self.nickname);
        Ok(Decision::events(vec![own(account, NicknameChanged {}, secret)], ()))
    }
}

/// Sets the status of the session's account. It was cut before, and compared with the one that the
/// event at `compared` set; none if there is no status yet (docs/protocol.md, "Unchanged values").
#[derive(Debug, Clone)]
pub struct SetStatus {
    /// The session of the request.
    pub session: Hash32,
    /// The status.
    pub status: Secret<StatusSecret>,
    /// The event whose status it was compared with.
    pub compared: Option<Position>,
}

impl Command for SetStatus {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Session(self.session)]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let account = view.authenticate(Some(self.session))?;
        if view.account(account)?.status() != self.compared {
            return Err(Rejection::Outdated.into());
        }
        let secret = SecretPayload::new(Sealing::Lasting(Subject::Account(account)), &self.status);
        Ok(Decision::events(vec![own(account, StatusSet {}, secret)], ()))
    }
}
