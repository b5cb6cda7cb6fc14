//! `/startconversation` and `/getthreads`.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{no_account, refuses, timeless};
use crate::client::{Person, two_people};
use crate::server::Server;

/// Shows (docs/protocol.md): Ids; Starting a conversation.
#[tokio::test]
async fn two_accounts_have_one_conversation_whichever_of_them_begins() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    assert_eq!(thread, "10001:10002");
    let events = server.metric("be8_ledger_events_total").await;
    for (who, receiver) in
        [(&alice, json!("10002")), (&alice, json!(10002)), (&bob, json!("10001")), (&bob, json!(10001))]
    {
        let answer = who.client.post("/startconversation", &json!({ "receiverID": receiver })).await;
        assert_eq!(answer.json(), json!({ "valid": true, "threadID": "10001:10002" }));
    }
    assert_eq!(server.metric("be8_ledger_events_total").await, events, "nothing happened");

    // All at once, from both sides: one thread, one first message.
    let carol = Person::sign_up(&server, "Carol").await;
    let (here, there) = (json!({ "receiverID": carol.id }), json!({ "receiverID": alice.id }));
    let starts = (0..16).flat_map(|_| [(&alice, &here), (&carol, &there)]);
    let answers = join_all(starts.map(|(who, body)| who.client.post("/startconversation", body))).await;
    let threads: Vec<Value> = answers.iter().map(|answer| answer.json()["threadID"].clone()).collect();
    assert!(threads.iter().all(|thread| thread == &threads[0]), "{threads:?}");
    assert_eq!(carol.threads().await.len(), 2);
    assert_eq!(carol.messages(threads[0].as_str().unwrap()).await.len(), 1);
}

/// Shows (docs/protocol.md): Bodies; Checks of accounts and groups.
#[tokio::test]
async fn a_conversation_needs_another_account_that_exists() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let body = json!({ "receiverID": bob.id });
    refuses(&alice.client, "/startconversation", &body, "receiverID", &no_account(), "400 ACCNOTEXISTS").await;
    for own in [json!("10001"), json!(10001)] {
        let answer = alice.client.post("/startconversation", &json!({ "receiverID": own })).await;
        assert_eq!(answer.verdict(), "400 CIRCULARCONVERSATION");
    }
    // Where receiverID says nothing, receiver is looked at; a wrong one is not made good by it.
    for (receiver_id, verdict) in [
        (json!(""), "200 ok"),
        (json!(null), "200 ok"),
        (json!(0), "200 ok"),
        (json!("99999"), "400 ACCNOTEXISTS"),
        (json!([]), "400 ACCNOTEXISTS"),
    ] {
        let body = json!({ "receiverID": receiver_id, "receiver": bob.id });
        assert_eq!(alice.client.post("/startconversation", &body).await.verdict(), verdict, "{body}");
    }
    // The web client posts a whole account object along.
    let mut whole = alice.client.get("/me").await.json()["accObj"].clone();
    whole["receiverID"] = json!(bob.id);
    assert_eq!(alice.client.post("/startConversation", &whole).await.json()["threadID"], json!(thread));
}

/// Shows (docs/protocol.md): Ids; Times; The list of threads; Fields of a thread; Reading messages.
#[tokio::test]
async fn the_list_of_a_fresh_conversation() {
    let server = Server::start().await;
    let (alice, bob, _) = two_people(&server).await;
    let threads = alice.client.get("/getthreads").await.json();
    insta::assert_json_snapshot!(timeless(threads), @r#"
    {
      "threads": [
        {
          "codes": false,
          "endless": false,
          "expire": "(time)",
          "id": "10002",
          "messageType": "system",
          "nickname": "Bob",
          "partner": "10002",
          "sender": "s1",
          "status": "unread",
          "text": "STARTCONVERSATION",
          "threadID": "10001:10002",
          "ts": "(time)",
          "type": "user",
          "userStatus": ""
        },
        {
          "codes": false,
          "endless": false,
          "expire": "2286-11-20T17:46:40.000Z",
          "id": "s1",
          "messageType": "system",
          "nickname": "be8",
          "partner": "s1",
          "receiver": "10001",
          "sender": "s1",
          "status": "unread",
          "text": "WELCOME",
          "threadID": "10001:s1",
          "ts": "(time)",
          "type": "system"
        }
      ],
      "valid": true
    }
    "#);
    let of_bob = bob.threads().await;
    assert_eq!((&of_bob[0]["threadID"], &of_bob[0]["nickname"]), (&json!("10001:10002"), &json!("Alice")));
    assert_eq!((&of_bob[0]["id"], &of_bob[0]["partner"]), (&json!("10001"), &json!("10001")));
    assert_eq!(of_bob[1]["threadID"], "10002:s1");
}

/// The threads of a list.
fn named(threads: &[Value]) -> Vec<&str> {
    threads.iter().map(|thread| thread["threadID"].as_str().unwrap()).collect()
}

/// Shows (docs/protocol.md): The list of threads; Fields of a thread.
#[tokio::test]
async fn the_newest_thread_stands_first() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let mut others = Vec::new();
    for name in ["Bob", "Carol", "Dave"] {
        let other = Person::sign_up(&server, name).await;
        let thread = alice.start_conversation(&other).await;
        others.push((other, thread));
    }
    assert_eq!(named(&alice.threads().await), ["10001:10004", "10001:10003", "10001:10002", "10001:s1"]);
    // All of this may happen within one second, which is all that the times on the wire show.
    let (bob, thread) = &others[0];
    bob.write(thread, &alice, "the newest").await;
    let threads = alice.threads().await;
    assert_eq!(named(&threads), ["10001:10002", "10001:10004", "10001:10003", "10001:s1"]);
    assert_eq!((&threads[0]["text"], &threads[0]["sender"]), (&json!("the newest"), &json!(bob.id)));
    assert_eq!((&threads[0]["receiver"], &threads[0]["messageType"]), (&json!(alice.id), &json!("text")));
    alice.write(&others[1].1, &others[1].0, "even newer").await;
    assert_eq!(named(&alice.threads().await)[..2], ["10001:10003", "10001:10002"]);
}

/// Shows (docs/protocol.md): Fields of a thread.
#[tokio::test]
async fn a_thread_is_read_for_its_sender_and_for_readers() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let status = async |who: &Person| who.threads().await[0]["status"].clone();
    assert_eq!((status(&alice).await, status(&bob).await), (json!("unread"), json!("unread")));
    alice.messages(&thread).await;
    assert_eq!((status(&alice).await, status(&bob).await), (json!("read"), json!("unread")));
    bob.write(&thread, &alice, "hello").await;
    assert_eq!((status(&alice).await, status(&bob).await), (json!("unread"), json!("read")));
    alice.messages(&thread).await;
    assert_eq!((status(&alice).await, status(&bob).await), (json!("read"), json!("read")));
}
