//! `/destroyacc` and what everybody else sees of it.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::client::{Person, two_people};
use crate::contract::accounts::is_nobody;
use crate::groups::{ids, people};
use crate::patience::eventually;
use crate::server::{Server, two_nodes};

/// The notices of the system to somebody: code and extras.
async fn notices(person: &Person) -> Vec<Value> {
    let messages = person.messages(&format!("{}:s1", person.id)).await;
    messages.iter().map(|m| json!([m["text"], m["extra1"], m["extra2"]])).collect()
}

/// Shows (docs/protocol.md): Living accounts; Removing an account; What a removal does; The list of threads; Changes
/// and their recipients; Codes of system messages.
#[tokio::test]
async fn an_account_is_gone_on_every_node_with_the_answer() {
    let (one, two) = two_nodes().await;
    let (alice, bob, thread) = two_people(&one).await;
    let carol = Person::sign_up(&one, "Carol").await;
    alice.start_conversation(&carol).await;
    alice.write(&thread, &bob, "Alice's").await;
    bob.write(&thread, &alice, "Bob's").await;
    bob.messages(&thread).await;
    let mut alices = [alice.client.events().await, alice.at(&two).client.events().await];
    let mut bobs = [bob.client.events().await, bob.at(&two).client.events().await];

    alice.vanishes().await;
    let sensible = json!({ "threadID": thread, "receiverID": bob.id, "accID": bob.id, "accIDs": [bob.id] });
    for node in [&one, &two] {
        is_nobody(&alice.at(node).client, &sensible).await;
        let bob = bob.at(node);
        assert_eq!(bob.threads().await.len(), 1, "only the system's");
        let letter = bob.letter(&thread, &alice.id, "still there?");
        for (path, body, verdict) in [
            ("/startconversation", json!({ "receiverID": alice.id }), "400 ACCNOTEXISTS"),
            ("/writemessage", letter, "400 ACCNOTEXISTS"),
            ("/getmessages", json!({ "threadID": thread }), "400 INVALIDTHREADID"),
            ("/getkey", json!({ "accID": alice.id }), "200 MEMBERNOTEXISTING"),
            ("/getkeys", json!({ "accIDs": [bob.id, alice.id] }), "200 MEMBERNOTEXISTING"),
        ] {
            assert_eq!(bob.client.post(path, &body).await.verdict(), verdict, "{path}");
        }
    }
    for (person, _) in [(&bob, ()), (&carol, ())] {
        let deleted = json!(["ACCDELETED", alice.id, null]);
        assert_eq!(notices(person).await, [json!(["WELCOME", null, null]), deleted]);
    }
    // Its own streams end; its partners' streams report it.
    for stream in &mut alices {
        stream.rest().await;
    }
    for stream in &mut bobs {
        let received = stream.event().await.data;
        assert_eq!(received, json!({ "action": "expiredAcc", "accID": alice.id, "threadID": thread }));
    }
    // Nobody takes its number.
    assert_eq!(Person::sign_up(&two, "Dave").await.id, "10004");
}

/// Shows (docs/protocol.md): What a removal does; Placeholders for what is erased; What the web client depends on;
/// Members; Messages of former members; Changes and their recipients; Codes of system messages.
#[tokio::test]
async fn groups_are_destroyed_or_left() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let mine = alice.founds().await;
    let theirs = bob.founds().await;
    for person in [&bob, &carol] {
        person.enters(&mine).await;
    }
    for person in [&carol, &alice] {
        person.enters(&theirs).await;
    }
    alice.says(&theirs, "Alice's").await;
    bob.says(&theirs, "Bob's").await;
    let mut carols = carol.client.events().await;
    alice.vanishes().await;

    // Each member of a destroyed group is notified of its own leaving, and of Alice's from the other.
    let received = [carols.event().await.data, carols.event().await.data];
    let remove = |group: &str, who: &Person| json!({ "action": "groupMemberRemove", "groupID": group, "threadID": group, "leavingMember": who.id, "type": "group" });
    assert_eq!(received, [remove(&mine, &carol), remove(&theirs, &alice)]);
    assert_eq!(carol.thread(&mine).await, None);
    assert_eq!(carol.asks("/groupgetmembers", &mine).await.verdict(), "200 GROUPNOTEXISTING");
    let codes: Vec<Value> = notices(&carol).await.iter().map(|notice| notice[0].clone()).collect();
    assert_eq!(codes, ["WELCOME", "GROUPDELETED"]);
    assert_eq!(json!(carol.members(&theirs).await), ids(&[&bob, &carol]));
    // What Alice wrote is gone, the last message included, and she left without a name.
    assert_eq!(
        bob.sees(&theirs).await.into_iter().map(|(_, text)| text).collect::<Vec<_>>(),
        ["ACCJOINEDGROUP", "ACCJOINEDGROUP", "ACCJOINEDGROUP", "removed", "Bob's", "ACCLEFTGROUP"]
    );
    let messages = bob.messages(&theirs).await;
    let last = &messages[5];
    assert_eq!((&last["extra1"], &last["extra2"]), (&json!(alice.id), &json!("Expired User")));
    assert_eq!((&messages[2]["extra2"], &messages[3]["nickname"]), (&json!("Expired User"), &json!("Expired User")));
    // What can still be shown to whom it was said.
    assert_eq!(bob.says(&theirs, "and on").await, 7);
}

