//! A built client served by the program beside its routes, and what every answer says to browsers.

use std::fs;

use reqwest::Method;
use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::client::Person;
use crate::cluster::{fresh_database, passable_directory};
use crate::patience::eventually;
use crate::server::{Server, Setup};

/// Shows (docs/protocol.md): Paths and methods; Files of the web client.
#[tokio::test]
async fn a_client_is_served_beside_the_routes() {
    let folder = passable_directory();
    for (path, text) in [
        ("prod/index.html", "<title>a client</title>"),
        ("prod/bundle.js", &"export const one = 1;\n".repeat(100)),
        ("prod/me", "in the way"),
        ("assets/sounds/received.mp3", "0123456789"),
        ("insights/index.html", "<title>statistics</title>"),
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let server = Setup::on(&fresh_database().await)
        .with("client-dir", folder.path().display())
        .with("insights-dir", folder.path().join("insights").display())
        .start()
        .await;
    for path in ["/", "/?user=blob", "/prod/", "/index.html"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, &*answer.text), (200, "<title>a client</title>"), "{path}");
        assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("set-cookie").is_none(), "a cookie is set only by /newacc and /login");
    }
    assert_eq!(server.get("/be8insights/").await.text, "<title>statistics</title>");
    // Routes come first, and paths of files are matched by their case.
    assert_eq!(server.get("/ME").await.verdict(), "401 NOTAUTH");
    for path in ["/Index.html", "/bundle.JS", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "/.git/config"] {
        assert_eq!((server.get(path).await.status, path), (404, path));
    }
    assert_eq!(server.get("/docs").await.status, 200);
    let alice = Person::sign_up(&server, "Alice").await;
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok");
    let ask = async |method, asked: &[(&str, &str)]| {
        let client = server.client();
        let request = client.request(method, "/assets/sounds/received.mp3");
        client.send(asked.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    };
    let part = ask(Method::GET, &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, &*part.text, part.header("content-range")), (206, "234", Some("bytes 2-4/10")));
    let head = ask(Method::HEAD, &[]).await;
    assert_eq!((head.status, &*head.text, head.header("content-length")), (200, "", Some("10")));
    let known = ask(Method::GET, &[("if-none-match", head.header("etag").unwrap())]).await;
    assert_eq!((known.status, &*known.text), (304, ""));
    let beyond = ask(Method::GET, &[("range", "bytes=10-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    let post = ask(Method::POST, &[]).await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    let packed = server.client();
    let packed = packed.send(packed.request(Method::GET, "/bundle.js?v=1").header("accept-encoding", "gzip")).await;
    assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")));
    assert_eq!(packed.header("content-type"), Some("text/javascript; charset=utf-8"));

    fs::write(folder.path().join("prod/index.html"), "<title>another</title>").unwrap();
    kill_process(server.pid(), Signal::HUP).unwrap();
    eventually("the new page is served", async || server.get("/").await.text == "<title>another</title>").await;
}

/// Shows (docs/protocol.md): Files of the web client.
#[tokio::test]
async fn behind_https_every_answer_says_to_stay_with_it() {
    let setup = Setup::on(&fresh_database().await);
    let plain = setup.clone().start().await;
    let secure = setup.second().with("public-url", "https://be8.example").start().await;
    for (server, expected) in [(&plain, None), (&secure, Some("max-age=31536000"))] {
        for (path, status) in [("/", 200), ("/docs", 200), ("/me", 401), ("/nowhere", 404), ("/healthz", 200)] {
            let answer = server.get(path).await;
            assert_eq!((answer.status, answer.header("strict-transport-security")), (status, expected), "{path}");
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        }
        let posted = server.post("/newacc", &json!({ "nickname": 7 })).await;
        assert_eq!(posted.header("strict-transport-security"), expected);
        assert!(posted.header("access-control-allow-origin").is_none());
    }
}

#[tokio::test]
async fn a_folder_without_a_page_is_refused_at_start() {
    let folder = passable_directory();
    let setup = Setup::on(&fresh_database().await).with("client-dir", folder.path().display());
    let (mut process, _) = setup.launch();
    assert!(!process.wait().await.unwrap().success());
    assert!(setup.log().contains("there is no index.html"), "{}", setup.log());
}

/// The page of our own.
///
/// Shows (docs/protocol.md): Files of the web client.
#[tokio::test]
async fn without_a_client_the_home_page_stays() {
    let server = Server::start().await;
    assert!(server.get("/").await.text.contains("/docs"));
    assert_eq!(server.get("/be8insights").await.status, 404);
}
