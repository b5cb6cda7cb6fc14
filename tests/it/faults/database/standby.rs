//! A real standby: what runs on it, and a server whose primary became one.

use serde_json::json;

use super::Own;
use crate::client::two_people;
use crate::patience::{eventually, within};
use crate::server::Setup;

/// Runs every command that only reads, with what it needs.
async fn commands_that_only_read(setup: &Setup, account: &str, group: &str) {
    let stream = format!("account-{account}");
    for arguments in [
        &["check"][..],
        &["log"],
        &["state", &stream],
        &["history", group],
        &["findings", group],
        &["audit-check"],
        &["erasure-report", account],
        &["vault", "status"],
        &["export", "-", "--with-vault"],
    ] {
        let said = setup.run(arguments).await;
        assert!(said.success, "{arguments:?}: {} {}", said.out, said.err);
    }
    let check = setup.run(&["check"]).await.out;
    assert!(
        check.contains("sound\n") && check.contains("the read models were not compared: this is a standby"),
        "{check}"
    );
}

#[tokio::test]
async fn commands_that_only_read_need_no_more() {
    let mut own = Own::start().await;
    let server = Setup::on(&own.database).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "one").await;
    let group = alice.creates("public", json!(10)).await;
    server.terminate();
    let (setup, _) = server.ended().await;
    let primary = setup.run(&["check"]).await;
    assert!(primary.success && !primary.out.contains("not compared"), "{}", primary.out);
    own.run(&["alter database own set default_transaction_read_only = on"]).await;
    commands_that_only_read(&setup, &alice.id, &group).await;
    own.run(&["set default_transaction_read_only = off", "alter database own reset default_transaction_read_only"])
        .await;
    own.becomes_standby().await;
    commands_that_only_read(&setup, &alice.id, &group).await;
    // What writes says why it cannot, and so does a server.
    for arguments in [&["expire"][..], &["migrate"], &["rebuild"], &["registration", "close"]] {
        let said = setup.run(arguments).await;
        assert!(
            !said.success && said.err.contains("is a standby or is set to read-only"),
            "{arguments:?}: {}",
            said.err
        );
    }
    let (mut process, _printed) = setup.launch();
    assert!(!within("the end of the server", process.wait()).await.unwrap().success());
    assert!(setup.log().contains("is a standby or is set to read-only"), "{}", setup.log());
}

#[tokio::test]
async fn a_primary_that_became_a_standby_is_waited_for_and_never_read() {
    let mut own = Own::start().await;
    let setup = Setup::on(&own.database).with("ledger-patience-seconds", 2).with("ledger-outcome-seconds", 4);
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    assert_eq!(alice.write(&thread, &bob, "one").await, 2);
    own.becomes_standby().await;
    // It may be sent over a connection of which the loop does not know yet that it is dead.
    let first = alice.client.post("/writemessage", &alice.letter(&thread, &bob.id, "refused")).await;
    assert!(matches!(&*first.verdict(), "503 UNAVAILABLE" | "503 OUTCOMEUNKNOWN"), "{}", first.text);
    for _ in 0..2 {
        let letter = alice.letter(&thread, &bob.id, "refused");
        for answer in [
            alice.client.post("/writemessage", &letter).await,
            alice.client.get("/me").await,
            alice.client.post("/getmessages", &json!({ "threadID": thread })).await,
        ] {
            assert_eq!((answer.verdict().as_str(), answer.header("retry-after")), ("503 UNAVAILABLE", Some("1")));
        }
        assert_eq!(server.get("/readyz").await.status, 503);
    }
    own.is_promoted().await;
    eventually("it is ready again", async || server.get("/readyz").await.status == 200).await;
    assert_eq!(alice.write(&thread, &bob, "two").await, 3);
    assert_eq!(bob.messages(&thread).await.len(), 3);
    let log = server.setup().log();
    assert!(!log.contains(" at line ") && !log.contains("routine:"), "{log}");
}
