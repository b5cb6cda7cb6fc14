//! What has expired: accounts and messages.

use std::sync::Arc;

use be8::domain::account::CreateAccount;
use be8::domain::dialog::StartConversation;
use be8::domain::message::{NamedVersion, Receiver, WriteMessage};
use be8::http::request::cookie::SessionToken;
use be8::support::clock::Clock;
use be8_events::account::AccountSecret;
use be8_events::message::MessageSecret;
use be8_events::{AccId, Secret, Timestamp};
use chrono::{TimeDelta, Utc};
use serde_json::json;

use super::accounts::is_nobody;
use super::time;
use crate::client::Person;
use crate::cluster::fresh_database;
use crate::crypto::KeyPair;
use crate::library::Library;
use crate::patience::eventually;
use crate::server::{Server, Setup};

/// A clock that stands still.
#[derive(Debug)]
struct Stopped(Timestamp);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// An account that was made some time ago.
struct Old {
    id: AccId,
    token: SessionToken,
}

async fn sign_up(library: &Library, nickname: &str, days: i64) -> Old {
    let token = SessionToken::generate();
    let secret = AccountSecret { nickname: nickname.to_owned(), password: String::new() };
    let command = CreateAccount {
        secret: Secret::new(secret),
        session: token.hash(),
        replaces: None,
        lifetime: TimeDelta::days(days),
    };
    Old { id: library.ledger.execute(command).await.expect("an account"), token }
}

impl Old {
    /// The same person today.
    fn today(&self, server: &Server, nickname: &str) -> Person {
        let line = self.token.set_cookie(Utc::now().into(), false);
        Person {
            client: server.client().with_cookie(line.to_str().expect("ASCII")),
            id: self.id.to_string(),
            nickname: nickname.to_owned(),
            password: String::new(),
            keys: KeyPair::generate(),
        }
    }

    /// Starts a conversation and writes into it.
    async fn talk(&self, library: &Library, to: &Self, text: &str) {
        let start = StartConversation { session: Some(self.token.hash()), receiver: Some(to.id) };
        let thread = library.ledger.execute(start).await.expect("a conversation");
        let content = MessageSecret { text: text.to_owned(), iv: None, kind: None, endless: None };
        let write = WriteMessage {
            session: Some(self.token.hash()),
            receiver: Some(Receiver::Account(to.id)),
            sender: Some(self.id),
            thread: Some(thread),
            version: NamedVersion::Absent,
            content: Ok(Secret::new(content)),
        };
        library.ledger.execute(write).await.expect("a message");
    }
}

/// A server on a database where everything happened 31 days ago: Alice and Bob live on, Carol's account has expired; Alice
/// has written to both.
async fn after_a_month() -> (Server, [Person; 3]) {
    let setup = Setup::on(&fresh_database().await);
    setup.migrate().await;
    let ago = Timestamp::from(Utc::now() - TimeDelta::days(31));
    let library = Library::with_clock(&setup, Arc::new(Stopped(ago))).await;
    let (alice, bob) = (sign_up(&library, "Alice", 365).await, sign_up(&library, "Bob", 365).await);
    let carol = sign_up(&library, "Carol", 30).await;
    alice.talk(&library, &carol, "to Carol, long ago").await;
    alice.talk(&library, &bob, "to Bob, long ago").await;
    drop(library);
    let server = setup.start().await;
    let confirmed = server.setup().run(&["expire", "--confirm-clock"]).await;
    assert!(confirmed.success, "{}{}", confirmed.out, confirmed.err);
    let people = [(&alice, "Alice"), (&bob, "Bob"), (&carol, "Carol")].map(|(who, name)| who.today(&server, name));
    (server, people)
}

/// Shows (docs/protocol.md): The account of a session.
#[tokio::test]
async fn an_account_whose_time_is_over_is_nobody() {
    let (server, [alice, _, carol]) = after_a_month().await;
    is_nobody(&carol.client, &json!({ "threadID": "10003:s1", "receiverID": "10001", "accIDs": ["10001"] })).await;
    let as_carol = carol.client.post("/newacc", &json!({ "nickname": "Carol", "password": "p" })).await;
    assert_eq!(as_carol.json()["accID"], 10004, "but may start again");

    // And nobody finds it.
    let thread = "10001:10003";
    let letter = alice.letter(thread, &carol.id, "still there?");
    for (path, body, verdict) in [
        ("/startconversation", json!({ "receiverID": carol.id }), "400 ACCNOTEXISTS"),
        ("/writemessage", letter, "400 ACCNOTEXISTS"),
        ("/getmessages", json!({ "threadID": thread }), "400 INVALIDTHREADID"),
        ("/getkey", json!({ "accID": carol.id }), "200 MEMBERNOTEXISTING"),
        ("/getkeys", json!({ "accIDs": [alice.id, carol.id] }), "200 MEMBERNOTEXISTING"),
    ] {
        assert_eq!(alice.client.post(path, &body).await.verdict(), verdict, "{path}");
    }
    assert!(alice.threads().await.iter().all(|listed| listed["threadID"] != thread));
    assert_eq!(server.get("/readyz").await.status, 200);
}

/// Shows (docs/protocol.md): How long messages are kept; What the web client depends on.
#[tokio::test]
async fn messages_are_shown_for_a_month_and_a_welcome_for_a_life() {
    let (_server, [alice, bob, _]) = after_a_month().await;
    let thread = "10001:10002";
    eventually("Alice is notified of Carol's end", async || alice.messages("10001:s1").await.len() == 2).await;
    // A thread without a message that is shown still has a title that the web client knows.
    for (who, partner) in [(&alice, "Bob"), (&bob, "Alice")] {
        assert_eq!(who.messages(thread).await, [] as [serde_json::Value; 0]);
        let threads = who.threads().await;
        let listed = threads.iter().find(|listed| listed["threadID"] == thread).unwrap();
        assert_eq!(&listed["nickname"], &json!(partner));
        assert_eq!((&listed["messageType"], &listed["text"]), (&json!("system"), &json!("STARTCONVERSATION")));
        assert_eq!((&listed["sender"], listed.get("iv")), (&json!("s1"), None));
        assert!(Utc::now().naive_utc() - time(&listed["ts"]) >= TimeDelta::days(31), "the last activity");
        assert_eq!(who.messages(&format!("{}:s1", who.id)).await[0]["text"], "WELCOME");
    }
    // Numbers go on where they were.
    assert_eq!(bob.write(thread, &alice, "after a month").await, 3);
    let messages = alice.messages(thread).await;
    assert_eq!((messages.len(), &messages[0]["messageID"]), (1, &json!("3")));
    assert_eq!(alice.threads().await[0]["text"], "after a month");
}
