//! Answers under idempotency keys in the ledger itself: batches, nodes, sweeps, and any mix of duplicates.

use std::collections::HashMap;
use std::sync::Arc;

use be8::ledger::{Answered, ExpectedVersion, Idempotency, Ledger, LedgerError, LedgerSettings};
use be8::support::clock::{Clock as _, SystemClock};
use be8_events::account::{AccountRemoved, Removal};
use be8_events::session::{Opening, SessionOpened};
use be8_events::{AccId, Hash32, NewEvent, StreamName, ThreadId};
use chrono::TimeDelta;
use futures_util::future::join_all;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::cluster::fresh_database;
use crate::hold::Hold;
use crate::rig::{Dial, Node, Rig, eventually, start, token, write};

fn once(session: u64, key: &str, request: &str) -> Idempotency {
    let hash = |text: &str| Hash32::sha256(text.as_bytes());
    Idempotency { session: token(session), key: hash(key), request: hash(request) }
}

/// Writes a message under a key.
async fn send(
    ledger: &Ledger,
    (session, sender): (u64, AccId),
    thread: ThreadId,
    key: &str,
    request: &str,
) -> Result<String, LedgerError> {
    let encode = |(thread, no)| Answered { status: 200, body: format!("{thread} {no}").into_bytes() };
    let answered = ledger.execute_once(write(session, sender, thread), once(session, key, request), encode).await?;
    assert_eq!(answered.status, 200);
    Ok(String::from_utf8(answered.body).unwrap())
}

/// Opens another session of an account.
async fn log_in(node: &Node, account: AccId, session: u64) {
    let stream = StreamName::Session(token(session));
    let event = SessionOpened { account, how: Opening::Login }.into();
    let event = NewEvent { stream, actor: Some(account), event, secret: None };
    node.ledger.append(stream, ExpectedVersion::NoStream, vec![event]).await.unwrap();
}

async fn rows(rig: &Rig) -> i64 {
    sqlx::query_scalar("select count(*) from idempotency").fetch_one(&rig.pool).await.unwrap()
}

#[tokio::test]
async fn in_one_batch_the_first_one_has_the_key() {
    let database = fresh_database().await;
    let rig = Rig::on(&database.url).await;
    let node = rig.node().await;
    let (zoe, _, thread) = node.talk().await;
    // Two sessions of one account: the key is the account's.
    log_in(&node, zoe, 3).await;
    let mut hold = Hold::next_append(&database.url).await;
    let busy = {
        let ledger = node.ledger.clone();
        tokio::spawn(async move { ledger.execute(write(2, AccId::new(10_002).unwrap(), thread)).await })
    };
    hold.caught().await;
    let waiting: Vec<_> = [(1, "k", "a"), (3, "k", "a"), (3, "other", "a")]
        .map(|(session, key, request)| {
            let ledger = node.ledger.clone();
            tokio::spawn(async move { send(&ledger, (session, zoe), thread, key, request).await })
        })
        .into_iter()
        .collect();
    eventually("they wait", async || node.ledger.fullness() * 8192.0 > 2.5).await;
    hold.release().await;
    busy.await.unwrap().unwrap();
    let mut results = Vec::new();
    for task in waiting {
        results.push(task.await.unwrap());
    }
    let (one, two) = (&results[0], &results[1]);
    let accepted = [one, two].into_iter().filter(|result| result.is_ok()).count();
    let refused = [one, two].into_iter().filter(|result| matches!(result, Err(LedgerError::InFlight))).count();
    assert_eq!((accepted, refused), (1, 1), "{results:?}");
    assert!(results[2].is_ok());
    // Which of them it was, the answer is the account's.
    let answer = [one, two].into_iter().find_map(|result| result.as_ref().ok()).unwrap();
    for session in [1, 3] {
        assert_eq!(send(&node.ledger, (session, zoe), thread, "k", "a").await.unwrap(), *answer);
    }
    assert!(matches!(send(&node.ledger, (3, zoe), thread, "k", "b").await, Err(LedgerError::KeyReused)));
    assert_eq!(rows(&rig).await, 2);
    node.stop().await;
}

