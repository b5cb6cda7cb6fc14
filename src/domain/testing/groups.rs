//! The rules of groups: who comes, who goes, and whose keys are stored.

use be8_events::erasure::Cause;
use be8_events::group::{
    Access, GroupCreated, GroupDestroyed, GroupKeySecret, GroupKeyStored, GroupSecret, GroupUpdateSignalled,
    MemberAdded, MemberJoined, MemberKicked, MemberLeft, Update, VersionAllocated,
};
use be8_events::message::{MessageSecret, MessageWritten};
use be8_events::{GroupId, MessageNo, Sealing, Secret, StayNo, Subject};

use super::super::group::{AddMember, CreateGroup, DestroyGroup, JoinGroup, KickMember, LeaveGroup, SignalUpdate};
use super::super::group_keys::{AllocateVersion, StoreKey};
use super::super::message::{NamedVersion, Receiver, WriteMessage};
use super::*;

const MAX: u32 = 3;

fn group() -> GroupId {
    GroupId::new(10_001).unwrap()
}

fn stream() -> StreamName {
    StreamName::Group(group())
}

/// Given: accounts 10001 to 10005, and a group of 10001.
fn founded(access: Access) -> World {
    let mut world = World::new();
    for number in 10_001..=10_005 {
        world.account(number);
    }
    world.given(stream(), GroupCreated { group: group(), admin: id(10_001), access, capacity: MAX });
    world
}

/// Given: the creator has joined, as message 1.
fn running(access: Access) -> World {
    let mut world = founded(access);
    joined(&mut world, 10_001, 1, 1);
    world
}

fn nickname(world: &World, number: i64) -> Position {
    world.view().account(id(number)).unwrap().nickname()
}

fn joined(world: &mut World, number: i64, stay: StayNo, message: MessageNo) {
    let nickname = nickname(world, number);
    world.given(stream(), MemberJoined { group: group(), account: id(number), stay, message, nickname });
}

fn join(number: i64) -> JoinGroup {
    JoinGroup { session: Some(token(number)), group: Some(group()) }
}

fn add(by: i64, member: i64) -> AddMember {
    AddMember { session: Some(token(by)), group: Some(group()), member: Some(id(member)) }
}

fn leave(number: i64) -> LeaveGroup {
    LeaveGroup { session: Some(token(number)), group: Some(group()) }
}

fn kick(by: i64, member: Option<i64>) -> KickMember {
    KickMember { session: Some(token(by)), group: Some(group()), member: member.map(id) }
}

fn destroy(by: i64) -> DestroyGroup {
    DestroyGroup { session: Some(token(by)), group: Some(group()) }
}

fn store(by: i64, account: i64, key: &str) -> StoreKey {
    StoreKey {
        session: Some(token(by)),
        group: Some(group()),
        account: Some(id(account)),
        keyholder: Some(id(by)),
        key: Some(Secret::new(GroupKeySecret { key: key.to_owned(), iv: None })),
    }
}

fn stay_of(number: i64, stay: StayNo) -> Subject {
    Subject::Stay { thread: ThreadId::Group(group()), author: id(number), stay }
}

/// Lets a command happen.
fn does<C: Command<Reply: Debug>>(world: &mut World, command: &C) -> C::Reply {
    let decision = world.when(command).unwrap();
    world.happen(decision.events);
    decision.reply
}

#[test]
fn every_command_on_a_group_takes_a_session() {
    let world = || running(Access::Public);
    world().wants_a_session(10_002, |session| create(session, true, Some(Access::Public)));
    world().wants_a_session(10_002, |session| JoinGroup { session, ..join(10_002) });
    world().wants_a_session(10_001, |session| AddMember { session, ..add(10_001, 10_002) });
    world().wants_a_session(10_001, |session| LeaveGroup { session, ..leave(10_001) });
    world().wants_a_session(10_001, |session| DestroyGroup { session, ..destroy(10_001) });
    world().wants_a_session(10_001, |session| AllocateVersion { session, group: Some(group()) });
    world().wants_a_session(10_001, |session| StoreKey { session, ..store(10_001, 10_001, "a wrapped key") });
    let update = Some(Update::Join);
    world().wants_a_session(10_001, |session| SignalUpdate { session, group: Some(group()), update });
    let mut world = world();
    joined(&mut world, 10_002, 1, 2);
    world.wants_a_session(10_001, |session| KickMember { session, ..kick(10_001, Some(10_002)) });
}

