//! `/events`: what is sent to whom, how it looks on the wire, and when a stream ends.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::{Person, two_people};
use crate::cluster::fresh_database;
use crate::patience::eventually;
use crate::server::{Server, Setup};
use crate::sse::{Block, EventStream};

/// What a stream says next.
async fn next_data(stream: &mut EventStream) -> Value {
    stream.event().await.data
}

fn new_message(thread: &str, from: &Person) -> Value {
    json!({
        "action": "newMessage", "threadID": thread, "groupID": thread, "sender": from.id, "nickname": from.nickname,
        "type": "user",
    })
}

/// Shows (docs/protocol.md): The stream.
#[tokio::test]
async fn a_stream_is_open_before_anything_happens() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    // The head is there at once, with the pause for coming back.
    let mut stream = alice.client.events().await;
    assert_eq!(stream.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(stream.headers[name], value, "{name}");
    }
    assert_eq!(stream.headers.get("content-encoding"), None);
    assert_eq!(stream.next_block().await, Some(Block::Retry(2500)));
}

/// Shows (docs/protocol.md): The stream.
#[tokio::test]
async fn a_silent_stream_shows_that_it_lives() {
    let setup = Setup::on(&fresh_database().await).with("events-heartbeat-seconds", 1);
    let server = setup.start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let mut stream = alice.client.events().await;
    assert_eq!(stream.next_block().await, Some(Block::Retry(2500)));
    assert_eq!(stream.next_block().await, Some(Block::Comment));
    assert_eq!(stream.next_block().await, Some(Block::Comment));
}

/// Shows (docs/protocol.md): Starting a conversation; Read marks; Changes and their recipients.
#[tokio::test]
async fn the_changes_that_both_sides_of_a_dialog_get() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice \"\n\u{2028}🦢").await;
    let bob = Person::sign_up(&server, "Bob").await;
    let (mut to_alice, mut to_bob) = (alice.client.events().await, bob.client.events().await);

    let thread = alice.start_conversation(&bob).await;
    // The receiver's open chat must not be switched: it receives a message.
    assert_eq!(next_data(&mut to_alice).await, json!({ "action": "newConversation", "partner": bob.id }));
    assert_eq!(next_data(&mut to_bob).await, new_message(&thread, &alice));
    // What was begun already is no news.
    bob.start_conversation(&alice).await;

    alice.write(&thread, &bob, "one").await;
    assert_eq!(next_data(&mut to_alice).await, new_message(&thread, &alice));
    assert_eq!(next_data(&mut to_bob).await, new_message(&thread, &alice));
    alice.write(&thread, &bob, "two").await;
    next_data(&mut to_alice).await;
    next_data(&mut to_bob).await;

    // One for all that was read, about the newest of it, to the sender alone.
    bob.messages(&thread).await;
    let read = |id: &str, receiver: &Person| {
        json!({
            "action": "messageRead", "threadID": thread, "receiver": receiver.id, "messageID": id, "type": "user",
        })
    };
    assert_eq!(next_data(&mut to_alice).await, read("3", &bob));
    // Own messages and those of the system notify nobody.
    alice.messages(&thread).await;
    bob.messages(&thread).await;
    bob.write(&thread, &alice, "three").await;
    assert_eq!(next_data(&mut to_alice).await, new_message(&thread, &bob));
    assert_eq!(next_data(&mut to_bob).await, new_message(&thread, &bob));
    alice.messages(&thread).await;
    assert_eq!(next_data(&mut to_bob).await, read("4", &alice));
}

/// Shows (docs/protocol.md): The stream.
#[tokio::test]
async fn the_transcript_of_a_talk() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let bob = Person::sign_up(&server, "B\"o\\b\n🦢\u{85}\u{2028}").await;
    let mut stream = alice.client.events().await;
    let thread = alice.start_conversation(&bob).await;
    alice.write(&thread, &bob, "one").await;
    bob.messages(&thread).await;
    bob.write(&thread, &alice, "two").await;
    let mut transcript = String::new();
    for _ in 0..5 {
        let text = stream.next_text().await.unwrap();
        // Only events end with an empty line: some clients dispatch an empty event at every one.
        for line in text.lines() {
            transcript += if line.starts_with("id: ") { "id: (opaque)" } else { line };
            transcript += "\n";
        }
        transcript += if text.starts_with("data:") { "\n" } else { "" };
    }
    insta::assert_snapshot!(transcript, @r#"
    retry: 2500
    data: {"action":"newConversation","partner":"10002"}
    id: (opaque)

    data: {"action":"newMessage","groupID":"10001:10002","nickname":"Alice","sender":"10001","threadID":"10001:10002","type":"user"}
    id: (opaque)

    data: {"action":"messageRead","messageID":"2","receiver":"10002","threadID":"10001:10002","type":"user"}
    id: (opaque)

    data: {"action":"newMessage","groupID":"10001:10002","nickname":"B\"o\\b\n\ud83e\udda2\u0085\u2028","sender":"10002","threadID":"10001:10002","type":"user"}
    id: (opaque)
    "#);
}

