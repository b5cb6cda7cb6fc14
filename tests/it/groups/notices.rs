//! What the system says about a group, to whom; and a small group's whole life as it is shown.

use serde_json::{Value, json};

use super::people;
use crate::client::Person;
use crate::contract::timeless;
use crate::server::Server;

/// What the system said to somebody after its welcome, oldest first: the code, then extra1 to extra3.
async fn notices(who: &Person) -> Vec<Vec<String>> {
    let thread = format!("{}:s1", who.id);
    let said = |message: &Value| {
        assert_eq!((&message["sender"], &message["receiver"]), (&json!("s1"), &json!(who.id)), "{message}");
        assert_eq!(message["messageType"], "system");
        let fields = ["text", "extra1", "extra2", "extra3"].map(|field| message[field].as_str().map(str::to_owned));
        fields.into_iter().flatten().collect()
    };
    let messages = who.messages(&thread).await;
    for (n, message) in (1..).zip(&messages) {
        assert_eq!(message["messageID"], n.to_string(), "numbered without a gap");
    }
    assert_eq!(messages[0]["text"], "WELCOME");
    messages[1..].iter().map(said).collect()
}

/// What was said in a group, likewise.
async fn announcements(who: &Person, group: &str) -> Vec<Vec<String>> {
    let said = |message: &Value| {
        assert_eq!((&message["sender"], message.get("receiver")), (&json!(group), None), "{message}");
        assert_eq!((&message["threadID"], &message["messageType"]), (&json!(group), &json!("system")));
        let fields = ["text", "extra1", "extra2", "extra3"].map(|field| message[field].as_str().map(str::to_owned));
        fields.into_iter().flatten().collect()
    };
    who.messages(group).await.iter().map(said).collect()
}

/// Shows (docs/protocol.md): Creating a group; Joining and adding; Leaving and kicking; Codes of system messages;
/// Escaping in system messages.
#[tokio::test]
async fn the_system_writes_a_message_for_every_join_and_departure() {
    let server = Server::start().await;
    // Names reach a sink of HTML in the web client: there, and only there, they are escaped.
    let [alice, bob, carol] = people(&server, ["<i>A&B</i>", "Bob \"B\"", "Carol's"]).await;
    let (a, b, c) = (alice.id.as_str(), bob.id.as_str(), carol.id.as_str());
    let body = json!({ "nickname": "<script>'x' & \"y\"", "groupType": "public" });
    let group = alice.client.post("/groupcreate", &body).await.json()["groupID"].as_str().unwrap().to_owned();
    let name = "&lt;script&gt;&#39;x&#39; &amp; &quot;y&quot;";
    let (alices, bobs, carols) = ("&lt;i&gt;A&amp;B&lt;/i&gt;", "Bob &quot;B&quot;", "Carol&#39;s");
    alice.enters(&group).await;
    bob.enters(&group).await;
    bob.adds(&group, &carol).await;
    bob.leaves(&group).await;
    alice.kicks(&group, &carol).await;
    alice.adds(&group, &bob).await;

    assert_eq!(
        announcements(&alice, &group).await,
        [
            vec!["ACCJOINEDGROUP", a, alices],
            vec!["ACCJOINEDGROUP", b, bobs],
            vec!["ACCADDEDTOGROUP", carols, c], // the other way round
            vec!["ACCLEFTGROUP", b, bobs],
            vec!["ACCKICKEDFROMGROUP", c, carols],
            vec!["ACCADDEDTOGROUP", bobs, b],
        ]
    );
    assert_eq!(notices(&alice).await, [vec!["CREATEDGROUP", group.as_str(), name]]);
    assert_eq!(notices(&bob).await, [vec!["LEFTGROUP", group.as_str(), name], vec!["ADDEDTOGROUP", a, name, alices]]);
    let of_carol = [vec!["ADDEDTOGROUP", b, name, bobs], vec!["KICKEDFROMGROUP", group.as_str(), name]];
    assert_eq!(notices(&carol).await, of_carol);
    // Everywhere else names are as they are.
    assert_eq!(bob.thread(&group).await.unwrap()["nickname"], "<script>'x' & \"y\"");
    assert_eq!(bob.asks("/groupgetmembers", &group).await.json()["members"][0]["nickname"], "<i>A&B</i>");
    alice.says(&group, "hello").await;
    assert_eq!(bob.messages(&group).await.last().unwrap()["nickname"], "<i>A&B</i>");

    // All who are there are notified of the end, and Carol is not.
    alice.destroys(&group).await;
    let end = vec!["GROUPDELETED", group.as_str(), name];
    assert_eq!(notices(&alice).await.last().unwrap(), &end);
    assert_eq!(notices(&bob).await.last().unwrap(), &end);
    assert_eq!(notices(&carol).await, of_carol);
    assert_eq!(carol.threads().await[0]["text"], "KICKEDFROMGROUP");
    assert_eq!(bob.threads().await[0]["text"], "GROUPDELETED");
}

