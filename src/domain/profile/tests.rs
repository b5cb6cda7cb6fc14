//! The rules of profiles.

use be8_events::account::{NicknameChanged, NicknameSecret, StatusSecret, StatusSet};
use be8_events::{Hash32, Position, Sealing, Secret, StreamName, Subject};

use super::{ChangeNickname, SetStatus};
use crate::domain::Rejection;
use crate::domain::testing::{World, nobody, token};

fn rename(session: Option<Hash32>, compared: Position) -> ChangeNickname {
    let nickname = Secret::new(NicknameSecret { nickname: "Zoey".to_owned() });
    ChangeNickname { session: session.unwrap_or_else(nobody), nickname, compared }
}

fn say(session: Option<Hash32>, compared: Option<Position>) -> SetStatus {
    let status = Secret::new(StatusSecret { status: "away".to_owned() });
    SetStatus { session: session.unwrap_or_else(nobody), status, compared }
}

#[test]
fn a_nickname_is_changed_if_the_one_that_it_was_compared_with_is_the_newest() {
    let mut world = World::new();
    let (zoe, first) = world.account(10_001);
    let stream = StreamName::Account(zoe);
    let session = Some(token(10_001));
    world.answers(&rename(session, first), (), &[(stream, Some(zoe), NicknameChanged {}.into())]);
    let secret = world.when(&rename(session, first)).unwrap().events[0].secret.take().unwrap();
    assert_eq!(secret.sealing, Sealing::Lasting(Subject::Account(zoe)));
    assert_eq!(secret.plain.expose(), br#"{"nickname":"Zoey"}"#);
    let second = world.given(stream, NicknameChanged {});
    world.refuses(&rename(session, first), Rejection::Outdated);
    world.wants_a_session(10_001, |session| rename(session, second));
}

#[test]
fn a_status_is_set_if_the_one_that_it_was_compared_with_is_the_newest() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let stream = StreamName::Account(zoe);
    let session = Some(token(10_001));
    world.answers(&say(session, None), (), &[(stream, Some(zoe), StatusSet {}.into())]);
    let set = world.given(stream, StatusSet {});
    world.refuses(&say(session, None), Rejection::Outdated);
    world.wants_a_session(10_001, |session| say(session, Some(set)));
}
