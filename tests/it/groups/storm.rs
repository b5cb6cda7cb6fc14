//! Random commands of several people at once, over two nodes: afterwards everybody sees what the log says, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use be8_events::{Event, GroupEvent, MessageEvent, ReadsEvent, Recorded, StreamName, ThreadId};
use futures_util::future::join_all;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng};
use serde_json::{Value, json};

use super::people;
use crate::client::Person;
use crate::cluster::fresh_database;
use crate::replay::replay;
use crate::rig::Rig;
use crate::server::Setup;

/// A message as the log has it.
#[derive(Debug)]
struct Said {
    /// Its text, or the code of a system message.
    text: String,
    sender: Option<String>,
    /// Who was there.
    audience: BTreeSet<String>,
    removed: bool,
    readers: BTreeSet<String>,
}

/// A group as the log has it.
#[derive(Debug, Default)]
struct Known {
    admin: String,
    members: BTreeSet<String>,
    said: BTreeMap<u32, Said>,
    version: Option<u32>,
    /// By member and version: who wrapped it.
    keys: BTreeMap<(String, u32), String>,
    destroyed: bool,
}

impl Known {
    fn announce(&mut self, no: u32, code: &str) {
        self.say(no, code.to_owned(), None);
    }

    fn say(&mut self, no: u32, text: String, sender: Option<String>) {
        let audience = self.members.clone();
        let said = Said { text, sender, audience, removed: false, readers: BTreeSet::new() };
        assert!(self.said.insert(no, said).is_none(), "message {no} twice");
    }

    fn depart(&mut self, who: &str) {
        assert!(self.members.remove(who), "{who} was not there");
        for said in self.said.values_mut().filter(|said| said.sender.as_deref() == Some(who)) {
            said.removed = true;
        }
    }

    fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::Group(GroupEvent::GroupCreated(e)) => {
                self.admin = e.admin.to_string();
                self.members.insert(e.admin.to_string());
            }
            Event::Group(GroupEvent::MemberJoined(e)) => {
                self.members.insert(e.account.to_string());
                self.announce(e.message, "ACCJOINEDGROUP");
            }
            Event::Group(GroupEvent::MemberAdded(e)) => {
                self.members.insert(e.account.to_string());
                self.announce(e.message, "ACCADDEDTOGROUP");
            }
            Event::Group(GroupEvent::MemberLeft(e)) => {
                self.depart(&e.account.to_string());
                self.announce(e.message, "ACCLEFTGROUP");
            }
            Event::Group(GroupEvent::MemberKicked(e)) => {
                self.depart(&e.account.to_string());
                self.announce(e.message, "ACCKICKEDFROMGROUP");
            }
            Event::Group(GroupEvent::VersionAllocated(e)) => {
                assert_eq!(e.version, self.version.unwrap_or(0) + 1, "versions have no gap and none comes twice");
                self.version = Some(e.version);
            }
            Event::Group(GroupEvent::GroupKeyStored(e)) => {
                assert!(self.members.contains(&e.by.to_string()) && self.members.contains(&e.account.to_string()));
                self.keys.insert((e.account.to_string(), e.version), e.keyholder.to_string());
            }
            Event::Group(GroupEvent::GroupDestroyed(_)) => self.destroyed = true,
            Event::Group(GroupEvent::GroupUpdateSignalled(e)) => assert!(self.members.contains(&e.by.to_string())),
            Event::Message(MessageEvent::MessageWritten(e)) => {
                assert!(self.members.contains(&e.sender.to_string()), "only members write");
                self.say(e.id, format!("text {} of {}", e.id, e.sender), Some(e.sender.to_string()));
            }
            Event::Reads(ReadsEvent::MessagesRead(e)) => {
                let reader = e.reader.to_string();
                for (first, last) in &e.ranges {
                    for said in self.said.range_mut(first..=last).map(|(_, said)| said) {
                        assert!(said.audience.contains(&reader), "{reader} read what it was not there for");
                        if said.sender.as_deref() != Some(&reader) {
                            said.readers.insert(reader.clone());
                        }
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What the log says of each group.
fn known(events: &[Recorded]) -> BTreeMap<String, Known> {
    let mut groups: BTreeMap<String, Known> = BTreeMap::new();
    for recorded in events {
        let group = match recorded.stream {
            StreamName::Group(group) | StreamName::Chat(group) | StreamName::Reads(ThreadId::Group(group)) => group,
            _ => continue,
        };
        groups.entry(group.to_string()).or_default().apply(recorded);
    }
    groups
}

/// One thing that somebody does in a group.
async fn act(random: &Mutex<SmallRng>, people: &[Person], groups: &[String]) {
    let pick = |n: usize| random.lock().unwrap().random_range(0..n);
    let (who, whom) = (&people[pick(people.len())], &people[pick(people.len())]);
    let group = &groups[pick(groups.len())];
    let key = json!({
        "groupID": group, "accID": whom.id, "keyholder": people[pick(people.len())].id,
        "groupKey": format!("a wrapped key {}", pick(3)),
    });
    let answer = match pick(100) {
        0..18 => who.asks("/groupjoinmember", group).await,
        18..30 => who.asks_for("/groupaddmember", group, whom).await,
        // An admin rarely goes: the group would end.
        30..38 if who.id != people[0].id || pick(12) == 0 => who.asks("/groupleavemember", group).await,
        38..46 => people[0].asks_for("/groupkickmember", group, whom).await,
        46..54 => who.asks("/groupincreaseversion", group).await,
        54..66 => who.client.post("/groupstorekey", &key).await,
        66..78 => who.client.post("/getmessages", &json!({ "threadID": group })).await,
        _ => who.client.post("/writemessage", &who.group_letter(group, "a text")).await,
    };
    assert!(answer.status < 500, "{}", answer.text);
}

/// Everybody sees what the log says.
async fn everybody_sees(people: &[Person], groups: &BTreeMap<String, Known>) {
    for (group, known) in groups {
        for who in people {
            sees(who, group, known).await;
        }
    }
}

async fn sees(who: &Person, group: &str, known: &Known) {
    let members = who.asks("/groupgetmembers", group).await;
    let read = who.client.post("/getmessages", &json!({ "threadID": group })).await;
    if known.destroyed || !known.members.contains(&who.id) {
        let code = if known.destroyed { "200 GROUPNOTEXISTING" } else { "200 NOGROUPMEMBER" };
        assert_eq!((members.verdict().as_str(), read.verdict().as_str()), (code, "400 INVALIDTHREADID"));
        assert_eq!(who.thread(group).await, None);
        return;
    }
    let listed: Vec<String> =
        members.json()["members"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect();
    let others = known.members.iter().filter(|member| **member != known.admin);
    assert_eq!(listed, [&known.admin].into_iter().chain(others).cloned().collect::<Vec<_>>());

    if known.said.is_empty() {
        assert_eq!(read.verdict(), "400 INVALIDTHREADID");
        return;
    }
    let text = |message: &Value, field: &str| message[field].as_str().unwrap_or_default().to_owned();
    let shown: Vec<(u32, String, BTreeSet<String>)> = read.json()["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| {
            let readers = message["status"].as_array().unwrap().iter().map(|r| r.as_str().unwrap().to_owned());
            let kind = match text(message, "messageType").as_str() {
                "system" => text(message, "text"),
                kind => format!("{kind} of {}", text(message, "sender")),
            };
            (text(message, "messageID").parse().unwrap(), kind, readers.collect())
        })
        .collect();
    let expected: Vec<(u32, String, BTreeSet<String>)> = known
        .said
        .iter()
        .filter(|(_, said)| said.audience.contains(&who.id))
        .map(|(no, said)| {
            let mut readers = said.readers.clone();
            let kind = match &said.sender {
                None => said.text.clone(),
                Some(sender) => format!("{} of {sender}", if said.removed { "removed" } else { "text" }),
            };
            if said.sender.as_deref() != Some(&who.id) {
                readers.insert(who.id.clone());
            }
            (*no, kind, readers)
        })
        .collect();
    let newest = &expected[expected.len().saturating_sub(100)..];
    let marks = |list: &[(u32, String, BTreeSet<String>)]| list.iter().map(|m| (m.0, m.1.clone())).collect::<Vec<_>>();
    assert_eq!(marks(&shown), marks(newest), "{} in {group}", who.nickname);
    for (shown, expected) in shown.iter().zip(newest) {
        // Those who looked just before are in the log only after it was read.
        assert!(shown.2.is_superset(&expected.2), "{shown:?} {expected:?}");
        let message = &known.said[&shown.0];
        assert!(shown.2.iter().all(|reader| message.audience.contains(reader)), "{shown:?}");
    }

    let current = who.asks("/groupgetcurrentversion", group).await.json()["groupVersion"].clone();
    assert_eq!(current, known.version.map_or(Value::Null, |version| json!(version.to_string())));
    let keys = who.asks_for("/groupgetkeys", group, who).await.json()["groupKeys"].as_array().unwrap().clone();
    let held: Vec<(u32, String)> =
        keys.iter().map(|key| (text(key, "groupVersion").parse().unwrap(), text(key, "keyholder"))).collect();
    let mine = known.keys.iter().filter(|((member, _), _)| *member == who.id);
    assert_eq!(held, mine.map(|((_, version), holder)| (*version, holder.clone())).collect::<Vec<_>>());
}

/// Shows (docs/protocol.md): What the web client depends on; Stays in a group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_what_the_log_says_and_no_more() {
    let database = fresh_database().await;
    let one = Setup::on(&database).start().await;
    let two = one.setup().second().start().await;
    let mut people = people(&one, ["Alice", "Bob", "Carol", "Dave", "Erin"]).await;
    for person in people.iter_mut().skip(2) {
        *person = person.at(&two);
    }
    let rig = Rig::on(&database.url).await;
    let random = Mutex::new(SmallRng::seed_from_u64(7));
    let mut groups = Vec::new();
    for (kind, capacity) in [("public", 4), ("private", 20), ("public", 20)] {
        groups.push(people[0].creates(kind, json!(capacity)).await);
    }
    for _ in 0..6 {
        for _ in 0..10 {
            join_all((0..8).map(|_| act(&random, &people, &groups))).await;
        }
        everybody_sees(&people, &known(&rig.events().await)).await;
    }
    replay(&rig, 64).await;
    // Enough happened to be worth the look.
    let events = rig.events().await;
    for kind in ["MemberJoined", "MemberAdded", "MemberLeft", "MemberKicked", "VersionAllocated", "GroupKeyStored"] {
        assert!(events.iter().filter(|event| event.event.kind() == kind).count() >= 5, "{kind}");
    }
}
