//! The rules of writing in a group.

use be8_events::group::{Access, VersionAllocated};
use be8_events::message::{MessageSecret, MessageWritten};
use be8_events::{GroupId, Secret};

use super::super::group::LeaveGroup;
use super::super::message::{NamedVersion, Receiver, WriteMessage};
use super::groups::{group, no_group};
use super::*;

fn write(by: i64, receiver: GroupId, thread: ThreadId, version: NamedVersion) -> WriteMessage {
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
    world.refuses(&write(10_001, no_group(), thread, absent), Rejection::AccountNotExisting);
    // Before its first message the thread does not exist.
    world.refuses(&write(10_001, group(), thread, absent), Rejection::InvalidThread);
    world.joined(10_001, 1, 1);
    world.refuses(&write(10_002, group(), thread, absent), Rejection::InvalidThread);
    world.refuses(&write(10_001, group(), ThreadId::Group(no_group()), absent), Rejection::InvalidThread);
    world.refuses(&write(10_001, group(), ThreadId::System(id(10_001)), absent), Rejection::InvalidThread);
    world.refuses(&write(10_001, group(), thread, NamedVersion::Version(group(), 1)), Rejection::InvalidMessageType);
    world.given(StreamName::Group(group()), VersionAllocated { version: 1, by: id(10_001) });
    for version in [(no_group(), 1), (group(), 0), (group(), 2)].map(|(group, n)| NamedVersion::Version(group, n)) {
        world.refuses(&write(10_001, group(), thread, version), Rejection::InvalidMessageType);
    }
    world.refuses(&write(10_001, group(), thread, NamedVersion::Malformed), Rejection::InvalidMessageType);
    for (version, no) in [(None, 2), (Some(1), 3)] {
        let named = version.map_or(absent, |version| NamedVersion::Version(group(), version));
        let command = write(10_001, group(), thread, named);
        let event = MessageWritten { thread, id: no, sender: id(10_001), nickname: nicknames[0], stay: 1, version };
        let stream = StreamName::Chat(group());
        world.answers(&command, (thread, no), &[(stream, Some(id(10_001)), event.into())]);
        let happened = world.when(&command).unwrap().events;
        world.happen(happened);
    }
    // Messages of members and of the system are numbered together.
    world.joined(10_002, 1, 4);
    assert_eq!(world.when(&write(10_002, group(), thread, absent)).unwrap().reply, (thread, 5));
    let gone = world.when(&LeaveGroup { session: Some(token(10_002)), group: Some(group()) }).unwrap().events;
    world.happen(gone);
    world.refuses(&write(10_002, group(), thread, absent), Rejection::InvalidThread);
    world.destroyed();
    world.refuses(&write(10_001, group(), thread, absent), Rejection::AccountNotExisting);
}
