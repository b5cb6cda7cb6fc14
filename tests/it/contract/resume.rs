//! `/events` after a gap: exactly what was missed, nothing twice.

use std::collections::BTreeSet;

use be8::ledger::ExpectedVersion;
use be8_events::read_marks::MessagesRead;
use be8_events::{NewEvent, StreamName, ThreadId};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Person, two_people};
use crate::library::Library;
use crate::server::Server;
use crate::sse::EventStream;

/// Shows (docs/protocol.md): Resuming with an id.
#[tokio::test]
async fn a_stream_resumes_after_any_of_its_ids() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let carol = Person::sign_up(&server, "Carol").await;
    let mut live = alice.client.events().await;
    let dave = Person::sign_up(&server, "Dave").await;
    let position = async || server.metric("be8_log_position").await.to_string();
    // Something of every kind, from several threads; and where the log stands then.
    let mut plain = Vec::new();
    alice.write(&thread, &bob, "one").await;
    plain.push(position().await);
    let with_carol = carol.start_conversation(&alice).await;
    plain.push(position().await);
    alice.start_conversation(&dave).await;
    plain.push(position().await);
    carol.write(&with_carol, &alice, "two").await;
    plain.push(position().await);
    bob.messages(&thread).await;
    plain.push(position().await);
    alice.messages(&with_carol).await;
    bob.write(&thread, &alice, "three").await;
    plain.push(position().await);
    let mut all = live.events(6).await;
    let actions: Vec<&Value> = all.iter().map(|event| &event.data["action"]).collect();
    let expected = ["newMessage", "newMessage", "newConversation", "newMessage", "messageRead", "newMessage"];
    assert_eq!(actions, expected);

    for seen in 0..6 {
        let id = &all[seen].id;
        let bare = &plain[seen];
        let mut streams = vec![alice.client.events_after(id).await, alice.client.events_after(bare).await];
        for query in
            [format!("last_event_id={id}"), format!("x=1&last_event_id={bare}"), format!("last_event_id={bare}-0")]
        {
            let request = alice.client.request(Method::GET, &format!("/events?{query}"));
            streams.push(EventStream::open(request).await);
        }
        // The header is newer than the query that a page began with.
        let both = alice.client.request(Method::GET, "/events?last_event_id=1-0").header("Last-Event-ID", id);
        streams.push(EventStream::open(both).await);
        // Whatever comes next follows right after what was missed.
        alice.write(&thread, &bob, "next").await;
        all.push(live.event().await);
        let expected = &all[seen + 1..];
        for mut stream in streams {
            assert_eq!(stream.events(expected.len()).await, expected, "after {}", all[seen].id);
        }
    }
}

/// Shows (docs/protocol.md): Ids of changes.
#[tokio::test]
async fn an_id_that_is_not_ours_counts_as_none() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "before").await;
    // Beside another one, a stream without an id begins with what was written lately.
    let mut live = alice.client.events().await;
    for junk in ["", "x", "-", "1-", "-1", "+1-0", "1-0-0", "99999-0", "99999999999999999999", "0x10", "1 0", "1.0"] {
        let mut by_header = alice.client.events_after(junk).await;
        let query = format!("/events?last_event_id={}", junk.replace(' ', "%20").replace('+', "%2B"));
        let mut by_query = EventStream::open(alice.client.request(Method::GET, &query)).await;
        let query = query.replace("last_event_id", "lastEventId");
        let mut by_other_name = EventStream::open(alice.client.request(Method::GET, &query)).await;
        alice.write(&thread, &bob, "behind").await;
        let event = live.event().await;
        let in_order = alice.client.ids_until(&event.id).await;
        for stream in [&mut by_header, &mut by_query, &mut by_other_name] {
            let mut received = Vec::new();
            while received.last() != Some(&event) {
                received.push(stream.event().await);
            }
            let received: Vec<String> = received.into_iter().map(|event| event.id).collect();
            assert!(in_order.ends_with(&received), "{junk:?}: {received:?} of {in_order:?}");
        }
    }
}

/// Shows (docs/protocol.md): Resuming with an id.
#[tokio::test]
async fn reconnecting_again_and_again_misses_nothing() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut whole = bob.client.events().await;
    let first = {
        alice.write(&thread, &bob, "first").await;
        whole.event().await
    };
    let writing = alice.write_many(&thread, &bob, 300);
    let reading = async {
        let mut received = vec![first.clone()];
        // Each stream is left after a few events, in the middle of the writing.
        while received.len() < 301 {
            let mut stream = bob.client.events_after(&received.last().unwrap().id).await;
            for _ in 0..7.min(301 - received.len()) {
                received.push(stream.event().await);
            }
        }
        received
    };
    let ((), received) = tokio::join!(writing, reading);
    let mut expected = vec![first];
    expected.extend(whole.events(300).await);
    assert_eq!(received, expected);
}

/// Shows (docs/protocol.md): Resuming with an id.
#[tokio::test]
async fn a_thousand_missed_changes_are_sent_one_by_one_and_more_in_short() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let carol = Person::sign_up(&server, "Carol").await;
    let mut live = alice.client.events().await;
    alice.write(&thread, &bob, "the last that was seen").await;
    let seen = live.event().await.id;
    drop(live);
    let with_carol = carol.start_conversation(&alice).await;
    bob.write_many(&thread, &alice, 999).await;

    let mut exact = alice.client.events_after(&seen).await;
    let missed = exact.events(1000).await;
    let ids: BTreeSet<&str> = missed.iter().map(|event| &*event.id).collect();
    assert_eq!(ids.len(), 1000, "none twice");
    // The order is that of the log, also for a client that comes back in the middle.
    assert_eq!(alice.client.events_after(&missed[499].id).await.events(500).await, missed[500..]);
    assert_eq!(missed[0].data["threadID"], json!(with_carol));

    // One more: each thread is reported once.
    carol.write(&with_carol, &alice, "one more").await;
    let newest = exact.event().await;
    let mut short = alice.client.events_after(&seen).await;
    assert_eq!(short.events(2).await, [missed[999].clone(), newest.clone()]);
    // From there on all is as usual.
    bob.write(&thread, &alice, "live").await;
    assert_eq!(short.event().await, exact.event().await);
    assert_eq!(alice.client.events_after(&newest.id).await.event().await.data["threadID"], json!(thread));
}

#[tokio::test]
async fn events_without_news_for_the_reader_hide_none_that_have_some() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut live = bob.client.events().await;
    alice.write(&thread, &bob, "the last that was seen").await;
    let seen = live.event().await.id;
    drop(live);
    // Bob reads on another device, over and over: nothing of that is sent to him.
    let name: ThreadId = thread.parse().unwrap();
    let reader = bob.id.parse().unwrap();
    let read = |number| NewEvent {
        stream: StreamName::Reads(name),
        actor: Some(reader),
        event: MessagesRead { reader, ranges: vec![(number, number)], tell: vec![] }.into(),
        secret: None,
    };
    let library = Library::open(&server).await;
    let events = (3..1503).map(read).collect();
    library.ledger.append(StreamName::Reads(name), ExpectedVersion::Any, events).await.unwrap();
    alice.write(&thread, &bob, "missed").await;

    let mut stream = bob.client.events_after(&seen).await;
    assert_eq!(stream.event().await.data["action"], "newMessage");
    alice.write(&thread, &bob, "live").await;
    let next = stream.event().await;
    assert_eq!(next, bob.client.newest_change().await);
}
