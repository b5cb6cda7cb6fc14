//! A measurement, not a test: how much longer others wait while an account in many conversations and groups ends.
//! `cargo test --test it removal::load -- --ignored --nocapture`

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use be8::domain::account::CreateAccount;
use be8::domain::dialog::StartConversation;
use be8::domain::group::{AddMember, CreateGroup, JoinGroup};
use be8::domain::removal::{EndConversations, RemoveAccount};
use be8_events::Secret;
use be8_events::group::{Access, GroupSecret};
use futures_util::StreamExt as _;
use futures_util::future::join_all;

use crate::client::{Person, two_people};
use crate::library::Library;
use crate::patience::eventually;
use crate::rig::{create, token};
use crate::server::Server;

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

/// How long one step takes from the command to its answer, which is more than it holds the head.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn one_step() {
    let server = Server::start().await;
    let library = Library::open(&server).await;
    let ledger = &library.ledger;
    for size in [20, 40, 80] {
        let star = Person::sign_up(&server, "Star").await;
        let gone = star.id.parse().unwrap();
        let mut partners = Vec::new();
        for nth in 0..size * 10 {
            let session = size * 10_000 + nth;
            partners.push(ledger.execute(CreateAccount { ..create(session) }).await.unwrap());
            let start = StartConversation { session: Some(token(session)), receiver: Some(gone) };
            let thread = ledger.execute(start).await.unwrap();
            // So that both stays have keys.
            let sender = partners[partners.len() - 1];
            ledger.execute(crate::rig::write(session, sender, thread)).await.unwrap();
        }
        // Nobody follows by itself.
        ledger.execute(RemoveAccount::Operator { account: gone }).await.unwrap();
        let mut took = Vec::new();
        for partners in partners.chunks(size as usize).map(<[_]>::to_vec) {
            let begun = Instant::now();
            ledger.execute(EndConversations { gone, partners }).await.unwrap();
            took.push(begun.elapsed());
        }
        took.sort();
        println!("{size} conversations a step: {took:?}");
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
    println!("messages, p50 and p99 in ms: before {before:?}, meanwhile {while_it_ends:?}");
}
