//! Erasure on running servers: one deleted key, and what it sealed is gone for every reader, also where it was cached.

use be8::domain::erasure::Erase;
use be8_events::Subject;
use be8_events::erasure::Cause;
use serde_json::{Value, json};

use super::sound_log;
use crate::client::{Person, two_people};
use crate::library::Library;
use crate::server::{Server, two_nodes};

async fn erase(library: &Library, subject: Subject) {
    library.ledger.execute(Erase { subjects: vec![subject], cause: Cause::Operator }).await.unwrap();
}

/// Type, text and nickname of each message after the first, as a person is shown them.
async fn shown(person: &Person, thread: &str) -> Vec<[Value; 3]> {
    let messages = person.messages(thread).await;
    for message in messages.iter().filter(|message| message["messageType"] == "removed") {
        for field in ["iv", "type", "endless"] {
            assert_eq!(message.get(field), None, "{field} of what was removed");
        }
    }
    let fields = |message: &Value| ["messageType", "text", "nickname"].map(|name| message[name].clone());
    messages[1..].iter().map(fields).collect()
}

fn text(text: &str, nickname: &str) -> [Value; 3] {
    [json!("text"), json!(text), json!(nickname)]
}

fn removed(nickname: &str) -> [Value; 3] {
    [json!("removed"), json!(""), json!(nickname)]
}

/// Shows (docs/protocol.md): Placeholders for what is erased.
#[tokio::test]
async fn an_account_s_key_takes_its_texts_and_its_name() {
    let (one, two) = two_nodes().await;
    let (alice, bob, thread) = two_people(&one).await;
    let mut streams = [bob.client.events().await, bob.at(&two).client.events().await];
    alice.write(&thread, &bob, "Alice's").await;
    bob.write(&thread, &alice, "Bob's").await;
    let before = [text("Alice's", "Alice"), text("Bob's", "Bob")];
    // Everybody has read it everywhere: it is in all caches.
    for reader in [&alice, &bob, &alice.at(&two), &bob.at(&two)] {
        assert_eq!(shown(reader, &thread).await, before);
        reader.threads().await;
    }
    for stream in &mut streams {
        assert_eq!(stream.event().await.data["nickname"], "Alice");
    }

    let library = Library::open(&one).await;
    erase(&library, Subject::Account(alice.id.parse().unwrap())).await;
    let after = [removed("Expired User"), text("Bob's", "Bob")];
    for reader in [&alice, &bob, &alice.at(&two), &bob.at(&two)] {
        assert_eq!(shown(reader, &thread).await, after);
    }
    for reader in [&bob, &bob.at(&two)] {
        assert_eq!(reader.threads().await[0]["nickname"], "Expired User");
    }
    for alice in [&alice, &alice.at(&two)] {
        assert_eq!(alice.client.get("/me").await.json()["accObj"]["nickname"], "Expired User");
    }
    // Its public key is another subject's.
    assert_eq!(bob.client.post("/getkey", &json!({ "accID": alice.id })).await.json()["publicKey"]["ext"], "true");
    // What is sent again is sent without the name.
    let resumed = bob.client.events_after("1-0").await.events(2).await;
    assert_eq!(
        (&resumed[0].data["nickname"], &resumed[1].data["nickname"]),
        (&json!("Expired User"), &json!("Expired User"))
    );

    // The other one's words still reach it; its own cannot be sealed any more.
    bob.at(&two).write(&thread, &alice, "still there?").await;
    let refused = alice.client.post("/writemessage", &alice.letter(&thread, &bob.id, "in vain")).await;
    assert_eq!(refused.verdict(), "401 NOTAUTH", "an account whose key is gone is as good as gone");
    assert_eq!(bob.messages(&thread).await.len(), 4);
    // A refusal harms nobody else.
    assert_eq!(bob.write(&thread, &alice, "and on").await, 5);
    sound_log(&library.pool).await;
}

#[tokio::test]
async fn a_stay_s_key_takes_what_one_wrote_in_one_thread() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let carol = Person::sign_up(&server, "Carol").await;
    let with_carol = alice.start_conversation(&carol).await;
    alice.write(&thread, &bob, "to Bob").await;
    bob.write(&thread, &alice, "Bob's").await;
    alice.write(&with_carol, &carol, "to Carol").await;
    for reader in [&alice, &bob] {
        assert_eq!(shown(reader, &thread).await, [text("to Bob", "Alice"), text("Bob's", "Bob")]);
    }
    let library = Library::open(&server).await;
    let stay = Subject::Stay { thread: thread.parse().unwrap(), author: alice.id.parse().unwrap(), stay: 1 };
    erase(&library, stay).await;
    for reader in [&alice, &bob] {
        assert_eq!(shown(reader, &thread).await, [removed("Alice"), text("Bob's", "Bob")]);
    }
    assert_eq!(shown(&carol, &with_carol).await, [text("to Carol", "Alice")]);
    assert_eq!(alice.write(&with_carol, &carol, "more").await, 3);
    // Erasing again is nothing.
    let length = sound_log(&library.pool).await.len();
    erase(&library, stay).await;
    assert_eq!(sound_log(&library.pool).await.len(), length);
}

#[tokio::test]
async fn a_day_s_key_takes_all_messages_of_the_day() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "Alice's").await;
    bob.write(&thread, &alice, "Bob's").await;
    let library = Library::open(&server).await;
    // Around midnight these are two.
    let mut days: Vec<_> = sound_log(&library.pool).await.iter().map(|event| event.time.day()).collect();
    days.dedup();
    for day in days {
        erase(&library, Subject::Day(day)).await;
    }
    for reader in [&alice, &bob] {
        assert_eq!(shown(reader, &thread).await, [removed("Alice"), removed("Bob")]);
        let listed = &reader.threads().await[0];
        assert_eq!((&listed["messageType"], &listed["text"]), (&json!("removed"), &json!("")));
    }
    assert_eq!(alice.client.get("/me").await.json()["accObj"]["nickname"], "Alice");
}

#[tokio::test]
async fn an_erasure_outlives_a_restart_and_an_older_vault() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "Alice's").await;
    let library = Library::open(&server).await;
    sqlx::query("create table backup as table vault.key").execute(&library.pool).await.unwrap();
    erase(&library, Subject::Account(alice.id.parse().unwrap())).await;
    let setup = server.kill().await;
    // A vault from before the erasure, as a careless restore would bring it back.
    for statement in [
        "alter table vault.key disable trigger all",
        "update vault.key k set wrapped = b.wrapped, master = b.master from backup b where b.id = k.id",
        "alter table vault.key enable trigger all",
    ] {
        sqlx::query(statement).execute(&library.pool).await.unwrap();
    }
    drop(library);
    let server = setup.start().await;
    assert!(server.setup().log().contains("deleted now"));
    assert_eq!(shown(&bob.at(&server), &thread).await, [removed("Expired User")]);
}
