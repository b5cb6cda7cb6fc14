//! What was erased is in no answer any more, from the answer to the command that erased it on, at any node.

use serde_json::json;

use super::{NORMAL, SMALL};
use crate::client::Person;
use crate::clock::turn;
use crate::cluster::fresh_database;
use crate::groups::people;
use crate::server::{Server, Setup};

/// Everything that the routes that read show somebody.
async fn everything(person: &Person, threads: &[&str], groups: &[&str], others: &[&Person]) -> String {
    let mut shown = String::new();
    for path in ["/me", "/getthreads", "/codehas"] {
        shown += &person.client.get(path).await.text;
    }
    for thread in threads.iter().chain(groups) {
        shown += &person.client.post("/getmessages", &json!({ "threadID": thread })).await.text;
    }
    for group in groups {
        shown += &person.asks("/groupgetmembers", group).await.text;
        for other in others {
            shown += &person.asks_for("/groupgetkeys", group, other).await.text;
        }
    }
    for other in others {
        shown += &person.client.post("/getkey", &json!({ "accID": other.id })).await.text;
    }
    shown
}

/// Two nodes whose views have this size.
pub(super) async fn nodes(size: &str) -> [Server; 2] {
    let setup = Setup::on(&fresh_database().await).with_file("test-clock-file", "0").with_views(size);
    let one = setup.clone().start().await;
    let two = one.setup().second().start().await;
    [one, two]
}

/// Whether a word is shown to any of these, at any of the nodes; asked twice, so that a view answers.
pub(super) async fn found(
    nodes: &[Server; 2],
    people: &[&Person],
    threads: &[&str],
    groups: &[&str],
    word: &str,
) -> bool {
    let mut found = false;
    for _ in 0..2 {
        for node in nodes {
            for person in people {
                found |= everything(&person.at(node), threads, groups, people).await.contains(word);
            }
        }
    }
    found
}

async fn nothing_of_what_was_erased(size: &str) {
    let nodes = nodes(size).await;
    let [anna, ben, carl] = people(&nodes[0], ["Anna-word", "Ben-word", "Carl-word"]).await;
    let all = [&anna, &ben, &carl];
    let (group, dialog) = (anna.founds().await, anna.start_conversation(&ben).await);
    let (threads, groups) = ([&*dialog], [&*group]);
    for member in [&ben, &carl] {
        member.enters(&group).await;
    }
    for (member, word) in [(&anna, "anna-said"), (&ben, "ben-said"), (&carl, "carl-said")] {
        member.says(&group, word).await;
        assert!(found(&nodes, &all, &threads, &groups, word).await, "{word}");
    }
    anna.write(&dialog, &ben, "anna-wrote").await;
    assert!(found(&nodes, &all, &threads, &groups, "anna-wrote").await);

    // Leaving, at the other node.
    carl.at(&nodes[1]).leaves(&group).await;
    assert!(!found(&nodes, &all, &threads, &groups, "carl-said").await);
    // Being kicked.
    anna.kicks(&group, &ben).await;
    assert!(!found(&nodes, &all, &threads, &groups, "ben-said").await);
    // The group is destroyed.
    anna.at(&nodes[1]).destroys(&group).await;
    assert!(!found(&nodes, &all, &threads, &groups, "anna-said").await);
    // Another word for oneself: the older one is with nobody any more but where it was said.
    let carl_too = carl.at(&nodes[1]);
    assert_eq!(
        carl_too.client.post("/userstatusset", &json!({ "userStatus": "carl-feels" })).await.verdict(),
        "200 ok"
    );
    let with_carl = anna.start_conversation(&carl).await;
    let threads = [&*dialog, &*with_carl];
    assert!(found(&nodes, &[&anna], &threads, &[], "carl-feels").await);
    assert!(found(&nodes, &[&anna], &threads, &[], "Carl-word").await);
    // An account removes itself: its words, its name and its status are gone with the answer.
    carl.write(&with_carl, &anna, "carl-wrote").await;
    assert!(found(&nodes, &all, &threads, &[], "carl-wrote").await);
    assert_eq!(carl.at(&nodes[1]).client.get("/destroyacc").await.status, 200);
    for word in ["carl-wrote", "carl-feels", "Carl-word"] {
        assert!(!found(&nodes, &[&anna, &ben], &threads, &groups, word).await, "{word}");
    }
    assert_eq!(carl.at(&nodes[0]).client.get("/me").await.verdict(), "401 NOTAUTH");
    // Time: nothing has to happen for a message to be over.
    assert!(found(&nodes, &[&anna, &ben], &threads, &[], "anna-wrote").await);
    turn(&nodes[0].setup().file("test-clock-file"), 31 * 86_400);
    assert!(!found(&nodes, &[&anna, &ben], &threads, &[], "anna-wrote").await);
    for node in &nodes {
        assert_eq!(anna.at(node).client.get("/me").await.verdict(), "401 NOTAUTH");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_what_was_erased_is_read_from_memory() {
    nothing_of_what_was_erased(NORMAL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_what_was_erased_is_read_from_little_memory() {
    nothing_of_what_was_erased(SMALL).await;
}
