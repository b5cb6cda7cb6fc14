//! The rules of conversations of two.

use be8_events::message::{MessageSecret, MessageWritten};
use be8_events::{GroupId, Sealing, Secret};

use super::super::dialog::StartConversation;
use super::super::message::{NamedVersion, Receiver, WriteMessage};
use super::*;

fn start(session: i64, receiver: Option<i64>) -> StartConversation {
    StartConversation { session: Some(token(session)), receiver: receiver.map(id) }
}

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

/// An account that does not live any more, though its session is open.
fn expired(world: &mut World, number: i64) {
    let now = world.now;
    world.now = now.plus(-LIFETIME);
    world.account(number);
    world.now = now;
}

#[test]
fn starting_a_conversation_takes_a_session() {
    let mut world = World::new();
    world.account(10_001);
    world.account(10_002);
    world.wants_a_session(10_001, |session| StartConversation { session, receiver: Some(id(10_002)) });
}

#[test]
fn a_conversation_starts_with_a_living_other() {
    let mut world = World::new();
    let (zoe, nickname) = world.account(10_001);
    let (yan, _) = world.account(10_002);
    expired(&mut world, 10_003);
    world.refuses(&start(10_001, None), Rejection::AccountNotExisting);
    world.refuses(&start(10_001, Some(10_099)), Rejection::AccountNotExisting);
    world.refuses(&start(10_001, Some(10_003)), Rejection::AccountNotExisting);
    world.refuses(&start(10_001, Some(10_001)), Rejection::CircularConversation);

    let thread = ThreadId::Dialog { initiator: zoe, receiver: yan };
    let started = ConversationStarted { thread, message: 1, nickname };
    let stream = StreamName::dialog(zoe, yan);
    world.answers(&start(10_001, Some(10_002)), thread, &[(stream, Some(zoe), started.clone().into())]);
    world.given(stream, started);
    // It is there for both, under the name that it has.
    world.answers(&start(10_001, Some(10_002)), thread, &[]);
    world.answers(&start(10_002, Some(10_001)), thread, &[]);
}

#[test]
fn the_session_comes_before_the_receiver() {
    let mut world = World::new();
    expired(&mut world, 10_003);
    world.refuses(&start(10_003, None), Rejection::NotAuthenticated);
    world.refuses(&start(10_003, Some(10_003)), Rejection::NotAuthenticated);
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
    world.refuses(&start(10_001, Some(10_002)), Rejection::AccountNotExisting);
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
