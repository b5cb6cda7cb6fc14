//! Limits under a clock that is turned.

use std::sync::atomic::AtomicI64;

use be8_events::Timestamp;

use super::*;

/// A clock that stands still until it is turned.
#[derive(Debug, Default)]
struct Dial(AtomicI64);

impl Dial {
    fn turn(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for Dial {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

fn bucket(limit: &str, most: usize) -> (Bucket, Arc<Dial>) {
    let dial = Arc::new(Dial::default());
    let time = Time { begun: Instant::now(), test: Some(dial.clone()) };
    (Bucket::new("test", limit.parse().unwrap(), time, most), dial)
}

fn key(text: &str) -> Key {
    text.parse::<IpAddr>().unwrap().into()
}

#[test]
fn all_at_once_then_evenly() {
    let (bucket, dial) = bucket("3/60", 100);
    let ask = || bucket.ask(key("192.0.2.1"));
    assert_eq!([ask(), ask(), ask()], [2, 1, 0].map(Verdict::Pass));
    assert_eq!(ask(), Verdict::Wait(Duration::from_secs(20)));
    // Who is refused loses nothing by having asked.
    dial.turn(19_999);
    assert_eq!(ask(), Verdict::Wait(Duration::from_millis(1)));
    dial.turn(1);
    assert_eq!(ask(), Verdict::Pass(0));
    assert!(matches!(ask(), Verdict::Wait(_)));
    dial.turn(60_000);
    assert_eq!([ask(), ask(), ask()], [2, 1, 0].map(Verdict::Pass));
}

#[test]
fn others_are_counted_apart_and_a_network_of_ipv6_together() {
    let (bucket, _) = bucket("1/60", 100);
    for (address, passes) in [
        ("192.0.2.1", true),
        ("192.0.2.2", true),
        ("192.0.2.1", false),
        ("2001:db8:0:1::1", true),
        ("2001:db8:0:1:ffff::2", false),
        ("2001:db8:0:2::1", true),
    ] {
        assert_eq!(bucket.ask(key(address)) == Verdict::Pass(0), passes, "{address}");
    }
    assert_eq!(bucket.ask(Key::Account(AccId::new(10_001).unwrap())), Verdict::Pass(0));
    assert!(matches!(bucket.ask(Key::Account(AccId::new(10_001).unwrap())), Verdict::Wait(_)));
}

#[test]
fn an_answer_says_what_is_left() {
    let (bucket, dial) = bucket("3/60", 100);
    let mut told = Vec::new();
    for _ in 0..4 {
        let mut answer = Response::default();
        bucket.tell(bucket.ask(key("192.0.2.1")), &mut answer);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"test\";q=3;w=60"));
        told.push(answer.header("ratelimit").unwrap().to_owned());
        dial.turn(100);
    }
    // Not quite two are left when a tenth of a second of the first one's time has passed.
    assert_eq!(told, ["\"test\";r=2;t=20", "\"test\";r=1;t=40", "\"test\";r=0;t=60", "\"test\";r=0;t=20"]);
}

#[test]
fn memory_is_bounded_for_any_clients() {
    let (bucket, dial) = bucket("1/60", 2000);
    let account = |n: u32| Key::Account(AccId::new(10_001 + i64::from(n)).unwrap());
    for n in 0..200_000 {
        bucket.ask(account(n));
    }
    // Those who came before it was too many, and then at most as many as a crowd has numbers.
    assert!(bucket.states.len() <= 2000 + COUNT_EVERY as usize + 65_536, "{}", bucket.states.len());
    assert!(bucket.crowded.load(Ordering::Relaxed));
    // They are distinguished again once the others have expired.
    dial.turn(180_000);
    bucket.tidy();
    assert_eq!(bucket.states.len(), 0);
    assert_eq!([bucket.ask(account(1)), bucket.ask(account(2))], [Verdict::Pass(0); 2]);
}

#[test]
fn a_limit_is_two_numbers() {
    for good in ["1/1", "1000/60", "1000000/1"] {
        assert!(good.parse::<Limit>().is_ok(), "{good}");
    }
    for bad in ["", "1", "0/1", "1/0", "-1/1", "1/1/1", "a/b", "4000000000/1"] {
        assert!(bad.parse::<Limit>().is_err(), "{bad}");
    }
}
