//! Clocks that are wrong for a while: nobody is shut out for longer than that, and nothing is ended for good.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::sound_log;
use crate::client::{Person, two_people};
use crate::clock::{set, turn};
use crate::cluster::fresh_database;
use crate::patience::eventually;
use crate::server::{Server, Setup};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Where Debian's libfaketime lies.
pub const LIBFAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A directory with the file that moves the clock.
fn hands() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let clock = directory.path().join("clock");
    set(&clock, 0);
    (directory, clock)
}

async fn setup(clock: &Path) -> Setup {
    Setup::on(&fresh_database().await).with("test-clock-file", clock.display())
}

/// Whether `/readyz` answers 200 and has this to say of the clock.
async fn says(server: &Server, part: &str) -> bool {
    let answer = server.get("/readyz").await;
    answer.status == 200 && answer.text.contains(part)
}

/// Waits until the server has nothing to say of its clock.
async fn all_well(server: &Server) {
    eventually("the clock is in order", async || server.get("/readyz").await.text == r#"{"status":"ok"}"#).await;
}

/// How often the log of the server has a warning with these words.
fn warnings(server: &Server, words: &str) -> usize {
    server.setup().log().lines().filter(|line| line.contains("WARN") && line.contains(words)).count()
}

#[tokio::test]
async fn after_a_clock_that_was_ahead_writing_goes_on_while_the_time_of_events_stands_still() {
    for ahead in [20, 2 * HOUR, 20 * DAY] {
        let (_directory, clock) = hands();
        let server = setup(&clock).await.start().await;
        let (alice, bob, thread) = two_people(&server).await;
        set(&clock, ahead);
        assert_eq!(alice.write(&thread, &bob, "while ahead").await, 2);
        set(&clock, 0);
        assert_eq!(alice.write(&thread, &bob, "right again").await, 3);
        eventually("it says so", async || says(&server, "behind the newest event").await).await;
        let behind = server.metric("be8_ledger_clock_behind_seconds").await;
        assert!(behind > 5.0 && behind <= ahead as f64, "{behind}");
        Person::sign_up(&server, "Carol").await;
        assert_eq!(bob.at(&server).messages(&thread).await.len(), 3);
        assert_eq!(warnings(&server, "behind the newest event"), 1);
        let pool = sqlx::PgPool::connect(server.setup().database_url()).await.unwrap();
        let log = sound_log(&pool).await;
        let of_messages: Vec<_> = log.iter().filter(|event| event.event.kind() == "MessageWritten").collect();
        assert_eq!(of_messages[0].time, of_messages[1].time);
        // And after a restart.
        let server = server.kill().await.start().await;
        assert_eq!(alice.at(&server).write(&thread, &bob, "after a restart").await, 4);
        assert!(says(&server, "behind the newest event").await);
        // Once the clock has caught up, all is as ever.
        turn(&clock, ahead + 10);
        all_well(&server).await;
        assert_eq!(server.metric("be8_ledger_clock_behind_seconds").await, 0.0);
        assert_eq!(alice.at(&server).write(&thread, &bob, "later").await, 5);
        let log = sound_log(&pool).await;
        assert!(log[log.len() - 2].time < log[log.len() - 1].time);
    }
}

#[tokio::test]
async fn a_wrong_date_removes_nobody_also_across_a_restart_and_by_no_command() {
    let (_directory, clock) = hands();
    let server = setup(&clock).await.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "kept").await;
    set(&clock, 40 * DAY);
    eventually("it is noticed", async || says(&server, "has jumped forwards by 40 days").await).await;
    // What has expired by the clock is not shown, and somebody new can come.
    assert_eq!(alice.client.get("/me").await.status, 401);
    let carol = Person::sign_up(&server, "Carol").await;
    assert_eq!(warnings(&server, "has jumped forwards"), 1);
    assert!(server.metric("be8_clock_untrusted_seconds").await > 39.0 * DAY as f64);
    for command in [&["expire", "--dry-run"][..], &["expire"]] {
        let said = server.setup().run(command).await;
        assert!(said.success && said.out.contains("has jumped forwards by 40 days"), "{}{}", said.out, said.err);
        assert!(said.out.lines().any(|line| line.starts_with("accounts") && line.ends_with(" 0")), "{}", said.out);
    }
    // A node that begins with the wrong date.
    let server = server.kill().await.start().await;
    assert!(says(&server, "has jumped forwards by 40 days").await);
    eventually("the end is looked for", async || server.metric("be8_image_walks_total").await >= 1.0).await;
    set(&clock, 0);
    all_but_the_head(&server).await;
    let [alice, bob, carol] = [&alice, &bob, &carol].map(|person| person.at(&server));
    for person in [&alice, &bob, &carol] {
        assert_eq!(person.client.get("/me").await.status, 200);
    }
    assert_eq!(bob.messages(&thread).await.len(), 2);
    assert_eq!(alice.write(&thread, &bob, "right again").await, 3);
    Person::sign_up(&server, "Dora").await;
    assert_eq!(server.metric("be8_accounts_removed_total").await, 0.0);
}

