//! The rules of tokens.

use be8_events::account::{AccountRemoved, LifetimeExtended, Removal};
use be8_events::token::{Grant, TokenConsumed, TokenFreed, TokenIssued, TokenRevoked, TokenTaken};
use be8_events::{Event, Hash32, StreamName, Timestamp};
use chrono::TimeDelta;

use super::{Issue, IssueToken, RevokeToken, UseToken};
use crate::domain::Rejection;
use crate::domain::testing::{self, LIFETIME, World, id};

const TOKEN: Hash32 = Hash32([7; 32]);
const OTHER: Hash32 = Hash32([8; 32]);
const PROMO: Grant = Grant::Promo { millis: 15_552_000_000 };
const CENTURY: TimeDelta = TimeDelta::days(36_525);

fn issued(world: &mut World, token: Hash32, grant: Grant) {
    world.given(StreamName::Token(token), TokenIssued { grant });
}

fn uses(who: i64, token: Hash32) -> UseToken {
    UseToken { session: Some(testing::token(who)), token: Ok(token) }
}

/// Uses it, and lets that happen.
fn used(world: &mut World, who: i64, token: Hash32) {
    let events = world.when(&uses(who, token)).unwrap().events;
    world.happen(events);
}

fn extended(until: Timestamp, endless: bool, token: Hash32) -> Event {
    LifetimeExtended { until, endless, token }.into()
}

#[test]
fn a_token_is_issued_once_and_never_again() {
    let mut world = World::new();
    let stream = StreamName::Token(TOKEN);
    let issue = IssueToken { token: TOKEN, grant: PROMO };
    world.answers(&issue, Issue::Issued, &[(stream, None, TokenIssued { grant: PROMO }.into())]);
    issued(&mut world, TOKEN, PROMO);
    world.answers(&issue, Issue::Known(Some(PROMO)), &[]);
    world.answers(&IssueToken { grant: Grant::Endless, ..issue }, Issue::Known(Some(PROMO)), &[]);
    world.given(stream, TokenConsumed { by: id(10_001) });
    world.answers(&issue, Issue::Known(None), &[]);
}

#[test]
fn an_endless_token_makes_one_account_endless_at_a_time() {
    let mut world = World::new();
    let ((zoe, _), (yan, _)) = (world.account(10_001), world.account(10_002));
    issued(&mut world, TOKEN, Grant::Endless);
    let until = world.now.plus(CENTURY);
    let events = [
        (StreamName::Token(TOKEN), Some(zoe), TokenTaken { by: zoe }.into()),
        (StreamName::Account(zoe), Some(zoe), extended(until, true, TOKEN)),
    ];
    world.answers(&uses(10_001, TOKEN), Grant::Endless, &events);
    used(&mut world, 10_001, TOKEN);
    world.refuses(&uses(10_002, TOKEN), Rejection::TokenInUse);
    // An account that has it already gets the same answer, and nothing happens.
    world.answers(&uses(10_001, TOKEN), Grant::Endless, &[]);

    // With its account it is free again.
    world.given(StreamName::Token(TOKEN), TokenFreed { by: zoe });
    world.given(StreamName::Account(zoe), AccountRemoved { account: zoe, reason: Removal::Panic });
    world.refuses(&uses(10_001, TOKEN), Rejection::NotAuthenticated);
    let events = [
        (StreamName::Token(TOKEN), Some(yan), TokenTaken { by: yan }.into()),
        (StreamName::Account(yan), Some(yan), extended(until, true, TOKEN)),
    ];
    world.answers(&uses(10_002, TOKEN), Grant::Endless, &events);
}

#[test]
fn an_endless_account_takes_no_second_endless_token() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    world.account(10_002);
    issued(&mut world, TOKEN, Grant::Endless);
    issued(&mut world, OTHER, Grant::Endless);
    used(&mut world, 10_001, TOKEN);
    world.answers(&uses(10_001, OTHER), Grant::Endless, &[]);
    assert_eq!(world.view().account(zoe).unwrap().token(), Some(TOKEN));
    used(&mut world, 10_002, OTHER);
    world.refuses(&uses(10_001, OTHER), Rejection::TokenInUse);
}

