//! What the members of a group receive, live and after a gap.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use super::people;
use crate::client::Person;
use crate::server::Server;
use crate::sse::{Event, EventStream};

/// What somebody receives up to the conversation that they start as a mark, each change in short.
async fn received(stream: &mut EventStream) -> Vec<(String, String)> {
    let mut changes = Vec::new();
    loop {
        let Event { id, data } = stream.event().await;
        if data["action"] == "newConversation" {
            return changes;
        }
        changes.push((id, short(&data)));
    }
}

/// A change as it must look to the last field, in short.
fn short(data: &Value) -> String {
    let text = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
    let group = if data["action"] == "groupCreate" { text("partner") } else { text("groupID") };
    let (short, whole) = match text("action").as_str() {
        "groupCreate" => (format!("{group} created"), json!({ "action": "groupCreate", "partner": group })),
        "groupJoin" => (
            format!("{group} join"),
            json!({ "action": "groupJoin", "groupID": group, "threadID": group, "type": "group" }),
        ),
        "groupMemberRemove" => {
            let leaving = text("leavingMember");
            let whole = json!({
                "action": "groupMemberRemove", "groupID": group, "threadID": group, "leavingMember": leaving,
                "type": "group",
            });
            (format!("{group} without {leaving}"), whole)
        }
        "groupUpdate" => (format!("{group} update"), json!({ "action": "groupUpdate", "groupID": group })),
        "newMessage" => {
            let (sender, nickname) = (text("sender"), text("nickname"));
            let whole = json!({
                "action": "newMessage", "threadID": group, "groupID": group, "sender": sender, "nickname": nickname,
                "type": "group",
            });
            (format!("{group} message of {nickname}"), whole)
        }
        "messageRead" => {
            let message = text("messageID");
            let whole = json!({
                "action": "messageRead", "threadID": group, "groupID": group, "receiver": group, "messageID": message,
                "type": "group",
            });
            (format!("{group} read {message}"), whole)
        }
        _ => panic!("{data}"),
    };
    assert_eq!(data, &whole);
    short
}

/// People who listen from the beginning, and somebody who is in no group.
struct Audience {
    people: Vec<Person>,
    streams: Vec<EventStream>,
    outsider: Person,
}

impl Audience {
    async fn new(server: &Server, names: &[&str]) -> Self {
        let mut audience =
            Self { people: Vec::new(), streams: Vec::new(), outsider: Person::sign_up(server, "Outsider").await };
        for name in names {
            let person = Person::sign_up(server, name).await;
            audience.streams.push(person.client.events().await);
            audience.people.push(person);
        }
        audience
    }

    /// Ends the talk: everybody's next change is a mark.
    async fn mark(&self) {
        for person in &self.people {
            person.start_conversation(&self.outsider).await;
        }
    }

    /// What each has received: with ids, and in short.
    async fn received(&mut self) -> Vec<Vec<(String, String)>> {
        self.mark().await;
        let mut all = Vec::new();
        for stream in &mut self.streams {
            all.push(received(stream).await);
        }
        all
    }
}

/// All that can happen in a group, among three of whom the first is the admin.
async fn everything_happens(people: &[Person]) -> String {
    let [alice, bob, carol] = people else { panic!("three people") };
    let group = alice.founds().await;
    bob.enters(&group).await;
    alice.says(&group, "hello").await;
    bob.sees(&group).await;
    bob.adds(&group, carol).await;
    alice.takes_version(&group).await;
    carol.says(&group, "hello all").await;
    bob.leaves(&group).await;
    alice.says(&group, "without Bob").await;
    carol.sees(&group).await;
    bob.enters(&group).await;
    let signal = json!({ "groupID": group, "update": "joinmember" });
    assert_eq!(bob.client.post("/grouptriggersseupdate", &signal).await.verdict(), "200 ok");
    let signal = json!({ "groupID": group, "type": "leavegroup" });
    assert_eq!(bob.client.post("/grouptriggersseupdate", &signal).await.verdict(), "200 ok");
    alice.kicks(&group, carol).await;
    alice.says(&group, "without Carol").await;
    alice.adds(&group, carol).await;
    carol.says(&group, "back").await;
    alice.sees(&group).await;
    bob.says(&group, "the last word").await;
    alice.leaves(&group).await;
    group
}

