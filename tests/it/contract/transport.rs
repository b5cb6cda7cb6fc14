//! What holds for every route: bodies, paths, methods and headers.

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, Person, two_people};
use crate::cluster::fresh_database;
use crate::server::{Server, Setup};

const FORM: &str = "application/x-www-form-urlencoded";

/// Shows (docs/protocol.md): Bodies.
#[tokio::test]
async fn a_body_is_read_as_its_content_type_says() {
    let server = Server::start().await;
    let stranger = server.client();
    let (json_body, form) = (r#"{"nickname":"Ann","password":"p"}"#, "nickname=Ann&password=p");
    for (content_type, body, verdict) in [
        (Some("application/json"), json_body, "200 ok"),
        (Some("application/json; charset=utf-8"), json_body, "200 ok"),
        (Some("Application/JSON"), json_body, "200 ok"),
        (Some("application/json"), "\u{feff}{\"nickname\":\"Ann\",\"password\":\"p\"}", "200 ok"),
        (Some("application/json"), r#"{"nickname":7,"nickname":"Ann","password":"p"}"#, "200 ok"),
        (Some(FORM), form, "200 ok"),
        (Some("application/x-www-form-urlencoded;charset=UTF-8"), form, "200 ok"),
        (Some(FORM), "nickname=A+%F0%9F%A6%A2&password=%20", "200 ok"),
        // A wrong label, or none: as if there were no body.
        (None, json_body, "400 INVALIDNICKNAME"),
        (Some("text/plain"), json_body, "400 INVALIDNICKNAME"),
        (Some("application/jsonx"), json_body, "400 INVALIDNICKNAME"),
        (Some("nonsense"), json_body, "400 INVALIDNICKNAME"),
        (Some("multipart/form-data; boundary=x"), "--x--", "400 INVALIDNICKNAME"),
        (Some(FORM), json_body, "400 INVALIDNICKNAME"),
        (Some("application/json"), "", "400 INVALIDNICKNAME"),
        (Some("application/json"), "[]", "400 INVALIDNICKNAME"),
        (Some("application/json"), r#"[{"nickname":"Ann","password":"p"}]"#, "400 INVALIDNICKNAME"),
        // What is no JSON, or neither object nor array at its top.
        (Some("application/json"), form, "400 INVALIDJSON"),
        (Some("application/json"), r#"{"nickname":"Ann","password":"p""#, "400 INVALIDJSON"),
        (Some("application/json"), r#"{"nickname":"Ann","password":"p"}x"#, "400 INVALIDJSON"),
        (Some("application/json"), "null", "400 INVALIDJSON"),
        (Some("application/json"), "\"text\"", "400 INVALIDJSON"),
        (Some("application/json"), "7", "400 INVALIDJSON"),
        (Some("application/json"), " ", "400 INVALIDJSON"),
    ] {
        let answer = stranger.post_raw("/newacc", content_type, body).await;
        assert_eq!(answer.verdict(), verdict, "{content_type:?} {body}");
    }
    let latin = stranger.post_raw("/newacc", Some("application/json"), &b"{\"nickname\":\"\xe9\"}"[..]).await;
    assert_eq!(latin.verdict(), "400 INVALIDJSON");
    // Deeper than JSON is read, and more values than a request needs.
    for (depth, verdict) in [(1000, "400 INVALIDJSON"), (100_000, "413 TOOLARGE")] {
        let deep = format!(r#"{{"nickname":{}"#, "[".repeat(depth));
        assert_eq!(stranger.post_raw("/newacc", Some("application/json"), deep).await.verdict(), verdict, "{depth}");
    }
}

/// Shows (docs/protocol.md): Bodies.
#[tokio::test]
async fn forms_carry_whatever_json_carries() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let form = async |path: &str, form: &str| alice.client.post_raw(path, Some(FORM), form.to_owned()).await;
    assert_eq!(form("/startconversation", "receiverID=10002").await.json()["threadID"], json!(thread));
    let five = "receiver=10002&sender=10001&threadID=10001%3A10002&messageType=text&text=a+b%26c";
    assert_eq!(form("/writemessage", five).await.json()["messageID"], "message:10001:10002:2");
    assert_eq!(form("/writemessage", &format!("{five}&iv=x")).await.verdict(), "413 TOOLARGE");
    assert_eq!(bob.messages(&thread).await[1]["text"], "a b&c");
    for accounts in ["accIDs[]=10001&accIDs[]=10002", "accIDs%5B0%5D=10001&accIDs%5B1%5D=10002"] {
        let keys = form("/getkeys", accounts).await.json();
        let ids: Vec<&Value> = keys["publicKeys"].as_array().unwrap().iter().map(|key| &key["accID"]).collect();
        assert_eq!(ids, ["10001", "10002"], "{accounts}");
    }
    assert_eq!(form("/getkeys", "accIDs=10001").await.verdict(), "200 MEMBERNOTEXISTING");
}

/// Shows (docs/protocol.md): Bodies; Limits of bodies.
#[tokio::test]
async fn a_body_may_have_five_mebibytes() {
    let server = Server::start().await;
    let stranger = server.client();
    let body = |length: usize| {
        let empty = r#"{"nickname":"Ann","password":""}"#.len();
        format!(r#"{{"nickname":"Ann","password":"{}"}}"#, "p".repeat(length - empty))
    };
    for (length, verdict) in [(5_242_880, "200 PASSWORDFAILURE"), (5_242_881, "413 TOOLARGE")] {
        let answer = stranger.post_raw("/newacc", Some("application/json"), body(length)).await;
        assert_eq!(answer.verdict(), verdict, "{length} bytes");
        // The same without a length that is known before.
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            body(length).into_bytes().chunks(65_536).map(|piece| Ok(piece.to_vec())).collect();
        let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        let answer = stranger.post_raw("/newacc", Some("application/json"), stream).await;
        assert_eq!(answer.verdict(), verdict, "{length} bytes in pieces");
    }
}

/// Shows (docs/protocol.md): Limits of bodies.
#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    let server = Setup::on(&fresh_database().await).with("body-stall-seconds", 1).start().await;
    let begun = futures_util::stream::iter([Ok::<_, std::io::Error>(br#"{"nickname":"#.to_vec())]);
    let endless = begun.chain(futures_util::stream::pending());
    let body = reqwest::Body::wrap_stream(endless);
    let answer = server.client().post_raw("/newacc", Some("application/json"), body).await;
    assert_eq!(answer.verdict(), "408 TIMEOUT");
}

/// Shows (docs/protocol.md): Paths and methods.
#[tokio::test]
async fn paths_are_matched_without_regard_to_case() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let ask = async |method: &str, path: &str| {
        let request = alice.client.request(method.parse::<Method>().unwrap(), path);
        let answer = alice.client.send(request.json(&json!({ "threadID": "10001:s1" }))).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{method} {path}");
        answer.verdict()
    };
    for (method, path) in [
        ("GET", "/me"),
        ("GET", "/ME"),
        ("GET", "/me/"),
        ("GET", "/Me?any=query"),
        ("GET", "/GETTHREADS/"),
        ("POST", "/getMessages"),
        ("POST", "/GetMessages/"),
    ] {
        assert_eq!(ask(method, path).await, "200 ok", "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/nowhere"),
        ("POST", "/nowhere"),
        ("GET", "/me//"),
        ("GET", "//me"),
        ("GET", "/me/more"),
        ("GET", "/%6de"),
        ("POST", "/me"),
        ("DELETE", "/me"),
        ("OPTIONS", "/me"),
        ("GET", "/newacc"),
        ("PUT", "/newacc"),
        ("GET", "/getmessages"),
        ("GET", "/writemessage"),
        ("POST", "/getthreads"),
        ("POST", "/events"),
    ] {
        assert_eq!(ask(method, path).await, "404 NOTFOUND", "{method} {path}");
    }
}

/// Shows (docs/protocol.md): Paths and methods.
#[tokio::test]
async fn routes_of_our_own_name_their_methods() {
    let server = Server::start().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = server.post(path, &json!({})).await;
        assert_eq!(answer.verdict(), "405 METHODNOTALLOWED", "{path}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
}

/// Shows (docs/protocol.md): Paths and methods.
#[tokio::test]
async fn head_is_answered_where_nothing_changes() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    for (path, known) in [
        ("/me", true),
        ("/GetThreads/", true),
        ("/healthz", true),
        ("/events", false),
        ("/newacc", false),
        ("/writemessage", false),
        ("/nowhere", false),
    ] {
        let head = alice.client.send(alice.client.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.text.as_str()), (if known { 200 } else { 404 }, ""), "{path}");
        if known {
            let full = alice.client.get(path).await;
            assert_eq!(head.header("content-length"), Some(full.text.len().to_string().as_str()), "{path}");
            assert_eq!(head.header("content-type"), full.header("content-type"));
        }
    }
    let stranger = server.client();
    assert_eq!(stranger.send(stranger.request(Method::HEAD, "/me")).await.status, 401);
}

/// Expects the headers that every JSON answer has, and none that reveals the server or opens it to other pages.
async fn has_its_headers(client: &Client, method: &str, path: &str, body: &Value) {
    let request = client.request(method.parse().unwrap(), path).header("origin", "https://elsewhere.example");
    let answer = client.send(request.json(body)).await;
    let problem = path == "/healthz" && method == "POST";
    let json = if problem { "application/problem+json" } else { "application/json; charset=utf-8" };
    for (name, value) in [
        ("content-type", json),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name} of {method} {path}");
    }
    for name in ["access-control-allow-origin", "server", "x-powered-by"] {
        assert_eq!(answer.header(name), None, "{name} of {method} {path}");
    }
}

/// Shows (docs/protocol.md): Headers of answers.
#[tokio::test]
async fn every_answer_has_its_headers() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    for (method, path, body) in [
        ("GET", "/me", json!({})),
        ("GET", "/getthreads", json!({})),
        ("POST", "/getmessages", json!({ "threadID": "10001:s1" })),
        ("POST", "/getmessages", json!({})),
        ("POST", "/getkeys", json!({})),
        ("POST", "/newacc", json!({ "nickname": "n", "password": "p".repeat(2000) })),
        ("POST", "/newacc", json!("no object")),
        ("GET", "/nowhere", json!({})),
        ("POST", "/healthz", json!({})),
        ("GET", "/healthz", json!({})),
    ] {
        has_its_headers(&alice.client, method, path, &body).await;
        has_its_headers(&server.client(), method, path, &body).await;
    }
    let refused = server.get("/me").await;
    assert!(refused.header("www-authenticate").is_some());
}