/// Shows (docs/protocol.md): Tokens.
#[test]
fn a_promo_token_extends_a_life_once_and_never_shortens_it() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    world.account(10_002);
    let birth = world.now;
    issued(&mut world, TOKEN, PROMO);
    world.now = birth.plus(TimeDelta::days(10));
    let until = birth.plus(TimeDelta::days(190));
    let events = [
        (StreamName::Token(TOKEN), Some(zoe), TokenConsumed { by: zoe }.into()),
        (StreamName::Account(zoe), Some(zoe), extended(until, false, TOKEN)),
    ];
    world.answers(&uses(10_001, TOKEN), PROMO, &events);
    used(&mut world, 10_001, TOKEN);
    for who in [10_001, 10_002] {
        world.refuses(&uses(who, TOKEN), Rejection::TokenNotExisting);
    }
    assert_eq!(world.view().account(zoe).unwrap().token(), None, "nothing is to be freed");

    // One that gives less than is left is used up all the same.
    let short = Grant::Promo { millis: 1 };
    issued(&mut world, OTHER, short);
    let events = [
        (StreamName::Token(OTHER), Some(zoe), TokenConsumed { by: zoe }.into()),
        (StreamName::Account(zoe), Some(zoe), extended(until, false, OTHER)),
    ];
    world.answers(&uses(10_001, OTHER), short, &events);
}

#[test]
fn an_endless_account_stays_endless_whatever_it_uses() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let until = world.now.plus(CENTURY);
    issued(&mut world, TOKEN, Grant::Endless);
    issued(&mut world, OTHER, PROMO);
    used(&mut world, 10_001, TOKEN);
    used(&mut world, 10_001, OTHER);
    let account = world.view().account(zoe).unwrap();
    assert_eq!((account.until(), account.endless()), (Some(until), true));
    assert_eq!(account.token(), Some(TOKEN), "the one that is freed with the account");
}

#[test]
fn a_promo_token_gives_at_most_what_an_endless_one_gives() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let grant = Grant::Promo { millis: u64::MAX };
    issued(&mut world, TOKEN, grant);
    let until = world.now.plus(CENTURY);
    let events = [
        (StreamName::Token(TOKEN), Some(zoe), TokenConsumed { by: zoe }.into()),
        (StreamName::Account(zoe), Some(zoe), extended(until, false, TOKEN)),
    ];
    world.answers(&uses(10_001, TOKEN), grant, &events);
}

#[test]
fn a_token_is_looked_at_after_the_session() {
    let mut world = World::new();
    world.account(10_001);
    issued(&mut world, TOKEN, PROMO);
    for token in [Ok(TOKEN), Ok(OTHER), Err(Rejection::InvalidToken)] {
        for session in [None, Some(testing::token(5))] {
            world.refuses(&UseToken { session, token }, Rejection::NotAuthenticated);
        }
    }
    let session = Some(testing::token(10_001));
    for why in [Rejection::InvalidToken, Rejection::TokenNotExisting] {
        world.refuses(&UseToken { session, token: Err(why) }, why);
    }
    world.refuses(&uses(10_001, OTHER), Rejection::TokenNotExisting);
    world.now = world.now.plus(LIFETIME);
    world.refuses(&uses(10_001, TOKEN), Rejection::NotAuthenticated);
}

#[test]
fn a_revoked_token_gives_nothing_any_more_and_what_it_gave_stays() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    world.account(10_002);
    let stream = StreamName::Token(TOKEN);
    let revoke = RevokeToken { token: TOKEN };
    world.refuses(&revoke, Rejection::TokenNotExisting);
    issued(&mut world, TOKEN, Grant::Endless);
    used(&mut world, 10_001, TOKEN);
    world.answers(&revoke, (), &[(stream, None, TokenRevoked {}.into())]);
    world.given(stream, TokenRevoked {});
    world.refuses(&revoke, Rejection::TokenNotExisting);
    assert!(world.view().account(zoe).unwrap().endless());
    // Free or not, nobody gets it.
    world.refuses(&uses(10_001, TOKEN), Rejection::TokenNotExisting);
    world.given(stream, TokenFreed { by: zoe });
    world.refuses(&uses(10_002, TOKEN), Rejection::TokenNotExisting);
    world.answers(&IssueToken { token: TOKEN, grant: Grant::Endless }, Issue::Known(None), &[]);
}
