//! Who may see an image, and when no more.

use serde_json::json;

use super::blobs;
use crate::client::{Person, two_people};
use crate::cluster::{fresh_database, passable_directory};
use crate::groups::people;
use crate::server::{Server, Setup};

/// Shows (docs/protocol.md): Shapes of refusals; Posting an image; Fetching an image.
#[tokio::test]
async fn only_participants_see_it() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let eve = Person::sign_up(&server, "Eve").await;
    alice.posts(&thread, &bob.id, "name", "content").await;
    assert_eq!(eve.looks_at(&alice, "name").await, None);
    for cookie in ["invalid", "be8=AAAA"] {
        let stranger = server.client().with_cookie(cookie);
        for body in [json!({}), json!({ "sender": alice.id, "contentID": "name" })] {
            assert_eq!(stranger.post("/imageget", &body).await.verdict(), "401 NOTAUTH");
        }
    }
    // More fields only narrow it.
    let ask = async |more: serde_json::Value| {
        let mut body = json!({ "sender": alice.id, "contentID": "name" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bob.client.post("/imageget", &body).await.json()["valid"] == true
    };
    for good in [
        json!({ "threadID": thread, "messageID": "2" }),
        json!({ "threadID": thread, "messageID": 2 }),
        json!({ "threadID": null, "messageID": null }),
        json!({ "messageID": {} }),
        json!({ "messageID": "2" }),
    ] {
        assert!(ask(good.clone()).await, "{good}");
    }
    for bad in [
        json!({ "threadID": format!("{}:{}", bob.id, alice.id) }),
        json!({ "threadID": "g10001", "messageID": "2" }),
        json!({ "threadID": "" }),
        json!({ "threadID": thread, "messageID": "1" }),
        json!({ "messageID": "02" }),
    ] {
        assert!(!ask(bad.clone()).await, "{bad}");
    }
    // What can be no image is none; its name comes back as it was sent.
    for (sender, name) in [
        (json!(alice.id), json!("another")),
        (json!(bob.id), json!("name")),
        (json!("99999"), json!("name")),
        (json!(null), json!("name")),
        (json!([alice.id]), json!("name")),
        (json!(alice.id), json!("")),
    ] {
        let answer = bob.client.post("/imageget", &json!({ "sender": sender, "contentID": name })).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "valid": false, "contentID": name })));
    }
    assert_eq!(bob.client.post("/imageget", &json!({})).await.json(), json!({ "valid": false }));
}

/// Shows (docs/protocol.md): Stays in a group; Fetching an image.
#[tokio::test]
async fn members_see_the_images_of_their_stays() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    alice.posts(&group, &group, "before", "1").await;
    carol.enters(&group).await;
    alice.posts(&group, &group, "during", "2").await;
    assert_eq!(carol.looks_at(&alice, "before").await, None);
    assert_eq!(carol.looks_at(&alice, "during").await.as_deref(), Some("2"));
    carol.leaves(&group).await;
    alice.posts(&group, &group, "after", "3").await;
    for name in ["before", "during", "after"] {
        assert_eq!(carol.looks_at(&alice, name).await, None, "{name}");
        assert!(bob.looks_at(&alice, name).await.is_some(), "{name}");
    }
    carol.enters(&group).await;
    for (name, seen) in [("before", false), ("during", true), ("after", false)] {
        assert_eq!(carol.looks_at(&alice, name).await.is_some(), seen, "{name}");
    }
}

#[tokio::test]
async fn two_nodes_keep_images_in_one_folder() {
    let folder = passable_directory();
    let setup = Setup::on(&fresh_database().await).with("media-dir", folder.path().display());
    let one = setup.start().await;
    let two = one.setup().second().start().await;
    let (alice, bob, thread) = two_people(&one).await;
    alice.posts(&thread, &bob.id, "by one", "1").await;
    alice.at(&two).posts(&thread, &bob.id, "by two", "2").await;
    for node in [&one, &two] {
        assert_eq!(bob.at(node).looks_at(&alice, "by one").await.as_deref(), Some("1"));
        assert_eq!(bob.at(node).looks_at(&alice, "by two").await.as_deref(), Some("2"));
    }
}

#[tokio::test]
async fn a_blob_that_was_tampered_with_is_not_shown() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.posts(&thread, &bob.id, "name", "content").await;
    let file = blobs(server.setup()).pop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(bob.looks_at(&alice, "name").await, None);
    assert!(server.setup().log().contains("is damaged"));
    std::fs::remove_file(file).unwrap();
    assert_eq!(bob.looks_at(&alice, "name").await, None);
}
