//! Keyholders that have expired: a living group that ever named one as keyholder needs its public key
//! (docs/protocol.md, "Keyholders that are gone"), before the
//! account is removed for its time as much as afterwards.

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::client::Person;
use crate::cluster::fresh_database;
use crate::groups::{ids, people};
use crate::library::{Library, hold_up};
use crate::patience::eventually;
use crate::replay::replay;
use crate::rig::Rig;
use crate::server::Setup;

impl Person {
    /// Stores a key for somebody, wrapped by the key pair of somebody.
    async fn wraps(&self, group: &str, member: &Self, keyholder: &Self, key: &str) -> String {
        let body = json!({ "groupID": group, "accID": member.id, "keyholder": keyholder.id, "groupKey": key });
        self.client.post("/groupstorekey", &body).await.verdict()
    }

    /// What `/getkeys` says of accounts.
    async fn gets_keys(&self, of: &[&Self]) -> Value {
        self.client.post("/getkeys", &json!({ "accIDs": ids(of) })).await.json()
    }

    /// A member's keys of a group, as the server lists them.
    async fn gets_group_keys(&self, group: &str) -> Value {
        self.asks_for("/groupgetkeys", group, self).await.json()["groupKeys"].clone()
    }

    /// The history of a group, and what is wrong in it.
    async fn audits(&self, group: &str) -> [Vec<Value>; 2] {
        let list = async |what: &str, field: &str| {
            let answer = self.client.get(&format!("/audit/groups/{group}/{what}")).await;
            assert_eq!(answer.verdict(), "200 ok");
            answer.json()[field].as_array().expect("a list").clone()
        };
        [list("history", "entries").await, list("findings", "findings").await]
    }
}

/// Whether the data key of a subject lives.
async fn lives(pool: &PgPool, subject: &str) -> bool {
    let lives = sqlx::query_scalar("select wrapped is not null from vault.key where subject = $1");
    lives.bind(subject).fetch_one(pool).await.expect("its key")
}

fn nobody() -> Value {
    json!({ "valid": false, "reason": "MEMBERNOTEXISTING" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyholder_whose_time_is_over_is_known_by_its_key_alone() {
    let database = fresh_database().await;
    let held_up = hold_up(&database.url, "expiry").await;
    let server = Setup::on(&database).start().await;
    let library = Library::open(&server).await;
    let [alice, bob, carol, dave, erin] = people(&server, ["Alice", "Bob", "Carol", "Dave", "Erin"]).await;
    // Alice's key pair wraps the keys of one group; in the other hers were replaced by keys that Bob's wrapped.
    let groups = [bob.founds().await, bob.founds().await];
    for group in &groups {
        for person in [&alice, &carol, &erin] {
            person.enters(group).await;
        }
        assert_eq!(alice.takes_version(group).await, 1);
        for member in [&bob, &carol, &erin] {
            assert_eq!(alice.wraps(group, member, &alice, "wrapped by Alice").await, "200 ok");
        }
    }
    for member in [&bob, &carol, &erin] {
        assert_eq!(alice.wraps(&groups[1], member, &bob, "wrapped by Bob").await, "200 ok");
    }
    let before = carol.gets_keys(&[&bob, &alice]).await;
    assert_eq!(before["publicKeys"][1]["publicKey"]["x"], alice.own_jwk()["x"]);
    let keys = carol.gets_group_keys(&groups[0]).await;
    assert_eq!(keys[0]["keyholder"], json!(alice.id));
    let audited = carol.audits(&groups[0]).await;

    library.expires(&alice).await;
    library.expires(&erin).await;
    // Nothing has happened yet but time: for members she is gone, and what she wrapped can still be opened.
    let shown = async || {
        for asker in [&carol, &bob, &dave] {
            assert_eq!(asker.gets_keys(&[&bob, &alice]).await, before, "{}", asker.nickname);
            assert_eq!(asker.gets_keys(&[&alice, &erin]).await, nobody(), "Erin wrapped nothing");
        }
        let one = carol.client.post("/getkey", &json!({ "accID": alice.id })).await.json();
        assert_eq!(one["publicKey"], before["publicKeys"][1]["publicKey"]);
        assert_eq!(carol.gets_group_keys(&groups[0]).await, keys);
        assert_eq!(json!(carol.members(&groups[0]).await), ids(&[&bob, &carol]));
        assert_eq!(bob.wraps(&groups[0], &carol, &alice, "wrapped again").await, "200 KEYHOLDERNOTEXISTING");
        assert_eq!(bob.wraps(&groups[0], &alice, &bob, "for Alice").await, "200 MEMBERNOTEXISTING");
        let start = json!({ "receiverID": alice.id });
        assert_eq!(carol.client.post("/startconversation", &start).await.verdict(), "400 ACCNOTEXISTS");
    };
    shown().await;
    assert_eq!(carol.audits(&groups[0]).await, audited);

    // Now the process comes, and removes both for their time.
    drop(held_up);
    let [key_of_alice, key_of_erin] = [&alice, &erin].map(|person| format!("public-key/{}", person.id));
    eventually("what Erin had is erased", async || !lives(&library.pool, &key_of_erin).await).await;
    eventually("both have left", async || carol.audits(&groups[0]).await[0].len() == audited[0].len() + 2).await;
    assert!(!lives(&library.pool, &format!("account/{}", alice.id)).await);
    shown().await;
    let [history, findings] = carol.audits(&groups[0]).await;
    let (old, new) = history.split_at(audited[0].len());
    assert_eq!(old, audited[0], "who wrapped what for whom is still shown");
    let mut left: Vec<_> = new.iter().map(|entry| (entry["act"].clone(), entry["account"].clone())).collect();
    left.sort_by_key(|(_, account)| account.to_string());
    assert_eq!(left, [&alice, &erin].map(|person| (json!("left"), json!(person.id))));
    // Both knew the newest key: she who took it, and she for whom it was stored.
    let exposed: Vec<_> = findings.iter().filter(|finding| finding["rule"] == "exposure-window").collect();
    let mut exposed: Vec<_> = exposed.iter().map(|f| [f["account"].clone(), f["knowledge"].clone()]).collect();
    exposed.sort_by_key(|finding| finding[0].to_string());
    assert_eq!(exposed, [[json!(alice.id), json!("knows-key")], [json!(erin.id), json!("holds-key")]]);

    // One group less, and the other still needs it, though all that she wrapped there was replaced.
    let kept = async |groups: &str| {
        let said = server.setup().run(&["erasure-report", &alice.id]).await;
        said.success && said.out.contains(&format!("needed in {groups}"))
    };
    assert!(kept(&format!("{}, {}", groups[0], groups[1])).await);
    bob.destroys(&groups[0]).await;
    eventually("the end of the group is followed", async || kept(&groups[1]).await).await;
    assert_eq!(carol.gets_keys(&[&bob, &alice]).await, before);
    assert!(lives(&library.pool, &key_of_alice).await);
    bob.destroys(&groups[1]).await;
    assert_eq!(carol.gets_keys(&[&bob, &alice]).await, nobody());
    eventually("the key is erased", async || !lives(&library.pool, &key_of_alice).await).await;
    replay(&Rig::on(server.setup().database_url()).await, 1000).await;
}
