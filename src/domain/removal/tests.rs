//! The rules of removal and of what follows from it.

use be8_events::account::{AccountRemoved, CodesSet, LifetimeExtended, Removal};
use be8_events::dialog::ConversationEnded;
use be8_events::erasure::Cause;
use be8_events::group::{Access, GroupCreated, GroupDestroyed, MemberJoined, MemberLeft};
use be8_events::token::{Grant, TokenFreed, TokenIssued, TokenTaken};
use be8_events::{AccId, Event, GroupId, Position, StreamName, Subject, ThreadId, Timestamp};
use chrono::TimeDelta;

use super::{EndConversations, ErasePublicKey, LeaveGroups, RemoveAccount};
use crate::domain::Rejection;
use crate::domain::testing::{LIFETIME, World, id, token};

/// A time that is trusted whatever the clock shows.
const END: Timestamp = Timestamp::from_micros(i64::MAX);

fn panic(session: i64) -> RemoveAccount {
    RemoveAccount::Panic { session: Some(token(session)) }
}

fn removed(account: AccId, reason: Removal, actor: Option<AccId>) -> (StreamName, Option<AccId>, Event) {
    (StreamName::Account(account), actor, AccountRemoved { account, reason }.into())
}

/// Given: the account was removed.
fn remove(world: &mut World, account: AccId) {
    world.given(StreamName::Account(account), AccountRemoved { account, reason: Removal::Panic });
}

fn stay(thread: ThreadId, author: AccId) -> Subject {
    Subject::Stay { thread, author, stay: 1 }
}

#[test]
fn removing_one_s_account_takes_a_session() {
    let mut world = World::new();
    world.account(10_001);
    world.wants_a_session(10_001, |session| RemoveAccount::Panic { session });
}

#[test]
fn one_command_ends_the_account_and_erases_it() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    world.answers(&panic(10_001), Some(zoe), &[removed(zoe, Removal::Panic, Some(zoe))]);
    let decision = world.when(&panic(10_001)).unwrap();
    assert_eq!(decision.erase, [(Subject::Account(zoe), Cause::AccountRemoved)]);
    remove(&mut world, zoe);
    // The sessions need not end one by one: they speak for nobody.
    world.refuses(&panic(10_001), Rejection::NotAuthenticated);
    world.refuses(&RemoveAccount::Operator { account: zoe }, Rejection::AccountNotExisting);
    world.answers(&RemoveAccount::Expiry { account: zoe, now: END }, None, &[]);
    world.now = world.now.plus(LIFETIME * 2);
    world.answers(&RemoveAccount::Expiry { account: zoe, now: END }, None, &[]);
}

#[test]
fn the_destroy_code_counts_while_it_is_the_one_that_was_checked() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let session = Some(token(10_001));
    world.refuses(&RemoveAccount::Code { session, checked: Position(1) }, Rejection::Outdated);
    let first = world.given(StreamName::Account(zoe), CodesSet {});
    let by_code = |checked| RemoveAccount::Code { session, checked };
    world.answers(&by_code(first), Some(zoe), &[removed(zoe, Removal::Code, Some(zoe))]);
    let changed = be8_events::account::CodeChanged { which: be8_events::account::CodeKind::Destroy };
    let second = world.given(StreamName::Account(zoe), changed);
    world.refuses(&by_code(first), Rejection::Outdated);
    world.answers(&by_code(second), Some(zoe), &[removed(zoe, Removal::Code, Some(zoe))]);
    world.wants_a_session(10_001, |session| RemoveAccount::Code { session, checked: second });
}

#[test]
fn an_account_is_over_at_its_time_and_not_before() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let expiry = RemoveAccount::Expiry { account: zoe, now: END };
    let born = world.now;
    world.now = born.plus(LIFETIME).plus(TimeDelta::microseconds(-1));
    world.answers(&expiry, None, &[]);
    world.now = born.plus(LIFETIME);
    world.answers(&RemoveAccount::Expiry { account: zoe, now: born }, None, &[]);
    world.answers(&expiry, Some(zoe), &[removed(zoe, Removal::Expiry, None)]);
    // A token moves the time.
    let until = world.now.plus(LIFETIME);
    world.given(StreamName::Account(zoe), LifetimeExtended { until, endless: false, token: token(1) });
    world.answers(&expiry, None, &[]);
    // The operator waits for no time, and removes an account that has expired but is not removed.
    world.answers(&RemoveAccount::Operator { account: zoe }, Some(zoe), &[removed(zoe, Removal::Operator, None)]);
    world.now = until;
    world.answers(&RemoveAccount::Operator { account: zoe }, Some(zoe), &[removed(zoe, Removal::Operator, None)]);
    world.refuses(&RemoveAccount::Operator { account: id(10_099) }, Rejection::AccountNotExisting);
    world.answers(&RemoveAccount::Expiry { account: id(10_099), now: END }, None, &[]);
}

/// Shows (docs/protocol.md): What a removal does.
#[test]
fn an_endless_token_is_free_again() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let (hmac, stream) = (token(7), StreamName::Token(token(7)));
    world.given(stream, TokenIssued { grant: Grant::Endless });
    world.given(stream, TokenTaken { by: zoe });
    let until = world.now.plus(LIFETIME);
    world.given(StreamName::Account(zoe), LifetimeExtended { until, endless: true, token: hmac });
    let freed = (stream, Some(zoe), TokenFreed { by: zoe }.into());
    world.answers(&panic(10_001), Some(zoe), &[removed(zoe, Removal::Panic, Some(zoe)), freed]);
    // Somebody else's by now: not ours to free.
    world.given(stream, TokenFreed { by: zoe });
    world.given(stream, TokenTaken { by: id(10_002) });
    world.answers(&panic(10_001), Some(zoe), &[removed(zoe, Removal::Panic, Some(zoe))]);
}

