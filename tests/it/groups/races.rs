//! Many at once in one group: no matter who wins, the invariants hold afterwards.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use super::{ids, people};
use crate::client::{Answer, Person};
use crate::server::{Server, two_nodes};

/// How often each answer came.
fn count(answers: &[Answer], verdict: &str) -> usize {
    answers.iter().filter(|answer| answer.verdict() == verdict).count()
}

/// Everybody who is a member sees the same members and messages without a gap from its coming on; the others see nothing.
async fn is_whole(group: &str, people: &[Person]) {
    let members = people[0].members(group).await;
    assert_eq!(members.iter().collect::<BTreeSet<_>>().len(), members.len(), "nobody twice");
    for who in people {
        if members.contains(&who.id) {
            assert_eq!(who.members(group).await, members, "{}", who.nickname);
            let seen = who.sees(group).await;
            let numbers: Vec<u32> = seen.iter().map(|(number, _)| *number).collect();
            let first = numbers[0];
            assert_eq!(numbers, (first..first + numbers.len() as u32).collect::<Vec<_>>(), "{}", who.nickname);
            assert!(who.thread(group).await.is_some());
            for message in who.messages(group).await {
                let sender = message["sender"].as_str().unwrap();
                let stays = sender == group || members.iter().any(|member| member == sender);
                assert!(stays || message["messageType"] == "removed", "{message}");
            }
        } else {
            assert_eq!(who.asks("/groupgetmembers", group).await.verdict(), "200 NOGROUPMEMBER");
            assert_eq!(who.thread(group).await, None, "{}", who.nickname);
            let read = who.client.post("/getmessages", &json!({ "threadID": group })).await;
            assert_eq!(read.verdict(), "400 INVALIDTHREADID");
        }
    }
}

