//! Ways in which the older server could be abused, attacked: those that no other test attacks as a whole.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::operations;
use crate::client::{Person, number_of, two_people};
use crate::cluster::fresh_database;
use crate::groups::people;
use crate::patience::eventually;
use crate::push::Pushing;
use crate::server::{Server, Setup};

const DAY: i64 = 24 * 3600;

/// Tokens that make two accounts endless.
const TOKENS: [&str; 2] = ["12345678901234567890123456789012", "abcdefghijabcdefghijabcdefghijab"];

/// A server with these tokens, and a clock that is turned by its file.
async fn setup() -> Setup {
    let tokens = TOKENS.map(|token| format!("[[token]]\ntoken = '{token}'\ntype = 'endless'\n")).concat();
    Setup::on(&fresh_database().await).with_file("tokens-file", &tokens).with_file("test-clock-file", "0")
}

/// Turns the clock of a server this far ahead of the time.
fn turn(server: &Server, days: i64) {
    crate::clock::turn(&server.setup().file("test-clock-file"), days * DAY);
}

async fn makes_endless(person: &Person, token: &str) {
    assert_eq!(person.client.post("/endlessvalidate", &json!({ "token": token })).await.verdict(), "200 ok");
}

/// Who writes what to whom in whose name.
///
/// Shows (docs/protocol.md): Writing a message.
#[tokio::test]
async fn nobody_writes_in_another_name_or_makes_others_phones_ring() {
    let pushing = Pushing::start().await;
    let server = &pushing.server;
    let (alice, bob, thread) = two_people(server).await;
    let eve = Person::sign_up(server, "Eve").await;
    let own = eve.start_conversation(&alice).await;
    let devices = [pushing.peer.device(), pushing.peer.device()];
    alice.subscribes(&devices[0]).await;
    bob.subscribes(&devices[1]).await;
    let mut stream = alice.client.events().await;

    let forged = |sender: &Person, thread: &str, to: &Person| {
        let mut letter = sender.letter(thread, &to.id, "send me money");
        letter["nickname"] = json!("Bob");
        letter
    };
    for (letter, verdict) in [
        (forged(&bob, &thread, &alice), "400 ACCNOTEXISTS"),
        (forged(&bob, &own, &alice), "400 ACCNOTEXISTS"),
        (forged(&eve, &thread, &alice), "400 INVALIDTHREADID"),
        (forged(&eve, &thread, &bob), "400 INVALIDTHREADID"),
        // In a thread of hers, but with the phone of somebody else.
        (forged(&eve, &own, &bob), "400 INVALIDTHREADID"),
        (forged(&eve, &format!("{}:s1", alice.id), &alice), "400 INVALIDTHREADID"),
    ] {
        assert_eq!(eve.client.post("/writemessage", &letter).await.verdict(), verdict, "{letter}");
    }
    // What she may write bears her own name, wherever it is shown.
    number_of(&eve.client.post("/writemessage", &forged(&eve, &own, &alice)).await, &own);
    let received = stream.event().await.data;
    assert_eq!(
        (&received["sender"], &received["nickname"], &received["threadID"]),
        (&json!(eve.id), &json!("Eve"), &json!(own))
    );
    let message = alice.messages(&own).await.pop().unwrap();
    assert_eq!((&message["sender"], &message["nickname"]), (&json!(eve.id), &json!("Eve")));
    pushing.peer.wait_for(&devices[0], 1).await;
    let pushed = json!({ "action": "newMessage", "nickname": "Eve", "sender": eve.id });
    assert_eq!(pushing.peer.pushes_to(&devices[0]), [pushed]);
    assert!(pushing.peer.pushes_to(&devices[1]).is_empty());
    assert_eq!(bob.messages(&thread).await.len(), 1);

    alice.vanishes().await;
    let late = eve.client.post("/writemessage", &eve.letter(&own, &alice.id, "gone?")).await;
    assert_eq!(late.verdict(), "400 ACCNOTEXISTS");
}

