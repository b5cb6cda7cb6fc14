//! Who is in a group: coming, going, and the end of it all.

use serde_json::{Value, json};

use super::{ids, people, texts};
use crate::client::Person;
use crate::cluster::fresh_database;
use crate::contract::timeless;
use crate::server::{Server, Setup};

/// Shows (docs/protocol.md): Ids.
#[tokio::test]
async fn groups_are_numbered_apart_from_accounts() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    assert_eq!(alice.creates("public", Value::Null).await, "g10001");
    assert_eq!(bob.creates("private", Value::Null).await, "g10002");
    assert_eq!(Person::sign_up(&server, "Carol").await.id, "10003");
}

/// Shows (docs/protocol.md): Ids; Checks of accounts and groups; Creating a group; Versions of a group key.
#[tokio::test]
async fn a_creator_does_all_that_a_member_does_without_having_joined() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.creates("private", json!(2)).await;
    // There is no thread yet, in no list and under no name.
    assert_eq!(alice.thread(&group).await, None);
    assert_eq!(alice.asks("/groupgetmembers", &group).await.json()["members"][0]["nickname"], "Alice");
    for thread in [group.clone(), format!("{}:{group}", alice.id)] {
        let read = alice.client.post("/getmessages", &json!({ "threadID": thread })).await;
        assert_eq!(read.verdict(), "400 INVALIDTHREADID");
        let mut letter = alice.group_letter(&group, "hello?");
        letter["threadID"] = json!(thread);
        assert_eq!(alice.client.post("/writemessage", &letter).await.verdict(), "400 INVALIDTHREADID");
    }

    assert_eq!(
        alice.asks("/groupgetcurrentversion", &group).await.json(),
        json!({ "valid": true, "groupVersion": null })
    );
    assert_eq!(alice.takes_version(&group).await, 1);
    assert_eq!(
        alice.asks("/groupgetcurrentversion", &group).await.json(),
        json!({ "valid": true, "groupVersion": "1" })
    );
    assert_eq!(alice.adds(&group, &bob).await, ids(&[&alice, &bob]));
    assert_eq!(alice.members(&group).await, [alice.id.clone(), bob.id.clone()]);
    let key =
        json!({ "groupID": group, "accID": bob.id, "keyholder": bob.id, "groupKey": "0123456789", "iv": "an iv" });
    let stored = alice.client.post("/groupstorekey", &key).await;
    assert_eq!(stored.json(), json!({ "valid": true, "groupVersion": "1" }));
    let keys = json!([{ "groupVersion": "1", "groupKey": "0123456789", "keyholder": bob.id, "iv": "an iv" }]);
    for who in [&alice, &bob] {
        let answer = who.asks_for("/groupgetkeys", &group, &bob).await;
        assert_eq!(answer.json(), json!({ "valid": true, "groupKeys": keys }));
    }

    // Now there is a thread. The creator takes part in it, though it is not in its list.
    assert_eq!(bob.says(&group, "welcome").await, 2);
    assert_eq!(alice.says(&group, "thank you").await, 3);
    let talk = texts([(1, "ACCADDEDTOGROUP"), (2, "welcome"), (3, "thank you")]);
    assert_eq!(bob.sees(&group).await, talk);
    assert_eq!(alice.sees(&group).await, talk);
    assert_eq!(alice.thread(&group).await, None);

    // It joins later, once, however full the group is; what it read it goes on reading.
    alice.enters(&group).await;
    assert_eq!(alice.asks("/groupjoinmember", &group).await.verdict(), "200 ISALREADYMEMBER");
    assert_eq!(alice.thread(&group).await.unwrap()["text"], "ACCJOINEDGROUP");
    assert_eq!(alice.sees(&group).await, [talk, texts([(4, "ACCJOINEDGROUP")])].concat());
    assert_eq!(alice.members(&group).await, [alice.id.clone(), bob.id.clone()]);
}

#[tokio::test]
async fn a_creator_may_be_added_instead_of_joining() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.creates("public", json!(2)).await;
    bob.enters(&group).await;
    assert_eq!(bob.adds(&group, &alice).await, ids(&[&alice, &bob]));
    assert_eq!(bob.asks_for("/groupaddmember", &group, &alice).await.verdict(), "200 ISALREADYMEMBER");
    assert_eq!(alice.asks("/groupjoinmember", &group).await.verdict(), "200 ISALREADYMEMBER");
    // It was a member all along, so it sees all that was.
    assert_eq!(alice.sees(&group).await, texts([(1, "ACCJOINEDGROUP"), (2, "ACCADDEDTOGROUP")]));
    assert_eq!(alice.members(&group).await, [alice.id.clone(), bob.id.clone()]);
}

