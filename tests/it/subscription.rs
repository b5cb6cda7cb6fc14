//! Following the log: what is there, then what comes, without gap or double, for readers of any speed.

use std::sync::Arc;
use std::time::Duration;

use be8::ledger::Subscription;
use be8_events::{Position, Recorded};
use futures_util::future::join_all;

use crate::rig::{Node, Rig, token};

/// Everything up to a position, each batch right after the one before.
async fn follow(mut subscription: Subscription, until: i64) -> Vec<Recorded> {
    let mut events: Vec<Recorded> = Vec::new();
    let mut at = subscription.position();
    while at.0 < until {
        let next = tokio::time::timeout(Duration::from_secs(20), subscription.next()).await;
        let batch = next.unwrap_or_else(|_| panic!("nothing comes after {at}")).unwrap().expect("a batch");
        for event in batch.iter() {
            assert_eq!(event.position, at.next());
            at = event.position;
        }
        assert!(!batch.is_empty());
        assert_eq!(subscription.position(), at);
        events.extend(batch.iter().cloned());
    }
    events
}

/// This many messages at once, written by this node in as many batches as it likes.
async fn write(node: &Node, count: usize) {
    let (zoe, _, thread) = node.talk().await;
    for written in join_all((0..count).map(|_| node.write(1, zoe, thread))).await {
        written.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_see_the_log_wherever_they_begin() {
    let rig = Rig::new().await;
    let nodes = [Arc::new(rig.node().await), Arc::new(rig.node().await)];
    let (zoe, yan, thread) = nodes[0].talk().await;
    // 5 events; each round of writers adds 40, on both nodes at once.
    let total = 5 + 6 * 40;
    let mut followers = Vec::new();
    for _ in 0..6 {
        for node in &nodes {
            let known = node.ledger.position();
            for from in [Position::START, Position(known.0 / 2), known] {
                followers.push((from, tokio::spawn(follow(node.ledger.subscribe_all(from), total))));
            }
        }
        let writers = (0..4).map(|nth| {
            let node = nodes[nth % 2].clone();
            let (session, sender) = if nth < 2 { (1, zoe) } else { (2, yan) };
            tokio::spawn(async move {
                for _ in 0..10 {
                    node.write(session, sender, thread).await.unwrap();
                }
            })
        });
        join_all(writers).await.into_iter().for_each(Result::unwrap);
    }
    let log = rig.events().await;
    assert_eq!(log.len() as i64, total);
    for (from, follower) in followers {
        let seen = follower.await.unwrap();
        assert_eq!(seen, log[usize::try_from(from.0).unwrap()..]);
    }
    // A subscriber may be ahead of what this node has: it gets nothing twice.
    let ahead = nodes[0].ledger.subscribe_all(Position(total));
    nodes[0].write(1, zoe, thread).await.unwrap();
    assert_eq!(follow(ahead, total + 1).await.len(), 1);
}

/// More batches than are kept for live readers: who lags reads the tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_lags_misses_nothing() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let (zoe, _, thread) = node.talk().await;
    let mut idle = node.ledger.subscribe_all(Position::START);
    let mut begun = node.ledger.subscribe_all(Position::START);
    assert_eq!(begun.next().await.unwrap().unwrap().len(), 5);
    for _ in 0..1100 {
        node.write(1, zoe, thread).await.unwrap();
    }
    let log = rig.events().await;
    assert_eq!(log.len(), 1105);
    assert_eq!(follow(begun, 1105).await, log[5..]);
    let first = idle.next().await.unwrap().unwrap();
    assert_eq!(first[0].position, Position(1));
    assert_eq!([first.to_vec(), follow(idle, 1105).await].concat(), log);
}

#[tokio::test]
async fn a_subscription_ends_with_the_ledger_and_hands_out_everything_before() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let mut from_start = node.ledger.subscribe_all(Position::START);
    let mut from_now = node.ledger.subscribe_all(node.ledger.position());
    write(&node, 20).await;
    let total = rig.count().await;
    node.stop().await;
    for subscription in [&mut from_start, &mut from_now] {
        let mut seen = 0;
        while let Some(batch) = subscription.next().await.unwrap() {
            seen += batch.len() as i64;
        }
        assert_eq!(seen, total);
        assert!(subscription.next().await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_of_an_idle_node_gets_the_events_of_the_others() {
    let rig = Rig::new().await;
    let (idle, busy) = (rig.node().await, rig.node().await);
    let subscription = tokio::spawn(follow(idle.ledger.subscribe_all(Position::START), 25));
    write(&busy, 20).await;
    assert_eq!(subscription.await.unwrap(), rig.events().await);
}

/// A node that was away while others appended very much does not read all of it; those who follow
/// through it are notified anyway, and at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_gets_what_its_node_passes_over() {
    const MANY: i64 = 50_001;
    let rig = Rig::new().await;
    let node = rig.node().await;
    node.account(1).await;
    let subscription = tokio::spawn(follow(node.ledger.subscribe_all(Position(2)), 2 + MANY));
    // As if another node had appended them while this one was frozen.
    let sql = format!(
        "with head as (
            update log_head set position = position + {MANY}, streams = streams + 1 returning position, streams, time)
        , stream as (insert into streams select streams, 'session-{}' from head)
        insert into events
        select position - {MANY} + n, streams, n, case n % 2 when 1 then 'SessionOpened' else 'SessionEnded' end, 1,
            time, 10001, sha256('salt'), convert_to(
                case n % 2 when 1 then '{{\"account\":10001,\"how\":\"created\"}}'
                else '{{\"account\":10001,\"why\":\"replaced\"}}' end, 'UTF8'), null
        from head, generate_series(1, {MANY}) n",
        token(2),
    );
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&rig.pool).await.unwrap();
    assert_eq!(subscription.await.unwrap().len() as i64, MANY);
    // And the node decides on what is true now.
    assert_eq!(node.account(3).await.number(), 10_002);
    assert_eq!(rig.count().await, MANY + 4);
}
