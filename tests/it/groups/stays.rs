//! What a member reads: the messages of its stays and none else, in messages, marks and the list of threads.

use serde_json::{Value, json};

use super::{people, texts};
use crate::client::{Person, number_of};
use crate::server::Server;

/// Shows (docs/protocol.md): Stays in a group; Messages of former members.
#[tokio::test]
async fn a_member_reads_the_messages_of_its_stays() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await; // 1
    alice.says(&group, "before Bob").await; // 2
    bob.enters(&group).await; // 3
    alice.says(&group, "with Bob").await; // 4
    alice.adds(&group, &carol).await; // 5
    carol.says(&group, "of Carol").await; // 6
    bob.says(&group, "of Bob").await; // 7
    let second =
        texts([(3, "ACCJOINEDGROUP"), (4, "with Bob"), (5, "ACCADDEDTOGROUP"), (6, "of Carol"), (7, "of Bob")]);
    assert_eq!(bob.sees(&group).await, second);
    assert_eq!(carol.sees(&group).await, second[2..]);
    assert_eq!(alice.sees(&group).await, [texts([(1, "ACCJOINEDGROUP"), (2, "before Bob")]), second].concat());

    bob.leaves(&group).await; // 8: outside for the leaver
    alice.says(&group, "without Bob").await; // 9
    let gone = bob.client.post("/getmessages", &json!({ "threadID": group })).await;
    assert_eq!(gone.verdict(), "400 INVALIDTHREADID");
    assert_eq!(bob.thread(&group).await, None);
    let third =
        texts([(5, "ACCADDEDTOGROUP"), (6, "of Carol"), (7, "removed"), (8, "ACCLEFTGROUP"), (9, "without Bob")]);
    assert_eq!(carol.sees(&group).await, third);

    bob.enters(&group).await; // 10
    alice.says(&group, "Bob is back").await; // 11
    bob.says(&group, "I am").await; // 12
    // The old ones again, but those of the absence; what Bob himself said is gone even for him.
    let first_stay =
        texts([(3, "ACCJOINEDGROUP"), (4, "with Bob"), (5, "ACCADDEDTOGROUP"), (6, "of Carol"), (7, "removed")]);
    let second_stay = texts([(10, "ACCJOINEDGROUP"), (11, "Bob is back"), (12, "I am")]);
    assert_eq!(bob.sees(&group).await, [first_stay.clone(), second_stay.clone()].concat());

    alice.kicks(&group, &bob).await; // 13
    alice.says(&group, "Bob is gone").await; // 14
    alice.adds(&group, &bob).await; // 15
    let second_stay = texts([(10, "ACCJOINEDGROUP"), (11, "Bob is back"), (12, "removed")]);
    let third_stay = texts([(15, "ACCADDEDTOGROUP")]);
    assert_eq!(bob.sees(&group).await, [first_stay, second_stay, third_stay].concat());
    let of_alice = alice.sees(&group).await;
    assert_eq!(of_alice.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (1..=15).collect::<Vec<_>>());
    let removed: Vec<u32> = of_alice.iter().filter(|(_, text)| text == "removed").map(|(number, _)| *number).collect();
    assert_eq!(removed, [7, 12]);
}

/// Shows (docs/protocol.md): What a removal does; What the web client depends on; Messages of former members.
#[tokio::test]
async fn what_was_removed_shows_nothing_but_that_it_was() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    bob.takes_version(&group).await;
    let mut letter = bob.group_letter(&group, "my secret");
    letter["groupVersionKey"] = json!(format!("{group}:1"));
    number_of(&bob.client.post("/writemessage", &letter).await, &group);
    bob.leaves(&group).await;
    let removed = alice.messages(&group).await[2].clone();
    for (field, expected) in [
        ("messageType", json!("removed")),
        ("text", json!("")),
        ("sender", json!(bob.id)),
        ("valid", json!(true)),
        ("iv", Value::Null),
        ("type", Value::Null),
        ("endless", Value::Null),
    ] {
        assert_eq!(removed[field], expected, "{field}");
    }
    assert!(removed["status"].is_array());
}

#[tokio::test]
async fn of_one_stay_each_only_what_lies_in_it_counts_for_the_hundred() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await; // 1
    bob.enters(&group).await; // 2
    for n in 3..=60 {
        alice.says(&group, &format!("text {n}")).await;
    }
    bob.leaves(&group).await; // 61
    for n in 62..=200 {
        alice.says(&group, &format!("text {n}")).await;
    }
    bob.enters(&group).await; // 201
    for n in 202..=250 {
        alice.says(&group, &format!("text {n}")).await;
    }
    // 59 of the first stay, 50 of the second: the last hundred of these.
    let numbers: Vec<u32> = bob.sees(&group).await.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (11..=60).chain(201..=250).collect::<Vec<_>>());
    let numbers: Vec<u32> = alice.sees(&group).await.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (151..=250).collect::<Vec<_>>());
}

