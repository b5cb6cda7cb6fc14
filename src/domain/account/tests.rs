//! The rules of accounts and their first sessions, and of public keys.

use be8_events::account::{AccountCreated, AccountSecret, Curve, PublicKeySecret, PublicKeySet};
use be8_events::session::{Ending, Opening, SessionEnded, SessionOpened};
use be8_events::{AccId, Event, Hash32, Sealing, Secret, StreamName, Subject};

use super::{CreateAccount, SetPublicKey};
use crate::domain::Rejection;
use crate::domain::testing::{LIFETIME, World, id, token};

fn create(session: Hash32, replaces: Option<Hash32>) -> CreateAccount {
    let secret = AccountSecret { nickname: "Zoë".to_owned(), password: "$argon2id$".to_owned() };
    CreateAccount { secret: Secret::new(secret), session, replaces, lifetime: LIFETIME }
}

fn set_key(session: Option<Hash32>, key: &[u8]) -> SetPublicKey {
    let secret = PublicKeySecret { x: "eA".to_owned(), y: "eQ".to_owned() };
    SetPublicKey { session, curve: Curve::P256, sha256: Hash32::sha256(key), secret: Secret::new(secret) }
}

#[test]
fn an_account_comes_with_its_first_session() {
    let mut world = World::new();
    let zoe = id(10_001);
    let created = AccountCreated { account: zoe, until: world.now.plus(LIFETIME) };
    let opened = SessionOpened { account: zoe, how: Opening::Created };
    let events = [
        (StreamName::Account(zoe), Some(zoe), created.into()),
        (StreamName::Session(token(1)), Some(zoe), opened.into()),
    ];
    world.answers(&create(token(1), None), zoe, &events);
    // A session that is none is nothing to end.
    world.answers(&create(token(1), Some(token(2))), zoe, &events);

    let mut decision = world.when(&create(token(1), None)).unwrap();
    let secret = decision.events[0].secret.take().unwrap();
    assert_eq!(secret.sealing, Sealing::Lasting(Subject::Account(zoe)));
    assert_eq!(secret.plain.expose(), r#"{"nickname":"Zoë","password":"$argon2id$"}"#.as_bytes());
    assert!(decision.events[1].secret.is_none());
}

#[test]
fn a_new_account_ends_the_session_that_it_came_over() {
    let mut world = World::new();
    let (old, _) = world.account(10_001);
    let new = id(10_002);
    let created = AccountCreated { account: new, until: world.now.plus(LIFETIME) };
    let ended = SessionEnded { account: old, why: Ending::Replaced };
    let opened = SessionOpened { account: new, how: Opening::Created };
    let created = (StreamName::Account(new), Some(new), created.into());
    let ended = (StreamName::Session(token(10_001)), Some(old), ended.into());
    let opened = (StreamName::Session(token(2)), Some(new), opened.into());
    let command = create(token(2), Some(token(10_001)));
    world.answers(&command, new, &[created.clone(), ended.clone(), opened.clone()]);
    let mut happened = world.when(&command).unwrap().events;
    happened.remove(0); // so that the next account has the same number
    world.happen(happened);
    // It ended: it does not end again.
    world.answers(&create(token(2), Some(token(10_001))), new, &[created, opened]);
}

#[test]
fn account_numbers_come_to_an_end() {
    let mut world = World::new();
    world.accounts = i64::from(AccId::MAX) - 1;
    assert_eq!(world.when(&create(token(1), None)).unwrap().reply, id(i64::from(AccId::MAX)));
    world.accounts += 1;
    world.refuses(&create(token(1), None), Rejection::NumbersExhausted);
}

#[test]
fn setting_a_public_key_takes_a_session() {
    let mut world = World::new();
    world.account(10_001);
    world.wants_a_session(10_001, |session| set_key(session, b"a key"));
}

/// Shows (docs/protocol.md): Public keys.
#[test]
fn a_public_key_is_set_once_and_changed_in_the_open() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let event = |key: &[u8]| Event::from(PublicKeySet { curve: Curve::P256, sha256: Hash32::sha256(key) });
    let stream = StreamName::Account(zoe);
    let session = Some(token(10_001));
    world.answers(&set_key(session, b"one"), (), &[(stream, Some(zoe), event(b"one"))]);
    let secret = world.when(&set_key(session, b"one")).unwrap().events[0].secret.take().unwrap();
    assert_eq!(secret.sealing, Sealing::Lasting(Subject::PublicKey(zoe)));
    assert_eq!(secret.plain.expose(), br#"{"x":"eA","y":"eQ"}"#);

    world.given(stream, event(b"one"));
    world.answers(&set_key(session, b"one"), (), &[]); // unchanged
    world.answers(&set_key(session, b"two"), (), &[(stream, Some(zoe), event(b"two"))]); // a change is an event
    world.given(stream, event(b"two"));
    world.answers(&set_key(session, b"one"), (), &[(stream, Some(zoe), event(b"one"))]);
}