#[tokio::test]
async fn a_creator_that_never_joined_may_leave() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.creates("public", json!(2)).await;
    bob.enters(&group).await;
    assert_eq!(alice.leaves(&group).await, ids(&[&bob]));
    assert_eq!(bob.asks("/groupgetmembers", &group).await.verdict(), "200 GROUPNOTEXISTING");
    let alone = alice.creates("private", json!(1)).await;
    assert_eq!(alice.leaves(&alone).await, json!([]));
    assert_eq!(alice.asks("/groupjoinmember", &alone).await.verdict(), "200 GROUPNOTEXISTING");
}

/// Shows (docs/protocol.md): Checks of accounts and groups; Fields of a thread; Size of a group.
#[tokio::test]
async fn no_group_has_more_members_than_it_may() {
    let setup = Setup::on(&fresh_database().await).with("group-max-members", 3);
    let server = setup.start().await;
    let [alice, bob, carol, dave] = people(&server, ["Alice", "Bob", "Carol", "Dave"]).await;
    // What the creator wants, as text or number, up to what the server allows.
    for (wanted, given) in [
        (json!(1), "1"),
        (json!("2"), "2"),
        (json!(3), "3"),
        (json!(4), "3"),
        (json!("1000000000000000000000"), "3"),
        (json!(0), "3"),
        (json!("abc"), "3"),
        (json!([2]), "3"),
        (json!(null), "3"),
    ] {
        let group = alice.creates("public", wanted.clone()).await;
        alice.enters(&group).await;
        assert_eq!(alice.thread(&group).await.unwrap()["maxMembers"], given, "maxMembers {wanted}");
        let mut there = vec![&alice];
        for (n, other) in [&bob, &carol, &dave].into_iter().enumerate() {
            // By turns somebody is added and joins: the same limit holds for both.
            let path = if n % 2 == 0 { "/groupjoinmember" } else { "/groupaddmember" };
            let answer =
                if n % 2 == 0 { other.asks(path, &group).await } else { alice.asks_for(path, &group, other).await };
            let full = there.len() == given.parse::<usize>().unwrap();
            assert_eq!(answer.verdict(), if full { "400 GROUPMAXREACHED" } else { "200 ok" }, "{path} {given}");
            if full {
                assert_eq!(other.asks("/groupjoinmember", &group).await.verdict(), "400 GROUPMAXREACHED");
                let added = alice.asks_for("/groupaddmember", &group, other).await;
                assert_eq!(added.verdict(), "400 GROUPMAXREACHED");
            } else {
                there.push(other);
            }
        }
        assert_eq!(json!(alice.members(&group).await), ids(&there));
    }
    // A place that becomes free is taken again.
    let group = alice.creates("public", json!(2)).await;
    alice.enters(&group).await;
    bob.enters(&group).await;
    alice.kicks(&group, &bob).await;
    carol.enters(&group).await;
    assert_eq!(bob.asks("/groupjoinmember", &group).await.verdict(), "400 GROUPMAXREACHED");
    carol.leaves(&group).await;
    bob.enters(&group).await;
}

/// Shows (docs/protocol.md): Size of a group.
#[tokio::test]
async fn a_group_has_room_for_twenty_by_default() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    for body in [
        json!({ "nickname": "Friends", "groupType": "public" }),
        json!({ "nickname": "Friends", "groupType": "public", "maxMembers": -3 }),
        json!({ "nickname": "Friends", "groupType": "public", "maxMembers": 2.5 }),
    ] {
        let group = alice.client.post("/groupcreate", &body).await.json()["groupID"].as_str().unwrap().to_owned();
        alice.enters(&group).await;
        assert_eq!(alice.thread(&group).await.unwrap()["maxMembers"], "20");
    }
    let large = alice.creates("public", json!(1001)).await;
    alice.enters(&large).await;
    assert_eq!(alice.thread(&large).await.unwrap()["maxMembers"], "1000");
}

/// Shows (docs/protocol.md): Checks of accounts and groups; Joining and adding.
#[tokio::test]
async fn only_the_admin_adds_to_a_private_group() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.creates("private", json!(20)).await;
    alice.enters(&group).await;
    assert_eq!(bob.asks("/groupjoinmember", &group).await.verdict(), "200 NOTADMIN");
    alice.adds(&group, &bob).await;
    assert_eq!(bob.asks_for("/groupaddmember", &group, &carol).await.verdict(), "200 NOTADMIN");
    bob.leaves(&group).await;
    assert_eq!(bob.asks("/groupjoinmember", &group).await.verdict(), "200 NOTADMIN", "not even again");
    alice.adds(&group, &bob).await;
    assert_eq!(alice.members(&group).await, [alice.id.clone(), bob.id.clone()]);
    assert_eq!(bob.thread(&group).await.unwrap()["groupType"], "private");
}

