//! A measurement, not a test: how much longer others wait while an account in many conversations and groups ends.
//! `cargo test --test it removal::load -- --ignored --nocapture`

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use be8::domain::account::CreateAccount;
use be8::domain::dialog::StartConversation;
use be8::domain::group::{AddMember, CreateGroup, JoinGroup};
use be8::domain::removal::{EndConversations, LeaveGroups, RemoveAccount};
use be8_events::group::{Access, GroupSecret};
use be8_events::{AccId, GroupId, Secret};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::client::{Person, two_people};
use crate::cluster::fresh_database;
use crate::library::{Library, hold_up};
use crate::patience::eventually;
use crate::rig::{create, token};
use crate::server::{Server, Setup};

const CONVERSATIONS: u64 = 5000;
const GROUPS: u64 = 200;

/// The median and the 99th percentile of what 16 clients wait for an answer, in milliseconds.
async fn waits(pairs: &[(Person, Person, String)], done: impl Future<Output = ()>) -> (usize, f64, f64) {
    let stop = AtomicBool::new(false);
    let write = |(from, to, thread): &(Person, Person, String)| {
        let (from, to, thread, stop) = (from.clone(), to.clone(), thread.clone(), &stop);
        async move {
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                from.write(&thread, &to, "elsewhere").await;
                took.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            took
        }
    };
    let end = async {
        done.await;
        stop.store(true, Ordering::Relaxed);
    };
    let (took, ()) = tokio::join!(join_all(pairs.iter().map(write)), end);
    let mut took: Vec<f64> = took.concat();
    took.sort_by(f64::total_cmp);
    (took.len(), took[took.len() / 2], took[took.len() * 99 / 100])
}

/// What this process's ledger says of how long its appends took.
#[derive(Debug, Clone, Default)]
struct Appends(Arc<Mutex<Vec<f64>>>);

impl HistogramFn for Appends {
    fn record(&self, seconds: f64) {
        self.0.lock().unwrap().push(seconds * 1000.0);
    }
}

impl Recorder for Appends {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match key.name() {
            "be8_ledger_append_seconds" => Histogram::from_arc(Arc::new(self.clone())),
            _ => Histogram::noop(),
        }
    }
}

impl Appends {
    /// Count, median, 95th percentile and longest of the appends since the last time, in milliseconds.
    fn durations(&self) -> (usize, f64, f64, f64) {
        let mut took = std::mem::take(&mut *self.0.lock().unwrap());
        took.sort_by(f64::total_cmp);
        let part = |percent| took[(took.len() - 1) * percent / 100];
        (took.len(), part(50), part(95), part(100))
    }
}

/// How long the append of one step takes, which is a little more than it holds the head.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn one_step() {
    let appends = Appends::default();
    metrics::set_global_recorder(appends.clone()).expect("nobody measures yet");
    let database = fresh_database().await;
    let _held_up = hold_up(&database.url, "removal").await;
    let server = Setup::on(&database).start().await;
    let library = Library::open(&server).await;
    let ledger = &library.ledger;
    for size in [10, 20, 40, 80] {
        let star = Person::sign_up(&server, "Star").await;
        let gone = star.id.parse().unwrap();
        // Each partner has written, so that a stay of it has a key, and has a group in which the account has written.
        let ties = futures_util::stream::iter(0..size * 25).map(|nth| async move {
            let session = size * 10_000 + nth;
            let partner = ledger.execute(CreateAccount { ..create(session) }).await.unwrap();
            let session = Some(token(session));
            let thread = ledger.execute(StartConversation { session, receiver: Some(gone) }).await.unwrap();
            ledger.execute(crate::rig::write(size * 10_000 + nth, partner, thread)).await.unwrap();
            let name = Some(Secret::new(GroupSecret { name: "a group".to_owned() }));
            let created = CreateGroup { session, name, access: Some(Access::Public), capacity: 50 };
            let group = ledger.execute(created).await.unwrap();
            ledger.execute(AddMember { session, group: Some(group), member: Some(gone) }).await.unwrap();
            (partner, group)
        });
        let ties: Vec<(AccId, GroupId)> = ties.buffer_unordered(100).collect().await;
        // Nobody else follows: the process is held up, and a command alone does not.
        ledger.execute(RemoveAccount::Operator { account: gone }).await.unwrap();
        appends.durations();
        for ties in ties.chunks(size as usize) {
            let partners = ties.iter().map(|(partner, _)| *partner).collect();
            ledger.execute(EndConversations { gone, partners }).await.unwrap();
        }
        println!("{size} conversations: steps, p50, p95, longest in ms: {:.2?}", appends.durations());
        for ties in ties.chunks(size as usize) {
            let groups = ties.iter().map(|(_, group)| *group).collect();
            ledger.execute(LeaveGroups { gone, groups }).await.unwrap();
        }
        println!("{size} groups: steps, p50, p95, longest in ms: {:.2?}", appends.durations());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_large_account_ends_while_others_write() {
    let server = Server::start().await;
    let library = Library::open(&server).await;
    let star = Person::sign_up(&server, "Star").await;
    let receiver = Some(star.id.parse().unwrap());
    let ledger = &library.ledger;
    futures_util::stream::iter(1..=CONVERSATIONS)
        .for_each_concurrent(200, |nth| async move {
            ledger.execute(CreateAccount { ..create(nth) }).await.unwrap();
            ledger.execute(StartConversation { session: Some(token(nth)), receiver }).await.unwrap();
        })
        .await;
    futures_util::stream::iter(1..=GROUPS)
        .for_each_concurrent(50, |nth| async move {
            let name = Some(Secret::new(GroupSecret { name: "a group".to_owned() }));
            let session = Some(token(nth));
            let created = CreateGroup { session, name, access: Some(Access::Public), capacity: 50 };
            let group = Some(ledger.execute(created).await.unwrap());
            ledger.execute(JoinGroup { session, group }).await.unwrap();
            ledger.execute(AddMember { session, group, member: receiver }).await.unwrap();
        })
        .await;
    let mut pairs = Vec::new();
    for _ in 0..16 {
        pairs.push(two_people(&server).await);
    }
    waits(&pairs, tokio::time::sleep(Duration::from_secs(3))).await;
    let before = waits(&pairs, tokio::time::sleep(Duration::from_secs(10))).await;
    let ties = "select (select count(*) from read_1.thread_member where account = $1 and thread > 0)
                     + (select count(*) from read_1.group_stay where account = $1 and closed is null)";
    let account: i64 = star.id.parse().unwrap();
    let begun = Instant::now();
    let while_it_ends = waits(&pairs, async {
        star.vanishes().await;
        println!("the answer to /destroyacc took {:?}", begun.elapsed());
        eventually("nothing hangs on it", async || {
            tokio::time::sleep(Duration::from_millis(90)).await;
            let left: i64 = sqlx::query_scalar(ties).bind(account).fetch_one(&library.pool).await.unwrap();
            left == 0
        })
        .await;
    })
    .await;
    println!("{CONVERSATIONS} conversations and {GROUPS} groups ended in {:?}", begun.elapsed());
    println!("messages, p50 and p99 in ms: before {before:.2?}, meanwhile {while_it_ends:.2?}");
    println!("p99: {:.2} times what it was", while_it_ends.2 / before.2);
}
