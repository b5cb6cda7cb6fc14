//! The operator removes accounts and ends sessions, by HTTP and from the machine itself.

use std::io::Write as _;

use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::client::{Answer, Person, two_people};
use crate::cluster::fresh_database;
use crate::server::{Server, Setup};

const TOKEN: &str = "an operator token of more than thirty-two bytes";

async fn ask(server: &Server, method: Method, path: &str, token: Option<&str>) -> Answer {
    let client = server.client();
    let request = client.request(method, path);
    let request = token.iter().fold(request, |r, token| r.header(AUTHORIZATION, format!("Bearer {token}")));
    client.send(request).await
}

/// Shows (docs/protocol.md): The operator's routes.
#[tokio::test]
async fn by_http() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{TOKEN}").unwrap();
    let setup = Setup::on(&fresh_database().await).with("operator-token-file", file.path().display());
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let account = format!("/operator/accounts/{}", alice.id);
    let sessions = format!("{account}/sessions");
    let routes = [(Method::DELETE, &account), (Method::GET, &sessions), (Method::DELETE, &sessions)];
    for (method, path) in &routes {
        for token in [None, Some("wrong"), Some("")] {
            assert_eq!(ask(&server, method.clone(), path, token).await.verdict(), "401 NOTAUTH", "{method} {path}");
        }
        // A session is no operator, not even its own.
        let answer = alice.client.send(alice.client.request(method.clone(), path)).await;
        assert_eq!(answer.verdict(), "401 NOTAUTH");
        for id in ["10099", "x", "g10001", "010001", "s1"] {
            let path = path.replace(&alice.id, id);
            assert_eq!(
                ask(&server, method.clone(), &path, Some(TOKEN)).await.verdict(),
                "404 NOTFOUND",
                "{method} {path}"
            );
        }
    }
    let wrong = ask(&server, Method::POST, &account, Some(TOKEN)).await;
    assert_eq!((wrong.verdict().as_str(), wrong.header("allow")), ("405 METHODNOTALLOWED", Some("DELETE")));

    let listed = ask(&server, Method::GET, &sessions, Some(TOKEN)).await.json();
    let listed = listed["sessions"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["session"].as_str().unwrap().len(), 64, "{listed:?}");
    let mut stream = alice.client.events().await;
    let ended = ask(&server, Method::DELETE, &sessions, Some(TOKEN)).await;
    assert_eq!(ended.json(), json!({ "valid": true, "ended": 1 }));
    assert_eq!(stream.rest().await, [], "the stream of an ended session ends");
    assert_eq!(alice.client.get("/me").await.verdict(), "401 NOTAUTH");
    bob.write(&thread, &alice, "still there?").await;
    assert_eq!(ask(&server, Method::DELETE, &sessions, Some(TOKEN)).await.json()["ended"], 0);
    assert_eq!(ask(&server, Method::GET, &sessions, Some(TOKEN)).await.json()["sessions"], json!([]));

    assert_eq!(ask(&server, Method::DELETE, &account, Some(TOKEN)).await.json(), json!({ "valid": true }));
    assert_eq!(bob.threads().await.len(), 1);
    assert_eq!(ask(&server, Method::DELETE, &account, Some(TOKEN)).await.verdict(), "404 NOTFOUND");
    let log = server.setup().log();
    assert_eq!(log.matches("operator access").count(), 6 + 15, "every use is logged");
    assert!(log.contains("remove an account") && !log.contains(TOKEN));
}

/// Shows (docs/protocol.md): The operator's routes.
#[tokio::test]
async fn without_a_token_file_there_is_no_operator() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let answer = ask(&server, Method::DELETE, &format!("/operator/accounts/{}", alice.id), Some(TOKEN)).await;
    assert_eq!(answer.verdict(), "401 NOTAUTH");
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok");
}

#[tokio::test]
async fn by_command_line_beside_a_server() {
    let server = Server::start().await;
    let (alice, bob, _) = two_people(&server).await;
    let be8 = async |arguments: &[&str]| server.setup().run(arguments).await;
    let listed = be8(&["account", "sessions", "--format", "json", &alice.id]).await;
    let session: Value = serde_json::from_str(&listed.out).unwrap();
    // After the hour and the account, and the first commitment to the map of histories if it came before them.
    assert!(matches!(session["position"].as_i64(), Some(3 | 4)), "{listed:?}");
    assert!(be8(&["account", "sessions", &alice.id]).await.out.contains(session["session"].as_str().unwrap()));
    let ended = be8(&["account", "end-sessions", &alice.id]).await;
    assert_eq!(ended.out, format!("1 session of account {} ended.\n", alice.id));
    assert_eq!(alice.client.get("/me").await.verdict(), "401 NOTAUTH");
    assert_eq!(be8(&["account", "sessions", &alice.id]).await.out, "No open sessions.\n");

    let mut stream = bob.client.events().await;
    let removed = be8(&["account", "remove", &alice.id]).await;
    assert_eq!(removed.out, format!("Account {} is removed.\n", alice.id), "{removed:?}");
    // The server notifies those who listen there.
    assert_eq!(stream.event().await.data["action"], "expiredAcc");
    assert_eq!(bob.threads().await.len(), 1);
    for (arguments, complaint) in [
        (["account", "remove", &alice.id], format!("there is no account {}", alice.id)),
        (["account", "remove", "10099"], "there is no account 10099".to_owned()),
        (["account", "end-sessions", "10099"], "there is no account 10099".to_owned()),
        (["account", "sessions", "g10001"], "\"g10001\" is no account".to_owned()),
    ] {
        let said = be8(&arguments).await;
        assert!(!said.success && said.err.contains(&complaint), "{said:?}");
    }
}