/// Shows (docs/protocol.md): What the web client depends on; Keyholders that are gone.
#[tokio::test]
async fn a_keyholder_s_public_key_stays_while_a_group_needs_it() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = bob.founds().await;
    for person in [&alice, &carol] {
        person.enters(&group).await;
    }
    alice.takes_version(&group).await;
    let key = json!({ "groupID": group, "accID": carol.id, "keyholder": alice.id, "groupKey": "wrapped by Alice" });
    assert_eq!(alice.client.post("/groupstorekey", &key).await.verdict(), "200 ok");
    let asked = json!({ "accIDs": [bob.id, alice.id] });
    let before = carol.client.post("/getkeys", &asked).await.json();
    alice.vanishes().await;

    assert_eq!(carol.client.post("/getkeys", &asked).await.json(), before, "the tombstone");
    assert_eq!(carol.client.post("/getkey", &json!({ "accID": alice.id })).await.verdict(), "200 ok");
    let keys = json!({ "groupID": group, "accID": carol.id });
    assert_eq!(carol.client.post("/groupGetkeys", &keys).await.json()["groupKeys"][0]["keyholder"], json!(alice.id));
    // As a keyholder of new keys or a member it is nobody.
    bob.takes_version(&group).await;
    let again = json!({ "groupID": group, "accID": carol.id, "keyholder": alice.id, "groupKey": "wrapped again" });
    assert_eq!(bob.client.post("/groupstorekey", &again).await.verdict(), "200 KEYHOLDERNOTEXISTING");
    // Ids that were never issued name nobody.
    let unknown = json!({ "accIDs": [alice.id, "10099"] });
    assert_eq!(carol.client.post("/getkeys", &unknown).await.verdict(), "200 MEMBERNOTEXISTING");

    // The group's end is the end of the key, too.
    bob.destroys(&group).await;
    assert_eq!(carol.client.post("/getkeys", &asked).await.verdict(), "200 MEMBERNOTEXISTING");
    let mut connection = PgConnection::connect(server.setup().database_url()).await.expect("a connection");
    let subject = format!("public-key/{}", alice.id);
    eventually("the public key is erased", async || {
        let live = sqlx::query_scalar("select wrapped is not null from vault.key where subject = $1");
        let live: bool = live.bind(&subject).fetch_one(&mut connection).await.expect("its key");
        !live
    })
    .await;
}

/// Shows (docs/protocol.md): Requests from other origins; Removing an account.
#[tokio::test]
async fn post_does_the_same_and_nothing_is_done_twice() {
    let server = Server::start().await;
    let (alice, bob, _) = two_people(&server).await;
    let answers = futures_util::future::join_all((0..8).map(|nth| {
        let method = if nth % 2 == 0 { Method::GET } else { Method::POST };
        alice.client.send(alice.client.request(method, "/DestroyAcc/"))
    }))
    .await;
    let verdicts: Vec<String> = answers.iter().map(crate::client::Answer::verdict).collect();
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "200 ok").count(), 1, "{verdicts:?}");
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "401 NOTAUTH").count(), 7, "{verdicts:?}");
    assert_eq!(notices(&bob).await.len(), 2);
    assert_eq!(server.client().get("/destroyacc").await.verdict(), "401 NOTAUTH");
}
