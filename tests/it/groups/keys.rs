//! Versions of a group's key and the wrapped keys of its members: under which version a key is stored, who may replace
//! it, who gets it (docs/protocol.md, "Storing a wrapped key").

use serde_json::{Value, json};

use super::people;
use crate::client::{Person, number_of};
use crate::server::Server;

impl Person {
    /// Stores a key for a member; answers the version or the refusal.
    async fn stores(&self, group: &str, member: &Self, key: &str) -> String {
        self.stores_of(group, member, key, self).await
    }

    /// Stores a key that somebody wrapped for a member; answers the version or the refusal.
    async fn stores_of(&self, group: &str, member: &Self, key: &str, keyholder: &Self) -> String {
        let key = format!("{key} wrapped for {}", member.nickname);
        let body = json!({ "groupID": group, "accID": member.id, "keyholder": keyholder.id, "groupKey": key });
        let answer = self.client.post("/groupstorekey", &body).await;
        match answer.verdict().as_str() {
            "200 ok" => answer.json()["groupVersion"].as_str().expect("a text").to_owned(),
            refusal => refusal.to_owned(),
        }
    }

    /// The keys of a member, as `version: which key`, by whom wrapped.
    async fn fetches(&self, group: &str, member: &Self) -> Vec<String> {
        let answer = self.asks_for("/groupgetkeys", group, member).await;
        assert_eq!(answer.verdict(), "200 ok");
        let keys = answer.json()["groupKeys"].as_array().expect("a list").clone();
        let read = |key: &Value| {
            let field = |name: &str| key[name].as_str().expect("a text").to_owned();
            let what = field("groupKey");
            let what = what.strip_suffix(&format!(" wrapped for {}", member.nickname)).expect("a key of this member");
            format!("{}: {what} by {}", field("groupVersion"), field("keyholder"))
        };
        keys.iter().map(read).collect()
    }
}

/// How many events there are.
async fn events(server: &Server) -> f64 {
    server.metric("be8_ledger_events_total").await
}

/// The refusal of a key that somebody else's stands in the way of.
const REFUSED: &str = "200 INVALIDGROUPKEY";

/// Shows (docs/protocol.md): Storing a wrapped key.
#[tokio::test]
async fn the_first_key_takes_version_1_for_its_storer() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    assert_eq!(bob.stores(&group, &carol, "first").await, "1");
    assert_eq!(carol.asks("/groupgetcurrentversion", &group).await.json()["groupVersion"], "1");
    // The version is Bob's: others store where nothing is yet, and only he replaces.
    assert_eq!(alice.stores(&group, &alice, "for myself").await, "1");
    let before = events(&server).await;
    assert_eq!(alice.stores(&group, &carol, "another").await, REFUSED);
    assert_eq!(carol.stores(&group, &carol, "another").await, REFUSED);
    assert_eq!(alice.stores(&group, &carol, "first").await, "1", "the same bytes are no replacement");
    assert_eq!(events(&server).await, before, "nothing happened");
    assert_eq!(alice.fetches(&group, &carol).await, ["1: first by 10002"]);
    assert_eq!(bob.stores(&group, &carol, "second").await, "1");
    assert_eq!(bob.stores(&group, &alice, "mine").await, "1", "even if somebody else stored it before");
    assert_eq!(carol.fetches(&group, &carol).await, ["1: second by 10002"]);
    assert_eq!(carol.fetches(&group, &alice).await, ["1: mine by 10002"]);
    assert_eq!(alice.takes_version(&group).await, 2, "what a store took is not given again");
}

/// Shows (docs/protocol.md): Versions of a group key; Storing a wrapped key.
#[tokio::test]
async fn a_key_goes_under_the_version_that_its_storer_took() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    // Two rekey at once: neither puts its keys under the other's version.
    assert_eq!(alice.takes_version(&group).await, 1);
    assert_eq!(bob.takes_version(&group).await, 2);
    assert_eq!(alice.stores(&group, &carol, "of Alice").await, "1");
    assert_eq!(bob.stores(&group, &carol, "of Bob").await, "2");
    assert_eq!(alice.stores(&group, &bob, "of Alice").await, "1");
    // Who took none stores under the newest.
    assert_eq!(carol.stores(&group, &alice, "of Carol").await, "2");
    assert_eq!(carol.stores(&group, &carol, "of Carol").await, REFUSED);
    // The last one taken counts.
    assert_eq!(alice.takes_version(&group).await, 3);
    assert_eq!(alice.takes_version(&group).await, 4);
    assert_eq!(alice.stores(&group, &carol, "of Alice again").await, "4");
    assert_eq!(bob.stores(&group, &bob, "of Bob").await, "2", "still Bob's");
    assert_eq!(
        carol.fetches(&group, &carol).await,
        ["1: of Alice by 10001", "2: of Bob by 10002", "4: of Alice again by 10001"]
    );
    assert_eq!(bob.fetches(&group, &bob).await, ["1: of Alice by 10001", "2: of Bob by 10002"]);
    assert_eq!(alice.fetches(&group, &alice).await, ["2: of Carol by 10003"]);
    assert_eq!(carol.asks("/groupgetcurrentversion", &group).await.json()["groupVersion"], "4");
}

