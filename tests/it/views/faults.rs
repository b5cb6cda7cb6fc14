//! Reads from memory while the log cannot be followed, or not at once: late, or from PostgreSQL, or refused, but never stale.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Signal, kill_process};
use serde_json::json;
use sqlx::{Executor as _, PgPool};

use super::NORMAL;
use crate::client::{Person, two_people};
use crate::cluster::{Database, fresh_database};
use crate::faults::proxy::Proxy;
use crate::server::{Server, Setup};

/// Two nodes on one database; the second follows the log as this says.
async fn nodes(size: &str) -> (Database, [Server; 2]) {
    let database = fresh_database().await;
    let setup = Setup::on(&database).with("limit-address", "off").with("limit-account", "off");
    let one = setup.clone().with("test-views", NORMAL).start().await;
    let two = setup.second().with("test-views", size).start().await;
    (database, [one, two])
}

/// What the newest message of a thread says, and what the list of threads says of it.
async fn newest(person: &Person, thread: &str) -> [String; 2] {
    let text = |value: &serde_json::Value| value["text"].as_str().unwrap_or_default().to_owned();
    let messages = person.messages(thread).await;
    let threads = person.threads().await;
    let listed = threads.iter().find(|listed| listed["threadID"] == thread).expect("the thread");
    [text(messages.last().expect("a message")), text(listed)]
}

