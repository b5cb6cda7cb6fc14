//! The rules of sessions by password.

use be8_events::StreamName;
use be8_events::account::{AccountRemoved, Removal};
use be8_events::session::{Ending, Opening, SessionEnded, SessionOpened};

use super::{DisplaceSessions, EndSession, OpenSession};
use crate::domain::Rejection;
use crate::domain::testing::{LIFETIME, World, id, token};

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