#[test]
fn conversations_end_once_with_both_their_stays() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let (yan, _) = world.account(10_002);
    let (xia, _) = world.account(10_003);
    let (with_yan, with_xia) = (world.conversation(zoe, yan), world.conversation(xia, zoe));
    let command = EndConversations { gone: zoe, partners: vec![yan, xia, id(10_099)] };
    world.refuses(&command, Rejection::AccountNotExisting);
    // Nor for one that is merely over.
    world.now = world.now.plus(LIFETIME);
    world.refuses(&command, Rejection::AccountNotExisting);
    remove(&mut world, zoe);
    let ended = |partner, thread| {
        (StreamName::dialog(zoe, partner), Some(zoe), Event::from(ConversationEnded { thread, gone: zoe }))
    };
    // With somebody whom it never talked to, nothing ends.
    world.answers(&command, (), &[ended(yan, with_yan), ended(xia, with_xia)]);
    let erase = world.when(&command).unwrap().erase;
    let subjects = [stay(with_yan, zoe), stay(with_yan, yan), stay(with_xia, zoe), stay(with_xia, xia)]
        .map(|subject| (subject, Cause::ConversationEnded));
    assert_eq!(erase, subjects);
    let [(stream, _, event), _] = [ended(yan, with_yan), ended(xia, with_xia)];
    world.given(stream, event);
    world.answers(&command, (), &[ended(xia, with_xia)]);
}

#[test]
fn groups_are_left_and_one_s_own_are_destroyed() {
    let mut world = World::new();
    let (zoe, nickname) = world.account(10_001);
    let (yan, _) = world.account(10_002);
    let [mine, theirs, strange] = [1, 2, 3].map(|n| GroupId::new(10_000 + n).unwrap());
    let mut names = Vec::new();
    for (group, admin) in [(mine, zoe), (theirs, yan), (strange, yan)] {
        let created = GroupCreated { group, admin, access: Access::Public, capacity: 5 };
        names.push(world.given(StreamName::Group(group), created));
    }
    for (group, account, message) in [(mine, zoe, 1), (mine, yan, 2), (theirs, yan, 1), (theirs, zoe, 2)] {
        let joined = MemberJoined { group, account, stay: 1, message, nickname };
        world.given(StreamName::Group(group), joined);
    }
    let command = LeaveGroups { gone: zoe, groups: vec![mine, theirs, strange, GroupId::new(10_099).unwrap()] };
    world.refuses(&command, Rejection::AccountNotExisting);
    remove(&mut world, zoe);
    let destroyed = GroupDestroyed { group: mine, by: zoe, members: vec![(zoe, 1), (yan, 1)], group_name: names[0] };
    let left = MemberLeft { group: theirs, account: zoe, stay: 1, message: 3, nickname, group_name: names[1] };
    let events = [
        (StreamName::Group(mine), Some(zoe), destroyed.clone().into()),
        (StreamName::Group(theirs), Some(zoe), left.clone().into()),
    ];
    world.answers(&command, (), &events);
    let in_group = |group, author| stay(ThreadId::Group(group), author);
    let erase = world.when(&command).unwrap().erase;
    assert_eq!(
        erase,
        [
            (in_group(mine, zoe), Cause::GroupDestroyed),
            (in_group(mine, yan), Cause::GroupDestroyed),
            (Subject::GroupKeys(mine), Cause::GroupDestroyed),
            (in_group(theirs, zoe), Cause::AccountRemoved),
        ]
    );
    // Done already, or done by somebody else meanwhile: nothing.
    world.given(StreamName::Group(mine), destroyed);
    world.given(StreamName::Group(theirs), left);
    world.answers(&command, (), &[]);
}

#[test]
fn a_public_key_goes_only_with_its_account() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let command = ErasePublicKey { gone: zoe };
    world.refuses(&command, Rejection::AccountNotExisting);
    remove(&mut world, zoe);
    world.answers(&command, (), &[]);
    assert_eq!(world.when(&command).unwrap().erase, [(Subject::PublicKey(zoe), Cause::AccountRemoved)]);
}

#[test]
fn what_is_erased_is_as_good_as_gone() {
    let (zoe, group) = (id(10_001), GroupId::new(10_001).unwrap());
    let thread = ThreadId::Group(group);
    for (subject, rejection) in [
        (Subject::Account(zoe), Some(Rejection::NotAuthenticated)),
        (Subject::PublicKey(zoe), Some(Rejection::NotAuthenticated)),
        (Subject::GroupName(group), Some(Rejection::GroupNotExisting)),
        (Subject::GroupKeys(group), Some(Rejection::GroupNotExisting)),
        (stay(thread, zoe), Some(Rejection::InvalidThread)),
        (Subject::Day("2026-11-23".parse().unwrap()), None),
        (Subject::Server, None),
    ] {
        assert_eq!(Rejection::of_erased(&subject), rejection, "{subject}");
    }
}