/// Waits until the clock is trusted; the log may be ahead of it.
async fn all_but_the_head(server: &Server) {
    eventually("the clock is trusted", async || server.metric("be8_clock_untrusted_seconds").await == 0.0).await;
}

#[tokio::test]
async fn time_that_passes_ends_things_and_so_does_a_clock_that_an_operator_confirms() {
    let (_directory, clock) = hands();
    let setup = setup(&clock).await;
    let server = setup.start().await;
    let (alice, _, _) = two_people(&server).await;
    turn(&clock, 31 * DAY);
    eventually("both are removed", async || server.metric("be8_accounts_removed_total").await == 2.0).await;
    assert_eq!(alice.client.get("/me").await.status, 401);
    let (carol, _, _) = two_people(&server).await;
    // A month without a server, on two nodes.
    let setup = server.kill().await;
    turn(&clock, 62 * DAY);
    let server = setup.start().await;
    let other = server.setup().second().start().await;
    for node in [&server, &other] {
        assert!(says(node, "has jumped forwards by 31 days").await);
    }
    assert_eq!(carol.at(&server).client.get("/me").await.status, 401);
    let confirmed = server.setup().run(&["expire", "--confirm-clock"]).await;
    assert!(confirmed.success && confirmed.out.contains("The clock is taken to be right: "), "{}", confirmed.out);
    for node in [&server, &other] {
        all_well(node).await;
    }
    let again = server.setup().run(&["expire"]).await;
    assert!(again.success && !again.out.contains("jumped"), "{}{}", again.out, again.err);
    let pool = sqlx::PgPool::connect(server.setup().database_url()).await.unwrap();
    let removed = async || sound_log(&pool).await.iter().filter(|event| event.event.kind() == "AccountRemoved").count();
    eventually("those are removed, too", async || removed().await == 4).await;
}

#[tokio::test]
async fn a_delay_after_wrong_codes_does_not_outlast_the_wrong_clock() {
    let (_directory, clock) = hands();
    let server = setup(&clock).await.start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let codes = serde_json::json!({ "unlockCode": "the right one", "destroyCode": "the other" });
    assert_eq!(alice.client.post("/codeset", &codes).await.status, 200);
    set(&clock, 20 * DAY);
    let attempt = async |code: &str| alice.client.post("/codeunlock", &serde_json::json!({ "code": code })).await;
    for nth in 0..10 {
        set(&clock, 20 * DAY + nth * 1000);
        attempt("a wrong one").await;
    }
    let delayed = attempt("the right one").await;
    assert!(!delayed.text.contains(r#""valid":true"#), "{}", delayed.text);
    set(&clock, 0);
    let answer = attempt("the right one").await;
    assert!(answer.text.contains(r#""valid":true"#), "{}", answer.text);
}

/// Without libfaketime there is no clock that is wrong on one side only.
#[tokio::test]
async fn a_server_that_is_ahead_of_its_database_is_not_ready_until_the_clocks_agree() {
    if !Path::new(LIBFAKETIME).exists() {
        eprintln!("not tried: libfaketime is not installed");
        return;
    }
    let (_directory, dial) = hands();
    let offset = |text: &str| {
        let new = dial.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &dial).unwrap();
    };
    offset("+0");
    let faked = |setup: Setup| {
        setup
            .with_variable("LD_PRELOAD", LIBFAKETIME)
            .with_variable("FAKETIME_TIMESTAMP_FILE", dial.to_str().unwrap())
            .with_variable("FAKETIME_NO_CACHE", "1")
            .with_variable("DONT_FAKE_MONOTONIC", "1")
            .with_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    };
    let server = faked(Setup::on(&fresh_database().await)).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    for wrong in ["+20", "+7200", "+3456000"] {
        offset(wrong);
        eventually("it is not ready", async || server.get("/readyz").await.status == 503).await;
        let refused = alice.client.post("/writemessage", &alice.letter(&thread, &bob.id, "refused")).await;
        assert!([401, 503].contains(&refused.status), "{}", refused.text);
        offset("+0");
        all_well(&server).await;
    }
    assert_eq!(warnings(&server, "ahead of PostgreSQL's: this node does not write"), 3);
    assert_eq!(alice.write(&thread, &bob, "right again").await, 2);
    // A clock that is behind writes, with the time of the newest event.
    offset("-604800");
    eventually("it says so", async || says(&server, "behind the newest event").await).await;
    assert_eq!(alice.write(&thread, &bob, "behind").await, 3);
    offset("+0");
    all_but_the_log(&server).await;
    assert_eq!(alice.write(&thread, &bob, "right once more").await, 4);
    assert_eq!(bob.client.get("/me").await.status, 200);
}

/// Waits until the clock agrees with the log again; its way back counts as a jump.
async fn all_but_the_log(server: &Server) {
    eventually("the clock agrees with the log", async || server.metric("be8_ledger_clock_behind_seconds").await == 0.0)
        .await;
}