fn create(session: Option<Hash32>, named: bool, access: Option<Access>) -> CreateGroup {
    let name = named.then(|| Secret::new(GroupSecret { name: "friends".to_owned() }));
    CreateGroup { session, name, access, capacity: MAX }
}

#[test]
fn a_group_is_created_by_its_admin() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let session = Some(token(10_001));
    world.refuses(&create(session, false, None), Rejection::InvalidNickname);
    world.refuses(&create(session, true, None), Rejection::InvalidGroupType);
    let access = Access::Private;
    let created = GroupCreated { group: group(), admin: zoe, access, capacity: MAX };
    world.answers(&create(session, true, Some(access)), group(), &[(stream(), Some(zoe), created.into())]);
    let decision = world.when(&create(session, true, Some(access))).unwrap();
    assert_eq!(decision.events[0].secret.as_ref().unwrap().sealing, Sealing::Lasting(Subject::GroupName(group())));
    world.happen(decision.events);
    assert_eq!(world.when(&create(session, true, Some(access))).unwrap().reply, GroupId::new(10_002).unwrap());
    world.groups = i64::from(GroupId::MAX);
    world.refuses(&create(session, true, Some(access)), Rejection::NumbersExhausted);
}

#[test]
fn commands_on_a_group_that_is_none_are_refused() {
    let mut world = founded(Access::Public);
    let none = GroupId::new(10_099);
    for group in [None, none] {
        world.refuses(&JoinGroup { group, ..join(10_002) }, Rejection::GroupNotExisting);
        world.refuses(&AddMember { group, member: None, ..add(10_001, 10_002) }, Rejection::GroupNotExisting);
        world.refuses(&LeaveGroup { group, ..leave(10_001) }, Rejection::GroupNotExisting);
        world.refuses(&KickMember { group, ..kick(10_001, None) }, Rejection::GroupNotExisting);
        world.refuses(&DestroyGroup { group, ..destroy(10_001) }, Rejection::NotAdmin);
        world.refuses(&AllocateVersion { session: Some(token(10_001)), group }, Rejection::GroupNotExisting);
        world.refuses(&StoreKey { group, account: None, ..store(10_001, 10_001, "") }, Rejection::GroupNotExisting);
        let signal = SignalUpdate { session: Some(token(10_001)), group, update: None };
        world.refuses(&signal, Rejection::GroupNotExisting);
    }
    // A destroyed one is none either.
    let done = world.when(&destroy(10_001)).unwrap();
    world.happen(done.events);
    world.refuses(&join(10_002), Rejection::GroupNotExisting);
    world.refuses(&leave(10_001), Rejection::GroupNotExisting);
    world.refuses(&kick(10_001, None), Rejection::GroupNotExisting);
    world.refuses(&destroy(10_001), Rejection::NotAdmin);
    world.refuses(&store(10_001, 10_001, "a wrapped key"), Rejection::GroupNotExisting);
}

#[test]
fn a_public_group_is_joined_up_to_its_bound() {
    let mut world = founded(Access::Public);
    let event = |world: &World, number, message| {
        let nickname = nickname(world, number);
        let event = MemberJoined { group: group(), account: id(number), stay: 1, message, nickname };
        [(stream(), Some(id(number)), event.into())]
    };
    // The creator counts from the start, and its first join passes.
    for (number, message) in [(10_002, 1), (10_003, 2), (10_001, 3)] {
        let expected = event(&world, number, message);
        world.answers(&join(number), (), &expected);
        does(&mut world, &join(number));
        world.refuses(&join(number), Rejection::AlreadyMember);
    }
    world.refuses(&join(10_004), Rejection::GroupFull);
    world.refuses(&add(10_001, 10_004), Rejection::GroupFull);
    // Who comes again has another stay, and the next message.
    does(&mut world, &leave(10_002));
    let nickname = nickname(&world, 10_002);
    let again = MemberJoined { group: group(), account: id(10_002), stay: 2, message: 5, nickname };
    world.answers(&join(10_002), (), &[(stream(), Some(id(10_002)), again.into())]);
}

