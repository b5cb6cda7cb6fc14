//! Two nodes on one database: what one has answered, the other shows at once.

use serde_json::json;

use crate::client::Person;
use crate::server::two_nodes;

#[tokio::test]
async fn what_was_written_at_one_node_is_read_at_the_other() {
    let (one, two) = two_nodes().await;
    for round in 0..10 {
        let (here, there) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let alice = Person::sign_up(here, &format!("Alice {round}")).await;
        assert_eq!(alice.at(there).client.get("/me").await.json()["accObj"]["nickname"], json!(alice.nickname));
        let bob = Person::sign_up(there, "Bob").await;
        let key = bob.at(here).client.post("/getkey", &json!({ "accID": alice.id })).await;
        assert_eq!(key.json()["publicKey"]["accID"], json!(alice.id));

        let thread = alice.start_conversation(&bob).await;
        assert_eq!(bob.at(there).threads().await[0]["threadID"], json!(thread));
        assert_eq!(bob.at(there).start_conversation(&alice).await, thread);
        assert_eq!(bob.at(there).write(&thread, &alice, "hello").await, 2);
        assert_eq!(alice.messages(&thread).await[1]["text"], "hello");
        assert_eq!(bob.messages(&thread).await[1]["status"], json!([alice.id]));

        // A session that ended here has ended there.
        let again = alice.client.post("/newacc", &json!({ "nickname": "Alice again", "password": "p" })).await;
        assert_eq!(again.verdict(), "200 ok");
        assert_eq!(alice.at(there).client.get("/me").await.verdict(), "401 NOTAUTH");
        assert_eq!(
            alice.at(there).client.post("/startconversation", &json!({ "receiverID": bob.id })).await.verdict(),
            "401 NOTAUTH"
        );
    }
}

#[tokio::test]
async fn both_nodes_send_what_happens_at_either() {
    let (one, two) = two_nodes().await;
    let alice = Person::sign_up(&one, "Alice").await;
    let bob = Person::sign_up(&two, "Bob").await;
    let mut streams = [alice.client.events().await, alice.at(&two).client.events().await];
    let thread = alice.start_conversation(&bob).await;
    bob.write(&thread, &alice, "from the other node").await;
    alice.write(&thread, &bob, "from this one").await;
    bob.messages(&thread).await;
    let received = streams[0].events(4).await;
    assert_eq!(streams[1].events(4).await, received);
    // An id of one node is good at the other.
    let mut resumed = alice.at(&two).client.events_after(&received[1].id).await;
    assert_eq!(resumed.events(2).await, received[2..]);
    // A stream ends with its session, wherever that ended.
    alice.client.post("/newacc", &json!({ "nickname": "Alice again", "password": "p" })).await;
    for stream in &mut streams {
        assert_eq!(stream.rest().await, []);
    }
}
