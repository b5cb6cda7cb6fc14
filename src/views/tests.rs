//! The state without a database: what is kept, for how long, and what is loaded too late.

use std::collections::HashMap;

use be8_events::account::{AccountRemoved, Removal};
use be8_events::erasure::{Cause, DeletedKey, KeysDeleted};
use be8_events::group::{MemberJoined, VersionAllocated};
use be8_events::{AccId, Event, GroupId, Hash32, Position, Recorded, StreamName, Subject, Timestamp};
use be8_projections::Generation;

use super::facts::{Fact, Group, Key};
use super::state::{Loaded, Look, State, Stop, Taken};

const GENERATION: Generation = Generation(1);

fn account(nth: i64) -> AccId {
    AccId::new(10_000 + nth).unwrap()
}

fn group() -> GroupId {
    GroupId::new(10_001).unwrap()
}

fn recorded(position: i64, stream: StreamName, event: impl Into<Event>) -> Recorded {
    let event = event.into();
    Recorded {
        position: Position(position),
        stream,
        version: position,
        time: Timestamp::from_micros(position),
        actor: None,
        salt: Hash32([position as u8; 32]),
        schema: event.schema(),
        payload: Vec::new(),
        sealed: None,
        event,
    }
}

fn version(position: i64, version: u32) -> Recorded {
    recorded(position, StreamName::Group(group()), VersionAllocated { version, by: account(1) })
}

fn joined(position: i64, nth: i64) -> Recorded {
    let event = MemberJoined { group: group(), account: account(nth), stay: 1, message: 7, nickname: Position(1) };
    recorded(position, StreamName::Group(group()), event)
}

fn deleted(position: i64, key: i64) -> Recorded {
    let keys = vec![DeletedKey { id: key, subject: Subject::GroupName(group()) }];
    recorded(position, StreamName::Erasure, KeysDeleted { keys, cause: Cause::GroupDestroyed })
}

/// A group without members whose name is sealed under key 5.
fn loaded() -> Option<Loaded> {
    let shown = vec![b'x'; 100].into();
    let group = Group { admin: account(1), version: None, destroyed: false, members: [].into(), shown };
    Some((Fact::Group(group.into()), vec![5]))
}

fn state(budget: usize, tail: usize) -> State {
    let mut state = State::new(Position(10), budget, tail);
    state.live(GENERATION, 1);
    state
}

fn fold(state: &mut State, events: &[Recorded]) {
    state.fold(events, &HashMap::new());
}

/// The newest version and the members, if the group is kept.
fn look(state: &State) -> Option<(Option<u32>, usize)> {
    let absent = HashMap::new();
    let found = Look::new(state, &absent).group(group());
    match found {
        Ok(group) => group.map(|group| (group.version, group.members.len())),
        Err(stop) => {
            assert_eq!(stop, Stop::Missing);
            None
        }
    }
}

#[test]
fn what_is_kept_follows_the_log_whenever_it_was_loaded() {
    let key = Key::Group(group());
    // Loaded before, in the middle of, and after what comes.
    for at in 10..=14 {
        let mut state = state(10_000, 100);
        let events = [version(11, 1), joined(12, 2), version(13, 2), joined(14, 3)];
        let (before, after) = events.split_at((at - 10) as usize);
        let base = || {
            let (mut fact, sealers) = loaded().unwrap();
            before.iter().for_each(|event| _ = fact.fold(event, None));
            Some((fact, sealers))
        };
        if at == 10 {
            assert_eq!(state.take(key, base(), Position(10), GENERATION), Taken::Yes);
            fold(&mut state, after);
        } else {
            // The load began at a position that the views reach only later, or had long before.
            fold(&mut state, &events[..2]);
            assert_eq!(state.take(key, base(), Position(at), GENERATION), Taken::Yes);
            if at > 12 {
                assert_eq!(look(&state), None, "it is of a position that is not reached yet");
            }
            fold(&mut state, &events[2..]);
        }
        assert_eq!(look(&state), Some((Some(2), 2)), "{at}");
    }
}

#[test]
fn what_was_loaded_before_the_newest_events_is_loaded_again() {
    let key = Key::Group(group());
    let mut state = state(10_000, 1);
    fold(&mut state, &[version(11, 1), version(12, 2)]);
    assert_eq!(state.take(key, loaded(), Position(10), GENERATION), Taken::Outdated);
    assert_eq!(state.take(key, None, Position(10), GENERATION), Taken::Outdated);
    assert_eq!(state.take(key, None, Position(11), GENERATION), Taken::Outdated, "it has come into being since");
    assert_eq!(state.take(key, loaded(), Position(11), GENERATION), Taken::Yes);
    assert_eq!(state.take(Key::Account(account(9)), None, Position(11), GENERATION), Taken::Absent);
    assert_eq!(state.take(key, loaded(), Position(12), Generation(2)), Taken::Outdated);
    // A question that was asked before the switch, and is answered behind it, changes nothing.
    state.live(Generation(2), 3);
    assert_eq!(look(&state), None);
    assert_eq!(state.take(key, loaded(), Position(12), Generation(2)), Taken::Yes);
    state.live(GENERATION, 2);
    assert!(look(&state).is_some());
    // There and back.
    state.live(GENERATION, 4);
    assert_eq!((look(&state), state.bytes()), (None, 0));
}