/// Shows (docs/protocol.md): Codes of system messages.
#[tokio::test]
async fn an_admin_that_leaves_gets_no_message_that_the_group_is_gone() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    alice.leaves(&group).await;
    let group = group.as_str();
    assert_eq!(notices(&alice).await, [["CREATEDGROUP", group, "Friends"], ["LEFTGROUP", group, "Friends"]]);
    assert_eq!(notices(&bob).await, [["GROUPDELETED", group, "Friends"]]);
}

/// Shows (docs/protocol.md): Ids.
#[tokio::test]
async fn the_system_thread_is_numbered_in_the_order_of_the_log() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    // Many commands at once, so that several fall into one batch.
    let groups = futures_util::future::join_all((0..12).map(|_| alice.creates("public", Value::Null))).await;
    futures_util::future::join_all(groups.iter().map(|group| alice.adds(group, &bob))).await;
    futures_util::future::join_all(groups.iter().map(|group| alice.destroys(group))).await;
    let codes = |notices: Vec<Vec<String>>| notices.into_iter().map(|notice| notice[0].clone()).collect::<Vec<_>>();
    assert_eq!(codes(notices(&alice).await), [["CREATEDGROUP"; 12], ["GROUPDELETED"; 12]].concat());
    assert_eq!(codes(notices(&bob).await), [["ADDEDTOGROUP"; 12], ["GROUPDELETED"; 12]].concat());
}

/// All that two members get of a small group, as it comes over the wire.
///
/// Shows (docs/protocol.md): Fields of a thread.
#[tokio::test]
async fn the_life_of_a_small_group() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let body = json!({ "nickname": "Friends <3", "groupType": "private", "maxMembers": 5 });
    let created = alice.client.post("/groupcreate", &body).await.json();
    assert_eq!(created, json!({ "valid": true, "groupID": "g10001" }));
    let group = "g10001";
    alice.enters(group).await;
    alice.adds(group, &bob).await;
    alice.takes_version(group).await;
    let mut letter = alice.group_letter(group, "ciphertext");
    letter["groupVersionKey"] = json!("g10001:1");
    alice.client.post("/writemessage", &letter).await;
    bob.says(group, "soon removed").await;
    insta::assert_json_snapshot!(
        "before_the_departure",
        timeless(json!({
            "messages of Alice": alice.messages(group).await,
            "messages of Bob": bob.messages(group).await,
            "threads of Alice": alice.threads().await,
            "thread of Bob": bob.thread(group).await,
            "members": bob.asks("/groupgetmembers", group).await.json(),
        }))
    );
    alice.kicks(group, &bob).await;
    insta::assert_json_snapshot!(
        "after_the_departure",
        timeless(json!({
            "messages of Alice": alice.messages(group).await,
            "thread of Alice": alice.thread(group).await,
            "threads of Bob": bob.threads().await,
            "the system to Bob": bob.messages("10002:s1").await,
            "members": alice.asks("/groupgetmembers", group).await.json(),
        }))
    );
    alice.leaves(group).await;
    insta::assert_json_snapshot!(
        "after_the_end",
        timeless(json!({
            "threads of Alice": alice.threads().await,
            "the system to Alice": alice.messages("10001:s1").await,
            "the system to Bob": bob.messages("10002:s1").await,
        }))
    );
}