/// Shows (docs/protocol.md): Joining and adding; Asking members to refresh; Changes and their recipients; Order of
/// changes.
#[tokio::test]
async fn every_change_goes_to_its_recipients_in_the_order_of_the_log() {
    let server = Server::start().await;
    let mut audience = Audience::new(&server, &["Alice", "Bob", "Carol"]).await;
    let group = everything_happens(&audience.people).await;
    let all = audience.received().await;
    let [a, b, c] = [0, 1, 2].map(|n| audience.people[n].id.clone());
    let changes =
        |n: usize| all[n].iter().map(|(_, short)| short.replace(&format!("{group} "), "")).collect::<Vec<_>>();
    let without = |who: &str| format!("without {who}");
    assert_eq!(
        changes(0),
        [
            "created",
            "join",
            "join",
            "message of Alice",
            "read 3",
            "join",
            "message of Carol",
            &without(&b),
            "message of Alice",
            "read 7",
            "join",
            "update",
            &without(&b), // a signal only: Bob is still there
            &without(&c),
            "message of Alice",
            "join",
            "message of Carol",
            "message of Bob",
            &without(&a),
        ]
    );
    assert_eq!(
        changes(1),
        [
            "join",
            "message of Alice",
            "join",
            "message of Carol",
            &without(&b),
            "join",
            "update",
            &without(&b),
            &without(&c),
            "message of Alice",
            "join",
            "message of Carol",
            "message of Bob",
            &without(&a),
            &without(&b), // each its own, since the group is gone
        ]
    );
    assert_eq!(
        changes(2),
        [
            "join",
            "message of Carol",
            &without(&b),
            "message of Alice",
            "join",
            "update",
            &without(&b),
            &without(&c),
            "join",
            "message of Carol",
            "read 12",
            "message of Bob",
            &without(&a),
            &without(&c),
        ]
    );
    // What several receive has one id for all of them; an event about a member's own end has another change for each.
    let mut places: BTreeMap<&str, &str> = BTreeMap::new();
    for changes in &all {
        let distinct: BTreeSet<&str> = changes.iter().map(|(id, _)| &**id).collect();
        assert_eq!(distinct.len(), changes.len(), "{changes:?}");
        for (id, short) in changes {
            let known = *places.entry(id).or_insert(short);
            assert!(known == short || short.contains("without"), "{id}: {known} or {short}");
        }
    }
}

#[tokio::test]
async fn a_client_that_comes_back_gets_exactly_what_it_missed() {
    let server = Server::start().await;
    let mut audience = Audience::new(&server, &["Alice", "Bob", "Carol"]).await;
    everything_happens(&audience.people).await;
    let all = audience.received().await;
    // From every place in everybody's stream: what came after it, joins, kicks and all, with the same ids.
    for (person, changes) in audience.people.iter().zip(&all) {
        for (n, (id, _)) in changes.iter().enumerate() {
            let mut stream = person.client.events_after(id).await;
            assert_eq!(received(&mut stream).await, changes[n + 1..], "{} after {id}", person.nickname);
        }
    }
}

/// Shows (docs/protocol.md): Changes and their recipients.
#[tokio::test]
async fn a_kicked_member_gets_the_change_when_it_comes_back() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await;
    let mut stream = bob.client.events().await;
    bob.enters(&group).await;
    let seen = stream.event().await;
    assert_eq!(short(&seen.data), "g10001 join");
    drop(stream);
    alice.says(&group, "Bob is away").await;
    alice.kicks(&group, &bob).await;
    alice.says(&group, "Bob is gone").await;
    carol.enters(&group).await;
    bob.start_conversation(&carol).await;
    let mut stream = bob.client.events_after(&seen.id).await;
    let missed: Vec<String> = received(&mut stream).await.into_iter().map(|(_, short)| short).collect();
    assert_eq!(missed, ["g10001 message of Alice", "g10001 without 10002"]);
    // And receives what is to come: live again.
    alice.adds(&group, &bob).await;
    assert_eq!(short(&stream.event().await.data), "g10001 join");
}