/// Shows (docs/protocol.md): Requests in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_accounts_that_want_the_last_place_one_gets_it() {
    // Over two nodes, so that not even the batches are in one hand.
    let (one, two) = two_nodes().await;
    let alice = Person::sign_up(&one, "Alice").await;
    let mut others = join_all((0..64).map(|n| {
        let one = &one;
        async move { Person::sign_up(one, &format!("Person {n}")).await }
    }))
    .await;
    for other in others.iter_mut().skip(1).step_by(2) {
        *other = other.at(&two);
    }
    for way in ["/groupjoinmember", "/groupaddmember"] {
        let group = alice.creates("public", json!(2)).await;
        alice.enters(&group).await;
        let answers = join_all(others.iter().map(|other| async {
            match way {
                "/groupjoinmember" => other.asks(way, &group).await,
                _ => alice.asks_for(way, &group, other).await,
            }
        }))
        .await;
        assert_eq!(count(&answers, "200 ok"), 1, "{way}");
        assert_eq!(count(&answers, "400 GROUPMAXREACHED"), 63, "{way}");
        let won = answers.iter().position(|answer| answer.verdict() == "200 ok").unwrap();
        assert_eq!(json!(alice.members(&group).await), ids(&[&alice, &others[won]]));
        assert_eq!(alice.sees(&group).await.len(), 2, "one message of the coming");
        let lists = join_all(others.iter().map(|other| other.thread(&group))).await;
        assert_eq!(lists.iter().filter(|thread| thread.is_some()).count(), 1);
        assert!(lists[won].is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_goes_once_whether_it_leaves_or_is_kicked() {
    let server = Server::start().await;
    let all = people(&server, ["Alice", "Bob", "Carol"]).await;
    let [alice, bob, _] = &all;
    let group = alice.founds().await;
    let mut stream = alice.client.events().await;
    for round in 0..12_u32 {
        bob.enters(&group).await;
        bob.says(&group, "soon gone").await;
        let (left, kicked) =
            join(bob.asks("/groupleavemember", &group), alice.asks_for("/groupkickmember", &group, bob)).await;
        let verdicts = [left.verdict(), kicked.verdict()];
        let (ok, refused) = ("200 ok".to_owned(), "200 NOGROUPMEMBER".to_owned());
        assert!(verdicts == [ok.clone(), refused.clone()] || verdicts == [refused, ok], "round {round}: {verdicts:?}");
        // A coming, a message and one going more.
        assert_eq!(alice.sees(&group).await.last().unwrap().0, 1 + 3 * (round + 1));
        is_whole(&group, &all).await;
    }
    alice.start_conversation(bob).await;
    let mut actions = Vec::new();
    loop {
        let data = stream.event().await.data;
        if data["action"] == "newConversation" {
            break;
        }
        actions.push(data["action"].as_str().unwrap().to_owned());
    }
    let departures = actions.iter().filter(|action| *action == "groupMemberRemove").count();
    assert_eq!(departures, 12, "each departure is reported once");
}

/// Shows (docs/protocol.md): Versions of a group key; Storing a wrapped key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_version_is_taken_twice_and_no_key_goes_under_anothers() {
    let (one, two) = two_nodes().await;
    let all = people(&one, ["Alice", "Bob", "Carol"]).await;
    let [alice, bob, carol] = [&all[0], &all[1].at(&two), &all[2]];
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;

    // Whole rekeys at once: take a version, then store a key for everybody.
    let rekey = async |who: &Person| -> (u64, Vec<String>) {
        let version = who.takes_version(&group).await;
        let key = format!("the key {version} of {}", who.nickname);
        let stored = join_all([alice, bob, carol].map(|member| {
            let body = json!({ "groupID": group, "accID": member.id, "keyholder": who.id, "groupKey": key });
            async move { who.client.post("/groupstorekey", &body).await }
        }))
        .await;
        (version, stored.iter().map(|answer| answer.json()["groupVersion"].as_str().unwrap().to_owned()).collect())
    };
    let mut taken = Vec::new();
    for _ in 0..8 {
        // One rekey at a time of each member, all members at once: so a key belongs to the version before it.
        for (version, stored) in join_all([alice, bob, carol].map(&rekey)).await {
            assert_eq!(stored, vec![version.to_string(); 3], "what was stored went under the version that was taken");
            taken.push(version);
        }
    }
    taken.sort_unstable();
    assert_eq!(taken, (1..=24).collect::<Vec<_>>());
    for member in [alice, bob, carol] {
        let keys =
            carol.asks_for("/groupgetkeys", &group, member).await.json()["groupKeys"].as_array().unwrap().clone();
        let versions: Vec<u64> =
            keys.iter().map(|key| key["groupVersion"].as_str().unwrap().parse().unwrap()).collect();
        assert_eq!(versions, taken);
        for key in &keys {
            let prefix = format!("the key {} of", key["groupVersion"].as_str().unwrap());
            assert!(key["groupKey"].as_str().unwrap().starts_with(&prefix), "{key}");
        }
    }
    // Bare increases, more than one of each at once.
    let bare = join_all((0..60).map(|n| [alice, bob, carol][n % 3].takes_version(&group))).await;
    assert_eq!(bare.iter().copied().collect::<BTreeSet<_>>(), (25..=84).collect::<BTreeSet<_>>());
    assert_eq!(alice.asks("/groupgetcurrentversion", &group).await.json()["groupVersion"], "84");
}

/// Shows (docs/protocol.md): Storing a wrapped key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_key_takes_one_version_however_many_store_at_once() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    let store = |who: &Person, n: usize| {
        let body = json!({
            "groupID": group, "accID": carol.id, "keyholder": who.id, "groupKey": format!("key number {n} or so"),
        });
        let client = who.client.clone();
        async move { client.post("/groupstorekey", &body).await }
    };
    let answers = join_all((0..30).map(|n| store([&alice, &bob, &carol][n % 3], n))).await;
    // One took the version; its ten are stored one over the other, the rest is refused.
    assert_eq!((count(&answers, "200 ok"), count(&answers, "200 INVALIDGROUPKEY")), (10, 20));
    assert!(answers.iter().all(|a| a.verdict() != "200 ok" || a.json()["groupVersion"] == "1"));
    assert_eq!(alice.asks("/groupgetcurrentversion", &group).await.json()["groupVersion"], "1");
    let keys = carol.asks_for("/groupgetkeys", &group, &carol).await.json()["groupKeys"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 1);
}