/// Shows (docs/protocol.md): Members.
#[tokio::test]
async fn members_are_listed_with_the_admin_first() {
    let server = Server::start().await;
    let [first, second, admin, last] = people(&server, ["First", "Second", "<Admin>", "Last"]).await;
    let group = admin.founds().await;
    // Who comes when has no say: the admin is first, then the ids count, as numbers.
    assert_eq!(admin.adds(&group, &last).await, ids(&[&admin, &last]));
    assert_eq!(last.adds(&group, &second).await, ids(&[&second, &admin, &last]));
    first.enters(&group).await;
    for who in [&first, &second, &admin, &last] {
        assert_eq!(json!(who.members(&group).await), ids(&[&admin, &first, &second, &last]));
    }
    let list = last.asks("/groupgetmembers", &group).await.json();
    insta::assert_json_snapshot!(timeless(list["members"][0].clone()), @r#"
    {
      "endless": false,
      "expire": "(time)",
      "id": "10003",
      "nickname": "<Admin>",
      "type": "user",
      "userStatus": ""
    }
    "#);
    assert_eq!(list["members"][3]["nickname"], "Last");
    assert_eq!(second.leaves(&group).await, ids(&[&first, &admin, &last]));
    assert_eq!(json!(first.members(&group).await), ids(&[&admin, &first, &last]));
}

/// Shows (docs/protocol.md): Members.
#[tokio::test]
async fn ids_are_ordered_as_numbers() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await;
    let mut expected = vec![alice.id.clone(), bob.id.clone()];
    bob.enters(&group).await;
    for number in 0..9 {
        let more = Person::sign_up(&server, &format!("Number {number}")).await;
        more.enters(&group).await;
        expected.push(more.id);
    }
    assert_eq!(alice.members(&group).await, expected);
}

/// Shows (docs/protocol.md): Leaving and kicking.
#[tokio::test]
async fn the_session_decides_which_account_leaves() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    let answer = bob.client.post("/groupleavemember", &json!({ "groupID": group, "accID": carol.id })).await;
    assert_eq!(answer.json(), json!({ "valid": true, "groupMembers": [alice.id, carol.id] }));
    assert_eq!(bob.asks("/groupleavemember", &group).await.verdict(), "200 NOGROUPMEMBER");
    assert_eq!(alice.asks_for("/groupkickmember", &group, &bob).await.verdict(), "200 NOGROUPMEMBER");
    alice.kicks(&group, &carol).await;
    assert_eq!(carol.asks("/groupleavemember", &group).await.verdict(), "200 NOGROUPMEMBER");
    assert_eq!(json!(alice.members(&group).await), ids(&[&alice]));
}

/// Nobody of these gets anything of a group that is no more; whatever they ask, it never was.
async fn is_gone(group: &str, people: &[&Person]) {
    for who in people {
        let body = json!({
            "groupID": group, "accID": who.id, "memberID": who.id, "keyholder": who.id, "groupKey": "0123456789",
            "update": "joinmember",
        });
        for path in [
            "/groupjoinmember",
            "/groupaddmember",
            "/groupgetmembers",
            "/groupleavemember",
            "/groupkickmember",
            "/groupincreaseversion",
            "/groupgetcurrentversion",
            "/groupstorekey",
            "/groupgetkeys",
            "/grouptriggersseupdate",
        ] {
            assert_eq!(who.client.post(path, &body).await.verdict(), "200 GROUPNOTEXISTING", "{path} {}", who.nickname);
        }
        assert_eq!(who.client.post("/groupdestroygroup", &body).await.verdict(), "200 NOTADMIN");
        for thread in [group.to_owned(), format!("{}:{group}", who.id)] {
            let read = who.client.post("/getmessages", &json!({ "threadID": thread })).await;
            assert_eq!(read.verdict(), "400 INVALIDTHREADID", "{}", who.nickname);
        }
        let letter = who.group_letter(group, "anybody there?");
        assert_eq!(who.client.post("/writemessage", &letter).await.verdict(), "400 ACCNOTEXISTS");
        assert_eq!(who.thread(group).await, None, "{}", who.nickname);
    }
}

/// Shows (docs/protocol.md): The list of threads; What the web client depends on; Destroying a group.
#[tokio::test]
async fn a_destroyed_group_is_there_for_nobody() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    bob.says(&group, "still here").await;
    carol.leaves(&group).await;
    alice.takes_version(&group).await;
    alice.destroys(&group).await;
    let stranger = Person::sign_up(&server, "Eve").await;
    is_gone(&group, &[&alice, &bob, &carol, &stranger]).await;
    // Its number is not given again, and the accounts go on.
    assert_eq!(bob.creates("public", Value::Null).await, "g10002");
}

/// Shows (docs/protocol.md): Leaving and kicking.
#[tokio::test]
async fn with_its_admin_a_group_goes() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = bob.founds().await;
    alice.enters(&group).await;
    carol.enters(&group).await;
    bob.says(&group, "goodbye").await;
    assert_eq!(bob.leaves(&group).await, ids(&[&alice, &carol]), "who was there with the admin");
    is_gone(&group, &[&alice, &bob, &carol]).await;
}
