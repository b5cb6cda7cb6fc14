//! Bodies that are broken, too large, too slow or sent by half, on every route that takes one: each has its answer, costs
//! little, and disturbs nobody. The routes come from the OpenAPI document.

use std::time::Duration;

use be8::http::wire::codes::Code;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Operation, operations};
use crate::client::{Answer, Client, Person, two_people};
use crate::cluster::fresh_database;
use crate::patience::{eventually, within};
use crate::server::{Server, Setup};

const OPERATOR: &str = "an operator token of more than thirty-two bytes";

/// A server with an operator.
async fn setup() -> Setup {
    Setup::on(&fresh_database().await).with_file("operator-token-file", OPERATOR)
}

/// The operations that take a body.
fn with_body() -> Vec<Operation> {
    let found: Vec<_> = operations().into_iter().filter(Operation::takes_body).collect();
    assert!(found.len() > 25, "{}", found.len());
    found
}

/// Somebody who is admitted everywhere.
fn admitted(person: &Person) -> Client {
    person.client.with_bearer(OPERATOR)
}

/// Expects the server to be as well as before: nothing went wrong inside.
async fn is_well(server: &Server) {
    assert_eq!(server.get("/readyz").await.status, 200);
    let log = server.setup().log();
    assert!(!log.contains("panicked") && !log.contains(" ERROR "), "{log}");
}

/// Shows (docs/protocol.md): Bodies; Limits of bodies.
#[tokio::test]
async fn malformed_json_is_refused_on_every_route() {
    let server = setup().await.start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let client = admitted(&alice);
    let deep = [r#"{"a":"#, &"[".repeat(1000)].concat();
    let broken: [&[u8]; 12] = [
        b"{",
        b"}",
        b"{\"accID\":",
        b"{\"accID\":\"10001\"",
        b"{'accID':1}",
        b"nonsense",
        b"null",
        b"7",
        b"\"text\"",
        b"{\"nickname\":\"\xff\xfe\"}",
        b"{}{}",
        deep.as_bytes(),
    ];
    let events = server.metric("be8_ledger_events_total").await;
    for operation in with_body() {
        for body in broken {
            let asked = operation.request(&client).header("content-type", "application/json").body(body.to_vec());
            let answer = client.send(asked).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            operation.refuses(&answer, (400, "INVALIDJSON"), &shown);
        }
    }
    assert_eq!(server.metric("be8_ledger_events_total").await, events, "broken bodies became events");
    // Those that take none do not look at it.
    for operation in operations().into_iter().filter(|operation| !operation.takes_body()) {
        if ["/events", "/metrics"].contains(&operation.path.as_str()) {
            continue;
        }
        let person = Person::sign_up(&server, "Somebody").await;
        let client = admitted(&person);
        let asked = operation.request(&client).header("content-type", "application/json").body("{");
        let answer = client.send(asked).await;
        assert!(answer.status < 500 && !answer.text.contains("INVALIDJSON"), "{operation}: {}", answer.text);
    }
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok");
    is_well(&server).await;
}

/// Expects an answer as the contract has it: accepted, or refused with a code that the document names.
fn is_clear(answer: &Answer, what: &str) {
    let body = answer.json();
    assert!(answer.status < 500, "{what}: {} {body}", answer.status);
    let codes: Vec<&str> = ["error", "reason", "warning"].iter().filter_map(|name| body[*name].as_str()).collect();
    match body["valid"].as_bool() {
        Some(true) => assert!(codes.is_empty(), "{what}: {body}"),
        Some(false) => assert!(codes.len() <= 1, "{what}: {body}"),
        None => assert!(codes.len() == 1 || answer.status < 300, "{what}: {body}"),
    }
    for code in codes {
        assert!(Code::ALL.iter().any(|known| known.as_str() == code), "{what}: unknown code {code}");
    }
}

/// Any value in any field.
///
/// Shows (docs/protocol.md): JSON as JavaScript reads it.
#[tokio::test]
async fn any_value_in_any_field_is_answered() {
    let server = setup().await.start().await;
    let (other, ..) = two_people(&server).await;
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1.5),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}"),
        json!("\u{202e}🦢"),
        json!("x".repeat(300_000)),
        json!([]),
        json!([[]]),
        json!(["10001"]),
        json!([null, {}]),
        json!({}),
        json!({ "length": -1, "toString": null }),
        json!("g10001:99999999999999999999"),
        json!("__proto__"),
    ];
    for operation in with_body() {
        let person = Person::sign_up(&server, "Somebody").await;
        let client = admitted(&person);
        let example = operation.example();
        let asks = operation
            .fields()
            .into_iter()
            .flat_map(|field| values.iter().map(move |value| (field.clone(), value.clone())).collect::<Vec<_>>());
        for (field, value) in asks {
            let mut body = example.clone();
            body[&field] = value.clone();
            let answer = client.send(operation.request(&client).json(&body)).await;
            let shown = value.to_string().chars().take(40).collect::<String>();
            is_clear(&answer, &format!("{operation} with {field} = {shown}"));
        }
        let all: Value = operation.fields().into_iter().map(|field| (field, json!({ "a": [null] }))).collect();
        is_clear(&client.send(operation.request(&client).json(&all)).await, &format!("{operation} {all}"));
    }
    // The registration may have been closed by one of them: the operator may.
    assert_eq!(other.client.get("/me").await.verdict(), "200 ok");
    is_well(&server).await;
}

