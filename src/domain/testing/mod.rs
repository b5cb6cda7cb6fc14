//! Testing the rules: given what happened, when somebody commands, then this happens or is refused.

mod group_model;
pub(in crate::domain) mod groups;
mod model;
mod snapshot_format;

use std::collections::HashMap;
use std::fmt::Debug;

use be8_events::account::AccountCreated;
use be8_events::dialog::ConversationStarted;
use be8_events::session::{Ending, Opening, SessionEnded, SessionOpened};
use be8_events::{AccId, Event, Hash32, NewEvent, Position, StreamName, ThreadId, Timestamp};
use chrono::TimeDelta;

use super::{Command, Decision, Occurred, Rejection, State, States, Stop, View, count_numbers};

/// How long the accounts of the tests live.
pub(in crate::domain) const LIFETIME: TimeDelta = TimeDelta::days(30);

/// What happened so far, as the states that follow from it.
#[derive(Debug)]
pub(crate) struct World {
    pub(in crate::domain) states: HashMap<StreamName, (State, i64)>,
    pub(in crate::domain) position: Position,
    pub(crate) now: Timestamp,
    pub(in crate::domain) accounts: i64,
    pub(in crate::domain) groups: i64,
}

impl States for World {
    fn get(&self, stream: &StreamName) -> Option<(&State, i64)> {
        self.states.get(stream).map(|(state, version)| (state, *version))
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let now = "2026-11-23T12:00:00.000000Z".parse().unwrap();
        Self { states: HashMap::new(), position: Position::START, now, accounts: 10_000, groups: 10_000 }
    }

    /// What a decision sees.
    pub(in crate::domain) fn view(&self) -> View<'_> {
        let (next_account, next_group) = (self.accounts + 1, self.groups + 1);
        View { now: self.now, clock: self.now, next_account, next_group, states: self }
    }

    /// Given: this happened.
    pub(crate) fn given(&mut self, stream: StreamName, event: impl Into<Event>) -> Position {
        let event = event.into();
        count_numbers(&event, &mut self.accounts, &mut self.groups);
        self.position = self.position.next();
        let (state, version) = self.states.entry(stream).or_insert_with(|| (State::new(&stream), 0));
        state.evolve(Occurred { position: self.position, event: &event });
        *version += 1;
        self.position
    }

    /// When: somebody commands. Loads what the decider asks for; changes nothing.
    pub(crate) fn when<C: Command>(&mut self, command: &C) -> Result<Decision<C::Reply>, Rejection> {
        loop {
            match command.decide(&self.view()) {
                Ok(decision) => return Ok(decision),
                Err(Stop::Rejected(rejection)) => return Err(rejection),
                Err(Stop::Need(stream)) => {
                    let before = self.states.insert(stream, (State::new(&stream), 0));
                    assert!(before.is_none(), "{stream} is loaded already");
                }
            }
        }
    }

    /// Then: it is refused for this reason.
    pub(in crate::domain) fn refuses<C: Command<Reply: Debug>>(&mut self, command: &C, why: Rejection) {
        assert_eq!(self.when(command).unwrap_err(), why);
    }

    /// Then: this is answered, and these events happen.
    pub(in crate::domain) fn answers<C: Command>(
        &mut self,
        command: &C,
        reply: C::Reply,
        events: &[(StreamName, Option<AccId>, Event)],
    ) where
        C::Reply: Debug + PartialEq,
    {
        let decision = self.when(command).unwrap();
        assert_eq!(decision.reply, reply);
        let happened: Vec<_> = decision.events.iter().map(|new| (new.stream, new.actor, new.event.clone())).collect();
        assert_eq!(happened, events);
    }

    /// Lets the decided events happen.
    pub(in crate::domain) fn happen(&mut self, events: Vec<NewEvent>) {
        for new in events {
            self.given(new.stream, new.event);
        }
    }

    /// Given: an account that lives, with a session whose token's hash is [`token`] of its number.
    pub(in crate::domain) fn account(&mut self, number: i64) -> (AccId, Position) {
        let account = id(number);
        let created = AccountCreated { account, until: self.now.plus(LIFETIME) };
        let position = self.given(StreamName::Account(account), created);
        let opened = SessionOpened { account, how: Opening::Created };
        self.given(StreamName::Session(token(number)), opened);
        (account, position)
    }

    /// The event that set the password of an account.
    pub(in crate::domain) fn password(&self, number: i64) -> Position {
        self.view().account(id(number)).map_or(Position(0), super::account::Account::password)
    }

    /// Given: a conversation that the first one began.
    pub(in crate::domain) fn conversation(&mut self, initiator: AccId, receiver: AccId) -> ThreadId {
        let thread = ThreadId::Dialog { initiator, receiver };
        let nickname = Position(1);
        self.given(StreamName::dialog(initiator, receiver), ConversationStarted { thread, message: 1, nickname });
        thread
    }

    /// Then: without a session of a living account the command is refused before anything else.
    /// All but the session is right in what `command` makes; the session is that of `account`.
    pub(in crate::domain) fn wants_a_session<C: Command<Reply: Debug>>(
        &mut self,
        account: i64,
        command: impl Fn(Option<Hash32>) -> C,
    ) {
        self.refuses(&command(None), Rejection::NotAuthenticated);
        self.refuses(&command(Some(token(99_999))), Rejection::NotAuthenticated);
        self.when(&command(Some(token(account)))).unwrap();

        let now = self.now;
        self.now = now.plus(LIFETIME).plus(TimeDelta::microseconds(-1));
        assert_ne!(self.when(&command(Some(token(account)))).err(), Some(Rejection::NotAuthenticated));
        self.now = now.plus(LIFETIME);
        self.refuses(&command(Some(token(account))), Rejection::NotAuthenticated);
        self.now = now;

        let ended = SessionEnded { account: id(account), why: Ending::Replaced };
        self.given(StreamName::Session(token(account)), ended);
        self.refuses(&command(Some(token(account))), Rejection::NotAuthenticated);
    }
}

pub(in crate::domain) fn id(number: i64) -> AccId {
    AccId::new(number).unwrap()
}

/// The hash of a token, one for each number.
pub(in crate::domain) fn token(number: i64) -> Hash32 {
    Hash32::sha256(&number.to_be_bytes())
}

/// Who has no session sends none of these commands.
pub(in crate::domain) fn nobody() -> Hash32 {
    token(0)
}

/// An account that does not live any more, though its session is open.
pub(in crate::domain) fn expired(world: &mut World, number: i64) {
    let now = world.now;
    world.now = now.plus(-LIFETIME);
    world.account(number);
    world.now = now;
}
