//! Lock codes: setting them once, changing one of them, and the removal that one of them causes.
//! Codes are compared before a command, which carries the events whose hashes were looked at.

use be8_events::account::{AccountRemoved, CodeChanged, CodeKind, CodeSecret, CodesSecret, CodesSet, Removal};
use be8_events::erasure::Cause;
use be8_events::{AccId, Hash32, NewEvent, Position, Sealing, Secret, SecretPayload, StreamName, Subject};

use super::profile::own;
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

/// Removes an account whose destroy code was entered: it was compared with what the events at
/// `compared` hold.
#[derive(Debug, Clone, Copy)]
pub struct RemoveByCode {
    /// The account.
    pub account: AccId,
    /// The events whose hashes were looked at.
    pub compared: (Position, Position),
}

impl Command for RemoveByCode {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Account(self.account)]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let account = self.account;
        if !view.lives(account)? {
            return Err(Rejection::NotAuthenticated.into());
        }
        if view.account(account)?.codes() != Some(self.compared) {
            return Err(Rejection::Outdated.into());
        }
        let event = AccountRemoved { account, reason: Removal::Code }.into();
        let removed = NewEvent { stream: StreamName::Account(account), actor: Some(account), event, secret: None };
        let erase = vec![(Subject::Account(account), Cause::AccountRemoved)];
        Ok(Decision { events: vec![removed], erase, reply: () })
    }
}
