//! Limits on requests, as clients see them.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::client::{Answer, Client, Person, two_people};
use crate::cluster::fresh_database;
use crate::server::{Server, Setup};

/// A server whose clock is turned.
struct Turned {
    server: Server,
    clock: NamedTempFile,
}

impl Turned {
    async fn start(limits: &[(&str, &str)]) -> Self {
        let clock = NamedTempFile::new().unwrap();
        let setup = Setup::on(&fresh_database().await).with("test-clock-file", clock.path().display());
        let server = limits.iter().fold(setup, |setup, (name, limit)| setup.with(name, limit)).start().await;
        Self { server, clock }
    }

    fn turn(&self, seconds: u32) {
        crate::clock::turn(self.clock.path(), i64::from(seconds));
    }
}

fn new_account() -> Value {
    json!({ "nickname": "Ann", "password": "p" })
}

/// Signs up with this header.
async fn sign_up(server: &Server, header: (&str, &str)) -> String {
    let client = server.client();
    let request = client.request(Method::POST, "/newacc").header(header.0, header.1).json(&new_account());
    client.send(request).await.verdict()
}

fn limit_headers(answer: &Answer) -> (&str, &str) {
    (answer.header("ratelimit-policy").unwrap(), answer.header("ratelimit").unwrap())
}

/// Shows (docs/protocol.md): Rate limits.
#[tokio::test]
async fn beyond_the_limit_an_account_waits_and_is_served_again() {
    let turned = Turned::start(&[("limit-account", "4/4000")]).await;
    let server = &turned.server;
    // The first request of a session counts for its address: nobody knew yet that there is such a session.
    let alice = Person::sign_up(server, "Alice").await;
    let bob = Person::sign_up(server, "Bob").await;
    let me = async || alice.client.get("/me").await;
    // One was /setkey.
    let answer = me().await;
    assert_eq!((answer.status, limit_headers(&answer)), (200, ("\"account\";q=4;w=4000", "\"account\";r=2;t=2000")));
    // What is refused counts, too.
    let answer = alice.client.post("/writemessage", &json!({})).await;
    assert_eq!((answer.verdict().as_str(), limit_headers(&answer).1), ("400 ACCNOTEXISTS", "\"account\";r=1;t=3000"));
    assert_eq!(limit_headers(&me().await).1, "\"account\";r=0;t=4000");
    let refused = me().await;
    assert_eq!(refused.verdict(), "429 RATELIMITED");
    // It has the headers of every answer (docs/protocol.md, Headers of answers).
    for (name, value) in
        [("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")]
    {
        assert_eq!(refused.header(name), Some(value), "{name}");
    }
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(limit_headers(&refused).1, format!("\"account\";r=0;t={wait}"));
    // The clock of the machine went on a little.
    assert!((900..=1000).contains(&wait), "{wait}");
    // A body that nobody reads hurts nobody.
    let large = alice.client.post("/writemessage", &json!({ "text": "x".repeat(100_000) })).await;
    assert_eq!(large.verdict(), "429 RATELIMITED");
    // Another device of hers waits as well, once it is known to be hers.
    let login = server.post("/login", &json!({ "accID": alice.id, "password": alice.password })).await;
    let device = server.client().with_cookie(login.header("set-cookie").unwrap());
    assert_eq!(device.get("/me").await.status, 200);
    assert_eq!(device.get("/me").await.verdict(), "429 RATELIMITED");
    // Others are not concerned, and neither is what needs no session.
    assert_eq!(bob.client.get("/me").await.status, 200);
    assert_eq!(server.get("/").await.status, 200);

    turned.turn(wait);
    assert_eq!(me().await.status, 200);
    assert_eq!(me().await.verdict(), "429 RATELIMITED");
    turned.turn(wait + 4000);
    for _ in 0..4 {
        assert_eq!(me().await.status, 200);
    }
    assert_eq!(me().await.verdict(), "429 RATELIMITED");
    assert!((server.metric("be8_limited_total").await - 5.0).abs() < f64::EPSILON);
}

/// Shows (docs/protocol.md): Rate limits.
#[tokio::test]
async fn a_stream_over_the_limit_learns_when_to_come_back() {
    let turned = Turned::start(&[("limit-streams", "1/600")]).await;
    let alice = Person::sign_up(&turned.server, "Alice").await;
    let _stream = alice.client.events().await;
    let refused = alice.client.get("/events").await;
    assert_eq!(refused.status, 200);
    assert_eq!(refused.header("content-type"), Some("text/event-stream"));
    assert_eq!(refused.header("cache-control"), Some("no-cache, no-transform"));
    let retry: u32 = refused.text.trim_end().strip_prefix("retry:").unwrap().trim().parse().unwrap();
    assert!((500_000..=600_000).contains(&retry), "{retry}");
    // Other requests go on.
    assert_eq!(alice.client.get("/me").await.status, 200);
    turned.turn(600);
    let _stream = alice.client.events().await;
}

