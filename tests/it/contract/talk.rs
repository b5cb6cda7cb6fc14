//! The main job: two people talk, live, and nobody else can read it.

use serde_json::json;

use crate::client::{Person, two_people};
use crate::server::Server;

/// Shows (docs/protocol.md): Encryption between clients.
#[tokio::test]
async fn two_people_exchange_messages_that_only_they_can_read() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let eve = Person::sign_up(&server, "Eve").await;
    assert_eq!(thread, format!("{}:{}", alice.id, bob.id));

    assert_eq!(alice.write_secretly(&thread, &bob, "Shall we meet?").await, 2);
    assert_eq!(bob.write_secretly(&thread, &alice, "At noon, at the lake 🦢").await, 3);

    let said = |number: &str, text: &str| (number.to_owned(), text.to_owned());
    let talk = vec![said("1", "STARTCONVERSATION"), said("2", "Shall we meet?"), said("3", "At noon, at the lake 🦢")];
    assert_eq!(alice.read_secretly(&thread, &bob).await, talk);
    assert_eq!(bob.read_secretly(&thread, &alice).await, talk);

    // Eve gets no answer from the server, and what the server holds is of no use to her.
    let refused = eve.client.post("/getmessages", &json!({ "threadID": thread })).await;
    assert_eq!(refused.verdict(), "400 INVALIDTHREADID");
    let stolen = &alice.messages(&thread).await[1];
    let (text, iv) = (stolen["text"].as_str().unwrap(), stolen["iv"].as_str().unwrap());
    assert!(!text.contains("meet"));
    for key in [alice.own_jwk(), bob.own_jwk()] {
        assert_eq!(eve.keys.decrypt(&key, text, iv), None);
    }
}
