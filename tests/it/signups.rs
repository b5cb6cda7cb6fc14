//! New accounts: refused when the operator closed registration, and when the server lacks room, before anybody who has
//! an account notices.

use std::process::Stdio;

use reqwest::Method;
use serde_json::json;
use tokio::process::Command;

use crate::client::{Answer, Client, Person, two_people};
use crate::cluster::fresh_database;
use crate::hold::Hold;
use crate::patience::{eventually, within};
use crate::server::{Server, Setup};

const TOKEN: &str = "an operator token of more than thirty-two bytes";

async fn sign_up(server: &Server) -> Answer {
    server.post("/newacc", &json!({ "nickname": "Ann", "password": "p" })).await
}

/// Runs `be8 registration`.
async fn registration(server: &Server, state: Option<&str>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
    let directory = tempfile::tempdir().unwrap();
    command.env_clear().arg("registration").args(state);
    command.args(["--database-url", server.setup().database_url(), "--data-dir"]).arg(directory.path());
    let output = within("the command", command.stdin(Stdio::null()).output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Shows (docs/protocol.md): The operator's routes.
#[tokio::test]
async fn the_operator_closes_registration_on_all_nodes() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), TOKEN).unwrap();
    let setup = Setup::on(&fresh_database().await).with("operator-token-file", token.path().display());
    let one = setup.start().await;
    let two = one.setup().second().start().await;
    let (alice, bob, thread) = two_people(&one).await;
    let operator = one.client().with_bearer(TOKEN);
    let path = "/operator/registration";
    let open = async |client: &Client, open: bool| client.post(path, &json!({ "open": open })).await;

    // Nobody else.
    for nobody in [one.client(), alice.client.clone(), one.client().with_bearer("another token, which is long enough")]
    {
        assert_eq!(nobody.get(path).await.verdict(), "401 NOTAUTH");
        assert_eq!(open(&nobody, false).await.verdict(), "401 NOTAUTH");
    }
    for wrong in [json!({}), json!({ "open": "false" }), json!({ "open": null }), json!({ "open": 0 })] {
        assert_eq!(operator.post(path, &wrong).await.verdict(), "400 INVALIDINPUT");
    }
    assert_eq!(operator.get(path).await.json(), json!({ "valid": true, "open": true }));

    assert_eq!(open(&operator, false).await.json(), json!({ "valid": true, "open": false }));
    for node in [&one, &two] {
        assert_eq!(sign_up(node).await.verdict(), "403 REGISTRATIONCLOSED");
        // What is wrong with the request is said first.
        assert_eq!(node.post("/newacc", &json!({})).await.verdict(), "400 INVALIDNICKNAME");
    }
    alice.write(&thread, &bob, "still here").await;
    // It outlives a restart.
    let one = one.kill().await.start().await;
    assert_eq!(sign_up(&one).await.verdict(), "403 REGISTRATIONCLOSED");
    let operator = one.client().with_bearer(TOKEN);
    assert_eq!(open(&operator, true).await.json()["open"], true);
    for node in [&one, &two] {
        assert_eq!(sign_up(node).await.verdict(), "200 ok");
    }
}

#[tokio::test]
async fn the_command_line_closes_registration() {
    let server = Server::start().await;
    for (state, says, verdict) in [
        (None, "Registration is open.\n", "200 ok"),
        (Some("close"), "Registration is closed.\n", "403 REGISTRATIONCLOSED"),
        (None, "Registration is closed.\n", "403 REGISTRATIONCLOSED"),
        (Some("open"), "Registration is open.\n", "200 ok"),
    ] {
        assert_eq!(registration(&server, state).await, says);
        assert_eq!(sign_up(&server).await.verdict(), verdict);
    }
}

/// A server that has accounts already, restarted with a setting.
async fn restarted(name: &str, value: &str) -> (Server, Person, Person, String) {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let server = server.kill().await.with(name, value).start().await;
    let (alice, bob) = (alice.at(&server), bob.at(&server));
    (server, alice, bob, thread)
}

#[tokio::test]
async fn a_server_may_be_closed_by_its_settings() {
    let (server, alice, bob, thread) = restarted("registration", "closed").await;
    assert_eq!(registration(&server, Some("open")).await, "Registration is open.\n");
    assert_eq!(sign_up(&server).await.verdict(), "403 REGISTRATIONCLOSED");
    alice.write(&thread, &bob, "still here").await;
}

#[tokio::test]
async fn without_room_new_accounts_are_refused_and_the_others_served() {
    // As much as no machine has.
    for name in ["signup-free-disk-mib", "signup-free-memory-mib"] {
        let (server, alice, bob, thread) = restarted(name, "1000000000").await;
        let refused = sign_up(&server).await;
        assert_eq!((refused.verdict().as_str(), refused.header("retry-after")), ("503 UNAVAILABLE", Some("300")));
        alice.write(&thread, &bob, "still here").await;
        assert_eq!(bob.messages(&thread).await.len(), 2);
        let why = name.strip_prefix("signup-free-").unwrap().strip_suffix("-mib").unwrap();
        let metrics = server.get("/metrics").await.text;
        assert!(metrics.contains(&format!(r#"be8_signups_refused_total{{why="{why}"}} 1"#)), "{metrics}");
    }
}

#[tokio::test]
async fn while_the_queue_is_nearly_full_those_who_have_accounts_are_served() {
    let database = fresh_database().await;
    let server = Setup::on(&database).with("ledger-queue", 10).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let write = |text: &str| {
        let letter = alice.letter(&thread, &bob.id, text);
        tokio::spawn(alice.client.request(Method::POST, "/writemessage").json(&letter).send())
    };
    let mut hold = Hold::next_append(&database.url).await;
    let mut sent = vec![write("in flight")];
    hold.caught().await;
    sent.extend((0..8).map(|nth| write(&format!("waiting {nth}"))));
    eventually("they wait", async || server.metric("be8_ledger_queue").await >= 8.0).await;
    let refused = sign_up(&server).await;
    assert_eq!((refused.verdict().as_str(), refused.header("retry-after")), ("503 UNAVAILABLE", Some("1")));
    // There is room for two of those who are here.
    sent.push(write("one more"));
    eventually("it waits", async || server.metric("be8_ledger_queue").await >= 9.0).await;
    hold.release().await;
    for answer in sent {
        assert_eq!(Answer::read(answer.await.unwrap().unwrap()).await.verdict(), "200 ok");
    }
    assert_eq!(sign_up(&server).await.verdict(), "200 ok");
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains(r#"be8_signups_refused_total{why="commands"} 1"#), "{metrics}");
}
