//! Sudden death, two nodes, and push services that are away: nothing is sent twice, nothing is lost that was not accepted.

use sqlx::{Connection as _, PgConnection};

use super::peer::{Device, Manner, Peer};
use super::{Pair, Pushing, payload, setup, unfinished};
use crate::client::{Person, two_people};
use crate::patience::eventually;
use crate::server::{Server, Setup};

/// Waits until nothing is to be done any more.
async fn all_is_over(server: &Server) {
    eventually("all is over", async || unfinished(server.setup()).await == 0).await;
}

/// How many deliveries are recorded as sent and have no answer.
async fn recorded_as_sent(setup: &Setup) -> i64 {
    let mut connection = PgConnection::connect(setup.database_url()).await.unwrap();
    sqlx::query_scalar("select count(*) from push_attempts where sent").fetch_one(&mut connection).await.unwrap()
}

/// Two people and a device of the second one.
async fn scene(server: &Server, peer: &Peer) -> (Person, Person, String, Device) {
    let (alice, bob, thread) = two_people(server).await;
    let device = peer.device();
    bob.subscribes(&device).await;
    (alice, bob, thread, device)
}

#[tokio::test]
async fn killed_between_sending_and_the_answer_it_is_not_sent_again() {
    let Pushing { server, peer, _pair } = Pushing::start().await;
    let (alice, bob, thread, device) = scene(&server, &peer).await;
    peer.will(&device, [Manner::Never]);
    alice.write(&thread, &bob, "once").await;
    peer.wait_for(&device, 1).await;
    let server = server.kill().await.start().await;
    all_is_over(&server).await;
    // The next one comes after all that might be sent again.
    alice.at(&server).write(&thread, &bob, "the next").await;
    peer.wait_for(&device, 2).await;
    all_is_over(&server).await;
    assert_eq!(peer.pushes_to(&device).len(), 2);
}

#[tokio::test]
async fn killed_between_recording_and_sending_it_is_not_sent_later() {
    let Pushing { server, peer, _pair } = Pushing::start().await;
    let (alice, bob, thread, device) = scene(&server, &peer).await;
    // Not accepted at first, so that it waits; then held up right after the record of the second attempt.
    peer.will(&device, [Manner::RetryAfter(500, 2)]);
    alice.write(&thread, &bob, "once").await;
    peer.wait_for(&device, 1).await;
    let url = server.setup().database_url().to_owned();
    let mut hold = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("begin; lock table read_1.device in access exclusive mode").execute(&mut hold).await.unwrap();
    eventually("the first answer is settled", async || recorded_as_sent(server.setup()).await == 0).await;
    eventually("the second attempt is recorded", async || recorded_as_sent(server.setup()).await == 1).await;
    assert_eq!(peer.pushes_to(&device).len(), 1, "it is recorded before it is sent");
    let setup = server.kill().await;
    drop(hold);
    let server = setup.start().await;
    all_is_over(&server).await;
    alice.at(&server).write(&thread, &bob, "the next").await;
    peer.wait_for(&device, 2).await;
    all_is_over(&server).await;
    assert_eq!(peer.pushes_to(&device).len(), 2);
}

#[tokio::test]
async fn what_was_not_accepted_outlives_the_server() {
    let Pushing { server, peer, _pair } = Pushing::start().await;
    let (alice, bob, thread, device) = scene(&server, &peer).await;
    peer.will(&device, [Manner::RetryAfter(429, 3)]);
    alice.write(&thread, &bob, "in the end").await;
    peer.wait_for(&device, 1).await;
    eventually("the answer is settled", async || recorded_as_sent(server.setup()).await == 0).await;
    assert_eq!(unfinished(server.setup()).await, 1);
    let server = server.kill().await.start().await;
    assert_eq!(peer.wait_for(&device, 2).await, [payload(&alice), payload(&alice)]);
    all_is_over(&server).await;
}

#[tokio::test]
async fn a_message_that_was_written_last_of_all_is_pushed_after_a_kill() {
    let Pushing { server, mut peer, _pair } = Pushing::start().await;
    let (alice, bob, thread, device) = scene(&server, &peer).await;
    peer.leave().await;
    alice.write(&thread, &bob, "and then it dies").await;
    let setup = server.kill().await;
    peer.come_back().await;
    let server = setup.start().await;
    peer.wait_for(&device, 1).await;
    all_is_over(&server).await;
    assert_eq!(peer.pushes_to(&device).len(), 1);
}

#[tokio::test]
async fn a_stopped_server_waits_for_answers_that_are_under_way() {
    let Pushing { server, peer, _pair } = Pushing::start().await;
    let (alice, bob, thread, device) = scene(&server, &peer).await;
    peer.will(&device, [Manner::Slow(std::time::Duration::from_millis(800))]);
    alice.write(&thread, &bob, "a text").await;
    peer.wait_for(&device, 1).await;
    server.terminate();
    let (setup, status) = server.ended().await;
    assert!(status.success());
    assert_eq!(unfinished(&setup).await, 0);
}

#[tokio::test]
async fn a_service_that_is_away_holds_up_nobody_and_gets_the_newest_in_the_end() {
    let Pushing { server, mut peer, _pair } = Pushing::start().await;
    let (alice, bob, thread, device) = scene(&server, &peer).await;
    peer.leave().await;
    for nth in 0..50 {
        assert_eq!(alice.write(&thread, &bob, &format!("text {nth}")).await, nth + 2);
    }
    eventually("it was tried", async || server.metric("be8_push_total").await > 0.0).await;
    let carol = Person::sign_up(&server, "Carol").await;
    let other = carol.start_conversation(&bob).await;
    carol.write(&other, &bob, "a text").await;
    peer.come_back().await;
    // One for each thread, however many were written meanwhile.
    let mut received = peer.wait_for(&device, 2).await;
    all_is_over(&server).await;
    assert_eq!(peer.pushes_to(&device).len(), 2);
    received.sort_by_key(|push| push["nickname"].to_string());
    assert_eq!(received, [payload(&alice), payload(&carol)]);
}

#[tokio::test]
async fn of_two_nodes_one_pushes_and_the_other_takes_over() {
    let pair = Pair::new();
    let peer = Peer::start(&pair.public).await;
    let first = setup(&peer, &pair).await.start().await;
    let second = first.setup().second().start().await;
    let (alice, bob, thread, device) = scene(&first, &peer).await;
    let mut expected = 0;
    for server in [&first, &second, &first, &second] {
        alice.at(server).write(&thread, &bob, "once").await;
        expected += 1;
        peer.wait_for(&device, expected).await;
        all_is_over(server).await;
        assert_eq!(peer.pushes_to(&device).len(), expected, "sent twice");
    }
    // The first one got the lead, since it was alone.
    first.kill().await;
    alice.at(&second).write(&thread, &bob, "to the other").await;
    peer.wait_for(&device, expected + 1).await;
    all_is_over(&second).await;
    assert_eq!(peer.pushes_to(&device).len(), expected + 1);
}