/// Shows (docs/protocol.md): Bodies; Limits of bodies.
#[tokio::test]
async fn too_large_bodies_are_refused_on_every_route() {
    let server = setup().await.with("body-max-bytes", 20_000).start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let client = admitted(&alice);
    let large = json!({ "padding": "x".repeat(20_000) }).to_string();
    let form: String = (0..6).map(|n| format!("f{n}=x&")).collect();
    for operation in with_body() {
        let ask = |kind: &str| operation.request(&client).header("content-type", kind.to_owned());
        let pieces = large.as_bytes().chunks(1000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec()));
        let pieces: Vec<_> = pieces.collect();
        let streamed = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        let values = format!(r#"{{"a":[{}0]}}"#, "0,".repeat(9_000));
        for (what, asked, status) in [
            ("of a known length", ask("application/json").body(large.clone()), 413),
            ("in pieces", ask("application/json").body(streamed), 413),
            ("of another kind", ask("text/plain").body(large.clone()), 413),
            (
                "with six parameters",
                ask("application/x-www-form-urlencoded").body(form.trim_end_matches('&').to_owned()),
                413,
            ),
            ("within the limit", ask("application/json").body(values), 0),
        ] {
            let answer = client.send(asked).await;
            if status == 413 {
                operation.refuses(&answer, (413, "TOOLARGE"), what);
            } else {
                is_clear(&answer, &format!("{operation} {what}"));
            }
        }
        // A length that nobody can mean is answered before anything of it comes.
        let mut raw = Raw::open(&server).await;
        raw.head(&operation, &client, "999999999999999").await;
        let (status, body) = raw.answer().await;
        operation.is_refused(status, &body, (413, "TOOLARGE"), "of an absurd length");
    }
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok");
    is_well(&server).await;
}

/// A connection on which requests are written by hand.
struct Raw(TcpStream);

impl Raw {
    async fn open(server: &Server) -> Self {
        let address = server.url().trim_start_matches("http://").to_owned();
        Self(TcpStream::connect(address).await.expect("a connection"))
    }

    /// Sends the head of a request with a JSON body of this length.
    async fn head(&mut self, operation: &Operation, client: &Client, length: &str) {
        let asked = operation.request(client).build().expect("a request");
        let mut head = format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", operation.method, operation.path);
        for (name, value) in asked.headers() {
            head += &format!("{name}: {}\r\n", value.to_str().expect("ASCII"));
        }
        head += &format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        self.0.write_all(head.as_bytes()).await.expect("a head");
    }

