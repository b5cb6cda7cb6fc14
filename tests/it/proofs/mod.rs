//! The transparency log: its tiles and heads, what is proved by them, who may fetch what, and what a rewritten history
//! meets.

mod bundles;
mod completeness;
mod heads;
mod million;
mod public;
mod witnesses;

use std::io::Write as _;

use be8::audit::notes::{Checkpoint, PublicKey};
use be8_events::{Hash32, Position};
use reqwest::header::AUTHORIZATION;
use serde_json::json;

use crate::client::{Answer, Person};
use crate::cluster::fresh_database;
use crate::groups::people;
use crate::library::Library;
use crate::patience::eventually;
use crate::server::{Server, Setup};

const TOKEN: &str = "an operator token of more than thirty-two bytes";

/// A server on a new database that signs every second and knows an operator.
async fn signing() -> (Setup, tempfile::NamedTempFile) {
    signing_every(1).await
}

/// The same that signs in intervals of this many seconds.
async fn signing_every(seconds: u32) -> (Setup, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{TOKEN}").unwrap();
    let setup = Setup::on(&fresh_database().await).with("operator-token-file", file.path().display());
    (setup.with("checkpoint-interval", seconds), file)
}

/// What the operator is answered.
async fn as_operator(server: &Server, path: &str) -> Answer {
    let client = server.client();
    client.send(client.request(reqwest::Method::GET, path).header(AUTHORIZATION, format!("Bearer {TOKEN}"))).await
}

/// Alice's group with a key, in which Bob stays and Carol was; Mallory is a stranger.
async fn eventful(server: &Server) -> (String, [Person; 4]) {
    let [alice, bob, carol, mallory] = people(server, ["Alice", "Bob", "Carol", "Mallory"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    alice.takes_version(&group).await;
    for member in [&alice, &bob, &carol] {
        let key = format!("wrapped for {}", member.id);
        let body = json!({ "groupID": group, "groupKey": key, "accID": member.id, "keyholder": alice.id });
        assert_eq!(alice.client.post("/groupstorekey", &body).await.verdict(), "200 ok");
    }
    carol.says(&group, "while I am here").await;
    alice.kicks(&group, &carol).await;
    bob.says(&group, "she still has the key").await;
    (group, [alice, bob, carol, mallory])
}

/// The key of the log.
async fn log_key(server: &Server) -> PublicKey {
    server.get("/audit/log/key").await.text.trim_end().parse().expect("a key")
}

/// The newest checkpoint, once it covers all that is in the log at the call.
async fn covering_checkpoint(server: &Server) -> (Checkpoint, String) {
    let newest = newest(server).await;
    let key = log_key(server).await;
    let mut found = None;
    eventually("a checkpoint covers the log", async || {
        let answer = server.get("/audit/log/checkpoint").await;
        if answer.status != 200 {
            return false;
        }
        let checkpoint = Checkpoint::open(&answer.text, &key).expect("a signed checkpoint");
        let covers = checkpoint.size >= newest;
        found = Some((checkpoint, answer.text));
        covers
    })
    .await;
    found.expect("a checkpoint")
}

/// How many events there are.
async fn newest(server: &Server) -> u64 {
    Library::open(server).await.ledger.log().newest().await.expect("the log").0.unsigned_abs()
}

/// The entries of the transparency log, from the events themselves.
async fn entries(server: &Server) -> Vec<Hash32> {
    let log = Library::open(server).await.ledger.log().read_all(Position::START, u32::MAX).await.expect("the log");
    log.iter().map(|event| event.hash()).collect()
}

/// The root of some entries as RFC 6962 defines it.
fn root(entries: &[Hash32]) -> Hash32 {
    match entries {
        [] => Hash32::sha256(b""),
        [entry] => Hash32::sha256(&[&[0][..], &entry.0].concat()),
        _ => {
            let (left, right) = entries.split_at(entries.len().next_power_of_two() / 2);
            Hash32::sha256(&[&[1][..], &root(left).0, &root(right).0].concat())
        }
    }
}
