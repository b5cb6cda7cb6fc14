//! Lock codes: setting them once, and changing one of them. Codes are compared before a command, which carries the events whose hashes were looked at.

#[cfg(test)]
mod tests;

use be8_events::account::{CodeChanged, CodeKind, CodeSecret, CodesSecret, CodesSet};
use be8_events::{Hash32, Position, Sealing, Secret, SecretPayload, StreamName, Subject};

use super::account::own;
use super::{Command, Decision, Rejection, Stop, View};

/// Sets both codes of the session's account, for the first time.
#[derive(Debug, Clone)]
pub struct SetCodes {
    /// The session of the request.
    pub session: Hash32,
    /// The hashes.
    pub codes: Secret<CodesSecret>,
}

impl Command for SetCodes {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Session(self.session)]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let account = view.authenticate(Some(self.session))?;
        if view.account(account)?.codes().is_some() {
            return Err(Rejection::CodesAlreadySet.into());
        }
        let secret = SecretPayload::new(Sealing::Lasting(Subject::Account(account)), &self.codes);
        Ok(Decision::events(vec![own(account, CodesSet {}, secret)], ()))
    }
}

/// Changes one code of the session's account. The old one was right: it was compared with what
/// the events at `compared` hold.
#[derive(Debug, Clone)]
pub struct ChangeCode {
    /// The session of the request.
    pub session: Hash32,
    /// Which.
    pub which: CodeKind,
    /// The hash of the new code.
    pub code: Secret<CodeSecret>,
    /// The events whose hashes were looked at.
    pub compared: (Position, Position),
}

impl Command for ChangeCode {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Session(self.session)]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let account = view.authenticate(Some(self.session))?;
        if view.account(account)?.codes() != Some(self.compared) {
            return Err(Rejection::Outdated.into());
        }
        let secret = SecretPayload::new(Sealing::Lasting(Subject::Account(account)), &self.code);
        Ok(Decision::events(vec![own(account, CodeChanged { which: self.which }, secret)], ()))
    }
}
