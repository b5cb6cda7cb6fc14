//! The rules of sessions by password.

use be8_events::account::{AccountRemoved, Removal};
use be8_events::session::SessionNamed;
use be8_events::session::{Ending, Opening, SessionEnded, SessionOpened};
use be8_events::{Position, Secret, StreamName};

use be8_events::session::SessionSecret;

use super::{DisplaceSessions, EndOwnSessions, EndSession, NameSession, OpenSession};
use crate::domain::Rejection;
use crate::domain::testing::{LIFETIME, World, id, token};

#[test]
fn a_login_opens_a_session_of_a_living_account() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let (yan, _) = world.account(10_002);
    let opened = SessionOpened { account: zoe, how: Opening::Login };
    let opened = (StreamName::Session(token(7)), Some(zoe), opened.into());
    let checked = world.password(10_001);
    let login = |displaces: &[i64]| OpenSession {
        account: zoe,
        checked,
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

    world.refuses(&OpenSession { checked: Position(checked.0 + 1), ..login(&[]) }, Rejection::Outdated);
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

/// Shows (docs/protocol.md): Sessions of an account.
#[test]
fn an_account_ends_its_own_sessions_and_no_other() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    world.account(10_002);
    let opened = SessionOpened { account: zoe, how: Opening::Login };
    world.given(StreamName::Session(token(7)), opened);
    let ended = |session| {
        let ended = SessionEnded { account: zoe, why: Ending::LoggedOut };
        (StreamName::Session(token(session)), Some(zoe), ended.into())
    };
    let end = |sessions: &[i64]| EndOwnSessions {
        session: Some(token(10_001)),
        sessions: sessions.iter().copied().map(token).collect(),
    };
    world.answers(&end(&[7]), 1, &[ended(7)]);
    world.answers(&end(&[10_001]), 1, &[ended(10_001)]);
    world.answers(&end(&[10_001, 10_002, 99, 7]), 2, &[ended(10_001), ended(7)]);
    world.answers(&end(&[10_002, 99]), 0, &[]);
    world.wants_a_session(10_001, |session| EndOwnSessions { session, sessions: vec![token(7)] });
}

/// Shows (docs/protocol.md): Sessions of an account.
#[test]
fn an_account_names_its_own_sessions() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    world.account(10_002);
    let name = |session, named, compared| {
        let name = Secret::new(SessionSecret { name: "phone".to_owned() });
        NameSession { session, named: token(named), name, compared }
    };
    let own = |named, compared| name(Some(token(10_001)), named, compared);
    let stream = StreamName::Session(token(10_001));
    world.answers(&own(10_001, None), true, &[(stream, Some(zoe), SessionNamed { account: zoe }.into())]);
    for other in [10_002, 99] {
        world.answers(&own(other, None), false, &[]);
    }
    let position = world.given(stream, SessionNamed { account: zoe });
    world.refuses(&own(10_001, None), Rejection::Outdated);
    assert!(world.when(&own(10_001, Some(position))).unwrap().reply);
    let mut world = World::new();
    world.account(10_001);
    world.wants_a_session(10_001, |session| name(session, 10_001, None));
}
