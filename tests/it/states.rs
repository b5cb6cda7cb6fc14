//! The states that decisions look at: whatever they are loaded from, they are the fold of the log.

use std::time::{Duration, Instant};

use be8::domain::{Occurred, State};
use be8::ledger::{Direction, ExpectedVersion, LedgerSettings};
use be8_events::read_marks::MessagesRead;
use be8_events::{AccId, NewEvent, StreamName, ThreadId};
use futures_util::future::join_all;

use crate::rig::{Node, Rig, create, eventually, start, token};

/// Read marks that do not merge, so that the state grows with every event.
fn marks(thread: ThreadId, reader: AccId, from: u32, count: u32) -> Vec<NewEvent> {
    let event = |no: u32| NewEvent {
        stream: StreamName::Reads(thread),
        actor: Some(reader),
        event: MessagesRead { reader, ranges: vec![(2 * no, 2 * no)], tell: vec![] }.into(),
        secret: None,
    };
    (from..from + count).map(event).collect()
}

/// The state as the log alone says.
async fn folded(rig: &Rig, stream: StreamName) -> (State, i64) {
    let events = rig.log().read_stream(stream, 1, Direction::Forwards, 100_000).await.unwrap();
    let mut state = State::new(&stream);
    for event in &events {
        state.evolve(Occurred { position: event.position, event: &event.event });
    }
    (state, events.len() as i64)
}

async fn snapshots(rig: &Rig) -> Vec<i64> {
    sqlx::query_scalar("select version from snapshots order by stream").fetch_all(&rig.pool).await.unwrap()
}

async fn change_snapshots(rig: &Rig, sql: &'static str) {
    assert_eq!(sqlx::query(sql).execute(&rig.pool).await.unwrap().rows_affected(), 1);
}

/// A long stream, with a snapshot that is not of its end.
async fn long_stream(rig: &Rig, node: &Node) -> StreamName {
    let (zoe, _, thread) = node.talk().await;
    let stream = StreamName::Reads(thread);
    for from in [0, 100] {
        node.ledger.append(stream, ExpectedVersion::Any, marks(thread, zoe, from, 100)).await.unwrap();
    }
    eventually("a snapshot", async || snapshots(rig).await == [200]).await;
    node.ledger.append(stream, ExpectedVersion::Exact(200), marks(thread, zoe, 200, 50)).await.unwrap();
    stream
}

#[tokio::test]
async fn a_snapshot_and_the_rest_are_the_whole() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let stream = long_stream(&rig, &node).await;
    assert_eq!(snapshots(&rig).await, [200]);
    let expected = [folded(&rig, stream).await];
    assert_eq!(expected[0].1, 250);
    assert_eq!(node.look(&[stream]).await, expected);
    assert_eq!(rig.node().await.look(&[stream]).await, expected);

    // It is the snapshot that was used: one that says something else is believed.
    change_snapshots(&rig, r#"update snapshots set state = '{"Reads":{}}'"#).await;
    assert_ne!(rig.node().await.look(&[stream]).await, expected);

    // One of another format is passed over, and so is one that cannot be read.
    change_snapshots(&rig, "update snapshots set format = format + 1").await;
    assert_eq!(rig.node().await.look(&[stream]).await, expected);
    change_snapshots(&rig, "update snapshots set format = format - 1, state = '{\"Reads\":7}'").await;
    assert_eq!(rig.node().await.look(&[stream]).await, expected);

    change_snapshots(&rig, "delete from snapshots").await;
    assert_eq!(rig.node().await.look(&[stream]).await, expected);
}

/// A stream that grows on one node is followed by another, snapshots or not.
#[tokio::test]
async fn a_node_follows_what_another_one_appends() {
    let rig = Rig::new().await;
    let (one, other) = (rig.node().await, rig.node().await);
    let (zoe, yan, thread) = one.talk().await;
    let streams = [
        StreamName::Reads(thread),
        StreamName::dialog(zoe, yan),
        StreamName::Account(zoe),
        StreamName::Session(token(1)),
    ];
    assert_eq!(one.look(&streams).await, other.look(&streams).await);
    for from in [0, 90, 180] {
        one.ledger.append(streams[0], ExpectedVersion::Any, marks(thread, zoe, from, 90)).await.unwrap();
        other.write(2, yan, thread).await.unwrap();
        let expected = [folded(&rig, streams[0]).await, folded(&rig, streams[1]).await];
        for node in [&one, &other] {
            assert_eq!(node.look(&streams[..2]).await, expected);
        }
    }
}

/// With a cache that holds next to nothing, everything is as with a large one.
#[tokio::test]
async fn a_tiny_cache_changes_nothing_but_the_time_it_takes() {
    let rig = Rig::new().await;
    let settings = LedgerSettings { cached_streams: 1, ..LedgerSettings::default() };
    let node = rig.node_with(std::sync::Arc::new(be8::support::clock::SystemClock), settings).await;
    let accounts = join_all((1..=40).map(|session| node.account(session))).await;
    let begun = Instant::now();
    for round in 0..3 {
        let talks = (1..=40_usize).map(|session| {
            let receiver = accounts[(session + round) % 40];
            node.ledger.execute(start(session as u64, receiver))
        });
        for thread in join_all(talks).await {
            let thread = thread.unwrap();
            let ThreadId::Dialog { initiator, .. } = thread else { panic!("{thread}") };
            let session = accounts.iter().position(|account| *account == initiator).unwrap() as u64 + 1;
            assert_eq!(node.write(session, initiator, thread).await.unwrap(), 2);
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    let streams = rig.streams().await;
    assert_eq!(streams.len(), 40 * 2 + 40 * 3);
    let fresh = rig.node().await;
    for ((stream, tiny), fresh) in streams.iter().zip(node.look(&streams).await).zip(fresh.look(&streams).await) {
        assert_eq!(tiny, fresh, "{stream}");
    }
}

/// One command may need more streams and keys than the cache is to hold.
#[tokio::test]
async fn one_command_may_need_more_than_the_cache_holds() {
    let rig = Rig::new().await;
    let node = rig.node_with(std::sync::Arc::new(be8::support::clock::SystemClock), LedgerSettings::default()).await;
    let streams: Vec<_> = (1..=120_000).map(|n| StreamName::Account(AccId::new(n).unwrap())).collect();
    let looked = tokio::time::timeout(Duration::from_secs(60), node.look(&streams)).await;
    assert_eq!(looked.expect("an answer").len(), streams.len());
    assert_eq!(node.ledger.execute(create(1)).await.unwrap().number(), 10_001);
}
