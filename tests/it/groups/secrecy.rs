//! Who can decrypt what: three members, one kicked, one gone and back, asserted on the plain text.

use serde_json::json;

use super::web_client::WebClient;
use crate::client::Person;
use crate::server::Server;

async fn three(server: &Server) -> [WebClient; 3] {
    [
        WebClient::sign_up(server, "Alice").await,
        WebClient::sign_up(server, "Bob").await,
        WebClient::sign_up(server, "Carol").await,
    ]
}

/// Shows (docs/protocol.md): A session of the web client.
#[tokio::test]
async fn a_group_of_three_reads_what_is_meant_for_three() {
    let server = Server::start().await;
    let [mut alice, mut bob, mut carol] = three(&server).await;
    let eve = Person::sign_up(&server, "Eve").await;
    let group = alice.create("public").await;
    assert_eq!(alice.send(&group, "only Alice can read this").await, 2);
    bob.join(&group).await;
    bob.send(&group, "Alice and Bob 🦢").await;
    alice.synchronize(&group).await;
    alice.add(&group, &carol).await;
    carol.synchronize(&group).await;
    carol.send(&group, "all three").await;
    alice.synchronize(&group).await;
    alice.send(&group, "all three, too").await;

    let all = ["ACCADDEDTOGROUP", "all three", "all three, too"];
    assert_eq!(carol.read(&group).await, all);
    let of_bob = ["ACCJOINEDGROUP", "Alice and Bob 🦢"];
    assert_eq!(bob.read(&group).await, [&of_bob[..], &all].concat());
    let of_alice = ["ACCJOINEDGROUP", "only Alice can read this"];
    assert_eq!(alice.read(&group).await, [&of_alice[..], &of_bob, &all].concat());
    assert_eq!([alice.versions(&group), bob.versions(&group)], [vec![1, 2, 3], vec![2, 3]]);
    assert_eq!(carol.versions(&group), [3]);

    // What the server hands out holds no plain text, and a stranger gets none of it.
    for message in alice.person.messages(&group).await.iter().filter(|message| message["messageType"] == "text") {
        assert!(!message.to_string().contains("three") && !message.to_string().contains("Bob 🦢"));
    }
    assert_eq!(eve.asks_for("/groupgetkeys", &group, &alice.person).await.verdict(), "200 NOGROUPMEMBER");
    // A member may fetch what is wrapped for another, and can do nothing with it.
    let of_alice = bob.person.asks_for("/groupgetkeys", &group, &alice.person).await.json();
    let first = &of_alice["groupKeys"][0];
    let (key, iv) = (first["groupKey"].as_str().unwrap(), first["iv"].as_str().unwrap());
    assert_eq!(bob.person.keys.decrypt(&alice.person.own_jwk(), key, iv), None);
    assert!(alice.person.keys.decrypt(&alice.person.own_jwk(), key, iv).is_some());
}

/// Shows (docs/protocol.md): Encryption between clients.
#[tokio::test]
async fn a_kicked_member_reads_nothing_that_comes_later() {
    let server = Server::start().await;
    let [mut alice, mut bob, mut carol] = three(&server).await;
    let group = alice.create("public").await;
    bob.join(&group).await;
    carol.join(&group).await;
    alice.synchronize(&group).await;
    bob.synchronize(&group).await;
    alice.send(&group, "among three").await;
    bob.send(&group, "Bob says so").await;

    alice.kick(&group, &bob).await;
    alice.send(&group, "now that Bob is gone").await;
    carol.synchronize(&group).await;
    carol.send(&group, "we two").await;

    // The server gives Bob nothing.
    let refused = bob.person.client.post("/getmessages", &json!({ "threadID": group })).await;
    assert_eq!(refused.verdict(), "400 INVALIDTHREADID");
    for other in [&bob.person, &alice.person] {
        assert_eq!(bob.person.asks_for("/groupgetkeys", &group, other).await.verdict(), "200 NOGROUPMEMBER");
    }
    // Nor is it of use to him if somebody hands it on.
    for secret in alice.person.messages(&group).await.iter().rev().take(2) {
        assert!(!bob.breaks(secret), "{secret}");
        assert!(alice.breaks(secret) && carol.breaks(secret), "{secret}");
    }
    // What Bob said is gone for all, what was said to him stays with the others.
    assert_eq!(
        carol.read(&group).await,
        ["ACCJOINEDGROUP", "among three", "(removed)", "ACCKICKEDFROMGROUP", "now that Bob is gone", "we two"]
    );
}

/// Shows (docs/protocol.md): Encryption between clients.
#[tokio::test]
async fn a_member_that_comes_back_reads_the_old_and_the_new_but_not_what_was_between() {
    let server = Server::start().await;
    let [mut alice, mut bob, mut carol] = three(&server).await;
    let group = alice.create("private").await;
    alice.add(&group, &bob).await;
    alice.add(&group, &carol).await;
    bob.synchronize(&group).await;
    alice.send(&group, "before").await;
    bob.send(&group, "Bob before").await;

    // The leaver makes the key of those who stay, and is the keyholder though no member any more.
    bob.leave(&group).await;
    alice.synchronize(&group).await;
    alice.send(&group, "under the key that Bob made").await;
    // A rekey of those who stay shuts him out.
    alice.add(&group, &WebClient::sign_up(&server, "Dave").await).await;
    alice.send(&group, "under a key of Alice's").await;
    let between = alice.person.messages(&group).await;
    let [.., by_bob, _, by_alice] = &between[..] else { panic!("three messages") };
    assert!(bob.breaks(by_bob), "a leaver knows the key that it made itself: so is the protocol");
    assert!(!bob.breaks(by_alice));

    alice.add(&group, &bob).await;
    // A browser that was emptied gets back what was stored for its owner, and no more.
    bob.forget_keys();
    let shown = bob.read(&group).await;
    assert_eq!(shown, ["ACCADDEDTOGROUP", "ACCADDEDTOGROUP", "before", "(removed)", "ACCADDEDTOGROUP"]);
    assert_eq!(bob.versions(&group), [2, 3, 6]);
    assert!(!bob.breaks(by_alice) && !bob.breaks(by_bob));
    bob.send(&group, "back again").await;
    assert_eq!(
        carol.read(&group).await,
        [
            "ACCADDEDTOGROUP",
            "before",
            "(removed)",
            "ACCLEFTGROUP",
            "under the key that Bob made",
            "ACCADDEDTOGROUP",
            "under a key of Alice's",
            "ACCADDEDTOGROUP",
            "back again"
        ]
    );
    assert_eq!(carol.versions(&group), [3, 4, 5, 6]);
}
