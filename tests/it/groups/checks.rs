//! The checks of every route of groups: each with all that fails it, and their order.

use serde_json::{Value, json};

use super::people;
use crate::client::{Client, Person};
use crate::cluster::fresh_database;
use crate::contract::{no_account, no_text, refuses};
use crate::server::{Server, Setup};

/// All routes of groups.
const ROUTES: [&str; 12] = [
    "/groupcreate",
    "/groupjoinmember",
    "/groupaddmember",
    "/groupgetmembers",
    "/groupleavemember",
    "/groupkickmember",
    "/groupdestroygroup",
    "/groupincreaseversion",
    "/groupgetcurrentversion",
    "/groupstorekey",
    "/groupgetkeys",
    "/grouptriggersseupdate",
];

/// What names no living group: no text, and ids that no group has or that are none.
fn no_group() -> Vec<Value> {
    let unknown = ["g99999", "g0", "g-1", "g010001", "G10001", " g10001", "g10001 ", "g1e4", "10001", "s1", "g", "gg"];
    let others = ["10001:g10001", "g99999999999999999999"];
    no_text().into_iter().chain(unknown.map(Value::from)).chain(others.map(Value::from)).collect()
}

/// What names no account: nobody's ids, and those of somebody as a number.
fn no_member() -> Vec<Value> {
    no_account().into_iter().chain([json!(10001), json!(10002)]).collect()
}

/// Sends a body that is wrong in all fields, then repairs one after the other: each time the first
/// check that still fails answers.
async fn fail_in_order(client: &Client, path: &str, steps: &[(&str, Value, Value, &str)]) {
    let mut body = json!({});
    for (field, wrong, ..) in steps {
        body[field] = wrong.clone();
    }
    for (field, wrong, right, verdict) in steps {
        body[field] = wrong.clone();
        assert_eq!(client.post(path, &body).await.verdict(), *verdict, "{path} {body}");
        body[field] = right.clone();
    }
}

/// A public group of Alice and Bob, a private one of Alice and Bob that is full, and Carol who is in neither.
struct Scene {
    server: Server,
    alice: Person,
    bob: Person,
    carol: Person,
    open: String,
    closed: String,
}

async fn scene() -> Scene {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let open = alice.founds().await;
    bob.enters(&open).await;
    let closed = alice.creates("private", json!(2)).await;
    alice.enters(&closed).await;
    alice.adds(&closed, &bob).await;
    Scene { server, alice, bob, carol, open, closed }
}

impl Scene {
    /// How many events there are.
    async fn events(&self) -> f64 {
        self.server.metric("be8_ledger_events_total").await
    }
}

/// Shows (docs/protocol.md): Checks of accounts and groups.
#[tokio::test]
async fn a_malformed_group_is_refused_by_every_route() {
    let scene = scene().await;
    let Scene { alice, bob, open, .. } = &scene;
    let events = scene.events().await;
    // Alice is the admin and everything else is right, so it is the group that fails.
    let body = json!({
        "groupID": open, "accID": bob.id, "memberID": bob.id, "keyholder": alice.id, "groupKey": "0123456789",
        "update": "joinmember",
    });
    for path in ROUTES.into_iter().filter(|path| *path != "/groupcreate") {
        // Only here the group itself is no check of its own.
        let verdict = if path == "/groupdestroygroup" { "200 NOTADMIN" } else { "200 GROUPNOTEXISTING" };
        refuses(&alice.client, path, &body, "groupID", &no_group(), verdict).await;
    }
    assert_eq!(scene.events().await, events, "nothing happened");
}