/// A visit without a cookie must not cost the account that the browser has.
///
/// Shows (docs/protocol.md): The cookie.
#[tokio::test]
async fn only_newacc_and_login_set_a_cookie() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let made_up = format!("be8={}", "A".repeat(43));
    for client in [server.client(), server.client().with_cookie("invalid"), server.client().with_cookie(&made_up)] {
        for operation in operations() {
            if operation.path == "/newacc" {
                continue;
            }
            let answer = client.send(operation.request(&client).json(&operation.example())).await;
            assert_eq!(answer.header("set-cookie"), None, "{operation}");
        }
        for path in ["/", "/?user=blob", "/?group=blob", "/docs", "/openapi.json", "/serviceworker.js", "/nowhere"] {
            for method in [Method::GET, Method::HEAD] {
                let answer = client.send(client.request(method, path)).await;
                assert_eq!(answer.header("set-cookie"), None, "{path}");
            }
        }
        let refused = client.post("/newacc", &json!({ "nickname": "", "password": "p" })).await;
        assert_eq!(refused.header("set-cookie"), None);
    }
    // Nobody is given a session that somebody else chose.
    let fixed = server.client().with_cookie(&made_up);
    let answer = fixed.post("/newacc", &json!({ "nickname": "Bob", "password": "p" })).await;
    assert!(!answer.header("set-cookie").unwrap().starts_with(&made_up));
    assert_eq!(fixed.get("/me").await.verdict(), "401 NOTAUTH");
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok");
}

/// Streams without a session, and streams that open and close in the same moment.
///
/// Shows (docs/protocol.md): Streams that end.
#[tokio::test]
async fn a_stream_is_its_accounts_own_and_ends_alone() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    for client in [server.client(), server.client().with_cookie("invalid")] {
        assert_eq!(client.events().await.status, 401);
        assert_eq!(client.get("/events").await.verdict(), "401 NOTAUTH");
    }
    let mut streams = join_all((0..12).map(|_| alice.client.events())).await;
    drop(streams.split_off(6));
    eventually("half of them are closed", async || server.metric("be8_feed_streams").await == 6.0).await;
    bob.write(&thread, &alice, "still there?").await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.data["sender"], json!(bob.id));
    }
    alice.vanishes().await;
    for stream in &mut streams {
        assert_eq!(stream.rest().await, []);
    }
    assert_eq!(alice.client.events().await.status, 401);
}

/// One thread for two, named once; no conversation with oneself or a group.
///
/// Shows (docs/protocol.md): Checks of accounts and groups; Starting a conversation.
#[tokio::test]
async fn two_accounts_have_one_thread_and_nobody_has_one_alone() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await;
    let start =
        async |who: &Person, with: Value| who.client.post("/startconversation", &json!({ "receiverID": with })).await;
    let number = |person: &Person| json!(person.id.parse::<u32>().unwrap());
    assert_eq!(start(&alice, json!(group)).await.verdict(), "400 ACCNOTEXISTS");
    assert_eq!(start(&alice, number(&alice)).await.verdict(), "400 CIRCULARCONVERSATION");
    let both =
        join_all((0..10).map(|n| if n % 2 == 0 { start(&alice, number(&bob)) } else { start(&bob, json!(alice.id)) }));
    let threads: Vec<Value> = both.await.iter().map(|answer| answer.json()["threadID"].clone()).collect();
    assert!(threads.iter().all(|thread| *thread == threads[0] && thread.is_string()), "{threads:?}");
    for (who, count) in [(&alice, 3), (&bob, 2)] {
        assert_eq!(who.threads().await.len(), count, "one each, the system's, and the group");
        who.messages(threads[0].as_str().unwrap()).await;
    }
}

/// An account that has ended can act on no route.
///
/// Shows (docs/protocol.md): Living accounts.
#[tokio::test]
async fn a_session_dies_with_its_account() {
    let server = setup().await.start().await;
    let [expired, removed, witness] = people(&server, ["Expired", "Removed", "Witness"]).await;
    makes_endless(&witness, TOKENS[0]).await;
    let group = witness.founds().await;
    for person in [&expired, &removed] {
        person.enters(&group).await;
        person.start_conversation(&witness).await;
    }
    removed.vanishes().await;
    turn(&server, 31);
    let with_session: Vec<_> = operations().into_iter().filter(|operation| operation.takes_session()).collect();
    for operation in &with_session {
        for person in [&expired, &removed] {
            let client = &person.client;
            let answer = client.send(operation.request(client).json(&operation.example())).await;
            assert_eq!(answer.verdict(), "401 NOTAUTH", "{operation} by {}", person.nickname);
        }
    }
    assert_eq!(witness.members(&group).await, std::slice::from_ref(&witness.id));
}

