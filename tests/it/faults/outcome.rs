//! An append whose outcome the server cannot know, a database that is away for a while, a node that learns late of events.

use be8_events::StreamName;
use serde_json::json;
use sqlx::PgPool;

use super::proxy::{Cut, Proxy};
use super::{numbers, sound_log};
use crate::client::two_people;
use crate::cluster::{Database, fresh_database};
use crate::hold::Hold;
use crate::patience::{eventually, within};
use crate::server::{Server, Setup};

/// For appends that are held up until something was seen, which takes a while on a busy machine.
const PATIENT: [(&str, u32); 2] = [("ledger-patience-seconds", 20), ("ledger-outcome-seconds", 25)];

/// A server behind a proxy.
async fn behind_a_proxy(flags: &[(&str, u32)]) -> (Database, Proxy, Server) {
    let database = fresh_database().await;
    let proxy = Proxy::start(&database).await;
    let setup = Setup::on(&database).through(proxy.url());
    let setup = flags.iter().fold(setup, |setup, (flag, value)| setup.with(flag, value));
    let server = setup.start().await;
    (database, proxy, server)
}

#[tokio::test]
async fn a_lost_answer_is_settled_and_the_message_written_once() {
    let (database, proxy, server) = behind_a_proxy(&[]).await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut stream = bob.client.events().await;
    for (number, cut) in [(2, Cut::After), (3, Cut::Before), (4, Cut::After), (5, Cut::After), (6, Cut::Before)] {
        proxy.cut_next_append(cut);
        let before = proxy.cuts();
        // The client notices nothing but the time that it takes.
        assert_eq!(alice.write(&thread, &bob, &format!("text {number}")).await, number, "{cut:?}");
        assert_eq!(proxy.cuts(), before + 1, "{cut:?}");
    }
    let pool = PgPool::connect(&database.url).await.unwrap();
    assert_eq!(numbers(&sound_log(&pool).await, &thread), [2, 3, 4, 5, 6]);
    let messages = bob.messages(&thread).await;
    let texts: Vec<_> = messages[1..].iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["text 2", "text 3", "text 4", "text 5", "text 6"]);
    assert_eq!(stream.events(5).await.len(), 5);
    assert!(server.setup().log().contains("finding out what became of it"));
}

#[tokio::test]
async fn an_append_that_still_runs_is_waited_for() {
    let (database, proxy, server) = behind_a_proxy(&PATIENT).await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut hold = Hold::next_append(&database.url).await;
    proxy.cut_next_append(Cut::Meanwhile);
    let cut = async {
        hold.caught().await;
        // The server moves the fence, after the append that it has lost sight of.
        hold.waits("update log_head set fence%", 1).await;
        assert_eq!(proxy.cuts(), 1);
        hold.release().await;
    };
    let (number, ()) = tokio::join!(alice.write(&thread, &bob, "once"), cut);
    assert_eq!((number, alice.write(&thread, &bob, "the next").await), (2, 3));
    let pool = PgPool::connect(&database.url).await.unwrap();
    assert_eq!(numbers(&sound_log(&pool).await, &thread), [2, 3]);
}

#[tokio::test]
async fn an_append_that_comes_too_late_finds_the_fence() {
    let (database, proxy, server) = behind_a_proxy(&PATIENT).await;
    let (alice, bob, thread) = two_people(&server).await;
    // The statement is prepared: preparing it would wait for the table, too, before there is an append to cut.
    for text in ["first", "second"] {
        alice.write(&thread, &bob, text).await;
    }
    let mut hold = Hold::all_appends(&database.url).await;
    proxy.cut_next_append(Cut::Meanwhile);
    let cut = async {
        // The lost one has not begun when the fence moves; the server is sure that it did nothing, and repeats it.
        hold.waits("with head as%", 2).await;
        assert_eq!(proxy.cuts(), 1);
        hold.release().await;
    };
    let (number, ()) = tokio::join!(alice.write(&thread, &bob, "once"), cut);
    assert_eq!((number, alice.write(&thread, &bob, "the next").await), (4, 5));
    let pool = PgPool::connect(&database.url).await.unwrap();
    assert_eq!(numbers(&sound_log(&pool).await, &thread), [2, 3, 4, 5]);
    let texts: Vec<_> = bob.messages(&thread).await.iter().map(|message| message["text"].clone()).collect();
    assert_eq!(texts, ["STARTCONVERSATION", "first", "second", "once", "the next"]);
}

