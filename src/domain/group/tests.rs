//! The rules of groups: who comes, who goes, and what each of that takes with it.

use std::fmt::Debug;

use be8_events::erasure::Cause;
use be8_events::group::{
    Access, GroupCreated, GroupDestroyed, GroupSecret, GroupUpdateSignalled, MemberAdded, MemberJoined, MemberKicked,
    MemberLeft, Update,
};
use be8_events::message::MessageWritten;
use be8_events::{AccId, Event, Hash32, MessageNo, Position, Sealing, Secret, StayNo, StreamName, Subject, ThreadId};
use chrono::TimeDelta;

use super::{AddMember, CreateGroup, DestroyGroup, JoinGroup, KickMember, LeaveGroup, SignalUpdate};
use crate::domain::testing::groups::{group, no_group};
use crate::domain::testing::{LIFETIME, World, id, token};
use crate::domain::{Command, Rejection};

impl World {
    /// Given: somebody wrote.
    fn wrote(&mut self, number: i64, no: MessageNo) {
        let thread = ThreadId::Group(group());
        let (sender, nickname) = (id(number), Position(1));
        self.given(
            StreamName::Chat(group()),
            MessageWritten { thread, id: no, sender, nickname, stay: 1, version: None },
        );
    }

    /// Then: these subjects lose their keys.
    fn erases<C: Command<Reply: Debug>>(&mut self, command: &C, subjects: &[(Subject, Cause)]) {
        assert_eq!(self.when(command).unwrap().erase, subjects);
    }
}

fn stay(number: i64, stay: StayNo) -> Subject {
    Subject::Stay { thread: ThreadId::Group(group()), author: id(number), stay }
}

fn session(number: i64) -> Option<Hash32> {
    Some(token(number))
}

fn join(number: i64) -> JoinGroup {
    JoinGroup { session: session(number), group: Some(group()) }
}

fn leave(number: i64) -> LeaveGroup {
    LeaveGroup { session: session(number), group: Some(group()) }
}

fn add(number: i64, member: Option<i64>) -> AddMember {
    AddMember { session: session(number), group: Some(group()), member: member.map(id) }
}

fn kick(number: i64, member: Option<i64>) -> KickMember {
    KickMember { session: session(number), group: Some(group()), member: member.map(id) }
}

fn create(number: i64) -> CreateGroup {
    let name = Some(Secret::new(GroupSecret { name: "Friends".to_owned() }));
    CreateGroup { session: session(number), name, access: Some(Access::Private), capacity: 7 }
}

fn here(by: i64, event: impl Into<Event>) -> (StreamName, Option<AccId>, Event) {
    (StreamName::Group(group()), Some(id(by)), event.into())
}

#[test]
fn every_command_takes_a_session() {
    let given = || {
        let mut world = World::new();
        world.group(10_003, Access::Public, 9);
        world.joined(10_001, 1, 1);
        world.joined(10_002, 1, 2);
        world
    };
    given().wants_a_session(10_001, |session| CreateGroup { session, ..create(10_001) });
    given().wants_a_session(10_003, |session| JoinGroup { session, ..join(10_003) });
    given().wants_a_session(10_001, |session| AddMember { session, ..add(10_001, Some(10_003)) });
    given().wants_a_session(10_002, |session| LeaveGroup { session, ..leave(10_002) });
    given().wants_a_session(10_001, |session| KickMember { session, ..kick(10_001, Some(10_002)) });
    given().wants_a_session(10_001, |session| DestroyGroup { session, group: Some(group()) });
    let update = Some(Update::Join);
    given().wants_a_session(10_002, |session| SignalUpdate { session, group: Some(group()), update });
}

