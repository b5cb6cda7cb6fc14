//! What is bounded: how many are under way, how many wait, for how long a message is pushed, and to whom at all.

use serde_json::json;

use super::peer::{Device, Manner, Peer};
use super::{Pair, Pushing, payload, pushes, setup, unfinished, waiting};
use crate::client::{Person, two_people};
use crate::clock::turn;
use crate::cluster::fresh_database;
use crate::groups::people;
use crate::patience::eventually;
use crate::server::{Server, Setup};

const DAY: i64 = 24 * 60 * 60;

async fn all_is_over(server: &Server) {
    eventually("all is over", async || unfinished(server.setup()).await == 0).await;
}

/// Shows (docs/protocol.md): Push services.
#[tokio::test]
async fn a_service_that_never_answers_has_few_under_way_and_no_other_waits_for_it() {
    let Pushing { server, peer, .. } =
        &Pushing::start_with(|setup| setup.with("push-at-once", 2).with("push-timeout-seconds", 20)).await;
    let (alice, bob, thread) = two_people(server).await;
    let dead: Vec<Device> = (0..6).map(|_| peer.device_at("fcm.googleapis.com")).collect();
    let alive = peer.device();
    for device in &dead {
        peer.always(device, Some(Manner::Never));
        bob.subscribes(device).await;
    }
    bob.subscribes(&alive).await;
    for nth in 1..=5 {
        alice.write(&thread, &bob, "a text").await;
        peer.wait_for(&alive, nth).await;
    }
    let under_way = || peer.received().iter().filter(|push| push.endpoint != alive.endpoint()).count();
    eventually("the dead service is tried", async || under_way() >= 2).await;
    assert_eq!(under_way(), 2);
    assert!(peer.busiest() <= 3, "two of the one, one of the other: {}", peer.busiest());
    // One for each device, not one for each message: four wait, and for the two under way the newest waits behind.
    eventually("the others wait", async || unfinished(server.setup()).await == 2 + 6).await;
}

#[tokio::test]
async fn beyond_the_queue_of_a_service_pushes_are_left_out() {
    let change = |setup: Setup| setup.with("push-queue", 3).with("push-at-once", 1);
    let Pushing { server, peer, .. } = &Pushing::start_with(change).await;
    let (alice, bob, thread) = two_people(server).await;
    let devices: Vec<Device> = (0..6).map(|_| peer.device()).collect();
    for device in &devices {
        peer.always(device, Some(Manner::RetryAfter(503, 1000)));
        bob.subscribes(device).await;
    }
    alice.write(&thread, &bob, "a text").await;
    eventually("some are left out", async || {
        server.get("/metrics").await.text.contains("be8_push_total{outcome=\"overflow\"} 3")
    })
    .await;
    eventually("the others wait", async || unfinished(server.setup()).await == 3).await;
}

#[tokio::test]
async fn after_a_time_without_a_server_only_what_is_new_is_pushed() {
    let pair = Pair::new();
    let peer = Peer::start(&pair.public).await;
    let directory = tempfile::tempdir().unwrap();
    let clock = directory.path().join("clock");
    turn(&clock, 0);
    let setup = Setup::on(&fresh_database().await).with("test-clock-file", clock.display());
    // A server that does not push, on the same database: as if the other were down. What was there before the first
    // that pushes is not news.
    let silent = setup.clone().start().await;
    let (alice, bob, thread) = two_people(&silent).await;
    let device = peer.device();
    bob.subscribes(&device).await;
    alice.write(&thread, &bob, "before all pushing").await;
    let pusher = pushes(silent.setup().second(), &peer, &pair).start().await;
    alice.write(&thread, &bob, "the first that is pushed").await;
    peer.wait_for(&device, 1).await;
    all_is_over(&silent).await;
    pusher.terminate();
    pusher.ended().await;
    let carol = Person::sign_up(&silent, "Carol").await;
    let other = carol.start_conversation(&bob).await;
    alice.write(&thread, &bob, "too old").await;
    turn(&clock, DAY - 60);
    carol.write(&other, &bob, "a little old").await;
    turn(&clock, DAY + 60);
    silent.kill().await;
    let server = pushes(setup, &peer, &pair).start().await;
    assert_eq!(peer.wait_for(&device, 2).await, [payload(&alice), payload(&carol)]);
    let ttl = peer.received()[1].ttl;
    assert!((86_400 - 300..=86_400 - 120).contains(&ttl), "what is left of a day: {ttl}");
    alice.at(&server).write(&thread, &bob, "new").await;
    assert_eq!(peer.wait_for(&device, 3).await[2], payload(&alice));
    all_is_over(&server).await;
    assert_eq!(peer.pushes_to(&device).len(), 3);
}