/// Shows (docs/protocol.md): Checks of fields; Creating a group.
#[tokio::test]
async fn a_group_is_created_with_a_name_and_a_type() {
    let scene = scene().await;
    let client = &scene.alice.client;
    let events = scene.events().await;
    let body = json!({ "nickname": "Friends", "groupType": "public" });
    let long = [json!("n".repeat(31)), json!("🦢".repeat(16))];
    let names = [no_text(), long.to_vec()].concat();
    // A text in an array is the one name among these values that slips through where ids are meant.
    refuses(client, "/groupcreate", &body, "nickname", &names, "400 INVALIDNICKNAME").await;
    let types = [no_text(), ["Public", "open", " public", "group"].map(Value::from).to_vec()].concat();
    refuses(client, "/groupcreate", &body, "groupType", &types, "400 INVALIDGROUPTYPE").await;
    fail_in_order(
        client,
        "/groupcreate",
        &[
            ("nickname", json!(7), json!("Friends"), "400 INVALIDNICKNAME"),
            ("groupType", json!(7), json!("public"), "400 INVALIDGROUPTYPE"),
        ],
    )
    .await;
    assert_eq!(scene.events().await, events, "nothing happened");

    for name in ["n".repeat(30), "🦢".repeat(15), " ".to_owned()] {
        let body = json!({ "nickname": name, "groupType": "private" });
        assert_eq!(client.post("/groupcreate", &body).await.verdict(), "200 ok", "{name}");
    }
}

/// Shows (docs/protocol.md): Checks of accounts and groups; Joining and adding.
#[tokio::test]
async fn joining_has_its_checks_in_order() {
    let scene = scene().await;
    let Scene { alice, bob, carol, open, closed, .. } = &scene;
    let events = scene.events().await;
    // Alice and Bob are in already, whatever else hinders: the private group is full, too.
    for (who, group, verdict) in [
        (alice, open, "200 ISALREADYMEMBER"),
        (bob, open, "200 ISALREADYMEMBER"),
        (alice, closed, "200 ISALREADYMEMBER"),
        (bob, closed, "200 ISALREADYMEMBER"),
        (carol, closed, "200 NOTADMIN"),
    ] {
        assert_eq!(who.asks("/groupjoinmember", group).await.verdict(), verdict, "{} {group}", who.nickname);
    }
    assert_eq!(scene.events().await, events, "nothing happened");
}

/// Shows (docs/protocol.md): Order of checks; Checks of accounts and groups; Joining and adding.
#[tokio::test]
async fn adding_has_its_checks_in_order() {
    let scene = scene().await;
    let Scene { alice, bob, carol, open, closed, .. } = &scene;
    let events = scene.events().await;
    let body = json!({ "groupID": open, "memberID": carol.id });
    refuses(&alice.client, "/groupaddmember", &body, "memberID", &no_member(), "200 MEMBERNOTEXISTING").await;
    // A member that does not exist is found before oneself is found to be none.
    refuses(&carol.client, "/groupaddmember", &body, "memberID", &no_member(), "200 MEMBERNOTEXISTING").await;
    for (who, group, whom, verdict) in [
        (carol, open, carol, "200 NOGROUPMEMBER"),
        (carol, closed, bob, "200 NOGROUPMEMBER"),
        (bob, closed, alice, "200 NOTADMIN"),
        (bob, closed, carol, "200 NOTADMIN"),
        (alice, closed, bob, "200 ISALREADYMEMBER"),
        (alice, closed, alice, "200 ISALREADYMEMBER"),
        (bob, open, alice, "200 ISALREADYMEMBER"),
        (bob, open, bob, "200 ISALREADYMEMBER"),
        (alice, closed, carol, "400 GROUPMAXREACHED"),
    ] {
        let answer = who.asks_for("/groupaddmember", group, whom).await;
        assert_eq!(answer.verdict(), verdict, "{} adds {} to {group}", who.nickname, whom.nickname);
    }
    fail_in_order(
        &alice.client,
        "/groupaddmember",
        &[
            ("groupID", json!("g99999"), json!(open), "200 GROUPNOTEXISTING"),
            ("memberID", json!("99999"), json!(bob.id), "200 MEMBERNOTEXISTING"),
        ],
    )
    .await;
    // accID counts where memberID says nothing; a wrong memberID is not made good by it.
    for (member, verdict) in [
        (json!("99999"), "200 MEMBERNOTEXISTING"),
        (json!(10003), "200 MEMBERNOTEXISTING"),
        (json!([carol.id]), "200 MEMBERNOTEXISTING"),
    ] {
        let body = json!({ "groupID": open, "memberID": member, "accID": carol.id });
        assert_eq!(alice.client.post("/groupaddmember", &body).await.verdict(), verdict, "{body}");
    }
    assert_eq!(scene.events().await, events, "nothing happened");
    let body = json!({ "groupID": open, "accID": carol.id });
    assert_eq!(alice.client.post("/groupaddmember", &body).await.verdict(), "200 ok");
}

