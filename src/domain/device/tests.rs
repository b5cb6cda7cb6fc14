//! The rules of devices.

use be8_events::device::{DeviceDropped, DeviceSecret, DeviceSubscribed, Dropped};
use be8_events::session::{Ending, Opening, SessionEnded, SessionOpened};
use be8_events::{AccId, DeviceEvent, Event, Hash32, Sealing, Secret, StreamName, Subject};

use super::{DropDevice, Subscribe, Unsubscribe};
use crate::domain::operator::EndSessions;
use crate::domain::session::{DisplaceSessions, EndSession, OpenSession};
use crate::domain::testing::{LIFETIME, World, id, token};
use crate::domain::{Command, Rejection};

const ZOE: i64 = 10_001;

fn hash(number: u8) -> Hash32 {
    Hash32([number; 32])
}

/// The device with this number, with its n-th subscription.
fn subscribe(session: Option<Hash32>, device: u8, nth: u8, most: usize) -> Subscribe {
    let secret = DeviceSecret { endpoint: "https://push".to_owned(), p256dh: "BA".to_owned(), auth: "AA".to_owned() };
    let (endpoint, subscription) = (hash(device), hash(100 + nth));
    let (place, holder) = (hash(200), Some((id(ZOE), endpoint)));
    Subscribe { session, account: id(ZOE), endpoint, subscription, secret: Secret::new(secret), most, place, holder }
}

fn subscribed(device: u8, nth: u8) -> (StreamName, Option<AccId>, Event) {
    let session = Some(token(ZOE));
    let event = DeviceSubscribed { endpoint: hash(device), subscription: hash(100 + nth), session };
    (StreamName::Devices(id(ZOE)), Some(id(ZOE)), event.into())
}

fn displaced(device: u8) -> (StreamName, Option<AccId>, Event) {
    let event = DeviceDropped { endpoint: hash(device), why: Dropped::Displaced };
    (StreamName::Devices(id(ZOE)), Some(id(ZOE)), event.into())
}

/// Zoe, and her devices from the first one on.
fn zoe_with(devices: u8) -> World {
    let mut world = World::new();
    world.account(ZOE);
    for device in 1..=devices {
        let happened = world.when(&subscribe(Some(token(ZOE)), device, 1, 20)).unwrap().events;
        world.happen(happened);
    }
    world
}

