//! What is easy to miss and must hold: one test for each expectation of the contract's section 7, in its order.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use super::operations;
use crate::client::{Person, number_of, two_people};
use crate::contract::{no_account, no_text, refuses, time};
use crate::groups::{ids, people};
use crate::server::{Server, two_nodes};

/// Shows (docs/protocol.md): Ids.
#[tokio::test]
async fn an_account_id_is_a_number_once_and_a_text_ever_after() {
    let server = Server::start().await;
    let answer = server.post("/newAcc", &json!({ "nickname": "Ann", "password": "secret" })).await;
    assert!(answer.json()["accID"].is_u64(), "{}", answer.text);
    let me = server.client().with_cookie(answer.header("set-cookie").unwrap()).get("/me").await.json();
    let id = answer.json()["accID"].to_string();
    assert_eq!((&me["accID"], &me["accObj"]["id"]), (&json!(id), &json!(id)));
    time(&me["accObj"]["expire"]);
}

/// Shows (docs/protocol.md): Shapes of refusals; Creating an account.
#[tokio::test]
async fn a_password_of_megabytes_is_a_bad_password_and_not_too_large() {
    let server = Server::start().await;
    let answer = server.post("/newacc", &json!({ "nickname": "Ann", "password": "p".repeat(5_200_000) })).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "valid": false, "warning": "PASSWORDFAILURE" })));
}

/// Shows (docs/protocol.md): Order of checks; Checks of fields.
#[tokio::test]
async fn the_nickname_is_judged_before_the_password() {
    let server = Server::start().await;
    let long = json!("n".repeat(31));
    for nickname in no_text().into_iter().chain([long]) {
        let body = json!({ "nickname": nickname, "password": "in plain text", "salt": "1" });
        assert_eq!(server.post("/newacc", &body).await.verdict(), "400 INVALIDNICKNAME", "{nickname}");
    }
    let body = json!({ "nickname": "Ann", "password": "secret" });
    let passwords = [json!(""), json!(100), json!(false), json!([]), json!({})];
    refuses(&server.client(), "/newacc", &body, "password", &passwords, "400 INVALIDPASSWORD").await;
}

/// Shows (docs/protocol.md): The cookie; Living accounts; Order of checks; Joining and adding.
#[tokio::test]
async fn every_route_with_a_session_answers_notauth_first() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    alice.client.get("/destroyacc").await;
    assert_eq!(alice.client.get("/me").await.json()["error"], "NOTAUTH");
    let with_session: Vec<_> = operations().into_iter().filter(|operation| operation.takes_session()).collect();
    assert!(with_session.len() > 30, "{}", with_session.len());
    for operation in with_session {
        for body in [operation.example(), json!({}), json!([]), json!({ "accID": 7, "groupID": [], "text": null })] {
            for client in [server.client().with_cookie("invalid"), alice.client.clone()] {
                let answer = client.send(operation.request(&client).json(&body)).await;
                operation.refuses(&answer, (401, "NOTAUTH"), &body.to_string());
            }
        }
    }
}

/// Shows (docs/protocol.md): Starting a conversation.
#[tokio::test]
async fn a_conversation_is_named_by_its_initiator_and_takes_a_number() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let number: u32 = alice.id.parse().unwrap();
    let answer = bob.client.post("/startconversation", &json!({ "receiverID": number })).await;
    assert_eq!(answer.json(), json!({ "valid": true, "threadID": format!("{}:{}", bob.id, alice.id) }));
    let body = json!({ "receiverID": bob.id });
    refuses(&alice.client, "/startconversation", &body, "receiverID", &no_account(), "400 ACCNOTEXISTS").await;
    for own in [json!(alice.id), json!(number)] {
        let answer = alice.client.post("/startconversation", &json!({ "receiverID": own })).await;
        assert_eq!(answer.verdict(), "400 CIRCULARCONVERSATION");
    }
}

/// Shows (docs/protocol.md): Ids; Starting a conversation.
#[tokio::test]
async fn one_start_and_one_text_are_two_messages() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let answer = alice.client.post("/writemessage", &alice.letter(&thread, &bob.id, "hello")).await;
    assert_eq!(answer.json(), json!({ "valid": true, "messageID": format!("message:{thread}:2") }));
    let messages = alice.messages(&thread).await;
    let shown = |n: usize, field: &str| messages[n][field].clone();
    assert_eq!(messages.len(), 2);
    assert_eq!([shown(0, "messageID"), shown(0, "messageType")], ["1", "system"]);
    assert_eq!([shown(1, "messageID"), shown(1, "messageType"), shown(1, "text")], ["2", "text", "hello"]);
    assert_eq!([shown(1, "receiver"), shown(1, "sender")], [bob.id.as_str(), &alice.id]);
    assert_eq!([shown(1, "nickname"), shown(1, "threadID")], ["Alice", thread.as_str()]);
}

