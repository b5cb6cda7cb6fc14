//! `/newacc`, `/me` and the session between them.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{no_account, no_text, refuses, time, timeless};
use crate::client::{Client, Person, two_people};
use crate::cluster::fresh_database;
use crate::crypto::encrypt_password;
use crate::server::{Server, Setup};

/// Shows (docs/protocol.md): Ids; The cookie; Creating an account; The account of a session.
#[tokio::test]
async fn a_new_account_is_as_it_was_asked_for() {
    let server = Server::start().await;
    let answer = server.post("/newAcc", &json!({ "nickname": "Ann 🦢 <b>", "password": "a plain one" })).await;
    assert_eq!((answer.verdict().as_str(), &answer.json()), ("200 ok", &json!({ "valid": true, "accID": 10001 })));
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 1);

    let client = server.client().with_cookie(cookies[0].to_str().unwrap());
    let me = client.get("/me").await;
    assert_eq!(me.header("set-cookie"), None);
    let expire = me.json()["accObj"]["expire"].clone();
    insta::assert_json_snapshot!(timeless(me.json()), @r#"
    {
      "accID": "10001",
      "accObj": {
        "codes": false,
        "endless": false,
        "expire": "(time)",
        "id": "10001",
        "nickname": "Ann 🦢 <b>",
        "type": "user",
        "userStatus": ""
      },
      "valid": true
    }
    "#);
    let welcome = client.post("/getmessages", &json!({ "threadID": "10001:s1" })).await.json();
    assert_eq!(time(&expire) - time(&welcome["messages"][0]["ts"]), TimeDelta::days(30));

    let second = server.post("/newacc", &json!({ "nickname": "Ann 🦢 <b>", "password": "a plain one" })).await;
    assert_eq!(second.json()["accID"], 10002);
}

/// Shows (docs/protocol.md): Lengths of texts; Checks of fields; Creating an account; Encrypted passwords.
#[tokio::test]
async fn names_and_passwords_have_their_limits() {
    let server = Server::start().await;
    let stranger = server.client();
    let body = json!({ "nickname": "Ann", "password": "secret" });
    let long = |text: &str, count| json!(text.repeat(count));

    let mut names = no_text();
    names.extend([long("n", 31), long("🦢", 16)]);
    refuses(&stranger, "/newacc", &body, "nickname", &names, "400 INVALIDNICKNAME").await;
    refuses(&stranger, "/newacc", &body, "password", &no_text(), "400 INVALIDPASSWORD").await;

    for (nickname, password, verdict) in [
        (long("n", 30), json!("p"), "200 ok"),
        (long("🦢", 15), long("🦢", 512), "200 ok"),
        (json!("n"), long("p", 1024), "200 ok"),
        (json!("n"), long("p", 1025), "200 PASSWORDFAILURE"),
        (json!("n"), long("🦢", 513), "200 PASSWORDFAILURE"),
        (json!("Valid"), long("p", 5_200_000), "200 PASSWORDFAILURE"),
        // The first check in the list answers.
        (json!(""), json!("plain text"), "400 INVALIDNICKNAME"),
        (json!(""), json!(""), "400 INVALIDNICKNAME"),
    ] {
        let answer = stranger.post("/newacc", &json!({ "nickname": nickname, "password": password })).await;
        assert_eq!(answer.verdict(), verdict, "{nickname}");
        assert_eq!(answer.header("set-cookie").is_some(), verdict == "200 ok", "a cookie with success only");
    }
}

/// Shows (docs/protocol.md): Creating an account; Encrypted passwords.
#[tokio::test]
async fn an_encrypted_password_must_decrypt() {
    let server = Server::start().await;
    let vector = "U2FsdGVkX19fIs07t/DUfTAkWvalf6lI0Xg5kZ5cCii84zSeQfIlQ21WjFBYZVIzBqcelpRk+zqoa9wXxNr07g==";
    let sent = |password: &str, salt: Value| json!({ "nickname": "Ann", "password": password, "salt": salt });
    let accepted = sent(vector, json!("1657105032826"));
    assert_eq!(server.post("/newacc", &accepted).await.verdict(), "200 ok");
    assert_eq!(server.post("/newacc", &sent(&encrypt_password("p", ""), json!(""))).await.verdict(), "200 ok");

    for salt in no_text() {
        let verdict = server.post("/newacc", &sent(vector, salt.clone())).await.verdict();
        assert_eq!(verdict, "200 PASSWORDFAILURE", "salt {salt}");
    }
    for password in [
        "not base64!",
        "cGxhaW4=",
        &vector[..vector.len() - 4],
        &encrypt_password("", "1657105032826"),
        &encrypt_password(&"p".repeat(1025), "1657105032826"),
        &encrypt_password("secret", "another"),
    ] {
        let verdict = server.post("/newacc", &sent(password, json!("1657105032826"))).await.verdict();
        assert_eq!(verdict, "200 PASSWORDFAILURE", "password {password}");
    }
    // Only after the checks of the fields.
    refuses(&server.client(), "/newacc", &accepted, "password", &no_text(), "400 INVALIDPASSWORD").await;
    let nameless = json!({ "nickname": 7, "password": "not base64!", "salt": "1" });
    assert_eq!(server.post("/newacc", &nameless).await.verdict(), "400 INVALIDNICKNAME");
}

