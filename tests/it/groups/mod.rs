//! Groups and their keys, as their members and everybody else see them.

mod checks;
mod feed;
mod keys;
mod membership;
mod notices;
mod races;
mod rebuild;
mod secrecy;
mod stays;
mod storm;
pub mod web_client;

use serde_json::{Value, json};

use crate::client::{Answer, Person, number_of};
use crate::server::Server;

/// What somebody does in a group, in the words of the wire.
impl Person {
    /// Creates a group without joining it; answers its id.
    pub async fn creates(&self, kind: &str, max_members: Value) -> String {
        let body = json!({ "nickname": "Friends", "groupType": kind, "maxMembers": max_members });
        let answer = self.client.post("/groupcreate", &body).await;
        assert_eq!(answer.verdict(), "200 ok");
        answer.json()["groupID"].as_str().expect("a group").to_owned()
    }

    /// Creates a public group as the web client does: joins it at once.
    pub async fn founds(&self) -> String {
        let group = self.creates("public", json!(20)).await;
        self.enters(&group).await;
        group
    }

    /// Asks a route for something of a group.
    pub async fn asks(&self, path: &str, group: &str) -> Answer {
        self.client.post(path, &json!({ "groupID": group })).await
    }

    /// Asks a route for something between a group and another account.
    pub async fn asks_for(&self, path: &str, group: &str, other: &Self) -> Answer {
        let body = json!({ "groupID": group, "accID": other.id, "memberID": other.id });
        self.client.post(path, &body).await
    }

    /// Joins a group.
    pub async fn enters(&self, group: &str) {
        assert_eq!(self.asks("/groupjoinmember", group).await.json(), json!({ "valid": true }));
    }

    /// Adds somebody to a group; answers who is in it then.
    pub async fn adds(&self, group: &str, other: &Self) -> Value {
        let answer = self.asks_for("/groupaddmember", group, other).await;
        assert_eq!(answer.verdict(), "200 ok");
        answer.json()["groupMembers"].clone()
    }

    /// Leaves a group; answers who remains.
    pub async fn leaves(&self, group: &str) -> Value {
        let answer = self.asks("/groupleavemember", group).await;
        assert_eq!(answer.verdict(), "200 ok");
        answer.json()["groupMembers"].clone()
    }

    /// Kicks somebody out of a group.
    pub async fn kicks(&self, group: &str, other: &Self) {
        assert_eq!(self.asks_for("/groupkickmember", group, other).await.json(), json!({ "valid": true }));
    }

    /// Destroys a group.
    pub async fn destroys(&self, group: &str) {
        assert_eq!(self.asks("/groupdestroygroup", group).await.json(), json!({ "valid": true }));
    }

    /// Takes the next version of a group's key.
    pub async fn takes_version(&self, group: &str) -> u64 {
        let answer = self.asks("/groupincreaseversion", group).await;
        assert_eq!(answer.verdict(), "200 ok");
        answer.json()["groupVersion"].as_u64().expect("a number")
    }

    /// The members of a group as the server lists them.
    pub async fn members(&self, group: &str) -> Vec<String> {
        let answer = self.asks("/groupgetmembers", group).await;
        assert_eq!(answer.verdict(), "200 ok");
        let members = answer.json()["members"].as_array().expect("a list").clone();
        members.iter().map(|member| member["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// The body of a message to a group as the web client sends it, without encryption.
    pub fn group_letter(&self, group: &str, text: &str) -> Value {
        let mut letter = self.letter(group, group, text);
        letter["type"] = json!("group");
        letter["groupID"] = json!(group);
        letter
    }

    /// Writes a text to a group as it stands; answers the number of the message.
    pub async fn says(&self, group: &str, text: &str) -> u32 {
        let answer = self.client.post("/writemessage", &self.group_letter(group, text)).await;
        number_of(&answer, group)
    }

    /// What a thread shows: the number of each message and its text, `removed` for what is gone.
    pub async fn sees(&self, thread: &str) -> Vec<(u32, String)> {
        let shown = |message: &Value| {
            let number = message["messageID"].as_str().expect("a number").parse().expect("a number");
            let removed = message["messageType"] == "removed";
            if removed {
                assert_eq!(message["text"], "", "{message}");
            }
            (number, if removed { "removed" } else { message["text"].as_str().expect("a text") }.to_owned())
        };
        self.messages(thread).await.iter().map(shown).collect()
    }

    /// The entry of a group in the list of threads.
    pub async fn thread(&self, group: &str) -> Option<Value> {
        self.threads().await.into_iter().find(|thread| thread["threadID"] == group)
    }
}

/// The ids of people, as a list on the wire.
pub fn ids(people: &[&Person]) -> Value {
    json!(people.iter().map(|person| &person.id).collect::<Vec<_>>())
}

/// People with accounts, in the order of their ids.
pub async fn people<const N: usize>(server: &Server, names: [&str; N]) -> [Person; N] {
    let mut people = Vec::with_capacity(N);
    for name in names {
        people.push(Person::sign_up(server, name).await);
    }
    people.try_into().unwrap_or_else(|_| panic!("as many people as names"))
}

/// Numbered texts, to compare with what somebody sees.
pub fn texts<const N: usize>(texts: [(u32, &str); N]) -> Vec<(u32, String)> {
    texts.map(|(number, text)| (number, text.to_owned())).to_vec()
}
