//! `/codehas`, `/codeset`, `/codeunlock`, `/codeupdate`: one code unlocks, the other one removes the account.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::accounts::is_nobody;
use super::{no_text, refuses};
use crate::client::{Person, two_people};
use crate::cluster::fresh_database;
use crate::patience::eventually;
use crate::server::{Server, Setup};

async fn set(person: &Person, unlock: &str, destroy: &str) {
    let body = json!({ "id": person.id, "unlockCode": unlock, "destroyCode": destroy });
    assert_eq!(person.client.post("/codeset", &body).await.verdict(), "200 ok");
}

async fn enter(person: &Person, code: &str) -> Value {
    let answer = person.client.post("/codeunlock", &json!({ "code": code })).await;
    assert_eq!(answer.status, 200);
    answer.json()
}

async fn update(person: &Person, code: &str, old: &str, which: &str) -> Value {
    let body = json!({ "code": code, "oldCode": old, "codeType": which });
    person.client.post("/codeupdate", &body).await.json()
}

fn wrong() -> Value {
    json!({ "valid": false, "inValid": true })
}

fn unlocked() -> Value {
    json!({ "valid": true, "isValid": true })
}

/// Shows (docs/protocol.md): Shapes of refusals; Lock codes.
#[tokio::test]
async fn codes_are_set_once_and_changed_each_by_itself() {
    let server = Server::start().await;
    let (alice, bob, _) = two_people(&server).await;
    let has = async || alice.client.get("/codehas").await.json();
    assert_eq!(has().await, json!({ "valid": true, "hasCode": false }));
    // Without codes every code is wrong.
    assert_eq!(enter(&alice, "1234").await, wrong());
    assert_eq!(update(&alice, "5", "1234", "unlock").await, json!({ "valid": false, "reason": "OLDCODEWRONG" }));
    set(&alice, "1234", "9999").await;
    assert_eq!(has().await, json!({ "valid": true, "hasCode": true }));
    assert_eq!(alice.client.get("/me").await.json()["accObj"]["codes"], json!(true));
    // Nobody else learns of it.
    assert!(bob.threads().await.iter().all(|thread| thread["codes"] == json!(false)));
    let again = alice.client.post("/codeset", &json!({ "unlockCode": "a", "destroyCode": "b" })).await;
    assert_eq!(again.verdict(), "200 CODESALREADYSET");

    assert_eq!(enter(&alice, "1235").await, wrong());
    assert_eq!(enter(&alice, "1234").await, unlocked());
    let old_wrong = json!({ "valid": false, "reason": "OLDCODEWRONG" });
    // The other code is no old code of this one.
    assert_eq!(update(&alice, "5678", "9999", "unlock").await, old_wrong);
    assert_eq!(update(&alice, "5678", "1234", "unlock").await, json!({ "valid": true, "unlockUpdated": true }));
    assert_eq!(enter(&alice, "1234").await, wrong());
    assert_eq!(update(&alice, "8888", "5678", "destroy").await, old_wrong);
    assert_eq!(update(&alice, "8888", "9999", "destroy").await, json!({ "valid": true, "destroyUpdated": true }));
    assert_eq!(enter(&alice, "5678").await, unlocked());
    assert_eq!(enter(&alice, "9999").await, wrong());
    assert_eq!(bob.client.get("/codehas").await.json()["hasCode"], json!(false));
}

/// Shows (docs/protocol.md): Checks of fields; Lock codes.
#[tokio::test]
async fn codes_have_their_checks_in_order() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let client = &alice.client;
    let long = json!("c".repeat(1025));
    let unusable = [no_text(), vec![long.clone()]].concat();
    let body = json!({ "unlockCode": "u", "destroyCode": "d" });
    refuses(client, "/codeset", &body, "unlockCode", &unusable, "200 INVALIDUNLOCKCODE").await;
    let same = [unusable.clone(), vec![json!("u")]].concat();
    refuses(client, "/codeset", &body, "destroyCode", &same, "200 INVALIDDESTROYCODE").await;
    let both = json!({ "unlockCode": 7, "destroyCode": 7 });
    assert_eq!(client.post("/codeset", &both).await.verdict(), "200 INVALIDUNLOCKCODE");
    refuses(client, "/codeunlock", &json!({ "code": "u" }), "code", &no_text(), "200 INVALIDCODE").await;

    let body = json!({ "code": "n", "oldCode": "u", "codeType": "unlock" });
    refuses(client, "/codeupdate", &body, "code", &unusable, "200 INVALIDCODE").await;
    refuses(client, "/codeupdate", &body, "oldCode", &no_text(), "200 INVALIDOLDCODE").await;
    let types = [no_text(), ["Unlock", "destroyCode", " unlock"].map(Value::from).to_vec()].concat();
    refuses(client, "/codeupdate", &body, "codeType", &types, "200 INVALIDCODETYPE").await;
    let mut all = json!({ "code": 7, "oldCode": 7, "codeType": 7 });
    for (field, verdict) in
        [("code", "200 INVALIDCODE"), ("oldCode", "200 INVALIDOLDCODE"), ("codeType", "200 INVALIDCODETYPE")]
    {
        assert_eq!(client.post("/codeupdate", &all).await.verdict(), verdict);
        all[field] = body[field].clone();
    }
    assert_eq!(client.post("/codeupdate", &all).await.verdict(), "200 OLDCODEWRONG");
    // When codes are set, what is wrong with the new ones is still said first.
    set(&alice, "u", "d").await;
    let equal = json!({ "unlockCode": "u", "destroyCode": "u" });
    assert_eq!(client.post("/codeset", &equal).await.verdict(), "200 INVALIDDESTROYCODE");
    for path in ["/codeset", "/codeunlock", "/codeupdate"] {
        assert_eq!(server.post(path, &json!({ "code": 7 })).await.verdict(), "401 NOTAUTH");
    }
    assert_eq!(server.get("/codehas").await.verdict(), "401 NOTAUTH");
}