#[test]
fn a_private_group_is_the_admins() {
    let mut world = founded(Access::Private);
    world.refuses(&join(10_002), Rejection::NotAdmin);
    does(&mut world, &join(10_001));
    world.refuses(&join(10_001), Rejection::AlreadyMember);
    assert_eq!(does(&mut world, &add(10_001, 10_003)), [id(10_001), id(10_003)]);
    world.refuses(&add(10_003, 10_002), Rejection::NotAdmin);
    world.refuses(&add(10_003, 10_001), Rejection::NotAdmin);
}

#[test]
fn the_checks_of_adding_have_an_order() {
    let mut world = running(Access::Public);
    let mut command = AddMember { member: None, ..add(10_004, 10_002) };
    world.refuses(&command, Rejection::MemberNotExisting);
    command.member = Some(id(10_099));
    world.refuses(&command, Rejection::MemberNotExisting);
    command.member = Some(id(10_002));
    world.refuses(&command, Rejection::NoGroupMember);
    world.refuses(&add(10_001, 10_001), Rejection::AlreadyMember);
    let added = MemberAdded {
        group: group(),
        account: id(10_002),
        by: id(10_001),
        stay: 1,
        message: 2,
        nickname: nickname(&world, 10_002),
        by_nickname: nickname(&world, 10_001),
        group_name: Position(11),
    };
    let members = vec![id(10_001), id(10_002)];
    world.answers(&add(10_001, 10_002), members, &[(stream(), Some(id(10_001)), added.into())]);
    does(&mut world, &add(10_001, 10_002));
    world.refuses(&add(10_001, 10_002), Rejection::AlreadyMember);
    does(&mut world, &join(10_003));
    world.refuses(&add(10_001, 10_002), Rejection::AlreadyMember);
    world.refuses(&add(10_001, 10_004), Rejection::GroupFull);
}

#[test]
fn a_leavers_writing_goes_with_it() {
    let mut world = running(Access::Public);
    joined(&mut world, 10_002, 1, 2);
    world.refuses(&leave(10_003), Rejection::NoGroupMember);
    let left = MemberLeft {
        group: group(),
        account: id(10_002),
        stay: 1,
        message: 3,
        nickname: nickname(&world, 10_002),
        group_name: Position(11),
    };
    world.answers(&leave(10_002), vec![id(10_001)], &[(stream(), Some(id(10_002)), left.into())]);
    let decision = world.when(&leave(10_002)).unwrap();
    assert_eq!(decision.erase, [(stay_of(10_002, 1), Cause::Departure)]);
    world.happen(decision.events);
    world.refuses(&leave(10_002), Rejection::NoGroupMember);
}

#[test]
fn the_group_goes_with_its_admin() {
    let mut world = running(Access::Public);
    joined(&mut world, 10_002, 1, 2);
    let decision = world.when(&leave(10_001)).unwrap();
    assert_eq!(decision.reply, [id(10_002)]);
    let destroyed =
        GroupDestroyed { group: group(), by: id(10_001), members: vec![(id(10_002), 1)], group_name: Position(11) };
    assert!(matches!(&decision.events[0].event, Event::MemberLeft(left) if left.account == id(10_001)));
    assert_eq!(decision.events[1].event, destroyed.into());
    assert_eq!(decision.events.len(), 2);
    let erased = [
        (stay_of(10_001, 1), Cause::Departure),
        (stay_of(10_002, 1), Cause::GroupDestroyed),
        (Subject::GroupKeys(group()), Cause::GroupDestroyed),
    ];
    assert_eq!(decision.erase, erased);
}

#[test]
fn only_the_admin_destroys() {
    let mut world = running(Access::Public);
    joined(&mut world, 10_002, 1, 2);
    world.refuses(&destroy(10_002), Rejection::NotAdmin);
    let members = vec![(id(10_001), 1), (id(10_002), 1)];
    let destroyed = GroupDestroyed { group: group(), by: id(10_001), members, group_name: Position(11) };
    world.answers(&destroy(10_001), (), &[(stream(), Some(id(10_001)), destroyed.into())]);
}

