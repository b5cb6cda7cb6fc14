//! `/writemessage`: its checks, and what it keeps of what was sent.

use serde_json::{Value, json};

use super::{no_account, no_text, refuses, timeless};
use crate::client::{Person, number_of, two_people};
use crate::server::Server;

/// Shows (docs/protocol.md): Ids; Checks of fields; Checks of accounts and groups; Writing a message; The key version
/// of a message; Who writes system messages.
#[tokio::test]
async fn every_check_has_its_code() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let carol = Person::sign_up(&server, "Carol").await;
    let with_carol = alice.start_conversation(&carol).await;
    let others = carol.start_conversation(&bob).await;
    let letter = alice.letter(&thread, &bob.id, "hello");
    let check = async |field: &str, values: Vec<Value>, verdict: &str| {
        refuses(&alice.client, "/writemessage", &letter, field, &values, verdict).await;
    };
    check("receiver", no_account(), "400 ACCNOTEXISTS").await;
    // Nobody writes in another one's name, not even under an own number.
    let senders = [json!(bob.id), json!(carol.id), json!(alice.id.parse::<u32>().unwrap())];
    check("sender", [no_account(), senders.to_vec()].concat(), "400 ACCNOTEXISTS").await;
    let (reversed, system) = (format!("{}:{}", bob.id, alice.id), format!("{}:s1", alice.id));
    let threads = [&reversed, &system, &with_carol, &others, "g10001", "10001:99999", "10001", ":", "nonsense"];
    check("threadID", [no_text(), threads.map(Value::from).to_vec()].concat(), "400 INVALIDTHREADID").await;
    let types = [json!("system"), json!("removed"), json!("TEXT"), json!("textMessage")];
    check("messageType", [no_text(), types.to_vec()].concat(), "400 INVALIDMESSAGETYPE").await;
    let texts = [json!(null), json!(true), json!(7), json!([]), json!({}), json!(["hello"])];
    check("text", texts.to_vec(), "400 INVALIDMESSAGETYPE").await;

    // An existing account that is not the thread's other one.
    for receiver in [&carol.id, &alice.id] {
        let answer = alice.client.post("/writemessage", &alice.letter(&thread, receiver, "hello")).await;
        assert_eq!(answer.verdict(), "400 INVALIDTHREADID");
    }
    // Groups' keys have no place in a dialog.
    for key in [json!("g10001:1"), json!(""), json!(1), json!({})] {
        let mut letter = letter.clone();
        letter["groupVersionKey"] = key.clone();
        let verdict = alice.client.post("/writemessage", &letter).await.verdict();
        assert_eq!(verdict, "400 INVALIDMESSAGETYPE", "groupVersionKey {key}");
    }
    assert_eq!(bob.messages(&thread).await.len(), 1, "nothing was written");
}

/// Shows (docs/protocol.md): Order of checks.
#[tokio::test]
async fn the_first_check_that_fails_answers() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut letter = alice.letter(&thread, &bob.id, &"x".repeat(262_145));
    assert_eq!(alice.client.post("/writemessage", &letter).await.verdict(), "413 TOOLARGE");
    for (field, value, verdict) in [
        ("messageType", json!("nonsense"), "400 INVALIDMESSAGETYPE"),
        ("threadID", json!("nonsense"), "400 INVALIDTHREADID"),
        ("sender", json!(bob.id), "400 ACCNOTEXISTS"),
    ] {
        letter[field] = value;
        assert_eq!(alice.client.post("/writemessage", &letter).await.verdict(), verdict, "{field}");
    }
    // Receiver and sender have one code: distinguished by what follows them.
    let mut letter = alice.letter("nonsense", "99999", "hello");
    assert_eq!(alice.client.post("/writemessage", &letter).await.verdict(), "400 ACCNOTEXISTS");
    letter["receiver"] = json!(bob.id);
    assert_eq!(alice.client.post("/writemessage", &letter).await.verdict(), "400 INVALIDTHREADID");
}

