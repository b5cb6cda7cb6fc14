//! Sudden death under load: of the server, of PostgreSQL, of single connections. What was acknowledged is there once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use be8::postgres::{ClusterSettings, PrivateCluster};
use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection, PgPool};

use super::{Pair, numbers, sound_log};
use crate::client::two_people;
use crate::cluster::{Database, fresh_database, passable_directory};
use crate::hold::Hold;
use crate::patience::eventually;
use crate::server::{Server, Setup};

/// What became of the texts of a conversation.
#[derive(Debug, Default)]
struct Fate {
    acknowledged: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

/// Writes texts one after the other; what is refused is tried again, until it is accepted or the server is gone.
async fn write(pair: &Pair, texts: impl Iterator<Item = String>, accepted: &AtomicUsize) -> Fate {
    let mut fate = Fate::default();
    for text in texts {
        loop {
            let client = &pair.from.client;
            let letter = pair.from.letter(&pair.thread, &pair.to.id, &text);
            let request = client.request(reqwest::Method::POST, "/writemessage").json(&letter);
            let verdict = match client.try_send(request).await {
                Ok(answer) => answer.verdict(),
                Err(_) => "gone".to_owned(),
            };
            match &*verdict {
                "200 ok" => {
                    accepted.fetch_add(1, Ordering::SeqCst);
                    fate.acknowledged.insert(text);
                    break;
                }
                "503 UNAVAILABLE" => tokio::time::sleep(Duration::from_millis(20)).await,
                "503 OUTCOMEUNKNOWN" => {
                    fate.unknown.insert(text);
                    break;
                }
                "gone" => {
                    fate.unknown.insert(text);
                    return fate;
                }
                other => panic!("{other}"),
            }
        }
    }
    fate
}

/// How many texts each pair writes in a round; all rounds together stay below what one page of messages shows.
const EACH: usize = 30;

/// All pairs write while `disturb` runs, which gets how many texts were accepted so far.
async fn under_load<T>(pairs: &[Pair], round: usize, disturb: impl AsyncFnOnce(&AtomicUsize) -> T) -> (Vec<Fate>, T) {
    let accepted = AtomicUsize::new(0);
    let writing =
        join_all(pairs.iter().enumerate().map(|(index, pair)| {
            write(pair, (0..EACH).map(move |nth| format!("text {round}.{index}.{nth}")), &accepted)
        }));
    tokio::join!(writing, disturb(&accepted))
}

async fn reaches(accepted: &AtomicUsize, count: usize) {
    eventually("enough was written", async || accepted.load(Ordering::SeqCst) >= count).await;
}

/// Expects each acknowledged text exactly once, others at most once, and a sound log with nothing else in it.
async fn all_is_there(server: &Server, pairs: &[Pair], fates: &[Fate]) {
    let log = sound_log(&PgPool::connect(server.setup().database_url()).await.unwrap()).await;
    for (pair, fate) in pairs.iter().zip(fates) {
        let texts = pair.texts(server).await;
        let set: BTreeSet<String> = texts.iter().cloned().collect();
        assert_eq!(set.len(), texts.len(), "written twice");
        assert!(fate.acknowledged.is_subset(&set), "lost: {:?}", fate.acknowledged.difference(&set));
        for text in set.difference(&fate.acknowledged) {
            assert!(fate.unknown.contains(text), "{text} was refused and is there");
        }
        assert_eq!(numbers(&log, &pair.thread), (2..2 + texts.len() as u32).collect::<Vec<_>>());
    }
}

fn merge(all: &mut [Fate], more: Vec<Fate>) {
    for (all, more) in all.iter_mut().zip(more) {
        all.acknowledged.extend(more.acknowledged);
        all.unknown.extend(more.unknown);
    }
}

#[tokio::test]
async fn a_killed_server_has_lost_nothing_that_it_acknowledged() {
    let mut server = Server::start().await;
    let mut pairs = Pair::many(&server, 24).await;
    let mut fates: Vec<Fate> = pairs.iter().map(|_| Fate::default()).collect();
    for round in 0..3 {
        let (written, setup) = under_load(&pairs, round, async |accepted: &AtomicUsize| {
            reaches(accepted, 100 + 50 * round).await;
            server.kill().await
        })
        .await;
        assert!(written.iter().any(|fate| !fate.unknown.is_empty()), "the load was over before the kill");
        merge(&mut fates, written);
        server = setup.start().await;
        pairs = pairs.iter().map(|pair| Pair { from: pair.from.at(&server), ..pair.clone() }).collect();
        all_is_there(&server, &pairs, &fates).await;
    }
}

#[tokio::test]
async fn a_killed_postgres_has_lost_nothing_that_was_acknowledged() {
    let directory = passable_directory();
    let cluster = PrivateCluster::start(&ClusterSettings::new(directory.path().join("postgres"))).await.unwrap();
    cluster.create_database("be8").await.unwrap();
    let options = cluster.connect_options("be8");
    let database = Database { name: "be8".to_owned(), url: cluster.url("be8"), options };
    let server = Setup::on(&database).start().await;
    let pairs = Pair::many(&server, 24).await;
    let mut fates: Vec<Fate> = pairs.iter().map(|_| Fate::default()).collect();
    for round in 0..2 {
        let (written, ()) = under_load(&pairs, round, async |accepted: &AtomicUsize| {
            reaches(accepted, 150).await;
            let postmaster = cluster.postmaster_pid().expect("it runs");
            let pid = Pid::from_raw(postmaster.cast_signed()).expect("a process id");
            kill_process(pid, Signal::KILL).expect("a signal");
            let other = async || cluster.postmaster_pid().is_some_and(|pid| pid != postmaster);
            eventually("PostgreSQL is there again", other).await;
        })
        .await;
        merge(&mut fates, written);
        eventually("the server is ready again", async || server.get("/readyz").await.status == 200).await;
        // Connections of old that wait in the pool are found dead one by one.
        eventually("reading works again", async || pairs[0].from.client.get("/me").await.status == 200).await;
        for pair in &pairs {
            eventually("reading works", async || pair.to.client.get("/getthreads").await.status == 200).await;
        }
        all_is_there(&server, &pairs, &fates).await;
    }
    assert!(fates.iter().all(|fate| fate.acknowledged.len() + fate.unknown.len() == 2 * EACH));
    drop(server.kill().await);
    cluster.stop().await;
}

#[tokio::test]
async fn a_server_with_its_own_postgres_comes_back_with_everything() {
    let server = Setup::without_database().start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "before the kill").await;
    let setup = server.kill().await;
    // PostgreSQL dies with the server; the next one recovers it.
    let server = setup.start().await;
    let (alice, bob) = (alice.at(&server), bob.at(&server));
    bob.write(&thread, &alice, "before the end").await;
    server.terminate();
    let (setup, status) = server.ended().await;
    assert!(status.success(), "{status}");
    let server = setup.start().await;
    let pair = Pair { from: alice.clone(), to: bob, thread };
    assert_eq!(pair.texts(&server).await, ["before the kill", "before the end"]);
}