/// Shows (docs/protocol.md): Lock codes.
#[tokio::test]
async fn the_destroy_code_removes_the_account_on_every_node() {
    let server = Server::start().await;
    let other = server.setup().second().start().await;
    let (alice, bob, _) = two_people(&server).await;
    set(&alice, "1234", "9999").await;
    let body = json!({ "accID": alice.id, "password": alice.password });
    let phone = server.post("/login", &body).await;
    let phone = server.client().with_cookie(phone.header("set-cookie").unwrap());
    let mut streams = [alice.client.events().await, phone.at(&other).events().await];
    assert_eq!(enter(&alice, "9999").await, json!({ "valid": true, "isDestroyCode": true }));
    for client in [&alice.client, &phone] {
        is_nobody(client, &json!({})).await;
        is_nobody(&client.at(&other), &json!({})).await;
        assert_eq!(client.post("/codeunlock", &json!({ "code": "9999" })).await.verdict(), "401 NOTAUTH");
    }
    for stream in &mut streams {
        while stream.next().await.is_some() {}
    }
    assert_eq!(server.post("/login", &body).await.verdict(), "401 NOTAUTH");
    assert_eq!(bob.client.get("/me").await.verdict(), "200 ok");
}

/// Shows (docs/protocol.md): Lock codes.
#[tokio::test]
async fn unlocking_wins_where_both_codes_are_the_same() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    set(&alice, "1234", "9999").await;
    assert_eq!(update(&alice, "9999", "1234", "unlock").await["valid"], json!(true));
    assert_eq!(enter(&alice, "9999").await, unlocked());
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok");
}

/// Shows (docs/protocol.md): Login and logout; Guessing of lock codes.
#[tokio::test]
async fn guessing_is_slowed_down_on_all_nodes_and_after_a_restart() {
    let clock = tempfile::NamedTempFile::new().unwrap();
    let setup = Setup::on(&fresh_database().await).with("test-clock-file", clock.path().display());
    let server = setup.start().await;
    let other = server.setup().second().start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    set(&alice, "1234", "9999").await;
    // Many at once, over two nodes: after the free ones the right code is taken for wrong.
    let elsewhere = alice.at(&other);
    let guesses = (0..24).map(|n| enter(if n % 2 == 0 { &alice } else { &elsewhere }, "0000"));
    assert!(join_all(guesses).await.iter().all(|answer| *answer == wrong()));
    // Wait as long as it may, it is too early: more wrong ones raise the delay to minutes.
    for turn in 1..=9 {
        crate::clock::turn(clock.path(), turn * 1000);
        assert_eq!(enter(&alice, "0000").await, wrong());
    }
    for person in [&alice, &elsewhere] {
        assert_eq!(enter(person, "1234").await, wrong());
        assert_eq!(update(person, "5678", "1234", "unlock").await["reason"], "OLDCODEWRONG");
        assert_eq!(update(person, "5678", "9999", "destroy").await["reason"], "OLDCODEWRONG");
    }
    let server = server.kill().await.start().await;
    let alice = alice.at(&server);
    assert_eq!(enter(&alice, "1234").await, wrong());
    // When the time has come, it is right again, and all is forgotten.
    crate::clock::turn(clock.path(), 20_000);
    assert_eq!(enter(&alice, "1234").await, unlocked());
    for _ in 0..4 {
        assert_eq!(enter(&alice, "0000").await, wrong());
    }
    assert_eq!(enter(&alice, "1234").await, unlocked());
    // The destroy code is never slowed down.
    for turn in 21..=35 {
        crate::clock::turn(clock.path(), turn * 1000);
        assert_eq!(enter(&alice, "0000").await, wrong());
    }
    assert_eq!(enter(&alice, "1234").await, wrong());
    assert_eq!(enter(&alice, "9999").await, json!({ "valid": true, "isDestroyCode": true }));
    eventually("the account is gone", async || alice.client.get("/me").await.status == 401).await;
}

/// Shows (docs/protocol.md): What a removal does.
#[tokio::test]
async fn a_removed_account_leaves_nothing_readable() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "a text").await;
    set(&alice, "1234", "9999").await;
    assert_eq!(enter(&alice, "9999").await["isDestroyCode"], json!(true));
    let shown = bob.client.post("/getmessages", &json!({ "threadID": thread })).await.text;
    assert!(!shown.contains("a text") && !shown.contains("\"Alice\""), "{shown}");
}
