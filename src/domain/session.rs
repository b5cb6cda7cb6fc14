//! Sessions: a token, known by its hash, speaks for one account until it ends.

#[cfg(test)]
mod tests;

use be8_events::session::{Ending, Opening, SessionEnded, SessionNamed, SessionOpened, SessionSecret};
use be8_events::{
    AccId, Hash32, NewEvent, Position, Sealing, Secret, SecretPayload, SessionEvent, StreamName, Subject,
};
use serde::{Deserialize, Serialize};

use super::device::dropped_with;
use super::{Command, Decision, Rejection, Stop, View};

/// The state of a `session-H` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    account: Option<AccId>,
    /// The event that set its name.
    named: Option<Position>,
}

impl Session {
    /// The account, while the session is open.
    pub const fn account(&self) -> Option<AccId> {
        self.account
    }

    pub(super) fn evolve(&mut self, position: Position, event: &SessionEvent) {
        match event {
            SessionEvent::SessionOpened(e) => self.account = Some(e.account),
            SessionEvent::SessionEnded(_) => self.account = None,
            SessionEvent::SessionNamed(_) => self.named = Some(position),
        }
    }
}

/// Opens a session for an account whose password was given and checked before.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// The account.
    pub account: AccId,
    /// The event that set the password that was checked.
    pub checked: Position,
    /// The hash of the new session's token.
    pub session: Hash32,
    /// Sessions of the account that give way, as far as they are open.
    pub displaces: Vec<Hash32>,
    /// The session of the request, whose cookie is replaced. It stays open, but its devices are dropped.
    pub replaces: Option<Hash32>,
}

impl Command for OpenSession {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        let sessions = self.displaces.iter().chain([&self.session]).chain(&self.replaces);
        let sessions = sessions.copied().map(StreamName::Session);
        let devices = (!self.displaces.is_empty()).then_some(StreamName::Devices(self.account));
        sessions.chain([StreamName::Account(self.account)]).chain(devices).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let account = self.account;
        if !view.lives(account)? {
            return Err(Rejection::NotAuthenticated.into());
        }
        if view.account(account)?.password() != self.checked {
            return Err(Rejection::Outdated.into());
        }
        let mut without_devices = open(view, account, &self.displaces)?;
        let mut events: Vec<NewEvent> =
            without_devices.iter().map(|session| ended(*session, account, Ending::Displaced)).collect();
        match replaced(view, self.replaces)? {
            // The browser that the devices are in is somebody else's from now on, or has to subscribe them again.
            Some((old, owner)) if owner == account => without_devices.push(old),
            Some((old, owner)) => events.extend(dropped_with(view, owner, &[old])?),
            None => {}
        }
        if !without_devices.is_empty() {
            events.extend(dropped_with(view, account, &without_devices)?);
        }
        events.push(opened(self.session, account, Opening::Login));
        Ok(Decision::events(events, ()))
    }
}

/// Ends sessions of an account that has more than it may.
#[derive(Debug, Clone)]
pub struct DisplaceSessions {
    /// The account.
    pub account: AccId,
    /// Which, as far as they are open.
    pub sessions: Vec<Hash32>,
}

impl Command for DisplaceSessions {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        let sessions = self.sessions.iter().copied().map(StreamName::Session);
        sessions.chain([StreamName::Devices(self.account)]).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        Ok(Decision::events(ends(view, self.account, &self.sessions, Ending::Displaced)?, ()))
    }
}

/// Those of these sessions that are open and the account's.
fn open(view: &View<'_>, account: AccId, sessions: &[Hash32]) -> Result<Vec<Hash32>, Stop> {
    let mut open = Vec::new();
    for &session in sessions {
        if view.session(session)?.account() == Some(account) {
            open.push(session);
        }
    }
    Ok(open)
}

/// The session of a request whose answer replaces its cookie, with its account, if it is open.
pub(super) fn replaced(view: &View<'_>, session: Option<Hash32>) -> Result<Option<(Hash32, AccId)>, Stop> {
    let Some(session) = session else { return Ok(None) };
    Ok(view.session(session)?.account().map(|account| (session, account)))
}

/// The ends of those of these sessions that are open and the account's, and of their devices.
pub(super) fn ends(view: &View<'_>, account: AccId, sessions: &[Hash32], why: Ending) -> Result<Vec<NewEvent>, Stop> {
    let open = open(view, account, sessions)?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let mut events: Vec<NewEvent> = open.iter().map(|session| ended(*session, account, why)).collect();
    // A browser that somebody else may use next, or a phone that was lost, is pushed to no more.
    events.extend(dropped_with(view, account, &open)?);
    Ok(events)
}

/// Ends the session of the request.
#[derive(Debug, Clone, Copy)]
pub struct EndSession {
    /// The session.
    pub session: Option<Hash32>,
}

impl Command for EndSession {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        self.session.into_iter().map(StreamName::Session).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let account = view.authenticate(self.session)?;
        let sessions: Vec<Hash32> = self.session.into_iter().collect();
        Ok(Decision::events(ends(view, account, &sessions, Ending::LoggedOut)?, ()))
    }
}

/// Ends sessions of the account of the request, which may be one of them.
#[derive(Debug, Clone)]
pub struct EndOwnSessions {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// Which, as far as they are open and the account's.
    pub sessions: Vec<Hash32>,
}

impl Command for EndOwnSessions {
    /// How many there were to end.
    type Reply = usize;

    fn streams(&self) -> Vec<StreamName> {
        self.sessions.iter().chain(&self.session).copied().map(StreamName::Session).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<usize>, Stop> {
        let account = view.authenticate(self.session)?;
        let count = open(view, account, &self.sessions)?.len();
        Ok(Decision::events(ends(view, account, &self.sessions, Ending::LoggedOut)?, count))
    }
}

/// Names a session of the account of the request.
#[derive(Debug, Clone)]
pub struct NameSession {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The one that is named.
    pub named: Hash32,
    /// The name; empty: none any more.
    pub name: Secret<SessionSecret>,
    /// The event that set the name that the new one was compared with.
    pub compared: Option<Position>,
}

impl Command for NameSession {
    /// Whether the account has such an open session.
    type Reply = bool;

    fn streams(&self) -> Vec<StreamName> {
        self.session.into_iter().chain([self.named]).map(StreamName::Session).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<bool>, Stop> {
        let account = view.authenticate(self.session)?;
        let session = view.session(self.named)?;
        if session.account() != Some(account) {
            return Ok(Decision::nothing(false));
        }
        if session.named != self.compared {
            return Err(Rejection::Outdated.into());
        }
        let secret = SecretPayload::new(Sealing::Lasting(Subject::Account(account)), &self.name);
        let (stream, event) = (StreamName::Session(self.named), SessionNamed { account }.into());
        let named = NewEvent { stream, actor: Some(account), event, secret: Some(secret) };
        Ok(Decision::events(vec![named], true))
    }
}

/// A session of an account begins.
pub(super) fn opened(session: Hash32, account: AccId, how: Opening) -> NewEvent {
    let event = SessionOpened { account, how }.into();
    NewEvent { stream: StreamName::Session(session), actor: Some(account), event, secret: None }
}

/// A session of an account ends.
fn ended(session: Hash32, account: AccId, why: Ending) -> NewEvent {
    // The operator is no account.
    let actor = (why != Ending::Operator).then_some(account);
    NewEvent { stream: StreamName::Session(session), actor, event: SessionEnded { account, why }.into(), secret: None }
}