    /// Sends a piece of a body; false when the server takes no more.
    async fn piece(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// The status and the body of the answer.
    async fn answer(&mut self) -> (u16, Value) {
        let mut text = String::new();
        within("an answer", async {
            loop {
                let mut piece = [0; 4096];
                let count = self.0.read(&mut piece).await.unwrap_or(0);
                text += &String::from_utf8_lossy(&piece[..count]);
                if count == 0 || text.ends_with('}') {
                    break;
                }
            }
        })
        .await;
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or_default())
    }
}

/// Two who talk: each message is written, received and read.
async fn talk(server: &Server) {
    let (alice, bob, thread) = two_people(server).await;
    let mut stream = bob.client.events().await;
    for _ in 0..10 {
        let number = alice.write(&thread, &bob, "undisturbed").await;
        assert_eq!(stream.event().await.data["threadID"], json!(thread));
        assert_eq!(bob.messages(&thread).await.last().unwrap()["messageID"], json!(number.to_string()));
    }
}

/// All routes at once, each with a body that stops in its middle and one that goes on forever in drops.
///
/// Shows (docs/protocol.md): Limits of bodies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_are_given_up_on_every_route() {
    let server = setup().await.with("body-stall-seconds", 1).with("body-total-seconds", 3).start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let client = admitted(&alice);
    // Also where the body is a text.
    let any = |operation: &Operation| operation.takes_body() || operation.path.ends_with("/add-checkpoint");
    let (operations, server_of_all) = (operations().into_iter().filter(any).collect::<Vec<_>>(), &server);
    let stopped = join_all(operations.iter().map(async |operation| {
        let mut raw = Raw::open(server_of_all).await;
        raw.head(operation, &client, "1000").await;
        raw.piece(br#"{"accID":"#).await;
        let (status, body) = raw.answer().await;
        operation.is_refused(status, &body, (408, "TIMEOUT"), "stops");
    }));
    let dripping = join_all(operations.iter().map(async |operation| {
        let mut raw = Raw::open(server_of_all).await;
        raw.head(operation, &client, "50000").await;
        // Each drop comes in time for the pause, none ends the body.
        for _ in 0..1000 {
            let mut answered = [0; 1];
            let drop = tokio::time::sleep(Duration::from_millis(100));
            tokio::select! {
                _ = raw.0.peek(&mut answered) => break,
                () = drop => if !raw.piece(b" ").await { break },
            }
        }
        let (status, body) = raw.answer().await;
        operation.is_refused(status, &body, (408, "TIMEOUT"), "in drops");
    }));
    tokio::join!(stopped, dripping, talk(&server));
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok");
    is_well(&server).await;
}