#[tokio::test]
async fn killed_connections_are_replaced_and_nothing_is_lost() {
    let database = fresh_database().await;
    let server = Setup::on(&database).start().await;
    let pairs = Pair::many(&server, 24).await;
    let mut killer = PgConnection::connect(&database.url).await.unwrap();
    let done = AtomicBool::new(false);
    let accepted = AtomicUsize::new(0);
    let writing = async {
        let texts = |index| (0..EACH).map(move |nth| format!("text {index}.{nth}"));
        let writers = pairs.iter().enumerate().map(|(index, pair)| write(pair, texts(index), &accepted));
        let fates = join_all(writers).await;
        done.store(true, Ordering::SeqCst);
        fates
    };
    let killing = async {
        let mut killed = 0;
        while !done.load(Ordering::SeqCst) {
            // A node in the middle of an append or between two.
            let count: i64 = sqlx::query_scalar(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid() and query like 'with head as%'",
            )
            .fetch_one(&mut killer)
            .await
            .unwrap();
            killed += count;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        killed
    };
    let (fates, killed) = tokio::join!(writing, killing);
    assert!(killed > 0, "nothing was killed");
    assert!(fates.iter().all(|fate| fate.acknowledged.len() == EACH), "a lost connection is not the client's business");
    all_is_there(&server, &pairs, &fates).await;
}

#[tokio::test]
async fn a_connection_that_is_killed_in_the_middle_of_an_append_costs_nothing() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let url = server.setup().database_url().to_owned();
    let mut killer = PgConnection::connect(&url).await.unwrap();
    let mut hold = Hold::next_append(&url).await;
    let kill = async {
        let first = hold.caught().await;
        sqlx::query("select pg_terminate_backend($1)").bind(first).execute(&mut killer).await.unwrap();
        let mut second = first;
        while second == first {
            // It tries again over a new connection.
            second = hold.caught().await;
        }
        hold.release().await;
    };
    let (number, ()) = tokio::join!(alice.write(&thread, &bob, "once"), kill);
    assert_eq!(number, 2);
    assert_eq!(numbers(&sound_log(&PgPool::connect(&url).await.unwrap()).await, &thread), [2]);
    assert_eq!(bob.messages(&thread).await.len(), 2);
}