#[test]
fn a_device_subscribes_once_and_renews() {
    let mut world = zoe_with(0);
    let me = Some(token(ZOE));
    let mut decision = world.when(&subscribe(me, 1, 1, 20)).unwrap();
    let secret = decision.events[0].secret.take().unwrap();
    assert_eq!(secret.sealing, Sealing::Lasting(Subject::Account(id(ZOE))));
    assert_eq!(secret.plain.expose(), br#"{"endpoint":"https://push","p256dh":"BA","auth":"AA"}"#);
    world.answers(&subscribe(me, 1, 1, 20), (), &[subscribed(1, 1)]);
    world.happen(decision.events);
    world.answers(&subscribe(me, 1, 1, 20), (), &[]);
    world.answers(&subscribe(me, 1, 2, 20), (), &[subscribed(1, 2)]);
    world.answers(&subscribe(me, 2, 1, 20), (), &[subscribed(2, 1)]);
}

#[test]
fn one_device_too_many_displaces_the_one_that_is_known_longest() {
    let mut world = zoe_with(3);
    let me = Some(token(ZOE));
    world.answers(&subscribe(me, 4, 1, 4), (), &[subscribed(4, 1)]);
    world.answers(&subscribe(me, 4, 1, 3), (), &[displaced(1), subscribed(4, 1)]);
    // The bound was lowered since.
    world.answers(&subscribe(me, 4, 1, 1), (), &[displaced(1), displaced(2), displaced(3), subscribed(4, 1)]);
    // A renewal takes no place.
    world.answers(&subscribe(me, 1, 2, 3), (), &[subscribed(1, 2)]);
    let happened = world.when(&subscribe(me, 1, 2, 3)).unwrap().events;
    world.happen(happened);
    // Renewing makes no device younger.
    world.answers(&subscribe(me, 4, 1, 3), (), &[displaced(1), subscribed(4, 1)]);
}

fn dropped(account: i64, device: u8, why: Dropped) -> (StreamName, Option<AccId>, Event) {
    (StreamName::Devices(id(account)), None, DeviceDropped { endpoint: hash(device), why }.into())
}

#[test]
fn a_device_ends_with_the_session_that_subscribed_it() {
    let mut world = zoe_with(2);
    // The second device moves to another session of the account.
    let other = token(99);
    let login = OpenSession {
        account: id(ZOE),
        checked: world.password(ZOE),
        session: other,
        displaces: Vec::new(),
        replaces: None,
    };
    let happened = world.when(&login).unwrap().events;
    world.happen(happened);
    let moved = subscribe(Some(other), 2, 1, 20);
    let moves = world.when(&moved).unwrap().events;
    assert!(
        matches!(&moves[..], [new] if matches!(&new.event, Event::Device(DeviceEvent::DeviceSubscribed(e)) if e.session == Some(other)))
    );
    world.happen(moves);
    world.answers(&moved, (), &[]);
    let ended = |session, why| {
        let actor = (why != Ending::Operator).then_some(id(ZOE));
        (StreamName::Session(session), actor, SessionEnded { account: id(ZOE), why }.into())
    };
    let first = dropped(ZOE, 1, Dropped::SessionEnded);
    let second = dropped(ZOE, 2, Dropped::SessionEnded);
    let all = EndSessions { account: id(ZOE), sessions: vec![token(ZOE), other] };
    let both = [ended(token(ZOE), Ending::Operator), ended(other, Ending::Operator), first.clone(), second.clone()];
    world.answers(&all, 2, &both);
    let excess = DisplaceSessions { account: id(ZOE), sessions: vec![token(ZOE)] };
    world.answers(&excess, (), &[ended(token(ZOE), Ending::Displaced), first.clone()]);
    let logout = EndSession { session: Some(token(ZOE)) };
    world.answers(&logout, (), &[ended(token(ZOE), Ending::LoggedOut), first]);
    let happened = world.when(&logout).unwrap().events;
    world.happen(happened);
    let logout = EndSession { session: Some(other) };
    world.answers(&logout, (), &[ended(other, Ending::LoggedOut), second]);
}

#[test]
fn a_device_ends_with_a_login_in_its_browser_and_its_session_does_not() {
    let mut world = zoe_with(2);
    let (yan, _) = world.account(10_002);
    let [first, second] = [1, 2].map(|device| dropped(ZOE, device, Dropped::SessionEnded));
    let opened = |account, nth| {
        let opened = SessionOpened { account, how: Opening::Login };
        (StreamName::Session(token(nth)), Some(account), opened.into())
    };
    let passwords = [ZOE, 10_002].map(|account| (id(account), world.password(account)));
    let login = |account: AccId, replaces| OpenSession {
        account,
        checked: passwords.iter().find(|(of, _)| *of == account).unwrap().1,
        session: token(99),
        displaces: Vec::new(),
        replaces,
    };
    for account in [yan, id(ZOE)] {
        let over = login(account, Some(token(ZOE)));
        world.answers(&over, (), &[first.clone(), second.clone(), opened(account, 99)]);
        // One without a session, or with one that is no more, drops nothing.
        world.answers(&login(account, None), (), &[opened(account, 99)]);
        world.answers(&login(account, Some(token(98))), (), &[opened(account, 99)]);
    }
    // A session that gives way besides ends once, and so does each device.
    let both = OpenSession { displaces: vec![token(ZOE)], ..login(id(ZOE), Some(token(ZOE))) };
    let ended = SessionEnded { account: id(ZOE), why: Ending::Displaced };
    let ended = (StreamName::Session(token(ZOE)), Some(id(ZOE)), ended.into());
    world.answers(&both, (), &[ended, first, second, opened(id(ZOE), 99)]);
}

/// Shows (docs/protocol.md): Sessions and their devices.
#[test]
fn a_device_is_unsubscribed_by_name_or_with_those_of_the_session() {
    let mut world = zoe_with(3);
    world.account(10_002);
    let dropped = |device| {
        let event = DeviceDropped { endpoint: hash(device), why: Dropped::Unsubscribed };
        (StreamName::Devices(id(ZOE)), Some(id(ZOE)), event.into())
    };
    let unsubscribe = |session: i64, endpoint| Unsubscribe { session: Some(token(session)), endpoint };
    world.answers(&unsubscribe(ZOE, Some(hash(2))), true, &[dropped(2)]);
    world.answers(&unsubscribe(ZOE, Some(hash(9))), false, &[]);
    world.answers(&unsubscribe(ZOE, None), true, &[dropped(1), dropped(2), dropped(3)]);
    for endpoint in [Some(hash(2)), None] {
        world.answers(&unsubscribe(10_002, endpoint), false, &[]);
    }
    world.wants_a_session(ZOE, |session| Unsubscribe { session, endpoint: None });
}

#[test]
fn an_endpoint_leaves_the_account_that_had_it() {
    let mut world = zoe_with(2);
    world.account(10_002);
    let take = |holder| Subscribe { account: id(10_002), holder, ..subscribe(Some(token(10_002)), 50, 1, 20) };
    let from_zoe = |device| take(Some((id(ZOE), hash(device))));
    let event = DeviceSubscribed { endpoint: hash(50), subscription: hash(101), session: Some(token(10_002)) };
    let subscribed = (StreamName::Devices(id(10_002)), Some(id(10_002)), event.into());
    world.answers(&from_zoe(2), (), &[dropped(ZOE, 2, Dropped::Taken), subscribed.clone()]);
    // It was dropped already.
    world.answers(&from_zoe(9), (), std::slice::from_ref(&subscribed));
    let happened = world.when(&from_zoe(2)).unwrap().events;
    world.happen(happened);
    let own = take(Some((id(10_002), hash(50))));
    world.answers(&own, (), &[]);
    // Who has the endpoint is written with an event only: the same again writes one where somebody else has it, or nobody
    // is known to.
    world.answers(&from_zoe(2), (), std::slice::from_ref(&subscribed));
    world.answers(&take(None), (), &[subscribed]);
    assert_eq!(own.endpoint(), Some((hash(200), (id(10_002), hash(50)))));
}

#[test]
fn only_the_account_itself_subscribes() {
    let mut world = zoe_with(0);
    world.account(10_002);
    // Fingerprints under another account's key.
    world.refuses(&subscribe(Some(token(10_002)), 1, 1, 20), Rejection::NotAuthenticated);
    world.wants_a_session(ZOE, |session| subscribe(session, 1, 1, 20));
}

#[test]
fn what_is_gone_is_dropped_unless_it_was_subscribed_again() {
    let mut world = zoe_with(2);
    let gone = |device, nth: u8| DropDevice {
        account: id(ZOE),
        endpoint: hash(device),
        subscription: hash(100 + nth),
        why: Dropped::Gone,
    };
    let dropped = DeviceDropped { endpoint: hash(1), why: Dropped::Gone };
    let dropped = (StreamName::Devices(id(ZOE)), None, dropped.into());
    world.answers(&gone(1, 1), (), std::slice::from_ref(&dropped));
    world.answers(&gone(1, 2), (), &[]);
    world.answers(&gone(3, 1), (), &[]);
    let now = world.now;
    world.now = now.plus(LIFETIME);
    world.answers(&gone(1, 1), (), &[]);
    world.now = now;
    let happened = world.when(&gone(1, 1)).unwrap().events;
    world.happen(happened);
    world.answers(&gone(1, 1), (), &[]);
    // It may come back.
    world.answers(&subscribe(Some(token(ZOE)), 1, 1, 20), (), &[subscribed(1, 1)]);
}
