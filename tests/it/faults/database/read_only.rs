//! A primary that takes no writes any more, as after a switchover.

use super::Own;
use crate::client::two_people;
use crate::patience::eventually;
use crate::server::Setup;

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
