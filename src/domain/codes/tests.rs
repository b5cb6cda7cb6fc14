//! The rules of lock codes.

use be8_events::account::{CodeChanged, CodeKind, CodeSecret, CodesSecret, CodesSet};
use be8_events::session::{Opening, SessionOpened};
use be8_events::{Hash32, Position, Secret, StreamName};

use super::{ChangeCode, SetCodes};
use crate::domain::Rejection;
use crate::domain::testing::{World, nobody, token};

fn set_codes(session: Option<Hash32>) -> SetCodes {
    let codes = Secret::new(CodesSecret { unlock: "u".to_owned(), destroy: "d".to_owned() });
    SetCodes { session: session.unwrap_or_else(nobody), codes }
}

fn change(session: Option<Hash32>, which: CodeKind, compared: (Position, Position)) -> ChangeCode {
    let code = Secret::new(CodeSecret { hash: "n".to_owned() });
    ChangeCode { session: session.unwrap_or_else(nobody), which, code, compared }
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