#[tokio::test]
async fn what_waits_too_long_is_given_up() {
    let pair = Pair::new();
    let peer = Peer::start(&pair.public).await;
    let directory = tempfile::tempdir().unwrap();
    let clock = directory.path().join("clock");
    turn(&clock, 0);
    let server = setup(&peer, &pair).await.with("test-clock-file", clock.display()).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let device = peer.device();
    bob.subscribes(&device).await;
    // Longer than a message is worth a push: at once; shorter: when that time has come.
    peer.will(&device, [Manner::RetryAfter(429, 90_000), Manner::RetryAfter(429, 3600)]);
    alice.write(&thread, &bob, "too far ahead").await;
    peer.wait_for(&device, 1).await;
    all_is_over(&server).await;
    alice.write(&thread, &bob, "forgotten").await;
    peer.wait_for(&device, 2).await;
    eventually("it waits", async || waiting(server.setup()).await == 1).await;
    turn(&clock, 2 * DAY);
    all_is_over(&server).await;
    assert_eq!(peer.pushes_to(&device).len(), 2);
    let metrics = server.get("/metrics").await.text;
    for outcome in ["given-up", "expired"] {
        assert!(metrics.contains(&format!("be8_push_total{{outcome=\"{outcome}\"}} 1")), "{outcome}: {metrics}");
    }
}

#[tokio::test]
async fn an_account_that_is_over_gets_nothing() {
    let pair = Pair::new();
    let peer = Peer::start(&pair.public).await;
    let directory = tempfile::tempdir().unwrap();
    let clock = directory.path().join("clock");
    turn(&clock, 0);
    let server = setup(&peer, &pair).await.with("test-clock-file", clock.display());
    let server = server.with("push-lifetime-seconds", 60 * DAY).start().await;
    let (bob, of_bob) = (Person::sign_up(&server, "Bob").await, peer.device());
    bob.subscribes(&of_bob).await;
    turn(&clock, 29 * DAY);
    let (alice, carol) = (Person::sign_up(&server, "Alice").await, Person::sign_up(&server, "Carol").await);
    let of_carol = peer.device();
    carol.subscribes(&of_carol).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    // It waits when the account ends.
    peer.will(&of_bob, [Manner::RetryAfter(503, (2 * DAY) as u32)]);
    alice.says(&group, "while all live").await;
    peer.wait_for(&of_bob, 1).await;
    peer.wait_for(&of_carol, 1).await;
    eventually("it waits", async || waiting(server.setup()).await == 1).await;
    turn(&clock, 33 * DAY);
    alice.says(&group, "while two live").await;
    peer.wait_for(&of_carol, 2).await;
    all_is_over(&server).await;
    assert_eq!(peer.pushes_to(&of_bob).len(), 1);
    assert!(server.get("/metrics").await.text.contains("be8_push_total{outcome=\"moot\"} 1"));
}

/// Shows (docs/protocol.md): What a removal does.
#[tokio::test]
async fn a_removed_account_gets_no_pushes() {
    let Pushing { server, peer, .. } = &Pushing::start().await;
    let [alice, bob, carol] = people(server, ["Alice", "Bob", "Carol"]).await;
    let (of_bob, of_carol) = (peer.device(), peer.device());
    bob.subscribes(&of_bob).await;
    carol.subscribes(&of_carol).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    // It waits for two seconds, and in them the account is removed.
    peer.will(&of_bob, [Manner::RetryAfter(503, 2)]);
    alice.says(&group, "while all are there").await;
    peer.wait_for(&of_bob, 1).await;
    peer.wait_for(&of_carol, 1).await;
    eventually("it waits", async || waiting(server.setup()).await == 1).await;
    assert_eq!(bob.client.post("/destroyacc", &json!({})).await.status, 200);
    alice.says(&group, "while two are there").await;
    peer.wait_for(&of_carol, 2).await;
    all_is_over(server).await;
    assert_eq!(peer.pushes_to(&of_bob).len(), 1);
    let pool = sqlx::PgPool::connect(server.setup().database_url()).await.unwrap();
    let devices: i64 = sqlx::query_scalar("select count(*) from read_1.device").fetch_one(&pool).await.unwrap();
    assert_eq!(devices, 1);
}
