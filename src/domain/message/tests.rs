//! The rules of writing, in conversations of two and in groups.

use be8_events::group::{Access, VersionAllocated};
use be8_events::message::{MessageSecret, MessageWritten};
use be8_events::{GroupId, Sealing, Secret, StreamName, ThreadId};
use chrono::TimeDelta;

use super::{NamedVersion, Receiver, WriteMessage};
use crate::domain::dialog::StartConversation;
use crate::domain::group::LeaveGroup;
use crate::domain::testing::groups::{group, no_group};
use crate::domain::testing::{LIFETIME, World, expired, id, token};
use crate::domain::{Command, Rejection};

fn message(text: &str) -> Result<Secret<MessageSecret>, Rejection> {
    Ok(Secret::new(MessageSecret { text: text.to_owned(), iv: None, kind: None, endless: None }))
}

/// A message of `sender` to `receiver` in `thread`.
fn write(sender: i64, receiver: i64, thread: ThreadId) -> WriteMessage {
    WriteMessage {
        session: Some(token(sender)),
        receiver: Some(Receiver::Account(id(receiver))),
        sender: Some(id(sender)),
        thread: Some(thread),
        version: NamedVersion::Absent,
        content: message("hello"),
    }
}

#[test]
fn writing_takes_a_session() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let (yan, _) = world.account(10_002);
    let thread = world.conversation(zoe, yan);
    world.wants_a_session(10_001, |session| WriteMessage { session, ..write(10_001, 10_002, thread) });
}

/// A message that nothing is right about, put right step by step: each check is seen in its turn.
#[test]
fn the_checks_of_a_message_have_an_order() {
    let mut world = World::new();
    let (zoe, nickname) = world.account(10_001);
    let (yan, _) = world.account(10_002);
    world.account(10_004);
    expired(&mut world, 10_003);
    let others = world.conversation(yan, id(10_004));
    let mine = world.conversation(zoe, id(10_004));
    let unstarted = ThreadId::Dialog { initiator: zoe, receiver: yan };
    let mut command = WriteMessage {
        session: None,
        receiver: None,
        sender: None,
        thread: None,
        version: NamedVersion::Absent,
        content: Err(Rejection::MessageTooLarge),
    };
    world.refuses(&command, Rejection::NotAuthenticated);
    command.session = Some(token(10_001));

    // receiver
    world.refuses(&command, Rejection::AccountNotExisting);
    for receiver in [10_099, 10_003] {
        command.receiver = Some(Receiver::Account(id(receiver)));
        command.sender = Some(zoe);
        world.refuses(&command, Rejection::AccountNotExisting);
    }
    command.receiver = Some(Receiver::Account(yan));

    // sender: nobody else's name
    for sender in [None, Some(yan), Some(id(10_004)), Some(id(10_099))] {
        command.sender = sender;
        world.refuses(&command, Rejection::AccountNotExisting);
    }
    command.sender = Some(zoe);

    // thread: that of the two, once one of them has begun, and by its name
    let reversed = ThreadId::Dialog { initiator: yan, receiver: zoe };
    let group = ThreadId::Group(GroupId::new(10_001).unwrap());
    for thread in [others, mine, unstarted, reversed, group, ThreadId::System(zoe), ThreadId::System(yan)] {
        command.thread = Some(thread);
        world.refuses(&command, Rejection::InvalidThread);
    }
    command.thread = None;
    world.refuses(&command, Rejection::InvalidThread);
    let thread = world.conversation(yan, zoe);
    command.thread = Some(unstarted);
    world.refuses(&command, Rejection::InvalidThread);
    command.thread = Some(thread);

    // content; a conversation of two has no versions
    world.refuses(&command, Rejection::MessageTooLarge);
    for version in [NamedVersion::Malformed, NamedVersion::Version(GroupId::new(10_001).unwrap(), 1)] {
        command.version = version;
        world.refuses(&command, Rejection::InvalidMessageType);
        command.content = message("hello");
        world.refuses(&command, Rejection::InvalidMessageType);
    }
    command.version = NamedVersion::Absent;
    command.content = Err(Rejection::InvalidMessageType);
    world.refuses(&command, Rejection::InvalidMessageType);
    command.content = message("hello");
    let written = MessageWritten { thread, id: 2, sender: zoe, nickname, stay: 1, version: None };
    world.answers(&command, (thread, 2), &[(StreamName::dialog(zoe, yan), Some(zoe), written.into())]);
    command.receiver = Some(Receiver::Account(zoe));
    world.refuses(&command, Rejection::InvalidThread);
}