/// Shows (docs/protocol.md): Stays in a group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_kicked_stores_and_writes_before_it_or_not_at_all() {
    let server = Server::start().await;
    let all = people(&server, ["Alice", "Bob", "Carol"]).await;
    let [alice, bob, carol] = &all;
    let group = alice.founds().await;
    carol.enters(&group).await;
    for round in 0..10 {
        bob.enters(&group).await;
        let version = bob.takes_version(&group).await.to_string();
        let key = json!({
            "groupID": group, "accID": carol.id, "keyholder": bob.id, "groupKey": format!("of round {round}"),
        });
        let letter = bob.group_letter(&group, &format!("of round {round}"));
        let letters = join_all((0..6).map(|_| bob.client.post("/writemessage", &letter)));
        let stores = join(bob.client.post("/groupstorekey", &key), letters);
        let (kicked, (stored, written)) = join(alice.asks_for("/groupkickmember", &group, bob), stores).await;
        assert_eq!(kicked.verdict(), "200 ok");
        let keys = carol.asks_for("/groupgetkeys", &group, carol).await.json()["groupKeys"].as_array().unwrap().clone();
        let there = keys.iter().any(|key| key["groupVersion"] == version.as_str());
        match stored.verdict().as_str() {
            "200 ok" => assert!(there, "what was accepted is there"),
            refusal => assert!(refusal == "200 NOGROUPMEMBER" && !there, "{refusal}"),
        }
        assert_eq!(count(&written, "200 ok") + count(&written, "400 INVALIDTHREADID"), 6);
        // Whatever was written in time is removed, and nothing was written after the kick.
        let seen = carol.messages(&group).await;
        let last = seen.last().unwrap();
        assert_eq!(last["text"], "ACCKICKEDFROMGROUP");
        assert!(!seen.iter().any(|message| message["sender"] == json!(bob.id) && message["messageType"] != "removed"));
        is_whole(&group, &all).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_destroyed_while_others_write_is_gone() {
    let server = Server::start().await;
    let all = people(&server, ["Alice", "Bob", "Carol", "Dave"]).await;
    let [alice, bob, carol, dave] = &all;
    for path in ["/groupdestroygroup", "/groupleavemember"] {
        for _ in 0..4 {
            let group = alice.founds().await;
            bob.enters(&group).await;
            carol.enters(&group).await;
            let writers = [bob, carol, alice];
            let writes = join_all((0..24).map(|n| {
                let who = writers[n % 3];
                let letter = who.group_letter(&group, "still there?");
                async move { who.client.post("/writemessage", &letter).await }
            }));
            let reads = join_all((0..6).map(|n| {
                let body = json!({ "threadID": group });
                async move { writers[n % 2].client.post("/getmessages", &body).await }
            }));
            let joins = join(dave.asks("/groupjoinmember", &group), bob.asks("/groupincreaseversion", &group));
            let (((end, written), (joined, taken)), read) =
                join(join(join(alice.asks(path, &group), writes), joins), reads).await;
            assert_eq!(end.verdict(), "200 ok");
            // Before the end, or refused: by the first check that the end makes fail.
            let gone = count(&written, "400 ACCNOTEXISTS") + count(&written, "400 INVALIDTHREADID");
            assert_eq!(count(&written, "200 ok") + gone, 24);
            for answer in [joined, taken] {
                assert!(["200 ok", "200 GROUPNOTEXISTING"].contains(&answer.verdict().as_str()), "{}", answer.text);
            }
            for answer in read {
                assert!(["200 ok", "400 INVALIDTHREADID"].contains(&answer.verdict().as_str()), "{}", answer.text);
            }
            for who in &all {
                assert_eq!(who.asks("/groupgetmembers", &group).await.verdict(), "200 GROUPNOTEXISTING");
                assert_eq!(who.thread(&group).await, None);
                let read = who.client.post("/getmessages", &json!({ "threadID": group })).await;
                assert_eq!(read.verdict(), "400 INVALIDTHREADID");
            }
            // Each who was there at the end is notified once.
            let notices = |messages: Vec<Value>| messages.iter().filter(|m| m["extra1"] == json!(group)).count();
            assert_eq!(notices(bob.messages(&format!("{}:s1", bob.id)).await), 1);
        }
    }
}
