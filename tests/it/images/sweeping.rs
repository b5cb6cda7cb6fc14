//! The contents that nobody can see any more are removed: of leavers, of destroyed groups, of what never was a message.

use sqlx::{Connection as _, PgConnection};

use super::blobs;
use crate::client::two_people;
use crate::clock::turn;
use crate::cluster::{fresh_database, passable_directory};
use crate::groups::people;
use crate::hold::Hold;
use crate::patience::eventually;
use crate::server::{Server, Setup};

/// Shows (docs/protocol.md): What a removal does; Messages of former members.
#[tokio::test]
async fn a_leavers_image_is_removed_with_its_content() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await;
    for other in [&bob, &carol] {
        other.enters(&group).await;
    }
    let thread = bob.start_conversation(&alice).await;
    for (person, name) in [(&alice, "of Alice"), (&bob, "of Bob"), (&carol, "of Carol")] {
        person.posts(&group, &group, name, name).await;
    }
    bob.posts(&thread, &alice.id, "elsewhere", "stays").await;
    assert_eq!(blobs(server.setup()).len(), 4);

    bob.leaves(&group).await;
    assert_eq!(alice.looks_at(&bob, "of Bob").await, None);
    let shown = alice.messages(&group).await;
    let kinds: Vec<_> = shown.iter().map(|message| message["messageType"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["system", "system", "system", "image", "removed", "image", "system"]);
    assert_eq!((shown[4]["text"].as_str(), shown[4].get("contentID")), (Some(""), None));
    eventually("Bob's is swept", async || blobs(server.setup()).len() == 3).await;
    // It stays removed after a rejoin.
    bob.enters(&group).await;
    assert_eq!(bob.looks_at(&bob, "of Bob").await, None);

    alice.kicks(&group, &carol).await;
    eventually("Carol's is swept", async || blobs(server.setup()).len() == 2).await;
    alice.destroys(&group).await;
    eventually("Alice's is swept with the group", async || blobs(server.setup()).len() == 1).await;
    assert_eq!(alice.looks_at(&bob, "elsewhere").await.as_deref(), Some("stays"));
}

#[tokio::test]
async fn what_was_erased_while_nobody_swept_is_swept_later() {
    let setup = Setup::on(&fresh_database().await);
    let server = setup.start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    bob.posts(&group, &group, "of Bob", "content").await;
    let copy = passable_directory();
    let kept = copy.path().join("blob");
    let file = blobs(server.setup()).pop().unwrap();
    std::fs::copy(&file, &kept).unwrap();
    bob.leaves(&group).await;
    let setup = server.kill().await;
    // Whether or not it was swept before the end: as if it had not been.
    std::fs::copy(&kept, &file).unwrap();
    let clock = copy.path().join("clock");
    turn(&clock, 25 * 3600);
    let server = setup.with("test-clock-file", clock.display()).start().await;
    eventually("it is swept", async || blobs(server.setup()).is_empty()).await;
}

#[tokio::test]
async fn a_blob_without_its_message_is_collected_after_a_while() {
    let folder = passable_directory();
    let clock = folder.path().join("clock");
    turn(&clock, 0);
    let setup = Setup::on(&fresh_database().await).with("test-clock-file", clock.display());
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.posts(&thread, &bob.id, "kept", "kept").await;
    // Killed between the blob and its event.
    let mut hold = Hold::all_appends(server.setup().database_url()).await;
    let upload = {
        let (client, body) = (alice.client.clone(), alice.picture(&thread, &bob.id, "lost", "lost"));
        let request = client.request(reqwest::Method::POST, "/imageupload").json(&body);
        tokio::spawn(async move { client.try_send(request).await.is_err() })
    };
    eventually("the blob is there", async || blobs(server.setup()).len() == 2).await;
    let append = hold.caught().await;
    let setup = server.kill().await;
    // PostgreSQL would finish a statement whose client is gone.
    let mut database = PgConnection::connect(setup.database_url()).await.unwrap();
    sqlx::query("select pg_terminate_backend($1)").bind(append).execute(&mut database).await.unwrap();
    assert!(upload.await.unwrap(), "an image was acknowledged that is not there");
    hold.release().await;

    let server = setup.start().await;
    let bob = bob.at(&server);
    assert_eq!(bob.looks_at(&alice, "lost").await, None);
    eventually("the store was walked through", async || server.metric("be8_image_walks_total").await >= 1.0).await;
    assert_eq!(blobs(server.setup()).len(), 2, "an upload under way must not be taken for an orphan");
    turn(&clock, 25 * 3600);
    eventually("the orphan is collected", async || blobs(server.setup()).len() == 1).await;
    assert_eq!(bob.looks_at(&alice, "kept").await.as_deref(), Some("kept"));
    assert_eq!(server.metric("be8_images_swept_total").await, 1.0);
}