#[tokio::test]
async fn an_account_is_made_once_even_when_the_answer_is_lost() {
    let (database, proxy, server) = behind_a_proxy(&[]).await;
    proxy.cut_next_append(Cut::After);
    let answer = server.post("/newacc", &json!({ "nickname": "Ann", "password": "p" })).await;
    assert_eq!((answer.json()["accID"].clone(), proxy.cuts()), (json!(10001), 1));
    let client = server.client().with_cookie(answer.header("set-cookie").unwrap());
    assert_eq!(client.get("/me").await.json()["accObj"]["nickname"], "Ann");
    let next = server.post("/newacc", &json!({ "nickname": "Ben", "password": "p" })).await;
    assert_eq!(next.json()["accID"], 10002);
    let pool = PgPool::connect(&database.url).await.unwrap();
    // The hour that struck when the server started, then two accounts with a session each.
    let log = sound_log(&pool).await;
    assert_eq!(log.iter().filter(|event| event.stream != StreamName::Histories).count(), 5);
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_answered_so_and_settled_later() {
    let (database, proxy, server) = behind_a_proxy(&[("ledger-outcome-seconds", 1)]).await;
    let (alice, bob, thread) = two_people(&server).await;
    let letter = alice.letter(&thread, &bob.id, "perhaps");
    proxy.cut_next_append(Cut::After);
    let away = async {
        eventually("the append is cut", async || proxy.cuts() == 1).await;
        proxy.reachable(false);
    };
    let (answer, ()) = tokio::join!(alice.client.post("/writemessage", &letter), away);
    // The database may have come back in between for a moment: then it is known.
    assert!(matches!(&*answer.verdict(), "503 OUTCOMEUNKNOWN" | "200 ok"), "{}", answer.text);
    proxy.reachable(true);
    eventually("the server is ready again", async || server.get("/readyz").await.status == 200).await;
    let number = within("the next message", alice.write(&thread, &bob, "surely")).await;
    let pool = PgPool::connect(&database.url).await.unwrap();
    let written = numbers(&sound_log(&pool).await, &thread);
    assert_eq!(written, (2..=number).collect::<Vec<_>>());
    let texts: Vec<_> = bob.messages(&thread).await.iter().map(|message| message["text"].clone()).collect();
    assert_eq!(texts, ["STARTCONVERSATION", "perhaps", "surely"], "it had been written, once");
}

/// Shows (docs/protocol.md): Overload.
#[tokio::test]
async fn a_database_that_is_away_is_reported_and_comes_back_by_itself() {
    let (database, proxy, server) = behind_a_proxy(&[("ledger-patience-seconds", 3)]).await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut stream = bob.client.events().await;
    proxy.reachable(false);
    assert_eq!(server.get("/healthz").await.status, 200);
    let letter = alice.letter(&thread, &bob.id, "while it is away");
    for answer in [
        server.get("/readyz").await,
        alice.client.get("/me").await,
        alice.client.get("/getthreads").await,
        alice.client.post("/getmessages", &json!({ "threadID": thread })).await,
        alice.client.post("/writemessage", &letter).await,
        server.post("/newacc", &json!({ "nickname": "Ann", "password": "p" })).await,
    ] {
        assert_eq!((answer.verdict().as_str(), answer.header("retry-after")), ("503 UNAVAILABLE", Some("1")));
    }
    proxy.reachable(true);
    eventually("it is ready again", async || server.get("/readyz").await.status == 200).await;
    eventually("it writes again", async || {
        let answer = alice.client.post("/writemessage", &alice.letter(&thread, &bob.id, "back")).await;
        answer.verdict() == "200 ok"
    })
    .await;
    let pool = PgPool::connect(&database.url).await.unwrap();
    assert_eq!(numbers(&sound_log(&pool).await, &thread), [2], "what was refused was not written");
    // The open stream lived through it.
    assert_eq!(stream.event().await.data["action"], "newMessage");
}

#[tokio::test]
async fn a_node_that_learns_late_takes_an_id_of_another_node_for_what_it_is() {
    let database = fresh_database().await;
    let proxy = Proxy::start(&database).await;
    let quick = Setup::on(&database).start().await;
    let late = quick.setup().second().through(proxy.url()).start().await;
    let (alice, bob, thread) = two_people(&quick).await;
    let mut stream = bob.client.events().await;
    alice.write(&thread, &bob, "zero").await;
    let zero = stream.event().await;
    // The late node knows of everything so far, since it sends it.
    let mut at_late = bob.at(&late).client.events_after("1-0").await;
    while at_late.event().await != zero {}
    proxy.ledger_receives(false);
    alice.write(&thread, &bob, "one").await;
    alice.write(&thread, &bob, "two").await;
    let seen = stream.events(2).await;

    // Reads do not wait for the ledger.
    assert_eq!(bob.at(&late).threads().await[0]["text"], "two");
    let mut after_one = bob.at(&late).client.events_after(&seen[0].id).await;
    let mut after_two = bob.at(&late).client.events_after(&seen[1].id).await;
    proxy.ledger_receives(true);
    alice.write(&thread, &bob, "three").await;
    let three = stream.event().await;
    assert_eq!(after_two.event().await, three, "nothing twice");
    assert_eq!(after_one.events(2).await, [seen[1].clone(), three], "nothing missed");
}
