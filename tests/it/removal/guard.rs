//! Nobody else's page, no link and no form removes an account
//! (docs/protocol.md, "Removing an account"). `tests/it/guard.rs` is about all routes.

use reqwest::Method;

use crate::client::{Client, Person};
use crate::cluster::fresh_database;
use crate::server::{Server, Setup};

/// Sends a request as some page would make a browser send it.
async fn attack(client: &Client, method: &str, lines: &[(&str, &str)]) -> String {
    let request = client.request(method.parse::<Method>().unwrap(), "/destroyacc");
    let request = lines.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    client.send(request).await.verdict()
}

/// Shows (docs/protocol.md): Requests from other origins; Removing an account.
#[tokio::test]
async fn foreign_pages_are_refused_whatever_they_try() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let own = server.url();
    let own_host = own.trim_start_matches("http://");
    let attacks: Vec<Vec<(&str, &str)>> = vec![
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")],
        vec![("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
        vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
        vec![("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "navigate")],
        vec![("sec-fetch-mode", "navigate")],
        vec![("origin", "null")],
        vec![("origin", "https://evil.example")],
        vec![("origin", "https://127.0.0.1")],
        vec![("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        vec![("origin", &own), ("origin", "https://evil.example")],
        vec![("origin", "https://evil.example"), ("x-forwarded-host", "evil.example")],
    ];
    for lines in &attacks {
        for method in ["GET", "POST"] {
            assert_eq!(attack(&alice.client, method, lines).await, "403 FORBIDDEN", "{method} {lines:?}");
            // Also without a session, so that it reveals nothing.
            assert_eq!(attack(&server.client(), method, lines).await, "403 FORBIDDEN", "{method} {lines:?}");
        }
    }
    for method in ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"] {
        let request = alice.client.request(method.parse().unwrap(), "/destroyacc");
        assert_eq!(alice.client.send(request).await.status, 404, "{method}");
    }
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok", "she is still there");

    // What browsers send from a page of ours, and what programs send.
    let own_origin = format!("http://{own_host}");
    for (method, lines) in [
        ("GET", vec![("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")]),
        ("POST", vec![("sec-fetch-site", "same-origin"), ("origin", own_origin.as_str())]),
        ("POST", vec![]),
    ] {
        let somebody = Person::sign_up(&server, "Somebody").await;
        assert_eq!(attack(&somebody.client, method, &lines).await, "200 ok", "{method} {lines:?}");
        assert_eq!(somebody.client.get("/me").await.verdict(), "401 NOTAUTH");
    }
}

/// Shows (docs/protocol.md): Requests from other origins; Removing an account.
#[tokio::test]
async fn behind_a_proxy_the_public_address_is_one_s_own() {
    let setup = Setup::on(&fresh_database().await).with("public-url", "https://be8.example:443/");
    let server = setup.start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    for origin in ["https://be8.example:444", "http://be8.example", "https://be8.example.evil.example"] {
        assert_eq!(attack(&alice.client, "POST", &[("origin", origin)]).await, "403 FORBIDDEN", "{origin}");
    }
    assert_eq!(attack(&alice.client, "POST", &[("origin", "https://be8.example")]).await, "200 ok");
}