/// What others learn of an account.
///
/// Shows (docs/protocol.md): The account of a session; Fields of a thread.
#[tokio::test]
async fn neither_token_nor_codes_of_an_account_are_shown_to_others() {
    let server = setup().await.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    makes_endless(&bob, TOKENS[0]).await;
    let codes = json!({ "unlockCode": "1234", "destroyCode": "9999" });
    assert_eq!(bob.client.post("/codeset", &codes).await.verdict(), "200 ok");
    let group = bob.founds().await;
    alice.enters(&group).await;
    bob.write(&thread, &alice, "hello").await;
    assert_eq!(alice.threads().await.iter().find(|one| one["threadID"] == json!(thread)).unwrap()["endless"], true);
    let body =
        json!({ "groupID": group, "threadID": thread, "accID": bob.id, "accIDs": [bob.id], "receiverID": bob.id });
    for operation in operations().into_iter().filter(|operation| operation.takes_session()) {
        if ["/events", "/destroyacc", "/logout", "/groupleavemember", "/me/sessions/current"]
            .contains(&operation.path.as_str())
        {
            continue;
        }
        let answer = alice.client.send(operation.request(&alice.client).json(&body)).await.text;
        for secret in [TOKENS[0], "endlessToken", r#""codes":true"#, "1234", "9999"] {
            assert!(!answer.contains(secret), "{operation} reveals {secret}: {answer}");
        }
    }
    // The very token is Bob's own.
    let tried = alice.client.post("/endlessvalidate", &json!({ "token": TOKENS[0] })).await;
    assert_eq!(tried.json(), json!({ "valid": false, "tokenInUse": true }));
}