/// Shows (docs/protocol.md): Storing a wrapped key.
#[tokio::test]
async fn what_was_taken_in_an_earlier_stay_is_no_longer_ones_own() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    assert_eq!(bob.takes_version(&group).await, 1);
    assert_eq!(bob.stores(&group, &bob, "of Bob").await, "1");
    assert_eq!(bob.takes_version(&group).await, 2);
    assert_eq!(bob.stores(&group, &alice, "of Bob").await, "2");
    bob.leaves(&group).await;
    assert_eq!(bob.stores(&group, &alice, "too late").await, "200 NOGROUPMEMBER");
    // The version that a leaver took is still the newest.
    assert_eq!(carol.stores(&group, &carol, "of Carol").await, "2");
    assert_eq!(carol.stores(&group, &alice, "of Carol").await, REFUSED);

    // It comes back: still the allocator of the newest version, which is where its keys go.
    bob.enters(&group).await;
    assert_eq!(bob.stores(&group, &alice, "of Bob again").await, "2");
    bob.leaves(&group).await;
    assert_eq!(carol.takes_version(&group).await, 3);
    bob.enters(&group).await;
    assert_eq!(bob.stores(&group, &bob, "of Bob at last").await, "3", "not under 2");
    assert_eq!(bob.fetches(&group, &bob).await, ["1: of Bob by 10002", "3: of Bob at last by 10002"]);
    assert_eq!(alice.fetches(&group, &alice).await, ["2: of Bob again by 10002"]);
    // The same after a kick.
    assert_eq!(bob.takes_version(&group).await, 4);
    alice.kicks(&group, &bob).await;
    assert_eq!(alice.takes_version(&group).await, 5);
    bob.enters(&group).await;
    assert_eq!(bob.stores(&group, &bob, "of Bob").await, "5");
}

/// Shows (docs/protocol.md): Storing a wrapped key; Fetching wrapped keys.
#[tokio::test]
async fn a_stored_key_names_its_keyholder() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    // Anybody may be the keyholder, no matter who stores and whether or not a member.
    assert_eq!(alice.stores_of(&group, &bob, "the key", &carol).await, "1");
    assert_eq!(bob.fetches(&group, &bob).await, ["1: the key by 10003"]);
    // The same bytes wrapped by somebody else are another key: the allocator replaces.
    assert_eq!(alice.stores_of(&group, &bob, "the key", &alice).await, "1");
    assert_eq!(bob.fetches(&group, &bob).await, ["1: the key by 10001"]);
    let before = events(&server).await;
    assert_eq!(alice.stores_of(&group, &bob, "the key", &alice).await, "1");
    assert_eq!(
        bob.stores_of(&group, &bob, "the key", &carol).await,
        "1",
        "identical bytes of who is not the allocator"
    );
    assert_eq!(events(&server).await, before, "nothing happened");
    assert_eq!(bob.fetches(&group, &bob).await, ["1: the key by 10001"]);
}

/// Shows (docs/protocol.md): Encryption between clients.
#[tokio::test]
async fn keys_come_back_as_they_were_sent() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let group = alice.founds().await;
    let key = "<b>\"&' 🦢\n\u{0}0123".to_owned() + &"k".repeat(8000);
    for (iv, shown) in [
        (json!("an iv"), json!("an iv")),
        (json!(""), json!("")),
        (json!(7), json!("7")),
        (json!(null), Value::Null),
        (json!([1]), Value::Null),
    ] {
        alice.takes_version(&group).await;
        let body = json!({ "groupID": group, "accID": alice.id, "keyholder": alice.id, "groupKey": key, "iv": iv });
        assert_eq!(alice.client.post("/groupstorekey", &body).await.verdict(), "200 ok");
        let keys = alice.asks_for("/groupGetkeys", &group, &alice).await.json();
        let last = keys["groupKeys"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["groupKey"], &last["iv"]), (&json!(key), &shown));
        assert_eq!(last.get("iv").is_some(), !shown.is_null(), "absent, not null");
    }
}

