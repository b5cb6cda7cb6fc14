//! More than the server takes at once: refused at once, with nothing done, and the rest unharmed.

use reqwest::Method;
use serde_json::json;

use super::{numbers, sound_log};
use crate::client::{Answer, number_of, two_people};
use crate::cluster::fresh_database;
use crate::hold::Hold;
use crate::library::Library;
use crate::patience::eventually;
use crate::server::Setup;

/// Shows (docs/protocol.md): Overload.
#[tokio::test]
async fn one_command_too_many_is_refused_and_reading_goes_on() {
    let database = fresh_database().await;
    let server = Setup::on(&database).with("ledger-queue", 1).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let write = |text: &str| {
        let letter = alice.letter(&thread, &bob.id, text);
        tokio::spawn(alice.client.request(Method::POST, "/writemessage").json(&letter).send())
    };
    let mut hold = Hold::next_append(&database.url).await;
    let in_flight = write("in flight");
    hold.caught().await;
    let waiting = write("waiting");
    eventually("the second one waits", async || server.metric("be8_ledger_queue").await >= 1.0).await;

    let letter = alice.letter(&thread, &bob.id, "one too many");
    for (path, body) in [("/writemessage", letter), ("/newacc", json!({ "nickname": "Ann", "password": "p" }))] {
        let refused = alice.client.post(path, &body).await;
        assert_eq!((refused.verdict().as_str(), refused.header("retry-after")), ("503 UNAVAILABLE", Some("1")));
    }
    assert_eq!(bob.threads().await.len(), 2);
    hold.release().await;
    for (answer, number) in [(in_flight, 2), (waiting, 3)] {
        assert_eq!(number_of(&Answer::read(answer.await.unwrap().unwrap()).await, &thread), number);
    }
    let library = Library::open(&server).await;
    assert_eq!(numbers(&sound_log(&library.pool).await, &thread), [2, 3]);
    assert_eq!(library.texts(&thread).await.into_values().collect::<Vec<_>>(), ["in flight", "waiting"]);
}
