//! The rules of a group's keys: versions, and under which of them a wrapped key is stored, by whom
//! (docs/protocol.md, "Storing a wrapped key").

use be8_events::group::{Access, GroupKeySecret, GroupKeyStored, VersionAllocated};
use be8_events::{AccId, Event, GroupEvent, GroupVersion, Hash32, Position, Sealing, Secret, StreamName, Subject};

use super::{AllocateVersion, StoreKey};
use crate::domain::Rejection;
use crate::domain::testing::groups::{group, no_group};
use crate::domain::testing::{World, id, token};

fn allocate(number: i64) -> AllocateVersion {
    AllocateVersion { session: Some(token(number)), group: Some(group()) }
}

/// Stores a key of one's own for a member.
fn store(number: i64, account: i64, key: &str) -> StoreKey {
    StoreKey {
        session: Some(token(number)),
        group: Some(group()),
        account: Some(id(account)),
        keyholder: Some(id(number)),
        key: Some(Secret::new(GroupKeySecret { key: key.to_owned(), iv: None })),
    }
}

fn allocated(number: i64, version: GroupVersion) -> (StreamName, Option<AccId>, Event) {
    let by = id(number);
    (StreamName::Group(group()), Some(by), VersionAllocated { version, by }.into())
}

fn stored(
    number: i64,
    version: GroupVersion,
    account: i64,
    key: &str,
    replaces: Option<Position>,
) -> (StreamName, Option<AccId>, Event) {
    let (by, account, sha256) = (id(number), id(account), Hash32::sha256(key.as_bytes()));
    let event = GroupKeyStored { version, account, by, keyholder: by, sha256, replaces };
    (StreamName::Group(group()), Some(by), event.into())
}

impl World {
    /// Given: a group of three.
    fn three(&mut self) {
        self.group(10_003, Access::Public, 9);
        for (number, message) in [(10_001, 1), (10_002, 2), (10_003, 3)] {
            self.joined(number, 1, message);
        }
    }

    /// Given: this came of a command.
    fn given_that(&mut self, (stream, _, event): (StreamName, Option<AccId>, Event)) -> Position {
        self.given(stream, event)
    }
}

#[test]
fn every_command_takes_a_session() {
    let given = || {
        let mut world = World::new();
        world.three();
        world
    };
    given().wants_a_session(10_002, |session| AllocateVersion { session, ..allocate(10_002) });
    given().wants_a_session(10_002, |session| StoreKey { session, ..store(10_002, 10_001, "key") });
}

/// Shows (docs/protocol.md): Versions of a group key.
#[test]
fn no_version_is_taken_twice() {
    let mut world = World::new();
    world.three();
    for (version, number) in (1..=9).zip([10_001, 10_002, 10_003].into_iter().cycle()) {
        world.answers(&allocate(number), version, &[allocated(number, version)]);
        world.given_that(allocated(number, version));
    }
    world.left(10_003, 1, 4);
    world.refuses(&allocate(10_003), Rejection::NoGroupMember);
    world.answers(&allocate(10_001), 10, &[allocated(10_001, 10)]);
    for unknown in [None, Some(no_group())] {
        world.refuses(&AllocateVersion { group: unknown, ..allocate(10_003) }, Rejection::GroupNotExisting);
    }
    world.destroyed();
    world.refuses(&allocate(10_001), Rejection::GroupNotExisting);
}

#[test]
fn storing_is_refused_by_the_first_check_that_fails() {
    let mut world = World::new();
    world.three();
    world.account(10_004);
    let mut command = StoreKey { group: None, account: None, keyholder: None, key: None, ..store(10_004, 10_004, "k") };
    world.refuses(&command, Rejection::GroupNotExisting);
    command.group = Some(no_group());
    world.refuses(&command, Rejection::GroupNotExisting);
    command.group = Some(group());

    world.refuses(&command, Rejection::MemberNotExisting);
    command.account = Some(id(10_099));
    world.refuses(&command, Rejection::MemberNotExisting);
    // A stranger, for a member; then a member, for a stranger.
    command.account = Some(id(10_002));
    world.refuses(&command, Rejection::NoGroupMember);
    command.session = Some(token(10_001));
    command.account = Some(id(10_004));
    world.refuses(&command, Rejection::NoGroupMember);
    command.account = Some(id(10_002));

    world.refuses(&command, Rejection::KeyholderNotExisting);
    command.keyholder = Some(id(10_099));
    world.refuses(&command, Rejection::KeyholderNotExisting);
    command.keyholder = Some(id(10_004)); // no member need be
    world.refuses(&command, Rejection::InvalidGroupKey);
    command.key = store(10_001, 10_002, "key").key;
    assert_eq!(world.when(&command).unwrap().reply, 1);
    world.destroyed();
    world.refuses(&command, Rejection::GroupNotExisting);
}

