//! `/getmessages`: what is shown, to whom, and what counts as read.

use serde_json::{Value, json};

use super::{no_text, refuses, timeless};
use crate::client::{Person, two_people};
use crate::server::Server;

/// Shows (docs/protocol.md): Checks of accounts and groups.
#[tokio::test]
async fn threads_of_others_are_as_unknown_ones() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let eve = Person::sign_up(&server, "Eve").await;
    let foreign = ["10001:10002", "10002:10001", "10001:s1", "10002:s1", "10003:10001", "10001:10003"];
    let none = ["99999:s1", "s1", "g10001", "10003:g10001", "message:10001:10002:1", "10003"];
    let all = [no_text(), foreign.map(Value::from).to_vec(), none.map(Value::from).to_vec()].concat();
    let body = json!({ "threadID": thread });
    refuses(&eve.client, "/getmessages", &body, "threadID", &all, "400 INVALIDTHREADID").await;
    // Not even their order of names is another's: a thread has the name under which it began.
    let reversed = bob.client.post("/getmessages", &json!({ "threadID": "10002:10001" })).await;
    assert_eq!(reversed.verdict(), "400 INVALIDTHREADID");
    // Eve's attempts marked nothing as read.
    assert_eq!(alice.messages(&thread).await[0]["status"], json!([alice.id]));
    // A whole thread object is what the web client sends.
    let whole = bob.threads().await[0].clone();
    assert_eq!(bob.client.post("/getmessages", &whole).await.verdict(), "200 ok");
}

/// Shows (docs/protocol.md): Ids; The list of threads; Reading messages; Codes of system messages.
#[tokio::test]
async fn the_system_thread_welcomes_its_owner() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let messages = alice.client.post("/getmessages", &json!({ "threadID": "10001:s1" })).await.json();
    insta::assert_json_snapshot!(timeless(messages), @r#"
    {
      "messages": [
        {
          "messageID": "1",
          "messageType": "system",
          "receiver": "10001",
          "sender": "s1",
          "status": [
            "10001"
          ],
          "text": "WELCOME",
          "threadID": "10001:s1",
          "ts": "(time)",
          "valid": true
        }
      ],
      "valid": true
    }
    "#);
}

/// Shows (docs/protocol.md): Ids; Reading messages.
#[tokio::test]
async fn the_newest_hundred_are_shown_in_order() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    for number in 2_u32..=105 {
        let (from, to) = if number.is_multiple_of(3) { (&alice, &bob) } else { (&bob, &alice) };
        assert_eq!(from.write(&thread, to, &format!("text {number}")).await, number);
    }
    let messages = alice.messages(&thread).await;
    let shown: Vec<(&str, &str)> =
        messages.iter().map(|m| (m["messageID"].as_str().unwrap(), m["text"].as_str().unwrap())).collect();
    let expected: Vec<(String, String)> = (6..=105).map(|n| (n.to_string(), format!("text {n}"))).collect();
    assert_eq!(shown, expected.iter().map(|(id, text)| (&**id, &**text)).collect::<Vec<_>>());
    for message in &messages {
        let number: u32 = message["messageID"].as_str().unwrap().parse().unwrap();
        let (sender, receiver) = if number.is_multiple_of(3) { (&alice, &bob) } else { (&bob, &alice) };
        assert_eq!((&message["sender"], &message["receiver"]), (&json!(sender.id), &json!(receiver.id)));
        assert_eq!(message["nickname"], json!(sender.nickname));
        assert_eq!(message["threadID"], json!(thread));
    }
}

/// Who has read each message, by number.
fn readers(messages: &[Value]) -> Vec<Value> {
    messages.iter().map(|message| message["status"].clone()).collect()
}

/// Shows (docs/protocol.md): Reading messages; Read marks.
#[tokio::test]
async fn what_was_shown_is_read() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "one").await;
    bob.write(&thread, &alice, "two").await;
    let (a, b) = (json!([alice.id]), json!([bob.id]));
    // The reader counts in the very answer that shows a message, but never for an own one.
    assert_eq!(readers(&alice.messages(&thread).await), [a.clone(), json!([]), a.clone()]);
    let both = json!([alice.id, bob.id]);
    assert_eq!(readers(&bob.messages(&thread).await), [both.clone(), b.clone(), a.clone()]);
    let events = server.metric("be8_ledger_events_total").await;
    assert_eq!(readers(&alice.messages(&thread).await), [both.clone(), b.clone(), a.clone()]);
    assert_eq!(server.metric("be8_ledger_events_total").await, events, "nothing newly read is no event");
    // What comes later is not read yet.
    alice.write(&thread, &bob, "three").await;
    assert_eq!(readers(&alice.messages(&thread).await), [both, b, a, json!([])]);
}

/// Shows (docs/protocol.md): Read marks.
#[tokio::test]
async fn reading_at_once_marks_once() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "one").await;
    let mut stream = alice.client.events().await;
    let pages = futures_util::future::join_all((0..16).map(|_| bob.messages(&thread))).await;
    for page in pages {
        assert_eq!(readers(&page), [json!([bob.id]), json!([bob.id])]);
    }
    alice.write(&thread, &bob, "two").await;
    let actions: Vec<Value> = stream.events(2).await.into_iter().map(|event| event.data["action"].clone()).collect();
    assert_eq!(actions, ["messageRead", "newMessage"]);
}
