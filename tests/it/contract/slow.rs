//! A reader that does not read: its stream is cut, and it comes back without having missed anything.

use std::collections::BTreeSet;

use reqwest::Method;

use crate::client::two_people;
use crate::cluster::fresh_database;
use crate::server::Setup;
use crate::sse::EventStream;

/// Shows (docs/protocol.md): Resuming with an id.
#[tokio::test]
async fn a_reader_that_stands_still_is_cut_off_and_resumes() {
    let setup = Setup::on(&fresh_database().await).with("events-queue", 8);
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let newest = server.metric("be8_log_position").await.to_string();
    let request = bob.client.request(Method::GET, "/events").header("Last-Event-ID", newest);
    let mut slow = EventStream::open_narrow(request).await;
    let mut written = 0;
    // The kernel's buffers take a good deal before anything waits.
    while server.metric("be8_feed_slow_readers_total").await == 0.0 {
        assert!(written < 30_000, "nobody is held to be slow");
        alice.write_many(&thread, &bob, 100).await;
        written += 100;
    }
    assert_eq!(server.metric("be8_feed_streams").await, 0.0, "nothing waits for it any more");

    let received = slow.rest().await;
    assert!(!received.is_empty() && received.len() < written);
    let mut resumed = bob.client.events_after(&received.last().unwrap().id).await;
    let missed = resumed.events(written - received.len()).await;
    let all: Vec<&str> = received.iter().chain(&missed).map(|event| &*event.id).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), written, "as many as were written, and none twice");
    // In the order of the log, which is sent again from any place.
    for (n, part) in all.windows(501).enumerate().step_by(500) {
        let again = bob.client.events_after(part[0]).await.ids(500).await;
        assert_eq!(again, part[1..], "after the change {n}");
    }
    alice.write(&thread, &bob, "live").await;
    assert_eq!(resumed.event().await, bob.client.newest_change().await);
}
