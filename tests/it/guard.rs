//! What sets or uses a session is refused when the page of another origin makes a browser send it
//! (docs/protocol.md, "Requests from other origins"), and the cookie is
//! one that no other host can set where https allows that (docs/protocol.md, "The cookie").

use reqwest::Method;
use serde_json::json;

use crate::client::{Answer, Client, Person};
use crate::cluster::fresh_database;
use crate::conformance::{Operation, operations};
use crate::server::{Server, Setup};

/// The headers of a browser's request that a page of another origin caused.
const FOREIGN: [&[(&str, &str)]; 6] = [
    &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("origin", "https://evil.example")],
    &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors"), ("origin", "http://127.0.0.1:1")],
    &[("origin", "https://evil.example")],
    &[("origin", "null")],
    &[("referer", "https://evil.example/form.html")],
    &[("sec-fetch-site", "cross-site"), ("x-forwarded-host", "evil.example"), ("origin", "http://evil.example")],
];

/// Whether it must be guarded, seen from the outside: it takes a session or gives one, and does more than read.
fn is_guarded(operation: &Operation) -> bool {
    let gives = ["/newacc", "/login"].contains(&operation.path.as_str());
    (operation.takes_session() || gives) && operation.method != Method::GET || operation.path == "/destroyacc"
}

async fn ask(client: &Client, operation: &Operation, lines: &[(&str, &str)]) -> Answer {
    let request = lines.iter().fold(operation.request(client), |request, (name, value)| request.header(*name, *value));
    client.send(if operation.takes_body() { request.json(&operation.example()) } else { request }).await
}

/// Shows (docs/protocol.md): Requests from other origins.
#[tokio::test]
async fn every_operation_that_sets_or_uses_a_session_refuses_other_sites() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let guarded: Vec<Operation> = operations().into_iter().filter(is_guarded).collect();
    assert!(guarded.len() > 30, "the document has them");
    for operation in &guarded {
        for lines in FOREIGN {
            for client in [&alice.client, &server.client()] {
                let answer = ask(client, operation, lines).await;
                operation.refuses(&answer, (403, "FORBIDDEN"), &format!("{lines:?}"));
                assert_eq!(answer.header("set-cookie"), None);
                assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            }
        }
    }
    // A form cannot send JSON; and paths match in many ways.
    for path in ["/NewAcc", "/newacc/", "/NEWACC?x=1"] {
        let form = server.client().request(Method::POST, path).header("origin", "https://evil.example");
        let answer = server
            .client()
            .send(form.header("content-type", "application/x-www-form-urlencoded").body("nickname=Eve&password=p"))
            .await;
        assert_eq!((answer.verdict().as_str(), answer.header("set-cookie")), ("403 FORBIDDEN", None), "{path}");
    }
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok", "she is still there");
    // What only reads stays open to links.
    for path in ["/me", "/getthreads", "/codehas", "/insights"] {
        let request = alice.client.request(Method::GET, path).header("sec-fetch-site", "cross-site");
        assert_eq!(alice.client.send(request.header("sec-fetch-mode", "navigate")).await.status, 200, "{path}");
    }
}

