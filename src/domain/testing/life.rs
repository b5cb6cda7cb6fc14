//! The rules of profiles, of sessions by password and of lock codes.

use be8_events::account::{
    AccountRemoved, CodeChanged, CodeKind, CodeSecret, CodesSecret, CodesSet, NicknameChanged, NicknameSecret, Removal,
    StatusSecret, StatusSet,
};
use be8_events::{Sealing, Secret, Subject};

use super::super::codes::{ChangeCode, SetCodes};
use super::super::profile::{ChangeNickname, SetStatus};
use super::super::session::{DisplaceSessions, EndSession, OpenSession};
use super::*;

/// Who has no session sends none of these commands.
fn nobody() -> Hash32 {
    token(0)
}

fn rename(session: Option<Hash32>, compared: Position) -> ChangeNickname {
    let nickname = Secret::new(NicknameSecret { nickname: "Zoey".to_owned() });
    ChangeNickname { session: session.unwrap_or_else(nobody), nickname, compared }
}

fn say(session: Option<Hash32>, compared: Option<Position>) -> SetStatus {
    let status = Secret::new(StatusSecret { status: "away".to_owned() });
    SetStatus { session: session.unwrap_or_else(nobody), status, compared }
}

fn set_codes(session: Option<Hash32>) -> SetCodes {
    let codes = Secret::new(CodesSecret { unlock: "u".to_owned(), destroy: "d".to_owned() });
    SetCodes { session: session.unwrap_or_else(nobody), codes }
}

fn change(session: Option<Hash32>, which: CodeKind, compared: (Position, Position)) -> ChangeCode {
    let code = Secret::new(CodeSecret { hash: "n".to_owned() });
    ChangeCode { session: session.unwrap_or_else(nobody), which, code, compared }
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

#[test]
fn a_login_opens_a_session_of_a_living_account() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let (yan, _) = world.account(10_002);
    let opened = SessionOpened { account: zoe, how: Opening::Login };
    let opened = (StreamName::Session(token(7)), Some(zoe), opened.into());
    let login = |displaces: &[i64]| OpenSession {
        account: zoe,
        session: token(7),
        displaces: displaces.iter().copied().map(token).collect(),
        replaces: None,
    };
    world.answers(&login(&[]), (), std::slice::from_ref(&opened));
    // What is not open, or somebody else's, does not end.
    let gone = SessionEnded { account: zoe, why: Ending::Displaced };
    let gone = (StreamName::Session(token(10_001)), Some(zoe), gone.into());
    world.answers(&login(&[10_001, 10_002, 99]), (), &[gone.clone(), opened]);
    let excess = DisplaceSessions { account: zoe, sessions: vec![token(99), token(10_001), token(10_002)] };
    world.answers(&excess, (), &[gone]);

    world.refuses(&OpenSession { account: id(10_009), ..login(&[]) }, Rejection::NotAuthenticated);
    world.given(StreamName::Account(yan), AccountRemoved { account: yan, reason: Removal::Expiry });
    world.refuses(&OpenSession { account: yan, ..login(&[]) }, Rejection::NotAuthenticated);
    world.now = world.now.plus(LIFETIME);
    world.refuses(&login(&[]), Rejection::NotAuthenticated);
}

/// Shows (docs/protocol.md): Login and logout.
#[test]
fn a_logout_ends_the_session_and_no_other() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let ended = SessionEnded { account: zoe, why: Ending::LoggedOut };
    let logout = EndSession { session: Some(token(10_001)) };
    world.answers(&logout, (), &[(StreamName::Session(token(10_001)), Some(zoe), ended.into())]);
    world.wants_a_session(10_001, |session| EndSession { session });
}

#[test]
fn codes_are_set_once() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let stream = StreamName::Account(zoe);
    let session = Some(token(10_001));
    world.answers(&set_codes(session), (), &[(stream, Some(zoe), CodesSet {}.into())]);
    world.wants_a_session(10_001, set_codes);
    let opened = SessionOpened { account: zoe, how: Opening::Login };
    world.given(StreamName::Session(token(1)), opened);
    world.given(stream, CodesSet {});
    world.refuses(&set_codes(Some(token(1))), Rejection::CodesAlreadySet);
}

#[test]
fn a_code_is_changed_if_the_hashes_that_were_looked_at_are_the_newest() {
    let mut world = World::new();
    let (zoe, first) = world.account(10_001);
    let stream = StreamName::Account(zoe);
    let session = Some(token(10_001));
    world.refuses(&change(session, CodeKind::Unlock, (first, first)), Rejection::Outdated);
    let set = world.given(stream, CodesSet {});
    for which in [CodeKind::Unlock, CodeKind::Destroy] {
        let event = (stream, Some(zoe), CodeChanged { which }.into());
        world.answers(&change(session, which, (set, set)), (), &[event]);
    }
    let changed = world.given(stream, CodeChanged { which: CodeKind::Destroy });
    world.refuses(&change(session, CodeKind::Unlock, (set, set)), Rejection::Outdated);
    world.wants_a_session(10_001, |session| change(session, CodeKind::Unlock, (set, changed)));
}
