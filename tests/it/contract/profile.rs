//! `/changenickname` and `/userstatusset`: what an account says of itself, as it and others see it.

use serde_json::{Value, json};

use super::{no_text, refuses};
use crate::client::{Person, two_people};
use crate::server::Server;

async fn rename(person: &Person, nickname: &str) {
    let body = json!({ "oldNickname": person.nickname, "newNickname": nickname });
    assert_eq!(person.client.post("/changenickname", &body).await.verdict(), "200 ok");
}

async fn say(person: &Person, status: &str) {
    let answer = person.client.post("/userstatusset", &json!({ "userStatus": status })).await;
    assert_eq!(answer.verdict(), "200 ok");
}

async fn own(person: &Person) -> Value {
    person.client.get("/me").await.json()["accObj"].clone()
}

/// Shows (docs/protocol.md): Nickname; Fields of a thread.
#[tokio::test]
async fn a_nickname_changes_for_all_and_messages_keep_the_old_one() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "one").await;
    let group = alice.client.post("/groupcreate", &json!({ "nickname": "Friends", "groupType": "public" })).await;
    let group = group.json()["groupID"].as_str().unwrap().to_owned();
    bob.client.post("/groupjoinmember", &json!({ "groupID": group })).await;
    let mut stream = bob.client.events().await;

    rename(&alice, "Alicia").await;
    say(&alice, "at the sea 🦢").await;
    alice.write(&thread, &bob, "two").await;
    assert_eq!(own(&alice).await["nickname"], "Alicia");
    assert_eq!(own(&alice).await["userStatus"], "at the sea 🦢");
    let seen = bob.threads().await.into_iter().find(|one| one["threadID"] == json!(thread)).unwrap();
    assert_eq!([&seen["nickname"], &seen["userStatus"]], ["Alicia", "at the sea 🦢"]);
    assert_eq!([&seen["codes"], &seen["endless"]], [&json!(false), &json!(false)]);
    let members = bob.client.post("/groupgetmembers", &json!({ "groupID": group })).await.json();
    assert_eq!([&members["members"][0]["nickname"], &members["members"][0]["userStatus"]], ["Alicia", "at the sea 🦢"]);
    assert_eq!(members["members"][1]["userStatus"], "");
    let names: Vec<Value> = bob.messages(&thread).await[1..].iter().map(|one| one["nickname"].clone()).collect();
    assert_eq!(names, ["Alice", "Alicia"]);
    loop {
        let event = stream.event().await.data;
        if event["action"] == "newMessage" && event["nickname"] == "Alicia" {
            break;
        }
    }
    // The status can be taken back, and stays on the other node and after a restart.
    say(&alice, "").await;
    assert_eq!(own(&alice).await["userStatus"], "");
    let other = server.setup().second().start().await;
    assert_eq!(own(&alice.at(&other)).await["nickname"], "Alicia");
}

/// Shows (docs/protocol.md): Checks of fields; Nickname.
#[tokio::test]
async fn the_new_nickname_alone_is_judged() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let body = json!({ "newNickname": "Alicia", "nickname": "Other", "oldNickname": "Alice" });
    let mut names = no_text();
    names.extend([json!("n".repeat(31)), json!("🦢".repeat(16))]);
    refuses(&alice.client, "/changenickname", &body, "newNickname", &names, "400 INVALIDNICKNAME").await;
    assert_eq!(own(&alice).await["nickname"], "Alice");
    for name in ["🦢".repeat(15), "n".repeat(30), " ".to_owned()] {
        rename(&alice, &name).await;
        assert_eq!(own(&alice).await["nickname"], json!(name));
    }
    // Not before the session.
    let verdict = server.post("/changenickname", &json!({ "newNickname": 7 })).await.verdict();
    assert_eq!(verdict, "401 NOTAUTH");
}

/// Shows (docs/protocol.md): Checks of fields; Status text.
#[tokio::test]
async fn a_status_is_any_text_cut_to_280() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let wrong: Vec<Value> = no_text().into_iter().filter(|value| *value != json!("")).collect();
    let body = json!({ "userStatus": "x" });
    refuses(&alice.client, "/userstatusset", &body, "userStatus", &wrong, "200 INVALIDSTATUS").await;
    assert_eq!(server.post("/userstatusset", &json!({ "userStatus": 7 })).await.verdict(), "401 NOTAUTH");
    for (sent, kept) in [
        ("x".repeat(280), "x".repeat(280)),
        ("x".repeat(281), "x".repeat(280)),
        ("🦢".repeat(141), "🦢".repeat(140)),
        // No half of a character.
        (format!("x{}", "🦢".repeat(140)), format!("x{}", "🦢".repeat(139))),
    ] {
        say(&alice, &sent).await;
        assert_eq!(own(&alice).await["userStatus"], json!(kept));
    }
}

/// Shows (docs/protocol.md): Unchanged values.
#[tokio::test]
async fn setting_what_is_already_set_appends_no_event() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let position = async || server.metric("be8_log_position").await;
    let before = position().await;
    rename(&alice, "Alice").await;
    say(&alice, "").await;
    assert_eq!(position().await, before);
    say(&alice, &"x".repeat(280)).await;
    say(&alice, &"x".repeat(300)).await;
    assert_eq!(position().await, before + 1.0);
    // The last one wins, and nobody is refused.
    let names: Vec<String> = (0..12).map(|n| format!("Alice {n}")).collect();
    futures_util::future::join_all(names.iter().map(|name| rename(&alice, name))).await;
    assert!(names.contains(&own(&alice).await["nickname"].as_str().unwrap().to_owned()));
}