/// What `/login` answers to a browser with these headers: it judges the password only if the request may come.
async fn login(client: &Client, lines: &[(&str, &str)]) -> String {
    // Each time another account, for attempts at one are slowed down; and what cannot be an account counts as one.
    let account = rand::random_range(1_000_000..2_000_000_000_u32).to_string();
    let request = client.request(Method::POST, "/login").json(&json!({ "accID": account, "password": "p" }));
    client.send(lines.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await.verdict()
}

const PASSES: &str = "401 NOTAUTH";
const REFUSED: &str = "403 FORBIDDEN";

/// Shows (docs/protocol.md): Requests from other origins.
#[tokio::test]
async fn own_pages_and_programs_pass() {
    let setup = Setup::on(&fresh_database().await).with("public-url", "http://chat.example:8080/");
    let server = setup.start().await;
    let client = server.client();
    let own = server.url();
    let port = own.rsplit(':').next().unwrap();
    let (by_name, other_port) =
        (format!("localhost:{port}"), format!("http://localhost:{}", port.parse::<u32>().unwrap() - 1));
    let origin_by_name = format!("http://{by_name}");
    let secure = own.replace("http:", "https:");
    let cases: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![], PASSES),
        (vec![("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("origin", &own)], PASSES),
        (vec![("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], PASSES),
        // Behind a proxy that rewrites the host.
        (vec![("sec-fetch-site", "same-origin"), ("origin", "https://be8.example")], PASSES),
        (vec![("origin", &own)], PASSES),
        (vec![("origin", "http://chat.example:8080")], PASSES),
        (vec![("origin", "http://Chat.Example:8080")], PASSES),
        (vec![("host", &by_name), ("origin", &origin_by_name)], PASSES),
        (vec![("referer", "http://chat.example:8080/page")], PASSES),
        (vec![("host", &by_name), ("origin", &other_port)], REFUSED),
        (vec![("origin", "http://chat.example")], REFUSED),
        (vec![("origin", &secure)], REFUSED),
        // Nobody named this proxy.
        (vec![("x-forwarded-host", "be8.example"), ("origin", "http://be8.example")], REFUSED),
    ];
    for (lines, expected) in cases {
        assert_eq!(login(&client, &lines).await, expected, "{lines:?}");
    }
    assert!(server.setup().log().contains("set public-url"), "the log says what may be missing");
}

/// Shows (docs/protocol.md): The cookie.
#[tokio::test]
async fn behind_https_of_a_trusted_proxy_the_cookie_is_this_host_s_alone() {
    let database = fresh_database().await;
    let x = [("x-forwarded-proto", "https"), ("x-forwarded-host", "chat.example"), ("x-forwarded-for", "198.51.100.7")];
    let standard = [("forwarded", r#"for="[2001:db8::7]:4711";proto=https;host="chat.example""#)];
    let setup = Setup::on(&database).with("trusted-proxy", "10.0.0.0/8").with("trusted-proxy", "::1, 127.0.0.0/8");
    for (setup, lines) in
        [(setup.clone(), &x[..]), (setup.second().with("forwarded-header", "forwarded"), &standard[..])]
    {
        let server = setup.start().await;
        let client = server.client();
        let through = |request: reqwest::RequestBuilder| {
            lines.iter().fold(request, |request, (name, value)| request.header(*name, *value))
        };
        let body = json!({ "nickname": "Ann", "password": "p" });
        let made = client.send(through(client.request(Method::POST, "/newacc").json(&body))).await;
        let cookie = made.header("set-cookie").unwrap();
        assert!(cookie.starts_with("__Host-be8=") && cookie.ends_with("; SameSite=Strict; Secure"), "{cookie}");
        assert!(cookie.contains("; Path=/; ") && !cookie.to_ascii_lowercase().contains("domain"), "{cookie}");
        assert!(made.header("strict-transport-security").is_some());
        let me = async |cookie: &str, proxied: bool| {
            let request = client.with_cookie(cookie).request(Method::GET, "/me");
            client.send(if proxied { through(request) } else { request }).await.verdict()
        };
        assert_eq!(me(cookie, true).await, "200 ok");
        let plain = cookie.replace("__Host-", "");
        assert_eq!(me(&plain, true).await, "401 NOTAUTH", "another host of the domain could have set it");
        assert_eq!(me(&format!("be8={}; {cookie}", "A".repeat(43)), true).await, "200 ok");
        assert_eq!((me(cookie, false).await, me(&plain, false).await), ("401 NOTAUTH".into(), "200 ok".into()));
        for (origin, expected) in [
            ("https://chat.example", PASSES),
            ("http://chat.example", REFUSED),
            ("https://chat.example:8443", REFUSED),
            ("https://evil.chat.example", REFUSED),
        ] {
            let lines: Vec<_> = lines.iter().copied().chain([("origin", origin)]).collect();
            assert_eq!(login(&client, &lines).await, expected, "{origin}");
        }
        let out = client.with_cookie(cookie).request(Method::POST, "/logout");
        let out = client.send(through(out)).await;
        assert!(out.header("set-cookie").unwrap().starts_with("__Host-be8=; Path=/; Expires=Thu, 01 Jan 1970"));
        // The same over plain http.
        let made = client.post("/newacc", &body).await;
        assert!(made.header("set-cookie").unwrap().starts_with("be8="));
        assert_eq!(made.header("strict-transport-security"), None);
    }
}
