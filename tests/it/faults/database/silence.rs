//! A PostgreSQL that does not answer: a commit that waits for a standby, frozen processes, a network that drops packets.

use serde_json::json;
use sqlx::PgPool;

use super::{Own, freeze};
use crate::client::{Person, number_of, two_people};
use crate::cluster::fresh_database;
use crate::faults::proxy::Proxy;
use crate::faults::{numbers, sound_log};
use crate::patience::{eventually, in_the_end, within};
use crate::server::{Server, Setup, terminate};

/// With little patience.
fn hasty(setup: Setup) -> Setup {
    setup.with("ledger-patience-seconds", 1).with("ledger-outcome-seconds", 3).with("database-read-seconds", 2)
}

async fn texts(person: &Person, thread: &str) -> Vec<String> {
    let messages = person.messages(thread).await;
    messages[1..].iter().map(|message| message["text"].as_str().expect("text").to_owned()).collect()
}

/// Waits until the server is ready, and writes. With so little patience a busy machine may refuse for a while longer, by an
/// answer that says that nothing was written.
async fn recovers(server: &Server, alice: &Person, bob: &Person, thread: &str) -> u32 {
    eventually("it is ready again", async || server.get("/readyz").await.status == 200).await;
    let mut number = None;
    eventually("it accepts a message", async || {
        let answer = alice.client.post("/writemessage", &alice.letter(thread, &bob.id, "surely")).await;
        assert!(matches!(&*answer.verdict(), "200 ok" | "503 UNAVAILABLE"), "{}", answer.text);
        number = (answer.status == 200).then(|| number_of(&answer, thread));
        number.is_some()
    })
    .await;
    number.expect("it was accepted")
}