/// Shows (docs/protocol.md): The cookie; Where a session begins and ends.
#[tokio::test]
async fn the_cookie_is_one_line_that_may_come_back_as_it_is() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let bob = Person::sign_up(&server, "Bob").await;
    let (line, other) = (alice.client.cookie(), bob.client.cookie());
    let (pair, attributes) = line.split_once("; ").unwrap();
    assert!(pair.starts_with("be8=") && pair.len() == 47, "{pair}");
    assert!(attributes.starts_with("Path=/; Expires=") && attributes.ends_with(" GMT; HttpOnly; SameSite=Strict"));
    assert_ne!(pair, other.split_once("; ").unwrap().0);

    let token = &pair[4..];
    for (cookie, who) in [
        (line.to_owned(), Some(&alice)),
        (pair.to_owned(), Some(&alice)),
        (format!("theme=dark; {pair}"), Some(&alice)),
        (format!("Path=/; HttpOnly;;{pair} ; junk"), Some(&alice)),
        (format!("be8=; be8=invalid; {pair}"), Some(&alice)),
        (format!("{pair}; {other}"), Some(&alice)),
        (format!("{other}; {pair}"), Some(&bob)),
        (format!("be8=\"{token}\""), Some(&alice)),
        ("invalid".to_owned(), None),
        ("be8".to_owned(), None),
        (token.to_owned(), None),
        (format!("BE8={token}"), None),
        (format!("xbe8={token}"), None),
        (format!("be8={}", &token[1..]), None),
        (format!("be8={token}A"), None),
        (format!("be8={}", "A".repeat(43)), None),
        (format!("be8={}", "A".repeat(8_000)), None),
    ] {
        let answer = server.client().with_cookie(&cookie).get("/me").await;
        let expected = who.map_or("401 NOTAUTH", |_| "200 ok");
        assert_eq!(answer.verdict(), expected, "{cookie}");
        assert_eq!(answer.json()["accID"], who.map_or(Value::Null, |who| json!(who.id)), "{cookie}");
        assert_eq!(answer.header("set-cookie"), None);
    }
}

/// Shows (docs/protocol.md): The cookie.
#[tokio::test]
async fn the_cookie_is_secure_where_the_public_address_is() {
    let setup = Setup::on(&fresh_database().await).with("public-url", "https://be8.example");
    let answer = setup.start().await.post("/newacc", &json!({ "nickname": "Ann", "password": "p" })).await;
    assert!(answer.header("set-cookie").unwrap().ends_with("; HttpOnly; SameSite=Strict; Secure"));
}

/// All routes that need a session, with their methods.
const AUTHENTICATED: [(&str, &str); 18] = [
    ("GET", "/me"),
    ("POST", "/changenickname"),
    ("POST", "/userstatusset"),
    ("POST", "/logout"),
    ("GET", "/codehas"),
    ("POST", "/codeset"),
    ("POST", "/codeunlock"),
    ("POST", "/codeupdate"),
    ("POST", "/setkey"),
    ("POST", "/getkey"),
    ("POST", "/getkeys"),
    ("GET", "/getthreads"),
    ("POST", "/startconversation"),
    ("POST", "/getmessages"),
    ("POST", "/writemessage"),
    ("GET", "/events"),
    ("GET", "/destroyacc"),
    ("POST", "/destroyacc"),
];

/// Expects that no route takes this client for anybody, whatever the body says.
pub async fn is_nobody(client: &Client, sensible: &Value) {
    for (method, path) in AUTHENTICATED {
        for body in [json!({}), json!([]), sensible.clone()] {
            let request = client.request(method.parse().unwrap(), path).json(&body);
            let answer = client.send(request).await;
            assert_eq!(answer.verdict(), "401 NOTAUTH", "{method} {path} {body}");
            assert_eq!(answer.header("set-cookie"), None);
        }
    }
}

/// Shows (docs/protocol.md): Where a session begins and ends.
#[tokio::test]
async fn a_new_account_on_a_live_session_ends_that_session_only() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut stream = alice.client.events().await;
    // A refused one ends nothing.
    assert_eq!(alice.client.post("/newacc", &json!({ "nickname": "" })).await.verdict(), "400 INVALIDNICKNAME");
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok");

    let answer = alice.client.post("/newacc", &json!({ "nickname": "Alice II", "password": "p" })).await;
    assert_eq!(answer.verdict(), "200 ok");
    is_nobody(&alice.client, &json!({})).await;
    assert_eq!(stream.rest().await, [], "the stream of the old session ends");
    let second = alice.client.with_cookie(answer.header("set-cookie").unwrap());
    assert_eq!(second.get("/me").await.json()["accObj"]["nickname"], "Alice II");
    // The old account lives on: it can be written to, and its key is there.
    bob.write(&thread, &alice, "still there?").await;
    assert_eq!(bob.threads().await[0]["nickname"], "Alice");
    let key = second.post("/getkey", &json!({ "accID": alice.id })).await;
    assert_eq!(key.json()["publicKey"]["accID"], json!(alice.id));
}

/// Shows (docs/protocol.md): Ids; Checks of accounts and groups.
#[tokio::test]
async fn ids_that_were_never_issued_name_nobody() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let body = json!({ "accID": "x" });
    refuses(&alice.client, "/getkey", &body, "accID", &no_account(), "200 MEMBERNOTEXISTING").await;
}

/// Shows (docs/protocol.md): Ids.
#[tokio::test]
async fn many_sign_up_at_once() {
    let server = Server::start().await;
    let people = futures_util::future::join_all((0..40).map(|n| {
        let server = &server;
        async move { Person::sign_up(server, &format!("Person {n}")).await }
    }))
    .await;
    let mut ids: Vec<u32> = people.iter().map(|person| person.id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (10001..10041).collect::<Vec<_>>());
    for person in &people {
        assert_eq!(person.client.get("/me").await.json()["accObj"]["nickname"], json!(person.nickname));
    }
}