/// Shows (docs/protocol.md): Ids of changes.
#[tokio::test]
async fn ids_say_nothing_of_the_log() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut stream = bob.client.events().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        alice.write(&thread, &bob, &format!("{n}")).await;
        ids.push(stream.event().await.id);
    }
    for id in &ids {
        assert_eq!(id.len(), 22, "{id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{id}");
        assert!(id.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'-'), "{id} is a plain one");
    }
    // What stands close together in the log looks like anything else.
    let beginnings: BTreeSet<&str> = ids.iter().map(|id| &id[..6]).collect();
    assert_eq!(beginnings.len(), ids.len(), "{ids:?}");
    assert!(!ids.is_sorted() && !ids.iter().rev().is_sorted(), "{ids:?}");
    // The next server of the database knows them.
    let mut all = stream;
    alice.write(&thread, &bob, "last").await;
    let last = all.event().await;
    let server = server.kill().await.start().await;
    assert_eq!(bob.at(&server).client.events_after(&ids[19]).await.event().await, last);
}

/// Shows (docs/protocol.md): The stream.
#[tokio::test]
async fn every_tab_gets_every_change_and_strangers_get_none() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let eve = Person::sign_up(&server, "Eve").await;
    let mut tabs = Vec::new();
    for _ in 0..5 {
        tabs.push(bob.client.events().await);
    }
    let mut to_eve = eve.client.events().await;
    alice.write(&thread, &bob, "one").await;
    for tab in &mut tabs {
        assert_eq!(next_data(tab).await, new_message(&thread, &alice));
    }
    // A tab that is closed leaves the others alone.
    drop(tabs.remove(0));
    alice.write(&thread, &bob, "two").await;
    for tab in &mut tabs {
        assert_eq!(next_data(tab).await, new_message(&thread, &alice));
    }
    let with_eve = eve.start_conversation(&alice).await;
    assert_eq!(next_data(&mut to_eve).await, json!({ "action": "newConversation", "partner": alice.id }));
    alice.write(&with_eve, &eve, "hello").await;
    assert_eq!(next_data(&mut to_eve).await, new_message(&with_eve, &alice));
}

/// Shows (docs/protocol.md): Streams that end.
#[tokio::test]
async fn a_closed_stream_is_noticed_without_a_heartbeat() {
    let setup = Setup::on(&fresh_database().await).with("events-heartbeat-seconds", 3600);
    let server = setup.start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let streams = vec![alice.client.events().await, alice.client.events().await];
    assert_eq!(server.metric("be8_feed_streams").await, 2.0);
    drop(streams);
    eventually("both streams are forgotten", async || server.metric("be8_feed_streams").await == 0.0).await;
}

#[tokio::test]
async fn one_stream_too_many_is_asked_to_come_later() {
    let setup = Setup::on(&fresh_database().await).with("events-per-account", 2);
    // Held open one at a time, and not for long.
    let setup = setup.with("events-refused-seconds", 1).with("events-refused", 1);
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut kept = [alice.client.events().await, alice.client.events().await];
    let mut crowded = alice.client.events().await;
    assert_eq!(crowded.status, 200);
    assert_eq!(crowded.next_block().await, Some(Block::Retry(30_000)));
    assert_eq!(crowded.next_block().await, None);
    // Nobody else is affected.
    let mut to_bob = bob.client.events().await;
    bob.write(&thread, &alice, "hello").await;
    for stream in kept.iter_mut().chain([&mut to_bob]) {
        assert_eq!(next_data(stream).await, new_message(&thread, &bob));
    }
    // Room again.
    drop(kept);
    eventually("there is room again", async || {
        let mut stream = alice.client.events().await;
        stream.next_block().await == Some(Block::Retry(2500))
    })
    .await;
}