/// Shows (docs/protocol.md): Destroying a group.
#[tokio::test]
async fn all_streams_of_an_account_get_the_same() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let mut tabs = [bob.client.events().await, bob.client.events().await, bob.client.events().await];
    let group = alice.founds().await;
    bob.enters(&group).await;
    alice.says(&group, "hello").await;
    alice.destroys(&group).await;
    bob.start_conversation(&alice).await;
    let first = received(&mut tabs[0]).await;
    let changes: Vec<&str> = first.iter().map(|(_, short)| short.as_str()).collect();
    assert_eq!(changes, ["g10001 join", "g10001 message of Alice", "g10001 without 10002"]);
    for tab in &mut tabs[1..] {
        assert_eq!(received(tab).await, first);
    }
}

/// Shows (docs/protocol.md): Read marks; Changes and their recipients.
#[tokio::test]
async fn messages_are_marked_as_read_once_for_each_sender_and_never_when_removed() {
    let server = Server::start().await;
    let mut audience = Audience::new(&server, &["Alice", "Bob", "Carol"]).await;
    let [alice, bob, carol] = &audience.people[..] else { panic!("three people") };
    let group = alice.founds().await; // 1
    bob.enters(&group).await; // 2
    carol.enters(&group).await; // 3
    for text in ["one", "two"] {
        alice.says(&group, text).await; // 4, 6
        bob.says(&group, text).await; // 5, 7
    }
    carol.sees(&group).await;
    carol.sees(&group).await;
    alice.sees(&group).await;
    bob.leaves(&group).await; // 8
    bob.enters(&group).await; // 9
    carol.sees(&group).await; // of what Bob wrote nothing is left to be reported
    let reads = |changes: &[(String, String)]| {
        let shorts = changes.iter().map(|(_, short)| short.clone());
        shorts.filter(|short| short.contains("read")).collect::<Vec<_>>()
    };
    let all = audience.received().await;
    assert_eq!(reads(&all[0]), ["g10001 read 6"]);
    assert_eq!(reads(&all[1]), ["g10001 read 7"; 2], "by Carol, then by Alice");
    assert_eq!(reads(&all[2]), [""; 0]);
}

/// Shows (docs/protocol.md): Order of changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_get_one_order_however_much_happens_at_once() {
    let server = Server::start().await;
    let mut audience = Audience::new(&server, &["Alice", "Bob", "Carol"]).await;
    let group = audience.people[0].founds().await;
    for person in &audience.people[1..] {
        person.enters(&group).await;
    }
    let mut others = Vec::new();
    for n in 0..6 {
        others.push(Person::sign_up(&server, &format!("Other {n}")).await);
    }
    // Comings, goings, messages and signals of all, as many at once as there are.
    let signal = json!({ "groupID": group, "update": "joinmember" });
    for _ in 0..3 {
        let comings = join_all(others.iter().map(|other| other.enters(&group)));
        let talk = join_all(audience.people.iter().chain(&audience.people).map(|person| person.says(&group, "hello")));
        let signals =
            join_all(audience.people.iter().map(|person| person.client.post("/grouptriggersseupdate", &signal)));
        join(comings, join(talk, signals)).await;
        let goings = join_all(others.iter().map(|other| other.leaves(&group)));
        let talk = join_all(audience.people.iter().map(|person| person.says(&group, "goodbye")));
        join(goings, talk).await;
    }
    let all = audience.received().await;
    // From where all three are there, each receives each change once, at the same place.
    let begin = all[2].iter().position(|(_, short)| short.ends_with("join")).expect("its own coming");
    let of_carol = &all[2][begin..];
    assert_eq!(of_carol.len(), 1 + 3 * (6 + 6 + 3 + 6 + 3));
    for changes in &all {
        assert_eq!(&changes[changes.len() - of_carol.len()..], of_carol);
    }
    // That order is the log's.
    let ids: Vec<&str> = of_carol.iter().map(|(id, _)| &**id).collect();
    let in_order = audience.people[2].client.ids_until(ids[ids.len() - 1]).await;
    assert_eq!(in_order[in_order.len() - ids.len()..], ids);
}
