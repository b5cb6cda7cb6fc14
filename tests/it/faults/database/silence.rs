//! A PostgreSQL that does not answer: a commit that waits for a standby, frozen processes, a network that drops packets.

use serde_json::json;
use sqlx::PgPool;

use super::Own;
use crate::client::{Person, two_people};
use crate::cluster::fresh_database;
use crate::faults::proxy::Proxy;
use crate::faults::{numbers, sound_log};
use crate::patience::{eventually, within};
use crate::server::{Server, Setup};

/// With little patience.
fn hasty(setup: Setup) -> Setup {
    setup.with("ledger-patience-seconds", 1).with("ledger-outcome-seconds", 3).with("database-read-seconds", 1)
}

async fn texts(person: &Person, thread: &str) -> Vec<String> {
    let messages = person.messages(thread).await;
    messages[1..].iter().map(|message| message["text"].as_str().expect("text").to_owned()).collect()
}

/// Waits until the server is ready, and writes.
async fn recovers(server: &Server, alice: &Person, bob: &Person, thread: &str) -> u32 {
    eventually("it is ready again", async || server.get("/readyz").await.status == 200).await;
    within("the next message", alice.write(thread, bob, "surely")).await
}

/// Every way of asking is answered by 503, and the server says that it lives.
async fn everything_is_refused(server: &Server, alice: &Person, bob: &Person, thread: &str) {
    let letter = alice.letter(thread, &bob.id, "refused");
    let first = alice.client.post("/writemessage", &letter).await;
    assert!(matches!(&*first.verdict(), "503 OUTCOMEUNKNOWN" | "503 UNAVAILABLE"), "{}", first.text);
    for answer in [
        alice.client.post("/writemessage", &letter).await,
        alice.client.get("/me").await,
        alice.client.get("/getthreads").await,
        alice.client.post("/getmessages", &json!({ "threadID": thread })).await,
    ] {
        assert_eq!((answer.verdict().as_str(), answer.header("retry-after")), ("503 UNAVAILABLE", Some("1")));
    }
    assert_eq!(server.get("/readyz").await.status, 503);
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_commit_that_waits_for_a_standby_is_told_so_and_settled_when_it_is_back() {
    let own = Own::start().await;
    let server = hasty(Setup::on(&own.database)).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    own.set("synchronous_standby_names", "s1").await;
    let first = alice.client.post("/writemessage", &alice.letter(&thread, &bob.id, "perhaps")).await;
    assert_eq!(first.verdict(), "503 OUTCOMEUNKNOWN");
    for _ in 0..3 {
        // What came later was not begun: it says so after the patience for that, and was not written.
        let later = alice.client.post("/writemessage", &alice.letter(&thread, &bob.id, "never")).await;
        assert_eq!((later.verdict().as_str(), later.header("retry-after")), ("503 UNAVAILABLE", Some("1")));
        assert_eq!(server.get("/readyz").await.status, 503);
    }
    let threads = bob.threads().await;
    assert_eq!(threads[0]["text"], "STARTCONVERSATION", "reads are answered, and show nothing of it");
    let waiting = own.waiting().await;
    assert!((1..=12).contains(&waiting), "{waiting} sessions wait: each attempt leaves one");
    own.set("synchronous_standby_names", "").await;
    let number = recovers(&server, &alice, &bob, &thread).await;
    assert_eq!(texts(&bob, &thread).await, ["perhaps", "surely"], "it was written, once");
    let pool = PgPool::connect(&own.database.url).await.unwrap();
    assert_eq!(numbers(&sound_log(&pool).await, &thread), (2..=number).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_whose_commit_waits_for_a_standby_stops_when_it_is_told_to() {
    let own = Own::start().await;
    // With its usual patience.
    let server = Setup::on(&own.database).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    own.set("synchronous_standby_names", "s1").await;
    let letter = alice.letter(&thread, &bob.id, "perhaps");
    let writing = tokio::spawn(async move { alice.client.post("/writemessage", &letter).await });
    eventually("the commit waits", async || own.waiting().await > 0).await;
    server.terminate();
    let answer = within("an answer", writing).await.unwrap();
    assert_eq!(answer.verdict(), "503 OUTCOMEUNKNOWN");
    let (_, status) = server.ended().await;
    assert!(status.success(), "{status}");
    own.set("synchronous_standby_names", "").await;
}

#[tokio::test]
async fn a_frozen_postgresql_is_told_and_gone_on_with() {
    let own = Own::start().await;
    let server = hasty(Setup::on(&own.database)).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let frozen = own.freeze();
    everything_is_refused(&server, &alice, &bob, &thread).await;
    drop(frozen);
    recovers(&server, &alice, &bob, &thread).await;
    let told = texts(&bob, &thread).await;
    assert!(told == ["surely"] || told == ["refused", "surely"], "{told:?}");
    let frozen = own.freeze();
    let letter = alice.letter(&thread, &bob.id, "at the end");
    let writing = tokio::spawn(async move { alice.client.post("/writemessage", &letter).await });
    server.terminate();
    let (_, status) = server.ended().await;
    assert!(status.success(), "{status}");
    writing.abort();
    drop(frozen);
}

#[tokio::test]
async fn a_network_that_drops_packets_is_told_and_gone_on_with() {
    let database = fresh_database().await;
    let proxy = Proxy::start(&database).await;
    let server = hasty(Setup::on(&database).through(proxy.url())).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    proxy.flows(false);
    everything_is_refused(&server, &alice, &bob, &thread).await;
    proxy.flows(true);
    recovers(&server, &alice, &bob, &thread).await;
    proxy.flows(false);
    server.terminate();
    let (_, status) = server.ended().await;
    assert!(status.success(), "{status}");
}