/// Shows (docs/protocol.md): Checks of accounts and groups.
#[tokio::test]
async fn only_members_get_past_the_checks_for_them() {
    let scene = scene().await;
    let Scene { alice, carol, open, .. } = &scene;
    let events = scene.events().await;
    // All else is right, or wrong: it is looked at later.
    for (key, update) in [(json!("0123456789"), json!("joinmember")), (json!(7), json!(7))] {
        for path in ROUTES {
            let verdict = match path {
                "/groupcreate" | "/groupjoinmember" => continue,
                "/groupkickmember" | "/groupdestroygroup" => "200 NOTADMIN",
                _ => "200 NOGROUPMEMBER",
            };
            let body = json!({
                "groupID": open, "memberID": alice.id, "accID": alice.id, "keyholder": "99999", "groupKey": key,
                "update": update,
            });
            assert_eq!(carol.client.post(path, &body).await.verdict(), verdict, "{path} {body}");
        }
    }
    assert_eq!(scene.events().await, events, "nothing happened");
}

/// Shows (docs/protocol.md): Order of checks; Checks of accounts and groups; Leaving and kicking.
#[tokio::test]
async fn kicking_has_its_checks_in_order() {
    let scene = scene().await;
    let Scene { alice, bob, carol, open, .. } = &scene;
    let events = scene.events().await;
    let body = json!({ "groupID": open, "accID": bob.id });
    // Never MEMBERNOTEXISTING: anyone who is not in the group is no member.
    let nobody = [no_member(), vec![json!(carol.id)]].concat();
    refuses(&alice.client, "/groupkickmember", &body, "accID", &nobody, "200 NOGROUPMEMBER").await;
    // Who is not the admin learns nothing of who is a member.
    let anybody = [nobody, vec![json!(alice.id), json!(bob.id)]].concat();
    refuses(&bob.client, "/groupkickmember", &body, "accID", &anybody, "200 NOTADMIN").await;
    refuses(&carol.client, "/groupkickmember", &body, "accID", &anybody, "200 NOTADMIN").await;
    fail_in_order(
        &alice.client,
        "/groupkickmember",
        &[
            ("groupID", json!("g99999"), json!(open), "200 GROUPNOTEXISTING"),
            ("accID", json!("99999"), json!(alice.id), "200 NOGROUPMEMBER"),
        ],
    )
    .await;
    assert_eq!(alice.asks_for("/groupkickmember", open, alice).await.verdict(), "200 CIRCULARKICK");
    for other in [bob, carol] {
        assert_eq!(other.asks("/groupdestroygroup", open).await.verdict(), "200 NOTADMIN");
    }
    assert_eq!(scene.events().await, events, "nothing happened");
    assert_eq!(alice.members(open).await, [alice.id.clone(), bob.id.clone()]);
}

#[tokio::test]
async fn how_long_a_wrapped_key_may_be_is_set() {
    let server = Setup::on(&fresh_database().await).with("group-key-max-bytes", 20).start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    for (length, verdict) in [(20, "200 ok"), (21, "200 INVALIDGROUPKEY")] {
        let body = json!({ "groupID": group, "accID": bob.id, "keyholder": alice.id, "groupKey": "k".repeat(length) });
        assert_eq!(alice.client.post("/groupstorekey", &body).await.verdict(), verdict);
    }
}

