//! The rules of the operator's commands.

use be8_events::session::{Ending, SessionEnded};
use be8_events::{Event, StreamName};

use super::EndSessions;
use crate::domain::testing::{World, token};

#[test]
fn the_operator_ends_the_sessions_of_one_account() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    world.account(10_002);
    let sessions = vec![token(10_001), token(10_002), token(99_999)];
    let ended = SessionEnded { account: zoe, why: Ending::Operator };
    let event = (StreamName::Session(token(10_001)), None, Event::from(ended.clone()));
    world.answers(&EndSessions { account: zoe, sessions: sessions.clone() }, 1, &[event]);
    world.given(StreamName::Session(token(10_001)), ended);
    world.answers(&EndSessions { account: zoe, sessions }, 0, &[]);
}