/// Shows (docs/protocol.md): Writing a message.
#[tokio::test]
async fn a_text_may_have_262_144_bytes() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let longest = "€".repeat(87_381) + "x";
    assert_eq!(longest.len(), 262_144);
    assert_eq!(alice.write(&thread, &bob, &longest).await, 2);
    let longer = alice.letter(&thread, &bob.id, &(longest.clone() + "y"));
    assert_eq!(alice.client.post("/writemessage", &longer).await.verdict(), "413 TOOLARGE");
    assert_eq!(bob.messages(&thread).await[1]["text"], json!(longest));
    assert_eq!(alice.write(&thread, &bob, "").await, 3);
}

/// Shows (docs/protocol.md): Bodies; Fields of a message; Writing a message; What the web client depends on; Codes of
/// system messages; Who writes system messages.
#[tokio::test]
async fn only_fields_of_the_protocol_are_kept() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut letter = alice.letter(&thread, &bob.id, "<b>hello</b>");
    // What is not Alice's to say, and what nobody knows, is not kept.
    let more = json!({
        "nickname": "Mallory", "extra1": "<script>", "contentID": "x", "messageID": "99", "ts": "yesterday",
        "status": ["1"], "valid": false, "groupID": "g10001", "unknown": { "deep": [1, 2, 3] },
    });
    letter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    letter["receiver"] = json!(bob.id.parse::<u32>().unwrap());
    let answer = alice.client.post("/writemessage", &letter).await;
    assert_eq!(answer.json(), json!({ "valid": true, "messageID": "message:10001:10002:2" }));
    let messages = bob.client.post("/getmessages", &json!({ "threadID": thread })).await.json();
    insta::assert_json_snapshot!(timeless(messages), @r#"
    {
      "messages": [
        {
          "messageID": "1",
          "messageType": "system",
          "sender": "s1",
          "status": [
            "10002"
          ],
          "text": "STARTCONVERSATION",
          "threadID": "10001:10002",
          "ts": "(time)",
          "valid": true
        },
        {
          "endless": "false",
          "iv": "c4ad7b0e-0a63-4b53-9d0c-1f8f6f6f7a11",
          "messageID": "2",
          "messageType": "text",
          "nickname": "Alice",
          "receiver": "10002",
          "sender": "10001",
          "status": [
            "10002"
          ],
          "text": "<b>hello</b>",
          "threadID": "10001:10002",
          "ts": "(time)",
          "type": "user",
          "valid": true
        }
      ],
      "valid": true
    }
    "#);
}

/// Shows (docs/protocol.md): Fields of a message.
#[tokio::test]
async fn fields_that_are_echoed_come_back_as_texts() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    for (field, sent, shown) in [
        ("iv", json!("0123"), json!("0123")),
        ("iv", json!(7), json!("7")),
        ("iv", json!(null), Value::Null),
        ("type", json!("group"), json!("group")),
        ("type", json!(true), json!("true")),
        ("type", json!(["user"]), Value::Null),
        ("endless", json!(true), json!("true")),
        ("endless", json!("false"), json!("false")),
        ("endless", json!(1.5), json!("1.5")),
        ("endless", json!({}), Value::Null),
    ] {
        let mut letter = alice.letter(&thread, &bob.id, "hello");
        letter[field] = sent.clone();
        number_of(&alice.client.post("/writemessage", &letter).await, &thread);
        let messages = bob.messages(&thread).await;
        let last = messages.last().unwrap();
        assert_eq!(last[field], shown, "{field} = {sent}");
        assert_eq!(last.get(field).is_some(), !shown.is_null(), "absent, not null");
    }
}

/// Shows (docs/protocol.md): Writing a message.
#[tokio::test]
async fn the_forms_of_other_consumers_are_understood() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    // The requirements' form: no messageType, but a type that names it.
    let plain = json!({
        "receiver": bob.id, "sender": alice.id, "threadID": thread, "type": "textMessage", "text": "plain",
    });
    number_of(&alice.client.post("/writemessage", &plain).await, &thread);
    let message = bob.messages(&thread).await.pop().unwrap();
    assert_eq!((&message["messageType"], &message["type"]), (&json!("text"), &json!("textMessage")));
    // Names by which receivers are called elsewhere, and an explicit null for a group's key.
    let mut letter = alice.letter(&thread, "", "by receiverID");
    letter["receiverID"] = json!(bob.id);
    letter["groupVersionKey"] = Value::Null;
    number_of(&alice.client.post("/writemessage", &letter).await, &thread);
}
