//! `/login` and `/logout`: sessions on other devices.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::accounts::is_nobody;
use super::{no_account, no_text};
use crate::client::{Answer, Client, Person, two_people};
use crate::cluster::fresh_database;
use crate::server::{Server, Setup};

pub async fn login(server: &Server, id: impl Into<Value>, password: impl Into<Value>) -> Answer {
    let (id, password): (Value, Value) = (id.into(), password.into());
    server.post("/login", &json!({ "accID": id, "password": password })).await
}

/// The client that a login opened.
pub fn device(server: &Server, answer: &Answer) -> Client {
    assert_eq!((answer.verdict().as_str(), answer.json()), ("200 ok", json!({ "valid": true })));
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 1);
    server.client().with_cookie(answer.header("set-cookie").unwrap())
}

/// Shows (docs/protocol.md): Login and logout.
#[tokio::test]
async fn the_password_opens_a_session_on_another_device() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let phone = device(&server, &login(&server, alice.id.as_str(), alice.password.as_str()).await);
    let number: i64 = alice.id.parse().unwrap();
    let tablet = device(&server, &login(&server, number, alice.password.as_str()).await);
    // The nickname may change meanwhile: the password stays.
    alice.client.post("/changenickname", &json!({ "newNickname": "Alicia" })).await;
    let laptop = device(&server, &login(&server, alice.id.as_str(), alice.password.as_str()).await);
    for client in [&alice.client, &phone, &tablet, &laptop] {
        assert_eq!(client.get("/me").await.json()["accID"], json!(alice.id));
    }
    // All get the same answer.
    let mut streams = [alice.client.events().await, phone.events().await];
    bob.write(&thread, &alice, "hello").await;
    let [first, second] = &mut streams;
    assert_eq!(first.event().await, second.event().await);
    // One logs out: its streams end, the others live on.
    let out = phone.post("/logout", &json!({})).await;
    assert_eq!(out.verdict(), "200 ok");
    assert!(out.header("set-cookie").unwrap().starts_with("be8=; Path=/; Expires=Thu, 01 Jan 1970"));
    assert_eq!(streams[1].rest().await, []);
    is_nobody(&phone, &json!({})).await;
    assert_eq!(phone.post("/logout", &json!({})).await.verdict(), "401 NOTAUTH");
    bob.write(&thread, &alice, "again").await;
    assert_eq!(streams[0].event().await.data["action"], "newMessage");
    assert_eq!(tablet.get("/me").await.verdict(), "200 ok");
    // Both are routes of our own.
    for path in ["/login", "/logout"] {
        let answer = alice.client.get(path).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    }
}

/// Shows (docs/protocol.md): Login and logout.
#[tokio::test]
async fn every_failure_has_the_same_answer() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let mut answers = Vec::new();
    for password in no_text().into_iter().chain([json!("wrong"), json!("p".repeat(4000))]) {
        // Each from the account's point of view; a success in between forgets the failures.
        answers.push(login(&server, alice.id.as_str(), password).await);
        device(&server, &login(&server, alice.id.as_str(), alice.password.as_str()).await);
    }
    for id in no_account() {
        let answer = login(&server, id, alice.password.as_str()).await;
        if answer.status != 429 {
            answers.push(answer);
        }
    }
    for answer in answers {
        assert_eq!(answer.verdict(), "401 NOTAUTH");
        assert_eq!(answer.header("set-cookie"), None);
    }
}

/// Shows (docs/protocol.md): Login and logout; Guessing of lock codes.
#[tokio::test]
async fn guessing_is_slowed_down_and_live_sessions_are_not() {
    let clock = tempfile::NamedTempFile::new().unwrap();
    let setup = Setup::on(&fresh_database().await).with("test-clock-file", clock.path().display());
    let server = setup.start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let bob = Person::sign_up(&server, "Bob").await;
    // Many at once get no further than one after the other.
    let guesses = join_all((0..40).map(|n| login(&server, alice.id.as_str(), format!("guess {n}")))).await;
    let verdicts: Vec<String> = guesses.iter().map(Answer::verdict).collect();
    // Five are free; while a slow machine hashes them, one or the other delay may pass.
    let checked = verdicts.iter().filter(|verdict| *verdict == "401 NOTAUTH").count();
    assert!((5..12).contains(&checked), "{verdicts:?}");
    for answer in guesses.iter().filter(|answer| answer.status == 429) {
        assert_eq!(answer.verdict(), "429 RATELIMITED");
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    }
    // A client that goes on waits for minutes.
    for turn in 1..=12 {
        crate::clock::turn(clock.path(), turn * 1000);
        assert_eq!(login(&server, alice.id.as_str(), "a guess").await.verdict(), "401 NOTAUTH");
    }
    // The right password is not distinguished from a wrong one, until its time has come.
    let early = login(&server, alice.id.as_str(), alice.password.as_str()).await;
    assert_eq!(early.verdict(), "429 RATELIMITED");
    let seconds: u32 = early.header("retry-after").unwrap().parse().unwrap();
    assert!((600..=900).contains(&seconds), "{seconds}");
    crate::clock::turn(clock.path(), 13_000);
    device(&server, &login(&server, alice.id.as_str(), alice.password.as_str()).await);
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok");
    assert_eq!(login(&server, bob.id.as_str(), bob.password.as_str()).await.verdict(), "200 ok");
}

#[tokio::test]
async fn an_account_has_so_many_sessions_and_the_oldest_gives_way() {
    let server = Setup::on(&fresh_database().await).with("sessions-per-account", 3).start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let mut devices = vec![alice.client.clone()];
    for _ in 0..4 {
        let answer = login(&server, alice.id.as_str(), alice.password.as_str()).await;
        devices.push(device(&server, &answer));
    }
    let mut alive = Vec::new();
    for client in &devices {
        alive.push(client.get("/me").await.status == 200);
    }
    assert_eq!(alive, [false, false, true, true, true]);
    // Several at once do not go beyond either.
    let more = join_all((0..4).map(|_| login(&server, alice.id.as_str(), alice.password.as_str()))).await;
    devices.extend(more.iter().map(|answer| device(&server, answer)));
    let mut open = 0;
    for client in &devices {
        open += u32::from(client.get("/me").await.status == 200);
    }
    assert_eq!(open, 3);
}

/// Shows (docs/protocol.md): Login and logout.
#[tokio::test]
async fn no_secret_is_logged_or_stored_in_the_clear() {
    let server = Setup::on(&fresh_database().await).with("log", "trace").start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let token = alice.client.cookie()[4..47].to_owned();
    login(&server, alice.id.as_str(), "a wrong-password-0815").await;
    login(&server, alice.id.as_str(), alice.password.as_str()).await;
    alice.client.post("/codeset", &json!({ "unlockCode": "unlock-0816", "destroyCode": "destroy-0817" })).await;
    alice.client.post("/codeunlock", &json!({ "code": "wrong-0818" })).await;
    alice.client.post("/userstatusset", &json!({ "userStatus": "status-0819" })).await;
    alice.client.post("/changenickname", &json!({ "newNickname": "nick-0820" })).await;
    let metrics = server.get("/metrics").await.text;
    let log = server.setup().log();
    assert!(log.len() > 1000, "the log says something");
    let secrets = [
        "wrong-password-0815",
        "unlock-0816",
        "destroy-0817",
        "wrong-0818",
        "status-0819",
        "nick-0820",
        &token,
        &alice.password,
        "argon2id$",
    ];
    for secret in secrets {
        assert!(!log.contains(secret) && !metrics.contains(secret), "{secret}");
    }
}