#[test]
fn what_is_not_there_is_not_kept_and_is_found_once_it_is() {
    let key = Key::Group(group());
    let mut state = state(10_000, 100);
    let absent = HashMap::from([(key, Position(10))]);
    assert_eq!(Look::new(&state, &absent).group(group()).map(|group| group.is_none()), Ok(true));
    assert_eq!(state.entries(), 0);
    fold(&mut state, &[version(11, 1)]);
    let mut seen = Look::new(&state, &absent);
    assert_eq!(seen.group(group()).map(|_| ()), Err(Stop::Missing));
    assert_eq!(seen.missing, [key]);
}

#[test]
fn a_deleted_key_takes_what_it_sealed_out_of_memory() {
    let key = Key::Group(group());
    for (deletes, kept) in [(4, true), (5, false)] {
        let mut state = state(10_000, 100);
        assert_eq!(state.take(key, loaded(), Position(10), GENERATION), Taken::Yes);
        fold(&mut state, &[deleted(11, deletes)]);
        assert_eq!((look(&state).is_some(), state.bytes() > 0), (kept, kept));
        // What was loaded before, and comes later, does not bring it back.
        let late = state.take(key, loaded(), Position(10), GENERATION);
        assert_eq!(late == Taken::Yes, kept);
    }
}

#[test]
fn without_room_a_thread_is_loaded_when_it_is_asked_for_again_soon() {
    let budget = 2 * 64 * 1024;
    let mut state = state(budget, 100);
    let thread = |nth: i64| [Key::Session(Hash32([0; 32])), Key::Thread(nth)];
    assert!(state.admits(&thread(1)), "there is room");
    let one = Fact::Session(account(1)).size(&[]);
    for nth in 0..budget / one {
        let key = Key::Session(Hash32::sha256(&nth.to_le_bytes()));
        state.take(key, Some((Fact::Session(account(1)), Vec::new())), Position(10), GENERATION);
    }
    assert!(state.admits(&thread(1)[..1]), "smaller entries are always loaded");
    assert!(!state.admits(&thread(1)));
    assert!(state.admits(&thread(1)));
    // It was loaded, and thrown out; then two others come between.
    for nth in 1..=3 {
        assert!(!state.admits(&thread(nth)));
    }
    assert!(!state.admits(&thread(1)));
}

#[test]
fn the_oldest_goes_first_unless_it_was_used_and_the_budget_is_kept() {
    let one = Fact::Session(account(1)).size(&[]);
    let mut state = state(3 * one, 100);
    let session = |nth: u8| Key::Session(Hash32([nth; 32]));
    let take = |state: &mut State, nth: u8| {
        state.take(session(nth), Some((Fact::Session(account(1)), Vec::new())), Position(10), GENERATION)
    };
    for nth in 0..3 {
        assert_eq!(take(&mut state, nth), Taken::Yes);
    }
    let absent = HashMap::new();
    assert!(Look::new(&state, &absent).session(Hash32([0; 32])).is_ok());
    assert_eq!(take(&mut state, 3), Taken::Yes);
    let kept: Vec<bool> = (0..4).map(|nth| state.holds(session(nth))).collect();
    assert_eq!(kept, [true, false, true, true]);
    assert_eq!((state.bytes(), state.evicted), (3 * one, 1));
    // Events make entries grow: then, too.
    let mut state = super::tests::state(loaded().unwrap().0.size(&[5]) + 100, 100);
    assert_eq!(state.take(Key::Group(group()), loaded(), Position(10), GENERATION), Taken::Yes);
    let many: Vec<Recorded> = (0..20).map(|nth| joined(11 + nth, 2 + nth)).collect();
    fold(&mut state, &many);
    assert_eq!((look(&state), state.bytes()), (None, 0));
    // One that alone is too large is not kept.
    assert_eq!(state.take(Key::Session(Hash32([9; 32])), loaded(), Position(30), GENERATION), Taken::Yes);
}

#[test]
fn another_event_at_a_position_is_another_log() {
    let mut state = state(10_000, 2);
    fold(&mut state, &[version(11, 1), version(12, 2), version(13, 3)]);
    let salt = |byte: u8| Some(Hash32([byte; 32]));
    assert!(!state.contradicts(Position(13), salt(13)));
    assert!(state.contradicts(Position(13), salt(14)));
    assert!(state.contradicts(Position(12), None));
    // Of what is no longer kept, or not there yet, nothing is known.
    assert!(!state.contradicts(Position(11), salt(1)));
    assert!(!state.contradicts(Position(14), salt(1)));
    let removed = AccountRemoved { account: account(1), reason: Removal::Panic };
    fold(&mut state, &[recorded(14, StreamName::Account(account(1)), removed)]);
    assert!(!state.contradicts(Position(14), salt(14)));
}