#[test]
fn the_checks_of_kicking_have_an_order() {
    let mut world = running(Access::Public);
    joined(&mut world, 10_002, 1, 2);
    world.refuses(&kick(10_002, None), Rejection::NotAdmin);
    world.refuses(&kick(10_003, Some(10_002)), Rejection::NotAdmin);
    world.refuses(&kick(10_001, None), Rejection::NoGroupMember);
    world.refuses(&kick(10_001, Some(10_003)), Rejection::NoGroupMember);
    world.refuses(&kick(10_001, Some(10_001)), Rejection::CircularKick);
    let kicked = MemberKicked {
        group: group(),
        account: id(10_002),
        by: id(10_001),
        stay: 1,
        message: 3,
        nickname: nickname(&world, 10_002),
        group_name: Position(11),
    };
    world.answers(&kick(10_001, Some(10_002)), (), &[(stream(), Some(id(10_001)), kicked.into())]);
    let erased = world.when(&kick(10_001, Some(10_002))).unwrap().erase;
    assert_eq!(erased, [(stay_of(10_002, 1), Cause::Departure)]);
}

#[test]
fn members_signal() {
    let mut world = running(Access::Public);
    let signal = |by, update| SignalUpdate { session: Some(token(by)), group: Some(group()), update };
    world.refuses(&signal(10_002, None), Rejection::NoGroupMember);
    world.refuses(&signal(10_001, None), Rejection::InvalidUpdateType);
    let event = GroupUpdateSignalled { by: id(10_001), update: Update::Leave };
    world.answers(&signal(10_001, Some(Update::Leave)), (), &[(stream(), Some(id(10_001)), event.into())]);
}

#[test]
fn the_checks_of_a_stored_key_have_an_order() {
    let mut world = running(Access::Public);
    let mut command =
        StoreKey { session: Some(token(10_002)), group: Some(group()), account: None, keyholder: None, key: None };
    world.refuses(&command, Rejection::MemberNotExisting);
    command.account = Some(id(10_099));
    world.refuses(&command, Rejection::MemberNotExisting);
    command.account = Some(id(10_003));
    world.refuses(&command, Rejection::NoGroupMember);
    command.session = Some(token(10_001));
    world.refuses(&command, Rejection::NoGroupMember);
    command.account = Some(id(10_001));
    world.refuses(&command, Rejection::KeyholderNotExisting);
    command.keyholder = Some(id(10_099));
    world.refuses(&command, Rejection::KeyholderNotExisting);
    command.keyholder = Some(id(10_005));
    world.refuses(&command, Rejection::InvalidGroupKey);
    command.key = store(10_001, 10_001, "a wrapped key").key;
    // There is no version yet: storing allocates the first (D14).
    let me = id(10_001);
    let sha256 = Hash32::sha256(b"a wrapped key");
    let stored = GroupKeyStored { version: 1, account: me, by: me, keyholder: id(10_005), sha256, replaces: None };
    let allocated = VersionAllocated { version: 1, by: me };
    let expected = [(stream(), Some(me), allocated.into()), (stream(), Some(me), stored.into())];
    world.answers(&command, 1, &expected);
    let secret = world.when(&command).unwrap().events[1].secret.take().unwrap();
    assert_eq!(secret.sealing, Sealing::Lasting(Subject::GroupKeys(group())));
}