/// Shows (docs/protocol.md): Rate limits.
#[tokio::test]
async fn five_hundred_at_once_from_one_address_are_no_crowd() {
    let server = Server::start().await;
    let clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    let body = new_account();
    let answers = join_all((0..500).map(|nth: usize| clients[nth % 20].post("/newacc", &body))).await;
    for answer in &answers {
        assert_eq!(answer.verdict(), "200 ok");
        assert_eq!(limit_headers(answer).0, "\"signups\";q=1000;w=60");
    }
    // Each of them is somebody, who asks dozens of things at once.
    let people: Vec<Client> =
        answers.iter().map(|answer| clients[0].with_cookie(answer.header("set-cookie").unwrap())).collect();
    let all = join_all(people.iter().map(|client| client.get("/me"))).await;
    assert!(all.iter().all(|answer| answer.status == 200));
    let dozens = join_all((0..60).map(|_| people[7].get("/getthreads"))).await;
    assert!(dozens.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn what_a_stranger_says_of_its_address_has_no_effect() {
    let server = Turned::start(&[("limit-signups", "2/3600")]).await.server;
    for (nth, expected) in ["200 ok", "200 ok", "429 RATELIMITED", "429 RATELIMITED"].into_iter().enumerate() {
        let header = if nth % 2 == 0 { "x-forwarded-for" } else { "forwarded" };
        let said = if nth % 2 == 0 { format!("198.51.100.{nth}") } else { format!("for=198.51.100.{nth}") };
        assert_eq!(sign_up(&server, (header, &said)).await, expected);
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_its_clients_count() {
    let limits = [("limit-signups", "1/3600"), ("trusted-proxy", "127.0.0.1, 10.0.0.9")];
    let server = Turned::start(&limits).await.server;
    let (yes, no) = ("200 ok", "429 RATELIMITED");
    for (said, expected) in [
        ("198.51.100.1", yes),
        ("198.51.100.1", no),
        ("198.51.100.2", yes),
        // What the client itself puts in front counts for nothing.
        ("203.0.113.1, 198.51.100.2", no),
        ("203.0.113.2, 198.51.100.2, 10.0.0.9", no),
        // Of IPv6 a network counts.
        ("2001:db8:0:1::1", yes),
        ("2001:db8:0:1:ffff::2", no),
        ("2001:db8:0:2::1", yes),
        // Nobody knows who it is: the proxy counts.
        ("unknown", yes),
        ("", no),
    ] {
        assert_eq!(sign_up(&server, ("x-forwarded-for", said)).await, expected, "{said}");
    }
    assert_eq!(sign_up(&server, ("forwarded", "for=198.51.100.77")).await, no, "this proxy does not write that");
}

#[tokio::test]
async fn sessions_that_somebody_made_up_count_for_the_address() {
    let limits = [("limit-address", "40/36000"), ("limit-account", "1000/60")];
    let turned = Turned::start(&limits).await;
    let server = &turned.server;
    let (alice, bob, thread) = two_people(server).await;
    let mut verdicts = Vec::new();
    for _ in 0..60 {
        let token: [u8; 43] =
            std::array::from_fn(|_| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[usize::from(rand::random::<u8>()) % 32]);
        let made_up = server.client().with_cookie(&format!("be8={}A", std::str::from_utf8(&token[..42]).unwrap()));
        verdicts.push(made_up.get("/me").await.verdict());
    }
    assert_eq!(verdicts[0], "401 NOTAUTH");
    assert_eq!(verdicts[59], "429 RATELIMITED");
    // Also an operation that does not exist.
    assert_eq!(server.get("/nowhere").await.verdict(), "429 RATELIMITED");
    // Those with a session go on, and so does anyone who monitors the server.
    alice.write(&thread, &bob, "still here").await;
    for path in ["/healthz", "/readyz"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("ratelimit")), (200, None));
    }
    assert!(server.metric("be8_limited_total").await >= 20.0);
}

#[tokio::test]
async fn every_other_answer_says_what_is_left() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let address = "\"address\";q=30000;w=60";
    for (answer, status, policy) in [
        (server.get("/").await, 200, address),
        (server.get("/docs").await, 200, address),
        (server.get("/nowhere").await, 404, address),
        (server.post("/healthz", &json!({})).await, 405, ""),
        (server.get("/me").await, 401, address),
        (server.post("/newacc", &json!({})).await, 400, "\"signups\";q=1000;w=60"),
        (alice.client.get("/ME/").await, 200, "\"account\";q=12000;w=60"),
        (alice.client.post_raw("/writemessage", Some("application/json"), "{").await, 400, "\"account\";q=12000;w=60"),
        (alice.client.get("/writemessage").await, 404, "\"account\";q=12000;w=60"),
    ] {
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(answer.header("ratelimit-policy").unwrap_or_default(), policy, "{}", answer.text);
    }
}

#[tokio::test]
async fn limits_can_be_turned_off() {
    let off = ["limit-signups", "limit-address", "limit-account", "limit-streams"].map(|name| (name, "off"));
    let server = Turned::start(&off).await.server;
    let alice = Person::sign_up(&server, "Alice").await;
    let answer = alice.client.get("/me").await;
    assert_eq!((answer.status, answer.header("ratelimit")), (200, None));
}