/// Shows (docs/protocol.md): The list of threads.
#[tokio::test]
async fn a_fresh_conversation_stands_before_the_system() {
    let server = Server::start().await;
    let (alice, _, thread) = two_people(&server).await;
    let threads = alice.threads().await;
    let shown = |n: usize| ["threadID", "sender", "type", "nickname"].map(|field| threads[n][field].clone());
    assert_eq!(threads.len(), 2);
    assert_eq!(shown(0), [thread.as_str(), "s1", "user", "Bob"]);
    assert_eq!(shown(1), [format!("{}:s1", alice.id).as_str(), "s1", "system", "be8"]);
}

/// Shows (docs/protocol.md): Creating a group.
#[tokio::test]
async fn a_creator_is_a_member_before_it_joins() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.creates("public", Value::Null).await;
    assert_eq!(alice.adds(&group, &bob).await, ids(&[&alice, &bob]));
    assert_eq!(alice.takes_version(&group).await, 1);
    assert_eq!(alice.asks("/groupgetcurrentversion", &group).await.json()["groupVersion"], "1");
    let key = json!({ "groupID": group, "accID": alice.id, "keyholder": alice.id, "groupKey": "wrapped for Alice" });
    assert_eq!(alice.client.post("/groupstorekey", &key).await.json()["groupVersion"], "1");
    let keys = alice.asks_for("/groupgetkeys", &group, &alice).await.json();
    assert_eq!(keys["groupKeys"][0]["groupKey"], "wrapped for Alice");
    assert_eq!(alice.members(&group).await, [alice.id.clone(), bob.id.clone()]);
}

/// Shows (docs/protocol.md): Storing a wrapped key; Fetching wrapped keys.
#[tokio::test]
async fn an_admin_handles_the_keys_of_other_members() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    alice.takes_version(&group).await;
    let key = json!({ "groupID": group, "accID": bob.id, "keyholder": bob.id, "groupKey": "wrapped for Bob" });
    let stored = alice.client.post("/groupstorekey", &key).await.json();
    assert_eq!(stored["valid"], true);
    let fetched = alice.asks_for("/groupgetkeys", &group, &bob).await.json()["groupKeys"][0].clone();
    assert_eq!((&fetched["keyholder"], &fetched["groupKey"]), (&json!(bob.id), &json!("wrapped for Bob")));
    assert_eq!(fetched["groupVersion"], stored["groupVersion"]);
}