/// Shows (docs/protocol.md): Order of checks; Checks of fields; Checks of accounts and groups; Storing a wrapped key.
#[tokio::test]
async fn storing_a_key_has_its_checks_in_order() {
    let scene = scene().await;
    let Scene { alice, bob, carol, open, .. } = &scene;
    let events = scene.events().await;
    let path = "/groupstorekey";
    let body = json!({ "groupID": open, "accID": bob.id, "keyholder": alice.id, "groupKey": "0123456789" });
    refuses(&alice.client, path, &body, "accID", &no_member(), "200 MEMBERNOTEXISTING").await;
    refuses(&carol.client, path, &body, "accID", &no_member(), "200 MEMBERNOTEXISTING").await;
    refuses(&alice.client, path, &body, "keyholder", &no_member(), "200 KEYHOLDERNOTEXISTING").await;
    let keys = [no_text(), vec![json!("012345678"), json!("🦢".repeat(4)), json!("k".repeat(8193))]].concat();
    refuses(&alice.client, path, &body, "groupKey", &keys, "200 INVALIDGROUPKEY").await;
    fail_in_order(
        &alice.client,
        path,
        &[
            ("groupID", json!("g99999"), json!(open), "200 GROUPNOTEXISTING"),
            ("accID", json!("99999"), json!(bob.id), "200 MEMBERNOTEXISTING"),
            ("keyholder", json!("99999"), json!(alice.id), "200 KEYHOLDERNOTEXISTING"),
            ("groupKey", json!("short"), json!("0123456789"), "200 INVALIDGROUPKEY"),
        ],
    )
    .await;
    // Oneself is no member, and then for whom the key is.
    let mut foreign = body.clone();
    foreign["keyholder"] = json!("99999");
    for (who, whom) in [(carol, alice), (carol, carol), (alice, carol)] {
        foreign["accID"] = json!(whom.id);
        assert_eq!(who.client.post(path, &foreign).await.verdict(), "200 NOGROUPMEMBER");
    }
    assert_eq!(scene.events().await, events, "nothing happened, no version was taken");
    assert_eq!(alice.asks("/groupgetcurrentversion", open).await.json()["groupVersion"], Value::Null);

    for key in ["0123456789".to_owned(), "🦢".repeat(5), "k".repeat(8192)] {
        let body = json!({ "groupID": open, "accID": bob.id, "keyholder": alice.id, "groupKey": key });
        assert_eq!(alice.client.post(path, &body).await.verdict(), "200 ok");
    }
}

/// Shows (docs/protocol.md): Fetching wrapped keys.
#[tokio::test]
async fn fetching_keys_has_its_checks_in_order() {
    let scene = scene().await;
    let Scene { alice, bob, carol, open, .. } = &scene;
    let path = "/groupgetkeys";
    let body = json!({ "groupID": open, "accID": bob.id });
    refuses(&alice.client, path, &body, "accID", &no_member(), "200 MEMBERNOTEXISTING").await;
    // Who is not in the group learns nothing of whom there is.
    let anybody = [no_member(), vec![json!(alice.id), json!(carol.id)]].concat();
    refuses(&carol.client, path, &body, "accID", &anybody, "200 NOGROUPMEMBER").await;
    // Keys of anyone who is in the group, of nobody else.
    assert_eq!(alice.asks_for(path, open, carol).await.verdict(), "200 NOGROUPMEMBER");
    assert_eq!(bob.asks_for(path, open, alice).await.json(), json!({ "valid": true, "groupKeys": [] }));
    fail_in_order(
        &alice.client,
        path,
        &[
            ("groupID", json!("g99999"), json!(open), "200 GROUPNOTEXISTING"),
            ("accID", json!("99999"), json!(carol.id), "200 MEMBERNOTEXISTING"),
        ],
    )
    .await;
}

