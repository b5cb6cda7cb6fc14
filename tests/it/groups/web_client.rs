//! The web client in a group: the same requests in the same order, with the keys of the group made, wrapped, fetched and
//! used as it does. A version's key is a key pair whose private half the members share; each gets it wrapped.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::{Person, number_of};
use crate::crypto::KeyPair;
use crate::server::Server;

/// Somebody at the web client, with all keys of groups that they ever had.
pub struct WebClient {
    /// Who.
    pub person: Person,
    /// The keys by `<group>:<version>`.
    keys: BTreeMap<String, KeyPair>,
}

impl WebClient {
    /// Somebody new.
    pub async fn sign_up(server: &Server, nickname: &str) -> Self {
        Self { person: Person::sign_up(server, nickname).await, keys: BTreeMap::new() }
    }

    async fn ask(&self, path: &str, body: Value) -> Value {
        let answer = self.person.client.post(path, &body).await;
        assert_eq!(answer.verdict(), "200 ok", "{path} {body}");
        answer.json()
    }

    /// Creates a group, joins it and makes its first key.
    pub async fn create(&mut self, kind: &str) -> String {
        let group = self.person.creates(kind, json!(20)).await;
        self.join(&group).await;
        group
    }

    /// Joins, then makes a new key.
    pub async fn join(&mut self, group: &str) {
        self.person.enters(group).await;
        self.rekey(group, None).await;
    }

    /// Adds somebody, then makes a new key.
    pub async fn add(&mut self, group: &str, other: &Self) {
        self.person.adds(group, &other.person).await;
        self.rekey(group, None).await;
    }

    /// Kicks somebody, then makes a new key.
    pub async fn kick(&mut self, group: &str, other: &Self) {
        self.person.kicks(group, &other.person).await;
        self.rekey(group, None).await;
    }

    /// Makes a new key for the others while still a member, then leaves.
    pub async fn leave(&mut self, group: &str) {
        let me = self.person.id.clone();
        self.rekey(group, Some(&me)).await;
        self.person.leaves(group).await;
    }

    /// The public keys of these accounts.
    async fn public_keys(&self, ids: &[String]) -> BTreeMap<String, Value> {
        let answer = self.ask("/getkeys", json!({ "accIDs": ids })).await;
        let keys = answer["publicKeys"].as_array().expect("a list").iter();
        keys.map(|key| (key["accID"].as_str().expect("an id").to_owned(), key["publicKey"].clone())).collect()
    }

    /// Takes a version and stores its key, wrapped for each member but one.
    async fn rekey(&mut self, group: &str, without: Option<&str>) {
        let version = self.ask("/groupincreaseversion", json!({ "groupID": group })).await["groupVersion"].clone();
        let mut members = self.person.members(group).await;
        members.retain(|member| Some(member.as_str()) != without);
        let publics = self.public_keys(&members).await;
        let key = KeyPair::generate();
        let stored = join_all(members.iter().map(|member| {
            let (wrapped, iv) = self.person.keys.encrypt(&publics[member], &key.private_jwk());
            let body = json!({
                "groupID": group, "accID": member, "keyholder": self.person.id, "groupKey": wrapped, "iv": iv,
            });
            self.ask("/groupstorekey", body)
        }))
        .await;
        for answer in stored {
            assert_eq!(answer["groupVersion"], version.to_string(), "the version that was taken for it");
        }
        // Who leaves made the key and knows it: no server can change that.
        self.keys.insert(format!("{group}:{version}"), key);
        self.synchronize(group).await;
    }

    /// Fetches the keys that are stored for oneself; unwraps those that are new.
    pub async fn synchronize(&mut self, group: &str) {
        let me = self.person.id.clone();
        let answer = self.ask("/groupGetkeys", json!({ "groupID": group, "accID": me })).await;
        let wrapped = answer["groupKeys"].as_array().expect("a list").clone();
        let text = |key: &Value, field: &str| key[field].as_str().expect("a text").to_owned();
        let mut holders: Vec<String> = wrapped.iter().map(|key| text(key, "keyholder")).collect();
        holders.sort();
        holders.dedup();
        if holders.is_empty() {
            return;
        }
        let publics = self.public_keys(&holders).await;
        for key in &wrapped {
            let (text, iv, holder) = (text(key, "groupKey"), text(key, "iv"), &publics[&text(key, "keyholder")]);
            let plain = self.person.keys.decrypt(holder, &text, &iv).expect("a key that was wrapped for me");
            let name = format!("{group}:{}", key["groupVersion"].as_str().expect("a text"));
            let key = KeyPair::from_private_jwk(&plain);
            if let Some(known) = self.keys.insert(name.clone(), key) {
                assert_eq!(known.private_jwk(), self.keys[&name].private_jwk(), "{name} never changes");
            }
        }
    }

    /// Forgets all keys, as a browser does whose storage was emptied.
    pub fn forget_keys(&mut self) {
        self.keys.clear();
    }

    /// Encrypts a text under the current version and writes it; answers the number of the message.
    pub async fn send(&self, group: &str, text: &str) -> u32 {
        let answer = self.ask("/groupgetcurrentversion", json!({ "groupID": group })).await;
        let name = format!("{group}:{}", answer["groupVersion"].as_str().expect("a version"));
        let key = self.keys.get(&name).unwrap_or_else(|| panic!("{} has no key {name}", self.person.nickname));
        let (text, iv) = key.encrypt(&key.jwk(), text);
        let mut letter = self.person.group_letter(group, &text);
        letter["iv"] = json!(iv);
        letter["groupVersionKey"] = json!(name);
        number_of(&self.person.client.post("/writemessage", &letter).await, group)
    }

    /// What a message says to the owner of these keys: its text, the code of the system, `(removed)`, or `(locked)`
    /// where the key is missing or does not fit.
    pub fn open(&self, message: &Value) -> String {
        let field = |name: &str| message[name].as_str().expect("a text");
        match field("messageType") {
            "text" => {
                let key = self.keys.get(field("groupVersionKey"));
                let plain = key.and_then(|key| key.decrypt(&key.jwk(), field("text"), field("iv")));
                plain.unwrap_or_else(|| "(locked)".to_owned())
            }
            "removed" => "(removed)".to_owned(),
            _ => field("text").to_owned(),
        }
    }

    /// Whether any key at all opens a message.
    pub fn breaks(&self, message: &Value) -> bool {
        let field = |name: &str| message[name].as_str().expect("a text");
        self.keys.values().any(|key| key.decrypt(&key.jwk(), field("text"), field("iv")).is_some())
    }

    /// Synchronizes the keys and reads the group.
    pub async fn read(&mut self, group: &str) -> Vec<String> {
        self.synchronize(group).await;
        self.person.messages(group).await.iter().map(|message| self.open(message)).collect()
    }

    /// The versions of a group whose keys this client has.
    pub fn versions(&self, group: &str) -> Vec<u32> {
        let mine = self.keys.keys().filter_map(|name| name.strip_prefix(&format!("{group}:")));
        let mut versions: Vec<u32> = mine.map(|version| version.parse().expect("a number")).collect();
        versions.sort_unstable();
        versions
    }
}