/// Shows (docs/protocol.md): Versions of a group key; Fetching wrapped keys.
#[tokio::test]
async fn versions_are_ordered_as_numbers_and_outlive_every_coming_and_going() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await;
    for version in 1..=11 {
        bob.enters(&group).await;
        let taker = if version % 2 == 0 { &alice } else { &bob };
        assert_eq!(taker.takes_version(&group).await, version);
        assert_eq!(taker.stores(&group, &bob, "a key").await, version.to_string());
        bob.leaves(&group).await;
    }
    bob.enters(&group).await;
    let keys = bob.fetches(&group, &bob).await;
    let versions: Vec<&str> = keys.iter().map(|key| key.split_once(':').unwrap().0).collect();
    assert_eq!(versions, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]);
}

/// Shows (docs/protocol.md): Storing a wrapped key; Fetching wrapped keys.
#[tokio::test]
async fn only_members_get_keys_and_only_those_of_members() {
    let server = Server::start().await;
    let [alice, bob, carol, eve] = people(&server, ["Alice", "Bob", "Carol", "Eve"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    for member in [&alice, &bob, &carol] {
        assert_eq!(alice.stores(&group, member, "the key").await, "1");
    }
    for one in [&alice, &bob, &carol] {
        for other in [&alice, &bob, &carol] {
            assert_eq!(one.fetches(&group, other).await, ["1: the key by 10001"]);
        }
        assert_eq!(eve.asks_for("/groupgetkeys", &group, one).await.verdict(), "200 NOGROUPMEMBER");
        assert_eq!(one.asks_for("/groupgetkeys", &group, &eve).await.verdict(), "200 NOGROUPMEMBER");
    }
    bob.leaves(&group).await;
    alice.kicks(&group, &carol).await;
    for gone in [&bob, &carol] {
        for whose in [&alice, gone] {
            assert_eq!(gone.asks_for("/groupgetkeys", &group, whose).await.verdict(), "200 NOGROUPMEMBER");
        }
        assert_eq!(alice.asks_for("/groupgetkeys", &group, gone).await.verdict(), "200 NOGROUPMEMBER");
    }
    // Back again, a member has what was stored for it.
    bob.enters(&group).await;
    assert_eq!(bob.fetches(&group, &bob).await, ["1: the key by 10001"]);
    // Another group has keys and versions of its own.
    let other = bob.founds().await;
    alice.enters(&other).await;
    assert_eq!(alice.fetches(&other, &alice).await, [""; 0]);
    assert_eq!(bob.stores(&other, &alice, "another").await, "1");
    assert_eq!(alice.fetches(&other, &alice).await, ["1: another by 10002"]);
    assert_eq!(alice.fetches(&group, &alice).await, ["1: the key by 10001"]);
}

/// Shows (docs/protocol.md): Fields of a thread; Writing a message; What the web client depends on; The key version of
/// a message.
#[tokio::test]
async fn a_message_names_a_version_of_its_own_group_or_none() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let (group, other) = (alice.founds().await, alice.founds().await);
    bob.enters(&group).await;
    let write = async |key: Value| {
        let mut letter = alice.group_letter(&group, "hello");
        letter["groupVersionKey"] = key;
        alice.client.post("/writemessage", &letter).await
    };
    // No version was taken yet: none can be named.
    assert_eq!(write(json!("g10001:1")).await.verdict(), "400 INVALIDMESSAGETYPE");
    assert_eq!(number_of(&write(Value::Null).await, &group), 3);
    for version in 1..=2 {
        assert_eq!(alice.takes_version(&group).await, version);
        assert_eq!(alice.takes_version(&other).await, version);
    }
    assert_eq!(alice.takes_version(&other).await, 3);
    for bad in [
        json!(""),
        json!("g10001"),
        json!("g10001:"),
        json!("g10001:0"),
        json!("g10001:3"),
        json!("g10001:-1"),
        json!("g10001:+1"),
        json!("g10001:1 "),
        json!("g10001:1.0"),
        json!("g10001:99999999999999999999"),
        json!("g10001:1:1"),
        json!("g10002:1"),
        json!("G10001:1"),
        json!("10001:1"),
        json!(":1"),
        json!(1),
        json!(true),
        json!([]),
        json!(["g10001:1"]),
        json!({}),
    ] {
        assert_eq!(write(bad.clone()).await.verdict(), "400 INVALIDMESSAGETYPE", "groupVersionKey {bad}");
    }
    // An older version may be named, too: the writer had no other.
    assert_eq!(number_of(&write(json!("g10001:1")).await, &group), 4);
    assert_eq!(bob.thread(&group).await.unwrap()["groupVersionKey"], "g10001:1");
    assert_eq!(number_of(&write(json!("g10001:2")).await, &group), 5);
    assert_eq!(bob.thread(&group).await.unwrap()["groupVersionKey"], "g10001:2");
    let messages = bob.messages(&group).await;
    let named: Vec<Option<&Value>> = messages[1..].iter().map(|message| message.get("groupVersionKey")).collect();
    assert_eq!(named, [None, Some(&json!("g10001:1")), Some(&json!("g10001:2"))]);
}