/// Shows (docs/protocol.md): Checks of fields; Asking members to refresh.
#[tokio::test]
async fn an_update_is_one_of_two_words() {
    let scene = scene().await;
    let Scene { alice, open, .. } = &scene;
    let path = "/grouptriggersseupdate";
    let body = json!({ "groupID": open, "update": "joinmember" });
    let words = [no_text(), ["Joinmember", "join", " joinmember", "groupJoin"].map(Value::from).to_vec()].concat();
    let events = scene.events().await;
    refuses(&alice.client, path, &body, "update", &words, "200 INVALIDUPDATETYPE").await;
    fail_in_order(
        &alice.client,
        path,
        &[
            ("groupID", json!("g99999"), json!(open), "200 GROUPNOTEXISTING"),
            ("update", json!("nonsense"), json!("joinmember"), "200 INVALIDUPDATETYPE"),
        ],
    )
    .await;
    // The other name of the field counts where the first is missing, and makes nothing good.
    for (body, verdict) in [
        (json!({ "groupID": open, "update": "nonsense", "type": "joinmember" }), "200 INVALIDUPDATETYPE"),
        (json!({ "groupID": open, "type": "nonsense" }), "200 INVALIDUPDATETYPE"),
        (json!({ "groupID": open, "type": 7 }), "200 INVALIDUPDATETYPE"),
    ] {
        assert_eq!(alice.client.post(path, &body).await.verdict(), verdict, "{body}");
    }
    assert_eq!(scene.events().await, events, "nothing happened");
    for body in [
        json!({ "groupID": open, "type": "joinmember" }),
        json!({ "groupID": open, "type": "leavegroup" }),
        json!({ "groupID": open, "update": "leavegroup", "type": "nonsense" }),
    ] {
        assert_eq!(alice.client.post(path, &body).await.json(), json!({ "valid": true }), "{body}");
    }
}

/// Shows (docs/protocol.md): Order of checks; Checks of accounts and groups.
#[tokio::test]
async fn writing_to_a_group_has_its_checks_in_order() {
    let scene = scene().await;
    let Scene { alice, carol, open, closed, .. } = &scene;
    assert_eq!(alice.takes_version(open).await, 1);
    let events = scene.events().await;
    let path = "/writemessage";
    let letter = alice.group_letter(open, "hello");
    // What does not contain a living group's id or an account's is nobody.
    let gone: Vec<Value> = no_group().into_iter().filter(|id| id != "10001").collect();
    refuses(&alice.client, path, &letter, "receiver", &gone, "400 ACCNOTEXISTS").await;
    refuses(&alice.client, path, &letter, "sender", &no_member(), "400 ACCNOTEXISTS").await;
    // `<own account>:<group>` is another name of the group's thread, with any other account it is none.
    let mut threads = no_group();
    threads.retain(|thread| thread != "10001:g10001");
    threads.extend([closed, "10002:g10001", "10001:g10002", "10001:g99999", "10001:10001:g10001"].map(Value::from));
    refuses(&alice.client, path, &letter, "threadID", &threads, "400 INVALIDTHREADID").await;
    let types = [no_text(), ["system", "picture", "removed", "Text"].map(Value::from).to_vec()].concat();
    refuses(&alice.client, path, &letter, "messageType", &types, "400 INVALIDMESSAGETYPE").await;
    fail_in_order(
        &alice.client,
        path,
        &[
            ("receiver", json!("g99999"), json!(open), "400 ACCNOTEXISTS"),
            ("sender", json!(carol.id), json!(alice.id), "400 ACCNOTEXISTS"),
            ("threadID", json!(closed), json!(open), "400 INVALIDTHREADID"),
            ("messageType", json!("system"), json!("text"), "400 INVALIDMESSAGETYPE"),
            ("groupVersionKey", json!(format!("{open}:2")), json!(format!("{open}:1")), "400 INVALIDMESSAGETYPE"),
            ("text", json!("x".repeat(262_145)), json!("hello"), "413 TOOLARGE"),
        ],
    )
    .await;
    // The group that is not one's own, by every name.
    for thread in [open.clone(), format!("{}:{open}", carol.id), format!("{}:{open}", alice.id)] {
        let mut letter = carol.group_letter(open, "hello");
        letter["threadID"] = json!(thread);
        assert_eq!(carol.client.post(path, &letter).await.verdict(), "400 INVALIDTHREADID", "{thread}");
        let read = carol.client.post("/getmessages", &json!({ "threadID": thread })).await;
        assert_eq!(read.verdict(), "400 INVALIDTHREADID", "{thread}");
    }
    assert_eq!(scene.events().await, events, "nothing happened");
}
