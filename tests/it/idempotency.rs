//! `Idempotency-Key`: what comes twice happens once, and both get the same answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::client::{Answer, Client, Person, two_people};
use crate::cluster::fresh_database;
use crate::crypto::KeyPair;
use crate::hold::Hold;
use crate::patience::eventually;
use crate::server::{Server, Setup, two_nodes};

async fn pool(server: &Server) -> PgPool {
    PgPool::connect(server.setup().database_url()).await.unwrap()
}

async fn events(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from events").fetch_one(pool).await.unwrap()
}

async fn rows(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from idempotency").fetch_one(pool).await.unwrap()
}

fn same(first: &Answer, again: &Answer) {
    assert_eq!((again.status, &again.text), (first.status, &first.text));
}

/// Shows (docs/protocol.md): Repeating a request.
#[tokio::test]
async fn every_operation_that_takes_a_key_happens_once() {
    let setup = Setup::on(&fresh_database().await);
    let tokens = "[[token]]\ntoken = '12345678901234567890123456789012'\ntype = 'endless'";
    let server = setup.with_file("tokens-file", tokens).start().await;
    let (alice, bob) = (Person::sign_up(&server, "Alice").await, Person::sign_up(&server, "Bob").await);
    let pool = pool(&server).await;
    let group = json!({ "groupID": "g10001" });
    let with = |field: &str, value: &str| {
        let mut body = group.clone();
        body[field] = value.into();
        body
    };
    let wrapped = json!({ "groupID": "g10001", "groupKey": "a wrapped key", "accID": bob.id, "keyholder": alice.id });
    let key = Person { keys: KeyPair::generate(), ..alice.clone() }.own_jwk();
    // The device of RFC 8291, section 5.
    let p256dh = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    let keys = json!({ "p256dh": p256dh, "auth": "BTBZMqHH6r4Tts7J_aSIgg" });
    let device = json!({ "endpoint": "https://push.example.net/x", "expirationTime": null, "keys": keys });
    let steps: Vec<(&Person, &str, Value)> = vec![
        (&alice, "/setkey", json!({ "publicKey": key })),
        (&alice, "/subscribe", device),
        (&alice, "/startconversation", json!({ "receiverID": bob.id })),
        (&alice, "/writemessage", alice.letter(&format!("{}:{}", alice.id, bob.id), &bob.id, "once")),
        (&alice, "/changenickname", json!({ "newNickname": "Alicia" })),
        (&alice, "/userstatusset", json!({ "userStatus": "here" })),
        (&alice, "/invitelink", json!({ "type": "user", "sentInviteLink": true })),
        (&alice, "/endlessvalidate", json!({ "token": "12345678901234567890123456789012" })),
        (&alice, "/groupcreate", json!({ "nickname": "Friends", "groupType": "public" })),
        (&alice, "/groupjoinmember", group.clone()),
        (&alice, "/groupaddmember", with("memberID", &bob.id)),
        (&alice, "/groupincreaseversion", group.clone()),
        (&alice, "/groupstorekey", wrapped),
        (&alice, "/grouptriggersseupdate", with("update", "joinmember")),
        (&bob, "/groupleavemember", group.clone()),
        (&alice, "/groupaddmember", with("memberID", &bob.id)),
        (&alice, "/groupkickmember", with("accID", &bob.id)),
        (&alice, "/groupdestroygroup", group.clone()),
    ];
    let mut taken = BTreeSet::new();
    for (nth, (who, path, body)) in steps.iter().enumerate() {
        let key = format!("key {nth}");
        let before = events(&pool).await;
        let first = who.client.post_once(path, body, &key).await;
        let accepted = if *path == "/subscribe" { "201 ok" } else { "200 ok" };
        assert_eq!(first.verdict(), accepted, "{path}");
        let after = events(&pool).await;
        assert!(after > before, "{path}");
        for _ in 0..2 {
            same(&first, &who.client.post_once(path, body, &key).await);
        }
        // As the draft writes it: a string in quotes. It is the same key.
        same(&first, &who.client.post_once(path, body, &format!("\"{key}\"")).await);
        assert_eq!(events(&pool).await, after, "{path}");
        assert_eq!(rows(&pool).await, nth as i64 + 1, "{path}");
        taken.insert(*path);
    }
    let document = be8::http::openapi();
    let paths = document["paths"].as_object().unwrap().iter();
    let takes_key = |operation: &Value| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.into_iter().any(|parameter| parameter["name"] == "Idempotency-Key")
    };
    let documented: BTreeSet<&str> =
        paths.filter(|(_, path)| takes_key(&path["post"])).map(|(path, _)| path.as_str()).collect();
    assert_eq!(taken, documented);
}