/// Each word that is written at the first node is read at the second at once, by any reader.
async fn what_is_written_is_read(nodes: &[Server; 2], rounds: u32) {
    let (anna, ben, thread) = two_people(&nodes[0]).await;
    for round in 0..rounds {
        let word = format!("word {round}");
        anna.write(&thread, &ben, &word).await;
        for reader in [ben.at(&nodes[1]), anna.at(&nodes[1]), ben.at(&nodes[0])] {
            assert_eq!(newest(&reader, &thread).await, [word.clone(), word.clone()]);
        }
        let nickname = format!("Anna {round}");
        let changed = anna.client.post("/changenickname", &json!({ "newNickname": nickname })).await;
        assert_eq!(changed.verdict(), "200 ok");
        let (own, listed) = (anna.at(&nodes[1]).client.get("/me").await.json(), ben.at(&nodes[1]).threads().await);
        assert_eq!(own["accObj"]["nickname"], nickname);
        assert!(listed.iter().any(|listed| listed["nickname"] == nickname), "{listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_follows_late_reads_late_but_never_less() {
    let (_database, nodes) = nodes("33554432,4096,60").await;
    what_is_written_is_read(&nodes, 5).await;
    assert!(nodes[1].metric("be8_view_hits_total").await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_follower_stands_still_is_answered_by_postgresql() {
    let (_database, nodes) = nodes("33554432,4096,600000").await;
    what_is_written_is_read(&nodes, 1).await;
    assert!(nodes[1].metric("be8_view_unserved_total").await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_notification_costs_nothing() {
    let (database, nodes) = nodes(NORMAL).await;
    // Nobody listens any more, and again and again.
    let pool = PgPool::connect(&database.url).await.unwrap();
    let over = AtomicBool::new(false);
    let deaf = async {
        while !over.load(Ordering::Relaxed) {
            let deaf = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and query ilike 'listen%'";
            pool.execute(deaf).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let written = async {
        what_is_written_is_read(&nodes, 10).await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(deaf, written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_nothing_is_read_from_memory() {
    let database = fresh_database().await;
    let proxy = Proxy::start(&database).await;
    let setup = Setup::on(&database).with_views(NORMAL).through(proxy.url());
    let server = setup.start().await;
    let (anna, ben, thread) = two_people(&server).await;
    anna.write(&thread, &ben, "before").await;
    assert_eq!(newest(&ben, &thread).await, ["before", "before"]);
    proxy.reachable(false);
    let name = json!({ "threadID": thread });
    assert_eq!(ben.client.post("/getmessages", &name).await.verdict(), "503 UNAVAILABLE");
    assert_eq!(ben.client.get("/getthreads").await.verdict(), "503 UNAVAILABLE");
    assert_eq!(ben.client.get("/me").await.verdict(), "503 UNAVAILABLE");
    proxy.reachable(true);
    crate::patience::eventually("the database is back", async || ben.client.get("/me").await.status == 200).await;
    anna.write(&thread, &ben, "after").await;
    assert_eq!(newest(&ben, &thread).await, ["after", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_asks_for_the_position_may_die() {
    let (database, nodes) = nodes(NORMAL).await;
    let pool = PgPool::connect(&database.url).await.unwrap();
    let over = AtomicBool::new(false);
    let kills = async {
        while !over.load(Ordering::Relaxed) {
            let kill = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and query like 'select h.position, h.generation%'
                and state = 'idle' and state_change < clock_timestamp() - interval '30 ms'";
            pool.execute(kill).await.unwrap();
            // One that is not in use: a read asks once more, and not for ever.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let written = async {
        what_is_written_is_read(&nodes, 5).await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(kills, written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_answer_to_how_far_the_log_has_come_is_not_waited_for_for_ever() {
    let database = fresh_database().await;
    let proxy = Proxy::start(&database).await;
    let setup = Setup::on(&database).with_views(NORMAL);
    let one = setup.clone().start().await;
    let two = setup.second().through(proxy.url()).start().await;
    let (anna, ben, thread) = two_people(&one).await;
    let reader = ben.at(&two);
    anna.write(&thread, &ben, "before").await;
    assert_eq!(newest(&reader, &thread).await, ["before", "before"]);
    let unserved = async || two.metric("be8_view_unserved_total").await;

    // A little late: PostgreSQL answered before the second word was written, so what begins behind that asks again.
    proxy.index_answers(false);
    let early = async { reader.messages(&thread).await };
    let later = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        anna.write(&thread, &ben, "meanwhile").await;
        let release = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            proxy.index_answers(true);
        };
        tokio::join!(newest(&reader, &thread), release).0
    };
    let (_, read) = tokio::join!(early, later);
    assert_eq!(read, ["meanwhile", "meanwhile"]);
    let before = unserved().await;

    // Far too late: PostgreSQL is asked itself.
    proxy.index_answers(false);
    anna.write(&thread, &ben, "at last").await;
    let begun = Instant::now();
    assert_eq!(newest(&reader, &thread).await, ["at last", "at last"]);
    let taken = begun.elapsed();
    assert!((2..5).contains(&taken.as_secs()), "two reads took {taken:?}");
    assert_eq!(unserved().await, before + 2.0);
    proxy.index_answers(true);
    anna.write(&thread, &ben, "in time").await;
    assert_eq!(newest(&reader, &thread).await, ["in time", "in time"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_slept_reads_what_was_written_meanwhile() {
    let (_database, nodes) = nodes(NORMAL).await;
    let (anna, ben, thread) = two_people(&nodes[0]).await;
    for round in 0..3 {
        newest(&ben.at(&nodes[1]), &thread).await;
        kill_process(nodes[1].pid(), Signal::STOP).unwrap();
        let word = format!("meanwhile {round}");
        join_all((0..20).map(|nth| anna.write(&thread, &ben, if nth == 19 { "last" } else { "words" }))).await;
        anna.write(&thread, &ben, &word).await;
        kill_process(nodes[1].pid(), Signal::CONT).unwrap();
        assert_eq!(newest(&ben.at(&nodes[1]), &thread).await, [word.clone(), word]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_reads_what_it_had_acknowledged() {
    let database = fresh_database().await;
    let mut server = Setup::on(&database).with_views(NORMAL).start().await;
    let (anna, ben, thread) = two_people(&server).await;
    for round in 0..3 {
        let word = format!("acknowledged {round}");
        anna.at(&server).write(&thread, &ben, &word).await;
        assert_eq!(newest(&ben.at(&server), &thread).await, [word.clone(), word.clone()]);
        server = server.kill().await.start().await;
        assert_eq!(newest(&ben.at(&server), &thread).await, [word.clone(), word]);
    }
}