#[test]
fn a_group_is_created_by_its_admin() {
    let mut world = World::new();
    world.account(10_001);
    let created = GroupCreated { group: group(), admin: id(10_001), access: Access::Private, capacity: 7 };
    world.answers(&create(10_001), group(), &[here(10_001, created)]);
    let secret = world.when(&create(10_001)).unwrap().events[0].secret.take().unwrap();
    assert_eq!(secret.sealing, Sealing::Lasting(Subject::GroupName(group())));
    assert_eq!(secret.plain.expose(), br#"{"name":"Friends"}"#);

    let nameless = CreateGroup { name: None, access: None, ..create(10_001) };
    world.refuses(&nameless, Rejection::InvalidNickname);
    world.refuses(&CreateGroup { access: None, ..create(10_001) }, Rejection::InvalidGroupType);
    world.groups = i64::from(AccId::MAX);
    world.refuses(&create(10_001), Rejection::NumbersExhausted);
}

#[test]
fn joining_is_refused_by_the_first_check_that_fails() {
    let mut world = World::new();
    world.group(10_004, Access::Private, 2);
    world.joined(10_001, 1, 1);
    world.joined(10_002, 1, 2);
    for unknown in [None, Some(no_group())] {
        world.refuses(&JoinGroup { group: unknown, ..join(10_003) }, Rejection::GroupNotExisting);
    }
    // Private and full: members are answered that they are in.
    world.refuses(&join(10_001), Rejection::AlreadyMember);
    world.refuses(&join(10_002), Rejection::AlreadyMember);
    world.refuses(&join(10_003), Rejection::NotAdmin);
    world.destroyed();
    for number in [10_001, 10_002, 10_003] {
        world.refuses(&join(number), Rejection::GroupNotExisting);
    }

    let mut world = World::new();
    world.group(10_003, Access::Public, 2);
    world.joined(10_002, 1, 1);
    world.refuses(&join(10_003), Rejection::GroupFull);
}

/// Shows (docs/protocol.md): Creating a group.
#[test]
fn the_creators_first_join_begins_no_new_stay_and_needs_no_room() {
    let mut world = World::new();
    let nicknames = world.group(10_001, Access::Private, 1);
    let nickname = nicknames[0];
    let joined = MemberJoined { group: group(), account: id(10_001), stay: 1, message: 1, nickname };
    world.answers(&join(10_001), (), &[here(10_001, joined.clone())]);
    world.given(StreamName::Group(group()), joined);
    world.refuses(&join(10_001), Rejection::AlreadyMember);
}

#[test]
fn each_join_is_a_stay_of_its_own_and_the_last_message() {
    let mut world = World::new();
    let nickname = world.group(10_002, Access::Public, 9)[1];
    world.joined(10_001, 1, 1);
    let joined = |stay, message| MemberJoined { group: group(), account: id(10_002), stay, message, nickname };
    world.answers(&join(10_002), (), &[here(10_002, joined(1, 2))]);
    world.joined(10_002, 1, 2);
    world.left(10_002, 1, 3);
    world.wrote(10_001, 4);
    world.answers(&join(10_002), (), &[here(10_002, joined(2, 5))]);
    world.joined(10_002, 2, 5);
    world.left(10_002, 2, 6);
    world.answers(&join(10_002), (), &[here(10_002, joined(3, 7))]);
}

#[test]
fn adding_is_refused_by_the_first_check_that_fails() {
    let mut world = World::new();
    world.group(10_004, Access::Private, 2);
    world.joined(10_001, 1, 1);
    for unknown in [None, Some(no_group())] {
        world.refuses(&AddMember { group: unknown, ..add(10_003, None) }, Rejection::GroupNotExisting);
    }
    world.refuses(&add(10_003, None), Rejection::MemberNotExisting);
    world.refuses(&add(10_003, Some(10_099)), Rejection::MemberNotExisting);
    world.refuses(&add(10_003, Some(10_001)), Rejection::NoGroupMember);
    world.joined(10_002, 1, 2);
    world.refuses(&add(10_002, Some(10_001)), Rejection::NotAdmin);
    world.refuses(&add(10_002, Some(10_003)), Rejection::NotAdmin);
    world.refuses(&add(10_001, Some(10_002)), Rejection::AlreadyMember);
    world.refuses(&add(10_001, Some(10_001)), Rejection::AlreadyMember);
    world.refuses(&add(10_001, Some(10_003)), Rejection::GroupFull);
    // Who does not live any more is nobody to add.
    world.left(10_002, 1, 3);
    world.now = world.now.plus(TimeDelta::days(1));
    let lives = world.now.plus(LIFETIME);
    for number in [10_005, 10_001] {
        let account = be8_events::account::AccountCreated { account: id(number), until: lives };
        world.given(StreamName::Account(id(number)), account);
    }
    world.now = world.now.plus(LIFETIME - TimeDelta::days(1));
    world.refuses(&add(10_001, Some(10_003)), Rejection::MemberNotExisting);
    assert_eq!(world.when(&add(10_001, Some(10_005))).unwrap().reply, [id(10_001), id(10_005)]);
    world.destroyed();
    world.refuses(&add(10_001, Some(10_005)), Rejection::GroupNotExisting);
}

#[test]
fn adding_names_both_and_answers_all_ascending() {
    let mut world = World::new();
    let nicknames = world.group(10_004, Access::Public, 9);
    let group_name = world.position;
    world.joined(10_003, 1, 1);
    let added = MemberAdded {
        group: group(),
        account: id(10_002),
        by: id(10_003),
        stay: 1,
        message: 2,
        nickname: nicknames[1],
        by_nickname: nicknames[2],
        group_name,
    };
    let all = vec![id(10_001), id(10_002), id(10_003)];
    world.answers(&add(10_003, Some(10_002)), all, &[here(10_003, added)]);
    // The creator, which is there but has not joined, is added to its first stay.
    let added = MemberAdded {
        group: group(),
        account: id(10_001),
        by: id(10_003),
        stay: 1,
        message: 2,
        nickname: nicknames[0],
        by_nickname: nicknames[2],
        group_name,
    };
    world.answers(&add(10_003, Some(10_001)), vec![id(10_001), id(10_003)], &[here(10_003, added)]);
}

#[test]
fn a_leaver_takes_the_key_of_its_stay_along() {
    let mut world = World::new();
    let nicknames = world.group(10_003, Access::Public, 9);
    let group_name = world.position;
    world.joined(10_001, 1, 1);
    world.joined(10_002, 1, 2);
    world.left(10_002, 1, 3);
    world.joined(10_002, 2, 4);
    for unknown in [None, Some(no_group())] {
        world.refuses(&LeaveGroup { group: unknown, ..leave(10_003) }, Rejection::GroupNotExisting);
    }
    world.refuses(&leave(10_003), Rejection::NoGroupMember);
    let left =
        MemberLeft { group: group(), account: id(10_002), stay: 2, message: 5, nickname: nicknames[1], group_name };
    world.answers(&leave(10_002), vec![id(10_001)], &[here(10_002, left)]);
    world.erases(&leave(10_002), &[(stay(10_002, 2), Cause::Departure)]);
    world.left(10_002, 2, 5);
    world.refuses(&leave(10_002), Rejection::NoGroupMember);
    world.destroyed();
    world.refuses(&leave(10_001), Rejection::GroupNotExisting);
}

#[test]
fn with_its_admin_the_group_ends_for_all() {
    let mut world = World::new();
    let nicknames = world.group(10_003, Access::Public, 9);
    let group_name = world.position;
    for (number, message) in [(10_001, 1), (10_002, 2), (10_003, 3)] {
        world.joined(number, 1, message);
    }
    world.left(10_002, 1, 4);
    world.joined(10_002, 2, 5);
    let left =
        MemberLeft { group: group(), account: id(10_001), stay: 1, message: 6, nickname: nicknames[0], group_name };
    let members = vec![(id(10_002), 2), (id(10_003), 1)];
    let destroyed = GroupDestroyed { group: group(), by: id(10_001), members, group_name };
    let rest = vec![id(10_002), id(10_003)];
    world.answers(&leave(10_001), rest, &[here(10_001, left), here(10_001, destroyed)]);
    let gone = Cause::GroupDestroyed;
    let keys = (Subject::GroupKeys(group()), gone);
    let others = [(stay(10_002, 2), gone), (stay(10_003, 1), gone), keys];
    world.erases(&leave(10_001), &[&[(stay(10_001, 1), Cause::Departure)], &others[..]].concat());

    let destroy = |number| DestroyGroup { session: session(number), group: Some(group()) };
    let members = vec![(id(10_001), 1), (id(10_002), 2), (id(10_003), 1)];
    let destroyed = GroupDestroyed { group: group(), by: id(10_001), members, group_name };
    world.answers(&destroy(10_001), (), &[here(10_001, destroyed)]);
    world.erases(&destroy(10_001), &[&[(stay(10_001, 1), gone)], &others[..]].concat());
    world.refuses(&destroy(10_002), Rejection::NotAdmin);
    for unknown in [None, Some(no_group())] {
        world.refuses(&DestroyGroup { group: unknown, ..destroy(10_001) }, Rejection::NotAdmin);
    }
    world.destroyed();
    world.refuses(&destroy(10_001), Rejection::NotAdmin);
}

#[test]
fn kicking_is_the_admins_and_hits_members() {
    let mut world = World::new();
    let nicknames = world.group(10_003, Access::Public, 9);
    let group_name = world.position;
    world.joined(10_002, 1, 1);
    for unknown in [None, Some(no_group())] {
        world.refuses(&KickMember { group: unknown, ..kick(10_003, None) }, Rejection::GroupNotExisting);
    }
    for (who, whom) in [(10_002, None), (10_003, None), (10_002, Some(10_001)), (10_003, Some(10_003))] {
        world.refuses(&kick(who, whom), Rejection::NotAdmin);
    }
    for whom in [None, Some(10_003), Some(10_099)] {
        world.refuses(&kick(10_001, whom), Rejection::NoGroupMember);
    }
    world.refuses(&kick(10_001, Some(10_001)), Rejection::CircularKick);
    let kicked = MemberKicked {
        group: group(),
        account: id(10_002),
        by: id(10_001),
        stay: 1,
        message: 2,
        nickname: nicknames[1],
        group_name,
    };
    world.answers(&kick(10_001, Some(10_002)), (), &[here(10_001, kicked.clone())]);
    world.erases(&kick(10_001, Some(10_002)), &[(stay(10_002, 1), Cause::Departure)]);
    world.given(StreamName::Group(group()), kicked);
    world.refuses(&kick(10_001, Some(10_002)), Rejection::NoGroupMember);
    world.destroyed();
    world.refuses(&kick(10_001, Some(10_001)), Rejection::GroupNotExisting);
}

#[test]
fn a_signal_is_an_event_and_nothing_else() {
    let mut world = World::new();
    world.group(10_002, Access::Public, 9);
    let signal = |number, update| SignalUpdate { session: session(number), group: Some(group()), update };
    for unknown in [None, Some(no_group())] {
        world.refuses(&SignalUpdate { group: unknown, ..signal(10_002, None) }, Rejection::GroupNotExisting);
    }
    world.refuses(&signal(10_002, None), Rejection::NoGroupMember);
    world.refuses(&signal(10_001, None), Rejection::InvalidUpdateType);
    for update in [Update::Join, Update::Leave] {
        let signalled = GroupUpdateSignalled { by: id(10_001), update };
        world.answers(&signal(10_001, Some(update)), (), &[here(10_001, signalled.clone())]);
        let before = world.states[&StreamName::Group(group())].0.clone();
        world.given(StreamName::Group(group()), signalled);
        assert_eq!(world.states[&StreamName::Group(group())].0, before);
    }
}