/// All routes at once, each in the middle of a body: nobody waits for them, and each that goes on is answered.
///
/// Shows (docs/protocol.md): Limits of bodies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_in_the_middle_of_a_body_keep_nobody_waiting() {
    let server = setup().await.with("body-stall-seconds", 3600).with("body-total-seconds", 3600).start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let client = admitted(&alice);
    let mut halves = Vec::new();
    for operation in with_body() {
        for _ in 0..5 {
            let mut raw = Raw::open(&server).await;
            raw.head(&operation, &client, "10").await;
            raw.piece(br#"{"a":"#).await;
            halves.push((operation.to_string(), raw));
        }
    }
    talk(&server).await;
    for (operation, raw) in &mut halves {
        assert!(raw.0.try_read(&mut [0]).is_err(), "{operation} was answered too early");
        raw.piece(br#""b"} "#).await;
    }
    for (operation, mut raw) in halves {
        let (status, body) = raw.answer().await;
        assert!((200..500).contains(&status) && body.is_object(), "{operation}: {status} {body}");
        assert_ne!(body["error"], "TIMEOUT", "{operation}");
    }
    is_well(&server).await;
}

/// How many files a process has open.
fn open_files(server: &Server) -> usize {
    let folder = format!("/proc/{}/fd", server.pid().as_raw_nonzero());
    std::fs::read_dir(folder).expect("its files").count()
}

/// Shows (docs/protocol.md): Limits of bodies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_go_in_the_middle_of_a_body_leave_no_resources_in_use() {
    let server = setup().await.start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let client = admitted(&alice);
    let all = with_body();
    // What connections of tests and pools of the server need, once.
    talk(&server).await;
    let (files, events) = (open_files(&server), server.metric("be8_ledger_events_total").await);
    for round in 0..4 {
        join_all(all.iter().map(async |operation| {
            let body = operation.example().to_string();
            let mut raw = Raw::open(&server).await;
            // One byte is missing: nobody may take it for the whole.
            raw.head(operation, &client, &(body.len() + 1).to_string()).await;
            raw.piece(body.as_bytes()).await;
            match round {
                0 => drop(raw),
                // Cut off without a word.
                1 => raw.0.set_zero_linger().expect("a socket"),
                // Only this way is closed, so there could be an answer.
                2 => raw.0.shutdown().await.expect("the end of the body"),
                _ => {
                    let _ = raw.0.shutdown().await;
                    let (status, body) = raw.answer().await;
                    let refused = (status, &body["error"]) == (400, &json!("INVALIDJSON"));
                    assert!(refused || status == 0, "{operation}: {status} {body}");
                }
            }
        }))
        .await;
    }
    assert_eq!(server.metric("be8_ledger_events_total").await, events, "half a request was taken for a whole one");
    eventually("their connections are closed", async || open_files(&server) <= files).await;
    is_well(&server).await;
}

/// The most memory that the server has used so far, in MiB.
fn peak(server: &Server) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", server.pid().as_raw_nonzero())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// Hundreds of large bodies that nobody completes: the server holds a bounded part of them, and serves all others.
///
/// Shows (docs/protocol.md): Limits of bodies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_at_once_take_bounded_memory() {
    let setup = setup().await.with("body-memory-mib", 64);
    let server = setup.with("body-stall-seconds", 3600).with("body-total-seconds", 3600).start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let client = admitted(&alice);
    let all = with_body();
    let large = json!({ "nickname": "Ann", "password": "p".repeat(5_200_000) });
    let before = peak(&server);
    let piece = vec![b' '; 64 * 1024];
    let send = async |n: usize| {
        let mut raw = Raw::open(&server).await;
        raw.head(&all[n % all.len()], &client, "5242880").await;
        // All but the last byte, unless the server has enough of it.
        for n in 0..80 {
            if !raw.piece(&piece[usize::from(n == 79)..]).await {
                break;
            }
        }
        raw
    };
    // These fill the room, but for less than one of them needs.
    let mut held = join_all((0..12).map(send)).await;
    let claimed = 12.0 * (5_242_880.0 - 65_536.0);
    eventually("twelve are taken in", async || server.metric("be8_body_bytes").await == claimed).await;
    held.extend(join_all((0..288).map(send)).await);
    // A client that sends little is served, one that sends much is asked to come back.
    talk(&server).await;
    let refused = server.post("/newacc", &large).await;
    assert_eq!(refused.verdict(), "503 UNAVAILABLE");
    assert!(refused.header("retry-after").is_some());
    let grown = peak(&server) - before;
    assert!(grown < 300, "300 bodies of 5 MiB that were never completed took {grown} MiB");
    drop(held);
    eventually("there is room again", async || server.post("/newacc", &large).await.verdict() == "200 PASSWORDFAILURE")
        .await;
    eventually("nothing is claimed", async || server.metric("be8_body_bytes").await == 0.0).await;
    is_well(&server).await;
}