/// Every way of asking is answered by 503, and the server says that it lives.
async fn everything_is_refused(server: &Server, alice: &Person, bob: &Person, thread: &str) {
    let letter = alice.letter(thread, &bob.id, "refused");
    let first = alice.client.post("/writemessage", &letter).await;
    assert!(matches!(&*first.verdict(), "503 OUTCOMEUNKNOWN" | "503 UNAVAILABLE"), "{}", first.text);
    for answer in [
        alice.client.post("/writemessage", &letter).await,
        alice.client.get("/me").await,
        alice.client.get("/getthreads").await,
        alice.client.post("/getmessages", &json!({ "threadID": thread })).await,
    ] {
        assert_eq!((answer.verdict().as_str(), answer.header("retry-after")), ("503 UNAVAILABLE", Some("1")));
    }
    assert_eq!(server.get("/readyz").await.status, 503);
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_commit_that_waits_for_a_standby_is_answered_503_and_settled_when_it_is_back() {
    let own = Own::start().await;
    let server = hasty(Setup::on(&own.database)).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    own.set("synchronous_standby_names", "s1").await;
    let first = alice.client.post("/writemessage", &alice.letter(&thread, &bob.id, "perhaps")).await;
    assert_eq!(first.verdict(), "503 OUTCOMEUNKNOWN");
    for _ in 0..3 {
        // What came later was not begun: it says so after the patience for that, and was not written.
        let later = alice.client.post("/writemessage", &alice.letter(&thread, &bob.id, "never")).await;
        assert_eq!((later.verdict().as_str(), later.header("retry-after")), ("503 UNAVAILABLE", Some("1")));
        assert_eq!(server.get("/readyz").await.status, 503);
    }
    let threads = bob.threads().await;
    assert_eq!(threads[0]["text"], "STARTCONVERSATION", "reads are answered, and show nothing of it");
    let waiting = own.waiting().await;
    assert!((1..=12).contains(&waiting), "{waiting} sessions wait: each attempt leaves one");
    own.set("synchronous_standby_names", "").await;
    let number = recovers(&server, &alice, &bob, &thread).await;
    assert_eq!(texts(&bob, &thread).await, ["perhaps", "surely"], "it was written, once");
    let pool = PgPool::connect(&own.database.url).await.unwrap();
    assert_eq!(numbers(&sound_log(&pool).await, &thread), (2..=number).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_whose_commit_waits_for_a_standby_stops_on_a_signal() {
    let own = Own::start().await;
    // With its usual patience.
    let server = Setup::on(&own.database).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    own.set("synchronous_standby_names", "s1").await;
    let letter = alice.letter(&thread, &bob.id, "perhaps");
    let writing = tokio::spawn(async move { alice.client.post("/writemessage", &letter).await });
    eventually("the commit waits", async || own.waiting().await > 0).await;
    server.terminate();
    let answer = within("an answer", writing).await.unwrap();
    assert_eq!(answer.verdict(), "503 OUTCOMEUNKNOWN");
    let (_, status) = server.ended().await;
    assert!(status.success(), "{status}");
    own.set("synchronous_standby_names", "").await;
}

#[tokio::test]
async fn a_frozen_postgresql_is_reported_and_used_again_afterwards() {
    let own = Own::start().await;
    let server = hasty(Setup::on(&own.database)).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let frozen = own.freeze();
    everything_is_refused(&server, &alice, &bob, &thread).await;
    drop(frozen);
    recovers(&server, &alice, &bob, &thread).await;
    let shown = texts(&bob, &thread).await;
    assert!(shown == ["surely"] || shown == ["refused", "surely"], "{shown:?}");
    let frozen = own.freeze();
    let letter = alice.letter(&thread, &bob.id, "at the end");
    let writing = tokio::spawn(async move { alice.client.post("/writemessage", &letter).await });
    server.terminate();
    let (_, status) = server.ended().await;
    assert!(status.success(), "{status}");
    writing.abort();
    drop(frozen);
}

#[tokio::test]
async fn a_network_that_drops_packets_is_reported_and_used_again_afterwards() {
    let database = fresh_database().await;
    let proxy = Proxy::start(&database).await;
    let server = hasty(Setup::on(&database).through(proxy.url())).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    proxy.flows(false);
    everything_is_refused(&server, &alice, &bob, &thread).await;
    proxy.flows(true);
    recovers(&server, &alice, &bob, &thread).await;
    proxy.flows(false);
    server.terminate();
    let (_, status) = server.ended().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_start_and_commands_beside_a_frozen_postgresql_come_to_an_end() {
    let own = Own::start().await;
    let server = Setup::on(&own.database).start().await;
    two_people(&server).await;
    server.terminate();
    let (setup, _) = server.ended().await;
    let frozen = own.freeze();
    // It takes connections, since the kernel does, and says nothing.
    let expected = "the database did not answer within 5 s";
    for arguments in [&["check"][..], &["expire"], &["log"], &["rebuild", "--status"], &["export", "-"]] {
        let said = setup.run(arguments).await;
        assert!(!said.success && said.err.contains(expected), "{arguments:?}: {}", said.err);
    }
    let (mut process, _printed) = setup.launch();
    assert!(!within("the end of the server", process.wait()).await.unwrap().success());
    assert!(setup.log().contains(expected), "{}", setup.log());
    drop(frozen);
}

/// Each is at work on the log for as long as it takes, while PostgreSQL stops to answer.
#[tokio::test]
async fn work_that_takes_long_is_given_up_when_postgresql_is_frozen_under_it() {
    let own = Own::start().await;
    let server = Setup::on(&own.database).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "one").await;
    server.terminate();
    let (setup, _) = server.ended().await;
    // A lock that all of them have to wait for.
    let lock = own.holds("begin; lock table log_head, events in access exclusive mode").await;
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = 'own'";
    // A server that is asked to stop while it starts does so.
    let (mut process, _printed) = setup.launch();
    eventually("it waits", async || own.value(waiting).await == 1).await;
    let frozen = own.freeze();
    terminate(&process);
    assert!(within("the end of the server", process.wait()).await.unwrap().success());
    drop(frozen);
    // Its process of PostgreSQL waits on.
    let mut works = Vec::new();
    for arguments in [&["check"][..], &["export", "-"], &["rebuild"]] {
        let setup = setup.clone();
        works.push((arguments, tokio::spawn(async move { setup.run_for_long(arguments).await })));
    }
    let (mut process, _printed) = setup.launch();
    eventually("all of them wait", async || own.value(waiting).await == 5).await;
    let frozen = own.freeze();
    for (arguments, work) in works {
        let said = in_the_end("the end of a command", work).await.unwrap();
        assert!(
            !said.success && said.err.contains("PostgreSQL has not answered for 30 s"),
            "{arguments:?}: {}",
            said.err
        );
    }
    assert!(!in_the_end("the end of the server", process.wait()).await.unwrap().success());
    assert!(setup.log().contains("PostgreSQL has not answered for 30 s"), "{}", setup.log());
    drop(frozen);
    drop(lock);
    let said = setup.run(&["check"]).await;
    assert!(said.success && said.out.contains("sound\n"), "{}{}", said.out, said.err);
}

/// A command whose commit no standby confirms says so.
#[tokio::test]
async fn a_rebuild_whose_switch_no_standby_confirms_is_given_up() {
    let own = Own::start().await;
    let server = Setup::on(&own.database).start().await;
    two_people(&server).await;
    server.terminate();
    let (setup, _) = server.ended().await;
    own.set("synchronous_standby_names", "s1").await;
    let said = in_the_end("the end of a command", setup.run_for_long(&["rebuild"])).await;
    assert!(!said.success && said.err.contains("a commit has waited for a synchronous standby"), "{}", said.err);
    own.set("synchronous_standby_names", "").await;
    let said = setup.run(&["check"]).await;
    assert!(said.success && said.out.contains("sound\n"), "{}{}", said.out, said.err);
}

/// All connections that PostgreSQL has are taken by others.
#[tokio::test]
async fn a_postgresql_without_a_free_connection_is_waited_for() {
    let own = Own::start().await;
    let server = hasty(Setup::on(&own.database)).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut others = own.takes_all_connections().await;
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where application_name = 'be8' and pid <> pg_backend_pid()";
    let first = others.first_mut().expect("a connection");
    sqlx::query(end).execute(first).await.unwrap();
    // What they leave is taken, too.
    others.extend(own.takes_all_connections().await);
    eventually("it is not ready", async || server.get("/readyz").await.status == 503).await;
    let letter = alice.letter(&thread, &bob.id, "refused");
    let mut refused = 0;
    for answer in [
        alice.client.post("/writemessage", &letter).await,
        alice.client.get("/me").await,
        alice.client.post("/codeset", &json!({ "unlockCode": "one", "destroyCode": "two" })).await,
    ] {
        assert!(answer.status != 500, "{}", answer.text);
        refused += u32::from(answer.status == 503);
    }
    assert!(refused > 0);
    drop(others);
    recovers(&server, &alice, &bob, &thread).await;
}

/// The private PostgreSQL, whose end the server waits for.
#[tokio::test]
async fn a_server_stops_although_its_private_postgresql_is_frozen() {
    let server = Setup::without_database().start().await;
    let (alice, bob, thread) = two_people(&server).await;
    assert_eq!(alice.write(&thread, &bob, "one").await, 2);
    let cluster = server.setup().data_dir().join("postgres/cluster");
    let postmaster = std::fs::read_to_string(cluster.join("postmaster.pid")).unwrap();
    let frozen = freeze(postmaster.lines().next().unwrap().parse().unwrap());
    let said = server.setup().run(&["check"]).await;
    assert!(!said.success && said.err.contains("did not answer within"), "{}", said.err);
    server.terminate();
    let (setup, status) = server.ended().await;
    assert!(status.success(), "{status}");
    drop(frozen);
    let server = setup.start().await;
    assert_eq!(alice.at(&server).write(&thread, &bob, "two").await, 3);
}