/// Nothing that one server knows opens anything at another one.
///
/// Shows (docs/protocol.md): Secrets of a server.
#[tokio::test]
async fn each_server_has_secrets_of_its_own() {
    let servers = [Server::start().await, Server::start().await];
    let people = [Person::sign_up(&servers[0], "Alice").await, Person::sign_up(&servers[1], "Alice").await];
    assert_eq!(people[0].id, people[1].id);
    for (n, server) in servers.iter().enumerate() {
        assert_eq!(people[1 - n].client.at(server).get("/me").await.verdict(), "401 NOTAUTH");
        assert_eq!(people[n].client.at(server).get("/me").await.verdict(), "200 ok");
    }
    for secret in [Setup::master_key, Setup::audit_key] {
        let files = [0, 1].map(|n| secret(servers[n].setup()));
        assert_ne!(fs::read(&files[0]).unwrap(), fs::read(&files[1]).unwrap());
        for file in &files {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
    }
}

/// Only accounts, messages and codes grow old.
///
/// Shows (docs/protocol.md): Expiry of accounts; Counters.
#[tokio::test]
async fn groups_and_conversations_last_while_their_accounts_do() {
    let server = setup().await.start().await;
    let [bob, carol, mortal] = people(&server, ["Bob", "Carol", "Mortal"]).await;
    for (person, token) in [&bob, &carol].into_iter().zip(TOKENS) {
        makes_endless(person, token).await;
    }
    let thread = bob.start_conversation(&carol).await;
    mortal.start_conversation(&bob).await;
    let group = bob.founds().await;
    assert_eq!(bob.takes_version(&group).await, 1);
    turn(&server, 20);
    carol.enters(&group).await;
    let key = json!({ "groupID": group, "accID": carol.id, "keyholder": bob.id, "groupKey": "wrapped for Carol" });
    assert_eq!(bob.client.post("/groupstorekey", &key).await.verdict(), "200 ok");
    // More than a month after everything that could be taken for a beginning.
    turn(&server, 60);
    for person in [&bob, &carol] {
        assert_eq!(person.members(&group).await, [bob.id.clone(), carol.id.clone()]);
        let listed: Vec<Value> = person.threads().await.iter().map(|one| one["threadID"].clone()).collect();
        assert!(listed.contains(&json!(thread)) && listed.contains(&json!(group)), "{listed:?}");
        assert_eq!(person.client.get("/me").await.verdict(), "200 ok");
    }
    let keys = carol.asks_for("/groupgetkeys", &group, &carol).await.json();
    assert_eq!(keys["groupKeys"][0]["groupKey"], "wrapped for Carol");
    assert_eq!(carol.takes_version(&group).await, 2);
    bob.write(&thread, &carol, "two months later").await;
    carol.says(&group, "two months later").await;
    // Who did expire was removed with all that follows, and nobody pressed a button.
    eventually("Bob is notified", async || {
        bob.messages(&format!("{}:s1", bob.id)).await.iter().any(|message| message["text"] == "ACCDELETED")
    })
    .await;
    let panic = server.get("/insights").await.json()["insights"][5].clone();
    assert_eq!(panic, json!({ "name": "panic", "value": 0 }));
}

/// Other pages, error texts, and what is left of a link in the log.
///
/// Shows (docs/protocol.md): Headers of answers.
#[tokio::test]
async fn nothing_reaches_other_pages_or_the_log() {
    let server = Setup::on(&fresh_database().await).with("log", "trace").start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let secret = "SECRETBLOB";
    for path in ["/", "/invite", "/me", "/events", "/nowhere", "/docs", "/insights"] {
        for client in [server.client(), alice.client.clone()] {
            let path = format!("{path}?user={secret}&last_event_id={secret}");
            let asked = client.request(Method::GET, &path).header("origin", "https://elsewhere.example");
            let answer = crate::sse::EventStream::open(asked).await;
            assert!(answer.headers.get("access-control-allow-origin").is_none(), "{path}");
        }
    }
    for (method, path, body) in [
        ("OPTIONS", "/me", ""),
        ("POST", "/getmessages", "{"),
        ("POST", "/nowhere", "<script>"),
        ("TRACE", "/me", ""),
        ("GET", "/%", ""),
        ("GET", "/a%00b", ""),
        ("POST", "/healthz", ""),
    ] {
        let asked = alice.client.request(method.parse().unwrap(), path);
        let asked = asked.header("origin", "https://elsewhere.example").header("content-type", "application/json");
        let answer = alice.client.send(asked.body(body)).await;
        let shown = answer.json();
        assert!(answer.status >= 400 && shown["error"].is_string(), "{method} {path}: {}", answer.text);
        let html = answer.text.contains('<') || answer.header("content-type").is_some_and(|kind| kind.contains("html"));
        assert!(!html && !answer.text.contains("src/"), "no page and no trace: {shown}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("access-control-allow-origin").is_none(), "{method} {path}");
    }
    assert!(!server.setup().log().contains(secret), "a query is logged");
}

/// Ids can be guessed and anybody can be addressed, by design; only not as fast as a machine would like to.
///
/// Shows (docs/protocol.md): Ids; Rate limits.
#[tokio::test]
async fn guessing_ids_is_slowed_down_for_the_guesser_alone() {
    let server = Setup::on(&fresh_database().await).with("limit-account", "40/3600").start().await;
    let [alice, bob, eve] = people(&server, ["Alice", "Bob", "Eve"]).await;
    let group = eve.founds().await;
    eve.adds(&group, &alice).await;
    eve.start_conversation(&bob).await;
    let mut refused = None;
    for guess in 10_001..10_060 {
        let answer = eve.client.post("/getkey", &json!({ "accID": guess.to_string() })).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        let expected = if guess < 10_004 { "200 ok" } else { "200 MEMBERNOTEXISTING" };
        assert_eq!(answer.verdict(), expected, "{guess}");
    }
    let refused = refused.expect("the guessing goes on and on");
    assert_eq!(refused.json(), json!({ "error": "RATELIMITED" }));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(alice.members(&group).await, [eve.id.clone(), alice.id.clone()]);
}

/// A lock code locks a screen. What runs before it was typed has to go on.
///
/// Shows (docs/protocol.md): A locked client.
#[tokio::test]
async fn a_locked_client_is_served_like_any_other() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let codes = json!({ "unlockCode": "1234", "destroyCode": "9999" });
    assert_eq!(alice.client.post("/codeset", &codes).await.verdict(), "200 ok");
    let wrong = alice.client.post("/codeunlock", &json!({ "code": "0000" })).await;
    assert_eq!(wrong.json(), json!({ "valid": false, "inValid": true }));
    let client = &alice.client;
    assert_eq!(client.get("/me").await.json()["accObj"]["codes"], true);
    let mut stream = client.events().await;
    let device = crate::push::peer::Device::new();
    assert_eq!(client.post("/subscribe", &device.subscription()).await.status, 201);
    bob.write(&thread, &alice, "are you there?").await;
    assert_eq!(stream.event().await.data["action"], "newMessage");
    assert_eq!(alice.threads().await[0]["text"], "are you there?");
    alice.write(&thread, &bob, "behind the lock").await;
    assert_eq!(bob.messages(&thread).await.last().unwrap()["text"], "behind the lock");
}
