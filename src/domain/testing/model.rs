//! Random commands of several accounts against a model that is too simple to be wrong: after each
//! one, verdict and states agree with it.

use std::collections::{BTreeMap, BTreeSet};

use be8_events::account::{AccountSecret, Curve, PublicKeySecret};
use be8_events::message::MessageSecret;
use be8_events::{MessageNo, Secret};
use proptest::prelude::*;

use super::super::account::{CreateAccount, SetPublicKey};
use super::super::dialog::StartConversation;
use super::super::message::{NamedVersion, Receiver, WriteMessage};
use super::super::read_marks::MarkRead;
use super::*;

/// What somebody does. Accounts and sessions are named by small numbers, some of which do not exist.
#[derive(Debug, Clone)]
enum Step {
    Create { replaces: Option<u8>, hours: i64 },
    SetKey { session: u8, key: u8 },
    Start { session: u8, receiver: u8 },
    Write { session: u8, receiver: u8, sender: u8, thread: (u8, u8), good: bool },
    Reply { nth: u8, from_initiator: bool },
    Read { session: u8, thread: (u8, u8), shown: u16 },
    Wait { hours: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let one = || 1..8u8;
    prop_oneof![
        3 => (prop::option::of(one()), 1..72i64).prop_map(|(replaces, hours)| Step::Create { replaces, hours }),
        1 => (one(), 0..3u8).prop_map(|(session, key)| Step::SetKey { session, key }),
        4 => (one(), one()).prop_map(|(session, receiver)| Step::Start { session, receiver }),
        2 => (one(), one(), one(), (one(), one()), any::<bool>()).prop_map(
            |(session, receiver, sender, thread, good)| Step::Write { session, receiver, sender, thread, good }
        ),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(nth, from_initiator)| Step::Reply { nth, from_initiator }),
        5 => (one(), (one(), one()), any::<u16>())
            .prop_map(|(session, thread, shown)| Step::Read { session, thread, shown }),
        1 => (0..12i64).prop_map(|hours| Step::Wait { hours }),
    ]
}

#[derive(Debug)]
struct ModelAccount {
    until: Timestamp,
    created_at: i64,
    key: Option<u8>,
}

/// The messages of a conversation; who wrote each, none for the system.
#[derive(Debug)]
struct Talk {
    initiator: i64,
    receiver: i64,
    messages: Vec<Option<i64>>,
}

#[derive(Debug, Default)]
struct Model {
    accounts: BTreeMap<i64, ModelAccount>,
    /// Session n is the one that the n-th account came with.
    open: BTreeSet<i64>,
    talks: Vec<Talk>,
    read: BTreeSet<(i64, i64, i64, MessageNo)>,
    events: i64,
}

/// What the model expects of a command.
type Expected = Result<Happens, Rejection>;

#[derive(Debug, PartialEq)]
enum Happens {
    Nothing,
    Events(usize),
}

const NUMBERS: std::ops::Range<i64> = 10_001..10_010;

fn number(small: u8) -> i64 {
    10_000 + i64::from(small)
}

fn dialog(initiator: i64, receiver: i64) -> ThreadId {
    ThreadId::Dialog { initiator: id(initiator), receiver: id(receiver) }
}

impl Model {
    fn lives(&self, account: i64, now: Timestamp) -> bool {
        self.accounts.get(&account).is_some_and(|a| now < a.until)
    }

    fn speaks(&self, session: i64, now: Timestamp) -> Result<i64, Rejection> {
        let speaks = self.open.contains(&session) && self.lives(session, now);
        if speaks { Ok(session) } else { Err(Rejection::NotAuthenticated) }
    }

    fn talk(&self, a: i64, b: i64) -> Option<usize> {
        self.talks.iter().position(|t| (t.initiator, t.receiver) == (a, b) || (t.initiator, t.receiver) == (b, a))
    }

    fn create(&mut self, replaces: Option<i64>, until: Timestamp) -> Expected {
        let number = 10_001 + self.accounts.len() as i64;
        self.accounts.insert(number, ModelAccount { until, created_at: self.events + 1, key: None });
        let ended = replaces.is_some_and(|old| self.open.remove(&old));
        self.open.insert(number);
        Ok(Happens::Events(2 + usize::from(ended)))
    }

    fn set_key(&mut self, session: i64, key: u8, now: Timestamp) -> Expected {
        let me = self.speaks(session, now)?;
        let old = self.accounts.get_mut(&me).unwrap().key.replace(key);
        Ok(if old == Some(key) { Happens::Nothing } else { Happens::Events(1) })
    }

