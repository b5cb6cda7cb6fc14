//! The rules of passwords that change.

use be8_events::account::{PasswordChanged, PasswordSecret};
use be8_events::session::{Ending, Opening, SessionEnded, SessionOpened};
use be8_events::{Position, Secret, StreamName};

use super::ChangePassword;
use crate::domain::Rejection;
use crate::domain::session::OpenSession;
use crate::domain::testing::{World, nobody, token};

/// Shows (docs/protocol.md): Changing the password.
#[test]
fn a_password_replaces_the_one_that_was_checked() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    world.account(10_002);
    world.given(StreamName::Session(token(7)), SessionOpened { account: zoe, how: Opening::Login });
    let checked = world.password(10_001);
    let change = |checked, ends: &[i64]| ChangePassword {
        session: token(10_001),
        password: Secret::new(PasswordSecret { password: "a hash".to_owned() }),
        checked,
        ends: ends.iter().copied().map(token).collect(),
    };
    let stream = StreamName::Account(zoe);
    let changed = (stream, Some(zoe), PasswordChanged {}.into());
    world.answers(&change(checked, &[]), 0, std::slice::from_ref(&changed));
    // Neither the session of the request, nor somebody else's.
    let ended = SessionEnded { account: zoe, why: Ending::LoggedOut };
    let ended = (StreamName::Session(token(7)), Some(zoe), ended.into());
    world.answers(&change(checked, &[10_001, 10_002, 7, 99]), 1, &[changed, ended]);
    world.refuses(&change(Position(checked.0 + 1), &[]), Rejection::Outdated);

    let position = world.given(stream, PasswordChanged {});
    world.refuses(&change(checked, &[]), Rejection::Outdated);
    assert_eq!(world.when(&change(position, &[])).unwrap().reply, 0);
    let login = |checked| OpenSession { account: zoe, checked, session: token(8), displaces: vec![], replaces: None };
    world.refuses(&login(checked), Rejection::Outdated);
    world.when(&login(position)).unwrap();

    world.wants_a_session(10_001, |session| ChangePassword {
        session: session.unwrap_or_else(nobody),
        ..change(position, &[])
    });
}
