//! A primary that takes no writes any more, as after a switchover.

use super::Own;
use crate::client::two_people;
use crate::patience::eventually;
use crate::server::Setup;

#[tokio::test]
async fn commands_that_only_read_need_no_more() {
    let own = Own::start().await;
    let server = Setup::on(&own.database).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "one").await;
    let group = alice.creates("public", serde_json::json!(10)).await;
    server.terminate();
    let (setup, _) = server.ended().await;
    own.run(&["alter database own set default_transaction_read_only = on"]).await;
    let account = format!("account-{}", alice.id);
    for arguments in [
        &["check"][..],
        &["log"],
        &["state", &account],
        &["history", &group],
        &["findings", &group],
        &["audit-check"],
        &["erasure-report", &alice.id],
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
    let expire = setup.run(&["expire"]).await;
    assert!(!expire.success && expire.err.contains("is a standby or is set to read-only"), "{}", expire.err);
}

#[tokio::test]
async fn a_primary_that_became_read_only_is_waited_for() {
    let own = Own::start().await;
    let server = Setup::on(&own.database).with("ledger-patience-seconds", 1).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    own.set("default_transaction_read_only", "on").await;
    let letter = alice.letter(&thread, &bob.id, "refused");
    for _ in 0..2 {
        let answer = alice.client.post("/writemessage", &letter).await;
        assert_eq!((answer.verdict().as_str(), answer.header("retry-after")), ("503 UNAVAILABLE", Some("1")));
    }
    let codes = alice.client.post("/codeset", &serde_json::json!({ "unlockCode": "one", "destroyCode": "two" })).await;
    assert_eq!(codes.status, 503, "{}", codes.text);
    assert_eq!(server.get("/readyz").await.status, 503);
    assert_eq!(alice.client.get("/me").await.status, 200, "reads are answered");
    own.run(&["set default_transaction_read_only = off", "alter system reset default_transaction_read_only"]).await;
    own.run(&["select pg_reload_conf()"]).await;
    eventually("it is ready again", async || server.get("/readyz").await.status == 200).await;
    assert_eq!(alice.write(&thread, &bob, "accepted").await, 2);
    assert!(!server.setup().log().contains(" at line "), "{}", server.setup().log());
}