/// Shows (docs/protocol.md): Fetching wrapped keys.
#[tokio::test]
async fn keys_are_fetched_by_members_after_the_group_was_found() {
    let server = Server::start().await;
    let [alice, bob, eve] = people(&server, ["Alice", "Bob", "Eve"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    assert_eq!(eve.asks_for("/groupgetkeys", &group, &alice).await.verdict(), "200 NOGROUPMEMBER");
    let body = json!({ "groupID": group, "accID": bob.id });
    refuses(&alice.client, "/groupgetkeys", &body, "accID", &no_account(), "200 MEMBERNOTEXISTING").await;
    let groups = [json!("g99999"), json!(alice.id), json!("")];
    for (who, account) in [(&alice, json!(bob.id)), (&alice, json!(7)), (&eve, json!(alice.id)), (&eve, json!(null))] {
        let body = json!({ "groupID": group, "accID": account });
        refuses(&who.client, "/groupgetkeys", &body, "groupID", &groups, "200 GROUPNOTEXISTING").await;
    }
}

/// Shows (docs/protocol.md): Storing a wrapped key.
#[tokio::test]
async fn a_key_is_stored_for_members_and_its_holder_is_judged_before_it() {
    let server = Server::start().await;
    let [alice, bob, eve] = people(&server, ["Alice", "Bob", "Eve"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    let body = json!({ "groupID": group, "accID": bob.id, "keyholder": "99999", "groupKey": "short" });
    refuses(&alice.client, "/groupstorekey", &body, "accID", &no_account(), "200 MEMBERNOTEXISTING").await;
    let mut body = body;
    for (field, right, verdict) in [
        ("accID", json!(eve.id), "200 NOGROUPMEMBER"),
        ("accID", json!(bob.id), "200 KEYHOLDERNOTEXISTING"),
        ("keyholder", json!(eve.id), "200 INVALIDGROUPKEY"),
        ("groupKey", json!("0123456789"), "200 ok"),
    ] {
        body[field] = right;
        assert_eq!(alice.client.post("/groupstorekey", &body).await.verdict(), verdict, "{body}");
    }
}

/// Shows (docs/protocol.md): Checks of accounts and groups; Leaving and kicking.
#[tokio::test]
async fn kicking_never_shows_which_accounts_exist() {
    let server = Server::start().await;
    let [alice, bob, eve] = people(&server, ["Alice", "Bob", "Eve"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    let body = json!({ "groupID": group, "accID": bob.id });
    let nobody = [no_account(), vec![json!(eve.id), json!(10_002)]].concat();
    refuses(&alice.client, "/groupkickmember", &body, "accID", &nobody, "200 NOGROUPMEMBER").await;
    refuses(&bob.client, "/groupkickmember", &body, "accID", &nobody, "200 NOTADMIN").await;
    assert_eq!(alice.asks_for("/groupkickmember", &group, &alice).await.verdict(), "200 CIRCULARKICK");
}

/// Shows (docs/protocol.md): Leaving and kicking.
#[tokio::test]
async fn a_leaver_is_not_among_those_who_remain() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    let answer = bob.asks_for("/groupleavemember", &group, &bob).await;
    assert_eq!(answer.json(), json!({ "valid": true, "groupMembers": ids(&[&alice, &carol]) }));
}

/// Shows (docs/protocol.md): Ids; Versions of a group key.
#[tokio::test]
async fn the_current_version_is_the_taken_one_as_a_text() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let group = alice.founds().await;
    for _ in 0..3 {
        let taken = alice.takes_version(&group).await;
        let current = alice.asks("/groupgetcurrentversion", &group).await.json()["groupVersion"].clone();
        assert_eq!(current, json!(taken.to_string()));
    }
}

/// Shows (docs/protocol.md): Joining and adding; Size of a group.
#[tokio::test]
async fn a_private_group_is_its_admins_and_has_its_bounds() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice", "Bob", "Carol"]).await;
    let group = alice.creates("private", json!("2")).await;
    alice.enters(&group).await;
    alice.adds(&group, &bob).await;
    assert_eq!(bob.asks_for("/groupaddmember", &group, &carol).await.verdict(), "200 NOTADMIN");
    assert_eq!(alice.asks_for("/groupaddmember", &group, &bob).await.verdict(), "200 ISALREADYMEMBER");
    let full = alice.asks_for("/groupaddmember", &group, &carol).await;
    assert_eq!((full.status, full.json()), (400, json!({ "error": "GROUPMAXREACHED" })));
    let open = alice.creates("public", json!(2)).await;
    bob.enters(&open).await;
    assert_eq!(carol.asks("/groupjoinmember", &open).await.json(), json!({ "error": "GROUPMAXREACHED" }));
}

/// Shows (docs/protocol.md): Public keys.
#[tokio::test]
async fn public_keys_say_ext_as_a_text_and_come_all_or_none() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let p256 = json!({
        "crv": "P-256", "ext": true, "key_ops": [], "kty": "EC", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    assert_eq!(bob.client.post("/setkey", &json!({ "publicKey": p256 })).await.verdict(), "200 ok");
    let one = alice.client.post("/getkey", &json!({ "accID": bob.id })).await.json();
    assert_eq!(
        [&one["publicKey"]["ext"], &one["publicKey"]["crv"], &one["publicKey"]["x"]],
        ["true", "P-256", p256["x"].as_str().unwrap()]
    );
    let all = alice.client.post("/getkeys", &json!({ "accIDs": [alice.id, bob.id] })).await.json();
    assert_eq!(
        [&all["publicKeys"][0]["publicKey"]["ext"], &all["publicKeys"][1]["publicKey"]["ext"]],
        ["true", "true"]
    );
    let bad = json!({ "accIDs": [alice.id, "99999", bob.id], "accID": "99999" });
    for path in ["/getkey", "/getkeys"] {
        let answer = alice.client.post(path, &bad).await;
        assert_eq!(answer.json(), json!({ "valid": false, "reason": "MEMBERNOTEXISTING" }), "{path}");
    }
}

/// Shows (docs/protocol.md): Subscriptions.
#[tokio::test]
async fn a_subscription_never_expires() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let key = "BLn5wr5IsYrNUaKzsQ8l_VIv4m0KEcIAYFmUVDB6i_yTlH3g2HvgXiu8hF4cOzGwhp3zHxWfTw83zUo8s9yVZmY";
    let body = json!({
        "endpoint": "https://push.example/device", "expirationTime": null, "keys": { "p256dh": key, "auth": "AAAAAAAAAAAAAAAAAAAAAA" },
    });
    let other = [json!(""), json!(true), json!({}), json!([]), json!(1234)];
    refuses(&alice.client, "/subscribe", &body, "expirationTime", &other, "400 INVALIDSUBSCRIBE").await;
}

/// Shows (docs/protocol.md): Lock codes.
#[tokio::test]
async fn the_destroy_code_destroys_at_once() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let codes = json!({ "unlockCode": "1234", "destroyCode": "9999" });
    assert_eq!(alice.client.post("/codeset", &codes).await.verdict(), "200 ok");
    let answer = alice.client.post("/codeunlock", &json!({ "code": "9999" })).await;
    assert_eq!(answer.json(), json!({ "valid": true, "isDestroyCode": true }));
    assert_eq!(alice.client.get("/me").await.json(), json!({ "error": "NOTAUTH" }));
}

/// Shows (docs/protocol.md): Tokens.
#[tokio::test]
async fn unknown_tokens_and_malformed_ones_have_different_codes() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let validate = async |token: Value| alice.client.post("/endlessvalidate", &json!({ "token": token })).await;
    assert_eq!(validate(json!("u".repeat(32))).await.json(), json!({ "error": "TOKENNOTEXIST" }));
    for token in no_text().into_iter().chain([json!("u".repeat(31))]) {
        let refused = json!({ "valid": false, "reason": "INVALIDTOKEN" });
        assert_eq!(validate(token.clone()).await.json(), refused, "{token}");
    }
}

/// Shows (docs/protocol.md): Counters of past days.
#[tokio::test]
async fn a_month_of_insights_has_a_date_for_each_day() {
    let server = Server::start().await;
    let asked = json!({ "start": "2022-07-01", "end": "2022-07-28" });
    let answer = server.post("/insightsuntil", &asked).await.json();
    let today = chrono::Utc::now().date_naive().to_string();
    let now = server.post("/insightsuntil", &json!({ "start": today, "end": today })).await.json();
    assert_eq!((&answer["valid"], &now["valid"]), (&json!(true), &json!(true)));
    let days = [answer["insights"].as_array().unwrap().clone(), now["insights"].as_array().unwrap().clone()].concat();
    assert!(days.len() == 29 && days[..28].iter().all(|day| day["insights"] == json!([])), "{days:?}");
    for day in &days {
        chrono::DateTime::parse_from_rfc3339(day["date"].as_str().unwrap()).unwrap();
        for pair in day["insights"].as_array().unwrap() {
            assert!(pair[0].is_string() && pair[1].as_str().unwrap().parse::<u64>().is_ok(), "{pair}");
        }
    }
}

/// Twenty sessions, each with many requests in flight at a time, over two nodes: every answer belongs to its question.
///
/// Shows (docs/protocol.md): Requests in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_depends_on_the_order_of_what_is_in_flight() {
    let (one, two) = two_nodes().await;
    let hub = Person::sign_up(&one, "Hub").await;
    let people = join_all((0..20).map(async |n| {
        let person = Person::sign_up(if n % 2 == 0 { &one } else { &two }, &format!("Nr. {n}")).await;
        let thread = person.start_conversation(&hub).await;
        (person, thread)
    }))
    .await;
    join_all(people.iter().map(async |(person, thread)| {
        let elsewhere = person.at(&two);
        let writing = join_all((0..10).map(async |n| {
            let through = if n % 2 == 0 { person } else { &elsewhere };
            let letter = person.letter(thread, &hub.id, &format!("{n} of {}", person.id));
            (n, number_of(&through.client.post("/writemessage", &letter).await, thread))
        }));
        let reading = join_all((0..10).map(async |n| {
            let through = if n % 3 == 0 { person } else { &elsewhere };
            assert_eq!(through.client.get("/me").await.json()["accID"], json!(person.id));
            assert_eq!(through.threads().await[0]["nickname"], "Hub");
            let key = through.client.post("/getkey", &json!({ "accID": hub.id })).await.json();
            assert_eq!(key["publicKey"]["accID"], json!(hub.id));
        }));
        let (written, _) = join(writing, reading).await;
        // The number that each was answered is the number under which it is stored.
        let messages = person.messages(thread).await;
        assert_eq!(messages.len(), 11);
        for (n, number) in written {
            let message = &messages[number as usize - 1];
            assert_eq!(message["messageID"], json!(number.to_string()));
            assert_eq!(message["text"], json!(format!("{n} of {}", person.id)));
        }
    }))
    .await;
}