    fn start(&mut self, session: i64, receiver: i64, now: Timestamp) -> Expected {
        let me = self.speaks(session, now)?;
        if !self.lives(receiver, now) {
            return Err(Rejection::AccountNotExisting);
        }
        if me == receiver {
            return Err(Rejection::CircularConversation);
        }
        if self.talk(me, receiver).is_some() {
            return Ok(Happens::Nothing);
        }
        self.talks.push(Talk { initiator: me, receiver, messages: vec![None] });
        Ok(Happens::Events(1))
    }

    fn write(
        &mut self,
        session: i64,
        receiver: i64,
        sender: i64,
        thread: (i64, i64),
        good: bool,
        now: Timestamp,
    ) -> Expected {
        let me = self.speaks(session, now)?;
        if !self.lives(receiver, now) || sender != me {
            return Err(Rejection::AccountNotExisting);
        }
        let talk = self.talks.iter_mut().find(|t| (t.initiator, t.receiver) == thread);
        let talk =
            talk.filter(|t| (t.initiator, t.receiver) == (me, receiver) || (t.receiver, t.initiator) == (me, receiver));
        let talk = talk.ok_or(Rejection::InvalidThread)?;
        if !good {
            return Err(Rejection::InvalidMessageType);
        }
        talk.messages.push(Some(me));
        Ok(Happens::Events(1))
    }

    fn mark(
        &mut self,
        session: i64,
        thread: (i64, i64),
        shown: &[(MessageNo, Option<i64>)],
        now: Timestamp,
    ) -> Expected {
        let me = self.speaks(session, now)?;
        if thread.0 != me && thread.1 != me {
            return Err(Rejection::InvalidThread);
        }
        let new: Vec<_> = shown.iter().filter(|(no, _)| !self.read.contains(&(thread.0, thread.1, me, *no))).collect();
        if new.iter().all(|(_, sender)| *sender == Some(me)) {
            return Ok(Happens::Nothing);
        }
        self.read.extend(new.iter().map(|(no, _)| (thread.0, thread.1, me, *no)));
        Ok(Happens::Events(1))
    }
}

/// Both worlds side by side.
struct Both {
    world: World,
    model: Model,
}

impl Both {
    /// Executes a command, compares its verdict with the expected one, and lets it happen.
    fn execute<C: Command<Reply: Debug>>(&mut self, command: &C, expected: Expected) -> Option<C::Reply> {
        let decision = self.world.when(command);
        let verdict = decision.as_ref().map(|d| match d.events.len() {
            0 => Happens::Nothing,
            n => Happens::Events(n),
        });
        assert_eq!(verdict.map_err(|rejection| *rejection), expected);
        let Decision { events, reply, .. } = decision.ok()?;
        self.model.events += events.len() as i64;
        self.world.happen(events);
        Some(reply)
    }

    fn step(&mut self, step: Step) {
        let now = self.world.now;
        match step {
            Step::Wait { hours } => self.world.now = now.plus(TimeDelta::hours(hours)),
            Step::Create { .. } if self.model.accounts.len() >= 8 => {}
            Step::Create { replaces, hours } => {
                let account = self.world.accounts + 1;
                let replaces = replaces.map(number);
                let lifetime = TimeDelta::hours(hours);
                let secret = AccountSecret { nickname: "n".to_owned(), password: "p".to_owned() };
                let secret = Secret::new(secret);
                let command =
                    CreateAccount { secret, session: token(account), replaces: replaces.map(token), lifetime };
                let expected = self.model.create(replaces, now.plus(lifetime));
                assert_eq!(self.execute(&command, expected), Some(id(account)));
            }
            Step::SetKey { session, key } => {
                let session = number(session);
                let secret = Secret::new(PublicKeySecret { x: "x".to_owned(), y: "y".to_owned() });
                let sha256 = Hash32([key; 32]);
                let command = SetPublicKey { session: Some(token(session)), curve: Curve::P384, sha256, secret };
                let expected = self.model.set_key(session, key, now);
                self.execute(&command, expected);
            }
            Step::Start { session, receiver } => {
                let (session, receiver) = (number(session), number(receiver));
                let command = StartConversation { session: Some(token(session)), receiver: Some(id(receiver)) };
                let expected = self.model.start(session, receiver, now);
                if let Some(thread) = self.execute(&command, expected) {
                    let talk = &self.model.talks[self.model.talk(session, receiver).unwrap()];
                    assert_eq!(thread, dialog(talk.initiator, talk.receiver));
                }
            }
            Step::Reply { nth, from_initiator } => {
                let Some(nth) = usize::from(nth).checked_rem(self.model.talks.len()) else { return };
                let Talk { initiator, receiver, .. } = self.model.talks[nth];
                let (from, to) = if from_initiator { (initiator, receiver) } else { (receiver, initiator) };
                self.write(from, to, from, (initiator, receiver), true);
            }
            Step::Write { session, receiver, sender, thread, good } => {
                if thread.0 != thread.1 {
                    let thread = (number(thread.0), number(thread.1));
                    self.write(number(session), number(receiver), number(sender), thread, good);
                }
            }
            Step::Read { session, thread: (a, b), shown } => {
                // A reader is shown threads that exist, under their stored names.
                let Some(talk) = self.model.talk(number(a), number(b)) else { return };
                let Talk { initiator, receiver, messages } = &self.model.talks[talk];
                let thread = (*initiator, *receiver);
                let all = (1..).zip(messages.iter().copied()).take(16);
                let shown: Vec<_> = all.filter(|(no, _)| shown >> (no - 1) & 1 == 1).collect();
                let command = MarkRead {
                    session: token(number(session)),
                    thread: dialog(thread.0, thread.1),
                    shown: shown.iter().map(|&(no, sender)| (no, sender.map(id))).collect(),
                };
                let expected = self.model.mark(number(session), thread, &shown, now);
                self.execute(&command, expected);
            }
        }
    }