/// Shows (docs/protocol.md): Fields of a thread; What the web client depends on.
#[tokio::test]
async fn the_list_shows_a_group_while_one_is_in_it() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await;
    let other = alice.founds().await;
    alice.says(&group, "before Bob").await;
    bob.enters(&group).await;
    let last = |thread: Option<Value>| thread.map(|thread| thread["text"].as_str().unwrap().to_owned());
    assert_eq!(last(bob.thread(&group).await).as_deref(), Some("ACCJOINEDGROUP"));
    alice.says(&group, "hello Bob").await;
    for who in [&alice, &bob] {
        let thread = who.thread(&group).await.unwrap();
        assert_eq!((&thread["text"], &thread["sender"]), (&json!("hello Bob"), &json!(alice.id)));
        assert_eq!(thread["status"], if who.id == alice.id { "read" } else { "unread" });
    }
    bob.sees(&group).await;
    assert_eq!(bob.thread(&group).await.unwrap()["status"], "read");
    // The newest first.
    assert_eq!(alice.threads().await[0]["threadID"], json!(group));
    alice.says(&other, "elsewhere").await;
    let order: Vec<Value> = alice.threads().await.iter().map(|thread| thread["threadID"].clone()).collect();
    assert_eq!(order, [json!(other), json!(group), json!(format!("{}:s1", alice.id))]);

    bob.leaves(&group).await;
    assert_eq!(bob.thread(&group).await, None);
    assert_eq!(last(alice.thread(&group).await).as_deref(), Some("ACCLEFTGROUP"));
    alice.says(&group, "without Bob").await;
    alice.adds(&group, &bob).await;
    assert_eq!(last(bob.thread(&group).await).as_deref(), Some("ACCADDEDTOGROUP"), "nothing of the absence");
    alice.kicks(&group, &bob).await;
    assert_eq!(bob.thread(&group).await, None);
    assert_eq!(last(alice.thread(&group).await).as_deref(), Some("ACCKICKEDFROMGROUP"));
}

/// Who has read each message that somebody sees, by number. Seeing is reading.
async fn readers(who: &Person, group: &str) -> Vec<(u32, Value)> {
    let messages = who.messages(group).await;
    let number = |message: &Value| message["messageID"].as_str().unwrap().parse().unwrap();
    messages.iter().map(|message| (number(message), message["status"].clone())).collect()
}

/// Shows (docs/protocol.md): Read marks; Stays in a group.
#[tokio::test]
async fn only_what_was_shown_is_read() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let (a, b, c) = (alice.id.as_str(), bob.id.as_str(), carol.id.as_str());
    let group = alice.founds().await; // 1
    alice.says(&group, "before Bob").await; // 2
    bob.enters(&group).await; // 3
    alice.says(&group, "with Bob").await; // 4
    assert_eq!(readers(&bob, &group).await, [(3, json!([b])), (4, json!([b]))]);
    carol.enters(&group).await; // 5
    bob.leaves(&group).await; // 6
    alice.says(&group, "without Bob").await; // 7
    bob.enters(&group).await; // 8
    assert_eq!(readers(&carol, &group).await, [(5, json!([c])), (6, json!([c])), (7, json!([c])), (8, json!([c]))]);
    assert_eq!(readers(&bob, &group).await, [(3, json!([b])), (4, json!([b])), (5, json!([b, c])), (8, json!([b, c]))]);
    // Alice's own never show her; those of the absence never show Bob.
    let all = [
        (1, json!([a])),
        (2, json!([])),
        (3, json!([a, b])),
        (4, json!([b])),
        (5, json!([a, b, c])),
        (6, json!([a, c])),
        (7, json!([c])),
        (8, json!([a, b, c])),
    ];
    assert_eq!(readers(&alice, &group).await, all);
}

/// Shows (docs/protocol.md): Ids.
#[tokio::test]
async fn the_thread_of_a_group_has_two_names() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    let mut letter = bob.group_letter(&group, "by the long name");
    letter["threadID"] = json!(format!("{}:{group}", bob.id));
    let answer = bob.client.post("/writemessage", &letter).await;
    assert_eq!(answer.json(), json!({ "valid": true, "messageID": "message:g10001:3" }));
    let long = alice.messages(&format!("{}:{group}", alice.id)).await;
    assert_eq!(long, alice.messages(&group).await);
    assert_eq!(long[2]["threadID"], json!(group), "one name on the way back");
    for other in [format!("{}:{group}", bob.id), format!("99999:{group}"), format!("s1:{group}"), format!(":{group}")] {
        let read = alice.client.post("/getmessages", &json!({ "threadID": other })).await;
        assert_eq!(read.verdict(), "400 INVALIDTHREADID", "{other}");
    }
}