#[test]
fn messages_of_both_are_numbered_together() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let (yan, _) = world.account(10_002);
    let thread = world.conversation(zoe, yan);
    for (no, (sender, receiver)) in (2..).zip([(10_001, 10_002), (10_002, 10_001), (10_002, 10_001)]) {
        let decision = world.when(&write(sender, receiver, thread)).unwrap();
        assert_eq!(decision.reply, (thread, no));
        let secret = decision.events[0].secret.as_ref().unwrap();
        assert_eq!(secret.sealing, Sealing::Message { author: id(sender), thread, stay: 1 });
        assert_eq!(secret.plain.expose(), br#"{"text":"hello"}"#);
        world.happen(decision.events);
    }
}

#[test]
fn a_partner_who_lives_no_more_gets_nothing() {
    let mut world = World::new();
    world.now = world.now.plus(-LIFETIME);
    let (yan, _) = world.account(10_002);
    world.now = world.now.plus(LIFETIME);
    let (zoe, _) = world.account(10_001);
    let thread = world.conversation(zoe, yan);
    world.refuses(&write(10_001, 10_002, thread), Rejection::AccountNotExisting);
    world.refuses(
        &StartConversation { session: Some(token(10_001)), receiver: Some(id(10_002)) },
        Rejection::AccountNotExisting,
    );
    world.now = world.now.plus(TimeDelta::microseconds(-1));
    assert_eq!(world.when(&write(10_001, 10_002, thread)).unwrap().reply, (thread, 2));
}

#[test]
fn a_message_counts_its_text_towards_the_bound_of_a_batch() {
    let thread = ThreadId::System(id(10_001));
    assert_eq!(write(10_001, 10_002, thread).size(), 5);
    let refused = WriteMessage { content: Err(Rejection::MessageTooLarge), ..write(10_001, 10_002, thread) };
    assert_eq!(refused.size(), 0);
}

/// A message to a group.
fn write_to_group(by: i64, receiver: GroupId, thread: ThreadId, version: NamedVersion) -> WriteMessage {
    let secret = MessageSecret { text: "hello".to_owned(), iv: None, kind: None, endless: None };
    WriteMessage {
        session: Some(token(by)),
        receiver: Some(Receiver::Group(receiver)),
        sender: Some(id(by)),
        thread: Some(thread),
        version,
        content: Ok(Secret::new(secret)),
    }
}

#[test]
fn members_write_into_the_thread_of_their_group() {
    let mut world = World::new();
    let nicknames = world.group(10_002, Access::Public, 20);
    let (thread, absent) = (ThreadId::Group(group()), NamedVersion::Absent);
    world.refuses(&write_to_group(10_001, no_group(), thread, absent), Rejection::AccountNotExisting);
    // Before its first message the thread does not exist.
    world.refuses(&write_to_group(10_001, group(), thread, absent), Rejection::InvalidThread);
    world.joined(10_001, 1, 1);
    world.refuses(&write_to_group(10_002, group(), thread, absent), Rejection::InvalidThread);
    world.refuses(&write_to_group(10_001, group(), ThreadId::Group(no_group()), absent), Rejection::InvalidThread);
    world.refuses(&write_to_group(10_001, group(), ThreadId::System(id(10_001)), absent), Rejection::InvalidThread);
    world.refuses(
        &write_to_group(10_001, group(), thread, NamedVersion::Version(group(), 1)),
        Rejection::InvalidMessageType,
    );
    world.given(StreamName::Group(group()), VersionAllocated { version: 1, by: id(10_001) });
    for version in [(no_group(), 1), (group(), 0), (group(), 2)].map(|(group, n)| NamedVersion::Version(group, n)) {
        world.refuses(&write_to_group(10_001, group(), thread, version), Rejection::InvalidMessageType);
    }
    world.refuses(&write_to_group(10_001, group(), thread, NamedVersion::Malformed), Rejection::InvalidMessageType);
    for (version, no) in [(None, 2), (Some(1), 3)] {
        let named = version.map_or(absent, |version| NamedVersion::Version(group(), version));
        let command = write_to_group(10_001, group(), thread, named);
        let event = MessageWritten { thread, id: no, sender: id(10_001), nickname: nicknames[0], stay: 1, version };
        let stream = StreamName::Chat(group());
        world.answers(&command, (thread, no), &[(stream, Some(id(10_001)), event.into())]);
        let happened = world.when(&command).unwrap().events;
        world.happen(happened);
    }
    // Messages of members and of the system are numbered together.
    world.joined(10_002, 1, 4);
    assert_eq!(world.when(&write_to_group(10_002, group(), thread, absent)).unwrap().reply, (thread, 5));
    let gone = world.when(&LeaveGroup { session: Some(token(10_002)), group: Some(group()) }).unwrap().events;
    world.happen(gone);
    world.refuses(&write_to_group(10_002, group(), thread, absent), Rejection::InvalidThread);
    world.destroyed();
    world.refuses(&write_to_group(10_001, group(), thread, absent), Rejection::AccountNotExisting);
}