    fn write(&mut self, session: i64, receiver: i64, sender: i64, thread: (i64, i64), good: bool) {
        let now = self.world.now;
        let secret = MessageSecret { text: "t".to_owned(), iv: None, kind: None, endless: None };
        let command = WriteMessage {
            session: Some(token(session)),
            receiver: Some(Receiver::Account(id(receiver))),
            sender: Some(id(sender)),
            thread: Some(dialog(thread.0, thread.1)),
            version: NamedVersion::Absent,
            content: if good { Ok(Secret::new(secret)) } else { Err(Rejection::InvalidMessageType) },
        };
        let expected = self.model.write(session, receiver, sender, thread, good, now);
        if let Some((thread, no)) = self.execute(&command, expected) {
            let talk = &self.model.talks[self.model.talk(session, receiver).unwrap()];
            assert_eq!((thread, no as usize), (dialog(talk.initiator, talk.receiver), talk.messages.len()));
        }
    }

    /// The states say what the model says.
    fn agree(&mut self) {
        let now = self.world.now;
        for stream in self.streams() {
            // As in the ledger: a stream that was never asked for counts as empty.
            self.world.states.entry(stream).or_insert_with(|| (State::new(&stream), 0));
        }
        let (world, model) = (&self.world, &self.model);
        let view = world.view();
        assert_eq!(world.position.0, model.events);
        for number in NUMBERS {
            assert_eq!(view.lives(id(number)).unwrap(), model.lives(number, now));
            let created_at = model.accounts.get(&number).map_or(0, |a| a.created_at);
            assert_eq!(view.account(id(number)).unwrap().nickname(), Position(created_at));
            let open = model.open.contains(&number).then_some(id(number));
            assert_eq!(view.session(token(number)).unwrap().account(), open);
            for other in (number + 1)..NUMBERS.end {
                let talk = model.talk(number, other).map(|talk| &model.talks[talk]);
                let known = view.dialog(id(number), id(other)).unwrap().thread();
                assert_eq!(known, talk.map(|talk| dialog(talk.initiator, talk.receiver)));
                let stream = StreamName::dialog(id(number), id(other));
                assert_eq!(view.version(stream).unwrap(), talk.map_or(0, |talk| talk.messages.len() as i64));
            }
        }
        for Talk { initiator, receiver, messages } in &model.talks {
            let reads = view.reads(dialog(*initiator, *receiver)).unwrap();
            for reader in [initiator, receiver] {
                for no in 0..=messages.len() as MessageNo + 1 {
                    let read = model.read.contains(&(*initiator, *receiver, *reader, no));
                    assert_eq!(reads.contains(id(*reader), no), read);
                }
            }
        }
        // What a snapshot keeps of a state is the state.
        for (state, _) in world.states.values() {
            let stored = serde_json::to_vec(state).unwrap();
            assert_eq!(&serde_json::from_slice::<State>(&stored).unwrap(), state);
        }
    }

    fn streams(&self) -> Vec<StreamName> {
        let accounts = NUMBERS.map(|n| StreamName::Account(id(n)));
        let sessions = NUMBERS.map(|n| StreamName::Session(token(n)));
        let pairs = NUMBERS.flat_map(|a| ((a + 1)..NUMBERS.end).map(move |b| StreamName::dialog(id(a), id(b))));
        let reads = self.model.talks.iter().map(|t| StreamName::Reads(dialog(t.initiator, t.receiver)));
        accounts.chain(sessions).chain(pairs).chain(reads).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_rules_do_what_the_model_does(steps in prop::collection::vec(step(), 1..120)) {
        let mut both = Both { world: World::new(), model: Model::default() };
        for step in steps {
            both.step(step);
            both.agree();
        }
    }
}
