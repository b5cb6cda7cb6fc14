//! The rules of starting a conversation.

use be8_events::dialog::ConversationStarted;
use be8_events::{StreamName, ThreadId};

use super::StartConversation;
use crate::domain::Rejection;
use crate::domain::testing::{World, expired, id, token};

fn start(session: i64, receiver: Option<i64>) -> StartConversation {
    StartConversation { session: Some(token(session)), receiver: receiver.map(id) }
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
