//! The shape in which each state is stored. Servers read snapshots that older builds stored: one of another shape is read wrongly, or
//! not at all, unless its format says that it is another.
//!
//! If this test fails, the shape of a state has changed. Do not accept the difference: raise [`State::SNAPSHOT_FORMAT`], so that older
//! snapshots are passed over, remove the recorded file of the format before, and record the new one with `INSTA_UPDATE=always`.
//! A new field takes an event here that fills it.

use be8_events::account::{CodesSet, Curve, LifetimeExtended, PublicKeySet, StatusSet};
use be8_events::device::DeviceSubscribed;
use be8_events::group::{Access, GroupKeyStored, VersionAllocated};
use be8_events::image::MediaStored;
use be8_events::message::MessageWritten;
use be8_events::read_marks::MessagesRead;
use be8_events::server::{HistoriesCommitted, HourStruck};
use be8_events::session::SessionNamed;
use be8_events::token::{Grant, TokenIssued, TokenTaken};
use be8_events::{AccId, Event, StreamName, ThreadId};

use super::groups::group;
use super::*;

/// A world in which each state has something in all of its fields.
fn populated() -> World {
    let mut world = World::new();
    let (zoe, yan) = (id(10_001), id(10_002));
    world.group(10_003, Access::Private, 20);
    world.joined(10_001, 1, 1);
    world.joined(10_002, 1, 2);
    world.joined(10_003, 1, 3);
    world.left(10_003, 1, 4);
    let in_group = StreamName::Group(group());
    world.given(in_group, VersionAllocated { version: 1, by: zoe });
    let sha256 = token(1);
    world.given(in_group, GroupKeyStored { version: 1, account: yan, by: zoe, keyholder: zoe, sha256, replaces: None });

    let account = StreamName::Account(zoe);
    world.given(account, StatusSet {});
    world.given(account, CodesSet {});
    world.given(account, PublicKeySet { curve: Curve::P256, sha256: token(2) });
    world.given(account, LifetimeExtended { until: world.now, endless: true, token: token(3) });

    let thread = world.conversation(zoe, yan);
    world.given(StreamName::dialog(zoe, yan), written(thread, zoe));
    world.given(StreamName::Chat(group()), written(ThreadId::Group(group()), zoe));
    let ranges = vec![(1, 2), (4, 4)];
    world.given(StreamName::Reads(thread), MessagesRead { reader: yan, ranges, tell: Vec::new() });

    let session = Some(token(10_001));
    world.given(StreamName::Session(token(10_001)), SessionNamed { account: zoe });
    world.given(StreamName::Devices(zoe), DeviceSubscribed { endpoint: token(4), subscription: token(5), session });
    world.given(StreamName::Media(zoe, token(6)), MediaStored { thread, id: 2, content: token(7) });
    world.given(StreamName::Token(token(8)), TokenIssued { grant: Grant::Endless });
    world.given(StreamName::Token(token(8)), TokenTaken { by: zoe });
    world.given(StreamName::Token(token(9)), TokenIssued { grant: Grant::Promo { millis: 1 } });
    world.given(StreamName::Clock, HourStruck { hour: world.now });
    world.given(StreamName::Histories, HistoriesCommitted { until: Position(9), root: token(10) });
    world
}

fn written(thread: ThreadId, sender: AccId) -> Event {
    MessageWritten { thread, id: 2, sender, nickname: Position(1), stay: 1, version: None }.into()
}

/// The streams in the order of their states, so that one of each is there: the compiler names a state that is missing.
const fn order(state: &State) -> usize {
    match state {
        State::Account(_) => 0,
        State::Session(_) => 1,
        State::Dialog(_) => 2,
        State::Group(_) => 3,
        State::Chat(_) => 4,
        State::Reads(_) => 5,
        State::Devices(_) => 6,
        State::Media(_) => 7,
        State::Token(_) => 8,
        State::Hours(_) => 9,
        State::Histories(_) => 10,
        State::Invites => 11,
        State::Erasure => 12,
    }
}

#[test]
fn a_state_changes_its_shape_with_a_new_format_only() {
    let mut world = populated();
    for stream in [StreamName::Invites, StreamName::Erasure] {
        world.states.insert(stream, (State::new(&stream), 0));
    }
    let mut states: Vec<_> = world.states.iter().map(|(stream, (state, _))| (order(state), stream, state)).collect();
    states.sort_by_key(|(order, stream, _)| (*order, stream.to_string()));
    for state in 0..=12 {
        assert!(states.iter().any(|(order, ..)| *order == state), "the {state}th state has no example");
    }
    let lines: Vec<_> = states
        .iter()
        .map(|(_, stream, state)| {
            let text = serde_json::to_string_pretty(state).unwrap();
            assert_eq!(serde_json::from_str::<State>(&text).unwrap(), **state, "{stream}");
            format!("{stream}: {text}")
        })
        .collect();
    insta::assert_snapshot!(format!("states_of_format_{}", State::SNAPSHOT_FORMAT), lines.join("\n"));
}