/// Shows (docs/protocol.md): Repeating a request.
#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_account() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let pool = pool(&server).await;
    let letter = alice.letter(&thread, &bob.id, "one");
    let first = alice.client.post_once("/writemessage", &letter, "k").await;
    assert_eq!(first.verdict(), "200 ok");

    // Another body, another route.
    let other = alice.letter(&thread, &bob.id, "two");
    assert_eq!(alice.client.post_once("/writemessage", &other, "k").await.verdict(), "422 IDEMPOTENCYKEYREUSED");
    assert_eq!(alice.client.post_once("/startconversation", &letter, "k").await.verdict(), "422 IDEMPOTENCYKEYREUSED");
    // The same route however it is written, with whatever query.
    same(&first, &alice.client.post_once("/WriteMessage/?x=1", &letter, "k").await);

    // Another account's key of the same name is another key.
    let answer = bob.client.post_once("/writemessage", &bob.letter(&thread, &alice.id, "mine"), "k").await;
    assert_eq!(answer.verdict(), "200 ok");
    assert_ne!(answer.text, first.text);
    assert_eq!(bob.messages(&thread).await.len(), 3);

    // Where keys have no meaning they are ignored.
    for _ in 0..2 {
        let read = alice.client.post_once("/getmessages", &json!({ "threadID": thread }), "k").await;
        assert_eq!(read.verdict(), "200 ok");
        let stranger = server.client().post_once("/writemessage", &letter, "k").await;
        assert_eq!(stranger.verdict(), "401 NOTAUTH");
    }
    let made = json!({ "nickname": "Ann", "password": "p" });
    let accounts = [server.client().post_once("/newacc", &made, "k").await, server.post("/newacc", &made).await];
    assert_eq!(accounts.map(|answer| answer.json()["accID"].clone()), [json!(10003), json!(10004)]);

    // What can be no key.
    for key in ["", &"x".repeat(256)] {
        assert_eq!(alice.client.post_once("/writemessage", &letter, key).await.verdict(), "400 INVALIDINPUT");
        let nobody = server.client().with_cookie(&format!("be8={}", "A".repeat(43)));
        assert_eq!(nobody.post_once("/writemessage", &letter, key).await.verdict(), "401 NOTAUTH");
    }
    let longest = alice.client.post_once("/writemessage", &letter, &"x".repeat(255)).await;
    assert_eq!(longest.verdict(), "200 ok");
    assert_eq!(rows(&pool).await, 3);
    // Neither the key nor what was asked stands in the clear, and of what was answered no more than ids.
    let bodies: Vec<String> =
        sqlx::query_scalar("select convert_from(body, 'UTF8') from idempotency").fetch_all(&pool).await.unwrap();
    assert!(bodies.iter().all(|body| body.starts_with(r#"{"valid":true,"messageID":"message:"#)), "{bodies:?}");
}

#[tokio::test]
async fn what_is_refused_or_changes_nothing_is_not_stored() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let pool = pool(&server).await;
    let mut wrong = alice.letter(&thread, &bob.id, "one");
    wrong["threadID"] = "10001:99999".into();
    for _ in 0..2 {
        assert_eq!(alice.client.post_once("/writemessage", &wrong, "k").await.verdict(), "400 INVALIDTHREADID");
    }
    assert_eq!(alice.client.post_once("/groupleavemember", &json!({}), "k").await.verdict(), "200 GROUPNOTEXISTING");
    // Their conversation is there already.
    let start = json!({ "receiverID": bob.id });
    assert_eq!(alice.client.post_once("/startconversation", &start, "k").await.verdict(), "200 ok");
    assert_eq!(rows(&pool).await, 0);
    // The key is as good as new.
    let letter = alice.letter(&thread, &bob.id, "one");
    let first = alice.client.post_once("/writemessage", &letter, "k").await;
    assert_eq!(first.verdict(), "200 ok");
    same(&first, &alice.client.post_once("/writemessage", &letter, "k").await);
}

#[tokio::test]
async fn an_answer_outlives_a_restart_and_is_known_to_every_node() {
    let (one, two) = two_nodes().await;
    let (alice, bob, thread) = two_people(&one).await;
    let letter = alice.letter(&thread, &bob.id, "one");
    // Both nodes know all states before.
    bob.at(&two).write(&thread, &alice, "before").await;
    let first = alice.client.post_once("/writemessage", &letter, "k").await;
    assert_eq!(first.verdict(), "200 ok");
    same(&first, &alice.at(&two).client.post_once("/writemessage", &letter, "k").await);
    let other = alice.letter(&thread, &bob.id, "two");
    let reused = alice.at(&two).client.post_once("/writemessage", &other, "k").await;
    assert_eq!(reused.verdict(), "422 IDEMPOTENCYKEYREUSED");

    let one = one.kill().await.start().await;
    same(&first, &alice.at(&one).client.post_once("/writemessage", &letter, "k").await);
    assert_eq!(bob.at(&one).messages(&thread).await.len(), 3);
}

#[tokio::test]
async fn fifty_at_once_over_two_nodes_write_once() {
    let (one, two) = two_nodes().await;
    let (alice, bob, thread) = two_people(&one).await;
    let letter = alice.letter(&thread, &bob.id, "once");
    let clients: Vec<Client> = (0..50).map(|nth| alice.at(if nth % 2 == 0 { &one } else { &two }).client).collect();
    for round in 0..4 {
        let key = format!("round {round}");
        let answers = join_all(clients.iter().map(|client| client.post_once("/writemessage", &letter, &key))).await;
        let (accepted, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert!(!accepted.is_empty());
        for answer in &accepted {
            same(accepted[0], answer);
        }
        for answer in others {
            assert_eq!(answer.verdict(), "409 INFLIGHT");
        }
        same(accepted[0], &clients[1].post_once("/writemessage", &letter, &key).await);
        assert_eq!(bob.messages(&thread).await.len(), round + 2);
    }
}

/// Shows (docs/protocol.md): Repeating a request.
#[tokio::test]
async fn while_the_first_request_runs_others_get_inflight() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let letter = alice.letter(&thread, &bob.id, "once");
    let mut hold = Hold::next_append(server.setup().database_url()).await;
    let client = Arc::new(alice.client.clone());
    let first = {
        let (client, letter) = (client.clone(), letter.clone());
        tokio::spawn(async move { client.post_once("/writemessage", &letter, "k").await })
    };
    hold.caught().await;
    assert_eq!(alice.client.post_once("/writemessage", &letter, "k").await.verdict(), "409 INFLIGHT");
    hold.release().await;
    let first = first.await.unwrap();
    assert_eq!(first.verdict(), "200 ok");
    same(&first, &alice.client.post_once("/writemessage", &letter, "k").await);
    assert_eq!(bob.messages(&thread).await.len(), 2);
}

#[tokio::test]
async fn a_node_that_loses_the_race_answers_what_the_winner_wrote() {
    let (one, two) = two_nodes().await;
    let (alice, bob, thread) = two_people(&one).await;
    bob.at(&two).write(&thread, &alice, "both nodes know the states").await;
    // A first use makes the key under which answers are kept apart, and prepares the statements.
    for (node, key) in [(&one, "a"), (&two, "b")] {
        let letter = alice.letter(&thread, &bob.id, key);
        assert_eq!(alice.at(node).client.post_once("/writemessage", &letter, key).await.verdict(), "200 ok");
    }
    let letter = alice.letter(&thread, &bob.id, "once");
    let mut hold = Hold::all_appends(one.setup().database_url()).await;
    let both = [&one, &two].map(|node| {
        let (client, letter) = (alice.at(node).client, letter.clone());
        tokio::spawn(async move { client.post_once("/writemessage", &letter, "k").await })
    });
    // Each has decided, neither has seen the other's row.
    hold.waits("with head as%", 2).await;
    hold.release().await;
    let [first, second] = both.map(|task| async { task.await.unwrap() });
    let (first, second) = (first.await, second.await);
    assert_eq!(first.verdict(), "200 ok");
    same(&first, &second);
    assert_eq!(bob.messages(&thread).await.len(), 5);
    assert!(one.metric("be8_ledger_lost_rounds_total").await + two.metric("be8_ledger_lost_rounds_total").await > 0.0);
}

#[tokio::test]
async fn a_server_that_dies_right_after_the_append_has_its_answer_kept() {
    let mut server = Server::start().await;
    let (mut alice, bob, thread) = two_people(&server).await;
    let pool = pool(&server).await;
    for round in 0..5 {
        let letter = alice.letter(&thread, &bob.id, &format!("text {round}"));
        let key = format!("round {round}");
        let before = events(&pool).await;
        let request = alice.client.request(Method::POST, "/writemessage").header("Idempotency-Key", &key).json(&letter);
        let sent = tokio::spawn(request.send());
        eventually("it is written", async || events(&pool).await > before).await;
        let setup = server.kill().await;
        // Whether or not the answer came through.
        drop(sent.await);
        server = setup.start().await;
        alice = alice.at(&server);
        let answer = alice.client.post_once("/writemessage", &letter, &key).await;
        assert_eq!(answer.json()["messageID"], format!("message:{thread}:{}", round + 2), "{}", answer.text);
        same(&answer, &alice.client.post_once("/writemessage", &letter, &key).await);
    }
    assert_eq!(bob.at(&server).messages(&thread).await.len(), 6);
}

/// Shows (docs/protocol.md): Repeating a request.
#[tokio::test]
async fn after_a_day_a_key_is_new() {
    let clock = tempfile::NamedTempFile::new().unwrap();
    let turn = |seconds: i64| crate::clock::turn(clock.path(), seconds);
    let database = fresh_database().await;
    let server = Setup::on(&database).with("test-clock-file", clock.path().display()).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let pool = pool(&server).await;
    let letter = alice.letter(&thread, &bob.id, "again");
    let send = || alice.client.post_once("/writemessage", &letter, "k");
    let first = send().await;
    turn(23 * 3600 + 3500);
    same(&first, &send().await);
    assert_eq!(rows(&pool).await, 1);
    turn(24 * 3600 + 60);
    let second = send().await;
    assert_eq!((second.verdict().as_str(), second.text == first.text), ("200 ok", false));
    same(&second, &send().await);
    // The old answer is swept, the new one stays.
    eventually("the old answer is swept", async || rows(&pool).await == 1).await;
    same(&second, &send().await);
    assert_eq!(bob.messages(&thread).await.len(), 3);
}