#[test]
fn a_first_key_takes_version_1() {
    let mut world = World::new();
    world.three();
    let both = [allocated(10_002, 1), stored(10_002, 1, 10_003, "key", None)];
    world.answers(&store(10_002, 10_003, "key"), 1, &both);
    let secret = world.when(&store(10_002, 10_003, "key")).unwrap().events[1].secret.take().unwrap();
    assert_eq!(secret.sealing, Sealing::Lasting(Subject::GroupKeys(group())));
    assert_eq!(secret.plain.expose(), br#"{"key":"key"}"#);
    let [taken, first] = both;
    world.given_that(taken);
    let first = world.given_that(first);
    // Of who took it, others take nothing away; identical bytes are no change.
    world.answers(&store(10_001, 10_003, "key"), 1, &[]);
    world.refuses(&store(10_001, 10_003, "another"), Rejection::InvalidGroupKey);
    world.refuses(&store(10_003, 10_003, "another"), Rejection::InvalidGroupKey);
    world.answers(&store(10_001, 10_001, "key"), 1, &[stored(10_001, 1, 10_001, "key", None)]);
    world.answers(&store(10_002, 10_003, "key"), 1, &[]);
    // The iv belongs to the bytes that it came with.
    let mut other_iv = store(10_002, 10_003, "key");
    other_iv.key = Some(Secret::new(GroupKeySecret { key: "key".to_owned(), iv: Some("another".to_owned()) }));
    world.answers(&other_iv, 1, &[]);
    let replaced = stored(10_002, 1, 10_003, "another", Some(first));
    world.answers(&store(10_002, 10_003, "another"), 1, std::slice::from_ref(&replaced));
    let second = world.given_that(replaced);
    // The same bytes of another key pair replace, too.
    let foreign = StoreKey { keyholder: Some(id(10_001)), ..store(10_002, 10_003, "another") };
    let decision = world.when(&foreign).unwrap();
    let Event::Group(GroupEvent::GroupKeyStored(event)) = &decision.events[0].event else { panic!("{decision:?}") };
    assert_eq!((event.keyholder, event.replaces), (id(10_001), Some(second)));
    let same = StoreKey { session: Some(token(10_001)), ..foreign };
    world.answers(&same, 1, &[]);
}

#[test]
fn a_key_goes_under_the_version_taken_last_in_this_stay_else_under_the_newest() {
    let mut world = World::new();
    world.three();
    world.given_that(allocated(10_001, 1));
    world.given_that(allocated(10_002, 2));
    world.answers(&store(10_001, 10_003, "key"), 1, &[stored(10_001, 1, 10_003, "key", None)]);
    world.answers(&store(10_002, 10_003, "key"), 2, &[stored(10_002, 2, 10_003, "key", None)]);
    world.answers(&store(10_003, 10_003, "key"), 2, &[stored(10_003, 2, 10_003, "key", None)]);
    world.given_that(allocated(10_001, 3));
    world.answers(&store(10_001, 10_003, "key"), 3, &[stored(10_001, 3, 10_003, "key", None)]);
    world.answers(&store(10_002, 10_003, "key"), 2, &[stored(10_002, 2, 10_003, "key", None)]);
    // A stay later it is another's version that is the newest.
    world.left(10_002, 1, 4);
    world.joined(10_002, 2, 5);
    world.answers(&store(10_002, 10_003, "key"), 3, &[stored(10_002, 3, 10_003, "key", None)]);
    // The newest version stays the newest when the member that took it has left.
    world.given_that(stored(10_001, 3, 10_003, "of the admin", None));
    world.given_that(allocated(10_003, 4));
    world.given_that(stored(10_003, 4, 10_002, "of a leaver", None));
    world.left(10_003, 1, 6);
    world.answers(&store(10_002, 10_001, "key"), 4, &[stored(10_002, 4, 10_001, "key", None)]);
    world.refuses(&store(10_002, 10_002, "key"), Rejection::InvalidGroupKey);
    world.answers(&store(10_001, 10_002, "key"), 3, &[stored(10_001, 3, 10_002, "key", None)]);
}

#[test]
fn a_group_forgets_the_versions_that_take_no_key_any_more() {
    let mut world = World::new();
    world.three();
    for version in 1..=500 {
        world.given_that(allocated(10_001, version));
        world.given_that(stored(10_001, version, 10_002, "key", None));
    }
    world.given_that(allocated(10_002, 501));
    world.given_that(allocated(10_003, 502));
    let kept = |world: &World| {
        let state = serde_json::to_value(&world.states[&StreamName::Group(group())].0).unwrap();
        let kept = state["Group"]["versions"]["allocations"].as_object().unwrap().keys().cloned();
        kept.collect::<Vec<String>>()
    };
    assert_eq!(kept(&world), ["500", "501", "502"]);
    world.left(10_002, 1, 4);
    world.left(10_003, 1, 5);
    assert_eq!(kept(&world), ["500", "502"]);
    world.destroyed();
    assert_eq!(kept(&world), [""; 0]);
}