#[tokio::test]
async fn rows_go_with_their_account() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let (zoe, yan, thread) = node.talk().await;
    for nth in 0..25 {
        send(&node.ledger, (1, zoe), thread, &format!("key {nth}"), "a").await.unwrap();
    }
    let kept = send(&node.ledger, (2, yan), thread, "key", "a").await.unwrap();
    let now = SystemClock.now();
    assert_eq!(node.ledger.sweep_answers(now, 10).await.unwrap(), 0);
    let stream = StreamName::Account(zoe);
    let event = AccountRemoved { account: zoe, reason: Removal::Panic }.into();
    let event = NewEvent { stream, actor: Some(zoe), event, secret: None };
    node.ledger.append(stream, ExpectedVersion::Any, vec![event]).await.unwrap();
    // From that moment on nobody is answered; the rows go in bounded steps.
    let answer = send(&node.ledger, (1, zoe), thread, "key 1", "a").await;
    assert!(matches!(answer, Err(LedgerError::Rejected(_))), "{answer:?}");
    let mut steps = Vec::new();
    for _ in 0..4 {
        steps.push(node.ledger.sweep_answers(now, 10).await.unwrap());
    }
    assert_eq!(steps, [10, 10, 5, 0]);
    assert_eq!(rows(&rig).await, 1);
    let noted: i64 = sqlx::query_scalar("select count(*) from idempotency_over").fetch_one(&rig.pool).await.unwrap();
    assert_eq!(noted, 0);
    assert_eq!(send(&node.ledger, (2, yan), thread, "key", "a").await.unwrap(), kept);
    node.stop().await;
}

#[tokio::test]
async fn what_is_too_old_is_swept_in_steps_and_stands_in_nobodys_way() {
    let rig = Rig::new().await;
    let dial = Dial::at(SystemClock.now());
    let node = rig.node_with(dial.clone(), LedgerSettings::default()).await;
    let (zoe, _, thread) = node.talk().await;
    let mut answers = Vec::new();
    for nth in 0..12 {
        answers.push(send(&node.ledger, (1, zoe), thread, &format!("key {nth}"), "a").await.unwrap());
    }
    dial.turn(TimeDelta::hours(24) - TimeDelta::microseconds(1));
    assert_eq!(send(&node.ledger, (1, zoe), thread, "key 3", "a").await.unwrap(), answers[3]);
    dial.turn(TimeDelta::microseconds(1));
    // The old row of the key is still there.
    let fresh = send(&node.ledger, (1, zoe), thread, "key 3", "another request").await.unwrap();
    assert_ne!(fresh, answers[3]);
    assert_eq!(rows(&rig).await, 13);
    let mut steps = Vec::new();
    for _ in 0..3 {
        steps.push(node.ledger.sweep_answers(dial.now(), 8).await.unwrap());
    }
    assert_eq!(steps, [8, 4, 0]);
    assert_eq!(send(&node.ledger, (1, zoe), thread, "key 3", "another request").await.unwrap(), fresh);
    node.stop().await;
}

/// Each request comes up to five times, at random moments, over two nodes and two sessions of its account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_mix_of_duplicates_happens_once() {
    for seed in 1..=3 {
        let mut random = SmallRng::seed_from_u64(seed);
        let rig = Rig::new().await;
        let nodes = [rig.node().await, rig.node().await];
        let (zoe, yan, thread) = nodes[0].talk().await;
        log_in(&nodes[0], zoe, 3).await;
        let mut sent = Vec::new();
        for request in 0..40 {
            let sessions: &[u64] = if request % 3 == 0 { &[2] } else { &[1, 3] };
            for _ in 0..random.random_range(1..=5) {
                sent.push((request, sessions[random.random_range(0..sessions.len())], random.random_range(0..2)));
            }
        }
        sent.shuffle(&mut random);
        let before = rig.count().await;
        let mut answers: HashMap<i32, String> = HashMap::new();
        let mut open = sent;
        // A client that is asked to come back comes back.
        while !open.is_empty() {
            let some: Vec<_> = open.drain(..open.len().min(random.random_range(1..=60))).collect();
            let results = join_all(some.iter().map(|(request, session, node)| {
                let (ledger, account) = (nodes[*node].ledger.clone(), if *session == 2 { yan } else { zoe });
                let key = Arc::new(format!("key {request}"));
                async move { send(&ledger, (*session, account), thread, &key, &key).await }
            }))
            .await;
            for (sent, result) in some.into_iter().zip(results) {
                match result {
                    Ok(answer) => assert_eq!(*answers.entry(sent.0).or_insert(answer.clone()), answer),
                    Err(LedgerError::InFlight) => open.push(sent),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert_eq!(answers.len(), 40);
        // Server key and all: nothing but the messages was written.
        assert_eq!(rig.count().await - before, 40, "seed {seed}");
        assert_eq!(rows(&rig).await, 40);
        // Valid without effect, each time.
        let started = nodes[1].ledger.execute(start(1, yan)).await.unwrap();
        assert_eq!(started, thread);
        for node in nodes {
            node.stop().await;
        }
    }
}
