//! `/events` again without an id: what the account's last stream was not sent, or what is recent.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, Person, two_people};
use crate::cluster::fresh_database;
use crate::patience::eventually;
use crate::server::{Server, Setup};
use crate::sse::{Event, EventStream};

/// Waits until the server has noticed that no stream is open any more.
async fn all_are_closed(server: &Server) {
    eventually("all streams are closed", async || server.metric("be8_feed_streams").await == 0.0).await;
}

/// The actions of events, each with its thread.
fn actions(events: &[Event]) -> Vec<(&Value, &Value)> {
    events.iter().map(|event| (&event.data["action"], &event.data["threadID"])).collect()
}

/// Another device of somebody.
async fn device(server: &Server, of: &Person) -> Client {
    let answer = server.post("/login", &json!({ "accID": of.id, "password": of.password })).await;
    server.client().with_cookie(answer.header("set-cookie").expect("a session"))
}

/// Shows (docs/protocol.md): Reconnecting without an id.
#[tokio::test]
async fn a_stream_resumes_after_what_the_last_one_had_written() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let carol = Person::sign_up(&server, "Carol").await;
    let mut first = alice.client.events().await;
    bob.write(&thread, &alice, "received").await;
    first.event().await;
    drop(first);
    all_are_closed(&server).await;

    // Meanwhile, on another device: what would switch the open chat is left out.
    let with_carol = alice.start_conversation(&carol).await;
    alice.client.post("/groupcreate", &json!({ "nickname": "Friends", "groupType": "public" })).await;
    bob.write(&thread, &alice, "missed").await;
    carol.write(&with_carol, &alice, "missed, too").await;
    let mut second = alice.client.events_without_id().await;
    let events = second.events(2).await;
    let message = json!("newMessage");
    assert_eq!(actions(&events), [(&message, &json!(thread)), (&message, &json!(with_carol))]);
    // With an id everything is sent.
    let behind = alice.client.request(Method::GET, "/events").header("Last-Event-ID", "1");
    assert_eq!(EventStream::open(behind).await.event().await.data["action"], "newConversation");

    // Nothing comes twice, and what comes is live.
    drop(second);
    all_are_closed(&server).await;
    let mut third = alice.client.events_without_id().await;
    bob.write(&thread, &alice, "live").await;
    let live = third.event().await;
    assert_eq!(live, alice.client.newest_change().await);
}

/// Shows (docs/protocol.md): Reconnecting without an id.
#[tokio::test]
async fn beside_an_open_stream_another_one_begins_with_what_was_written_lately() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut open = alice.client.events().await;
    bob.write(&thread, &alice, "received by the one that is open").await;
    open.event().await;
    // The open one may be the dead half of a connection whose client has come back, so a change may come twice.
    let mut beside = device(&server, &alice).await.events_without_id().await;
    let lately = beside.event().await;
    assert_eq!((&lately.data["action"], &lately.data["threadID"]), (&json!("newMessage"), &json!(thread)));
    bob.write(&thread, &alice, "received by both").await;
    assert_eq!(beside.event().await, open.event().await);
    // The last one that ends is the one that counts.
    drop(open);
    eventually("one is closed", async || server.metric("be8_feed_streams").await == 1.0).await;
    bob.write(&thread, &alice, "received by the other").await;
    beside.event().await;
    drop(beside);
    all_are_closed(&server).await;
    bob.write(&thread, &alice, "missed").await;
    let missed = alice.client.events_without_id().await.event().await;
    assert_eq!(missed, alice.client.newest_change().await);
}

/// Shows (docs/protocol.md): Reconnecting without an id.
#[tokio::test]
async fn after_a_restart_and_on_another_node_the_last_two_minutes_are_sent() {
    let clock = tempfile::NamedTempFile::new().unwrap();
    let turn = |seconds: i64| crate::clock::turn(clock.path(), seconds);
    let setup = Setup::on(&fresh_database().await).with("test-clock-file", clock.path().display());
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let with_carol = alice.start_conversation(&Person::sign_up(&server, "Carol").await).await;
    let mut stream = alice.client.events().await;
    bob.write(&thread, &alice, "long ago").await;
    stream.event().await;
    turn(150);
    bob.write(&thread, &alice, "recent").await;
    let recent = stream.event().await;

    // Another node knows of no stream: at least once.
    let other = server.setup().second().start().await;
    let elsewhere = alice.at(&other).client.events_without_id().await.event().await;
    assert_eq!(elsewhere, recent);
    let server = server.kill().await.start().await;
    let alice = alice.at(&server);
    assert_eq!(alice.client.events_without_id().await.event().await, recent);
    all_are_closed(&server).await;
    // What was missed is not sent forever either.
    bob.at(&server).write(&thread, &alice, "missed, and forgotten").await;
    turn(300);
    let mut late = alice.client.events_without_id().await;
    let dave = Person::sign_up(&server, "Dave").await;
    let with_dave = dave.start_conversation(&alice).await;
    let event = late.event().await;
    assert_eq!(event.data["threadID"], json!(with_dave));
    assert_ne!(with_dave, with_carol);
}

/// Shows (docs/protocol.md): Reconnecting without an id.
#[tokio::test]
async fn more_than_a_thousand_missed_changes_are_sent_in_short() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let carol = Person::sign_up(&server, "Carol").await;
    drop(alice.client.events().await);
    all_are_closed(&server).await;
    let with_carol = carol.start_conversation(&alice).await;
    bob.write_many(&thread, &alice, 1000).await;
    let mut stream = alice.client.events_without_id().await;
    let events = stream.events(2).await;
    let message = json!("newMessage");
    assert_eq!(actions(&events), [(&message, &json!(with_carol)), (&message, &json!(thread))]);
    bob.write(&thread, &alice, "live").await;
    let live = stream.event().await;
    assert_eq!(live, alice.client.newest_change().await);
}