/// D14: a key goes under the version that its storer allocated last since it came, and only the
/// allocator changes one.
#[test]
fn keys_are_stored_under_the_storers_own_version() {
    let mut world = running(Access::Public);
    joined(&mut world, 10_002, 1, 2);
    let allocate = |by| AllocateVersion { session: Some(token(by)), group: Some(group()) };
    world.refuses(&allocate(10_003), Rejection::NoGroupMember);
    assert_eq!(does(&mut world, &allocate(10_001)), 1);
    assert_eq!(does(&mut world, &allocate(10_002)), 2);
    assert_eq!(does(&mut world, &store(10_001, 10_002, "key of 1")), 1);
    assert_eq!(does(&mut world, &store(10_002, 10_001, "key of 2")), 2);
    world.answers(&store(10_001, 10_002, "key of 1"), 1, &[]); // D17
    let replaces = Some(Position(world.position.0 - 1));
    let decision = world.when(&store(10_001, 10_002, "another")).unwrap();
    let Event::GroupKeyStored(stored) = &decision.events[0].event else { panic!("{decision:?}") };
    assert_eq!((stored.version, stored.replaces), (1, replaces));

    // Who allocated nothing since it came uses the newest, and changes nobody's key there.
    joined(&mut world, 10_003, 1, 3);
    assert_eq!(does(&mut world, &store(10_003, 10_003, "key of 3")), 2);
    world.answers(&store(10_003, 10_001, "key of 2"), 2, &[]);
    world.refuses(&store(10_003, 10_001, "forged"), Rejection::InvalidGroupKey);
    does(&mut world, &leave(10_002));
    joined(&mut world, 10_002, 2, 5);
    assert_eq!(does(&mut world, &allocate(10_001)), 3);
    assert_eq!(world.when(&store(10_002, 10_002, "key of 2")).unwrap().reply, 3);
}

#[test]
fn members_write_into_the_thread_of_their_group() {
    let mut world = founded(Access::Public);
    let thread = ThreadId::Group(group());
    let secret = || Ok(Secret::new(MessageSecret { text: "hello".to_owned(), iv: None, kind: None, endless: None }));
    let write = |by, receiver, thread, version| WriteMessage {
        session: Some(token(by)),
        receiver: Some(Receiver::Group(receiver)),
        sender: Some(id(by)),
        thread: Some(thread),
        version,
        content: secret(),
    };
    let (absent, other) = (NamedVersion::Absent, GroupId::new(10_002).unwrap());
    world.refuses(&write(10_001, other, thread, absent), Rejection::AccountNotExisting);
    // Before its first message the thread does not exist.
    world.refuses(&write(10_001, group(), thread, absent), Rejection::InvalidThread);
    joined(&mut world, 10_001, 1, 1);
    world.refuses(&write(10_002, group(), thread, absent), Rejection::InvalidThread);
    world.refuses(&write(10_001, group(), ThreadId::Group(other), absent), Rejection::InvalidThread);
    world.refuses(&write(10_001, group(), ThreadId::System(id(10_001)), absent), Rejection::InvalidThread);
    world.refuses(&write(10_001, group(), thread, NamedVersion::Version(group(), 1)), Rejection::InvalidMessageType);
    world.given(stream(), VersionAllocated { version: 1, by: id(10_001) });
    for version in [(other, 1), (group(), 0), (group(), 2)].map(|(group, n)| NamedVersion::Version(group, n)) {
        world.refuses(&write(10_001, group(), thread, version), Rejection::InvalidMessageType);
    }
    world.refuses(&write(10_001, group(), thread, NamedVersion::Malformed), Rejection::InvalidMessageType);
    for (version, id_of_message) in [(None, 2), (Some(1), 3)] {
        let named = version.map_or(absent, |version| NamedVersion::Version(group(), version));
        let command = write(10_001, group(), thread, named);
        let nickname = nickname(&world, 10_001);
        let event = MessageWritten { thread, id: id_of_message, sender: id(10_001), nickname, stay: 1, version };
        let stream = StreamName::Chat(group());
        world.answers(&command, (thread, id_of_message), &[(stream, Some(id(10_001)), event.into())]);
        does(&mut world, &command);
    }
    // Messages of members and of the system are numbered together.
    does(&mut world, &join(10_002));
    assert_eq!(does(&mut world, &write(10_002, group(), thread, absent)), (thread, 5));
    does(&mut world, &leave(10_002));
    world.refuses(&write(10_002, group(), thread, absent), Rejection::InvalidThread);
    does(&mut world, &destroy(10_001));
    world.refuses(&write(10_001, group(), thread, absent), Rejection::AccountNotExisting);
}
