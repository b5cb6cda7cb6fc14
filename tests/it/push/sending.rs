//! Whom a message is pushed to, and what they receive.

use std::collections::BTreeSet;

use super::peer::Device;
use super::{Pushing, payload, unfinished};
use crate::client::{Person, two_people};
use crate::cluster::fresh_database;
use crate::groups::people;
use crate::patience::eventually;
use crate::server::Setup;

/// Shows (docs/protocol.md): Writing a message; Pushes.
#[tokio::test]
async fn all_devices_of_the_receiver_get_the_name_of_the_author() {
    let Pushing { server, peer, .. } = &Pushing::start().await;
    let (alice, bob, thread) = two_people(server).await;
    let (first, second) = (peer.device(), peer.device_at("fcm.googleapis.com"));
    let of_alice = peer.device_at("web.push.apple.com");
    bob.subscribes(&first).await;
    bob.subscribes(&second).await;
    alice.subscribes(&of_alice).await;
    alice.write(&thread, &bob, "a text").await;
    assert_eq!(peer.wait_for(&first, 1).await, [payload(&alice)]);
    assert_eq!(peer.wait_for(&second, 1).await, [payload(&alice)]);
    assert!(peer.pushes_to(&of_alice).is_empty(), "who writes is not notified");
    bob.write(&thread, &alice, "an answer").await;
    assert_eq!(peer.wait_for(&of_alice, 1).await, [payload(&bob)]);
    alice.write(&thread, &bob, "another text").await;
    peer.wait_for(&first, 2).await;
    peer.wait_for(&second, 2).await;

    let received = peer.received();
    for push in &received {
        assert_eq!(push.urgency, "high");
        assert!((86_000..=86_400).contains(&push.ttl), "{}", push.ttl);
    }
    // One topic for each reader and thread: the same every time, another one for everybody else.
    let topics = |device: &Device| {
        let of = received.iter().filter(|push| push.endpoint == device.endpoint());
        of.map(|push| push.topic.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(topics(&first).len(), 1);
    assert_eq!(topics(&first), topics(&second));
    assert_ne!(topics(&first), topics(&of_alice));
    let carol = Person::sign_up(server, "Carol").await;
    let other = carol.start_conversation(&bob).await;
    carol.write(&other, &bob, "from somebody else").await;
    assert_eq!(peer.wait_for(&first, 3).await[2], payload(&carol));
    let topic = &peer.received().iter().rfind(|push| push.endpoint == first.endpoint()).unwrap().topic.clone();
    assert!(!topics(&first).contains(topic));
    eventually("all is over", async || unfinished(server.setup()).await == 0).await;
}

/// Shows (docs/protocol.md): Pushes.
#[tokio::test]
async fn in_a_group_all_members_but_the_sender_get_a_push() {
    let Pushing { server, peer, .. } = &Pushing::start().await;
    let [alice, bob, carol, dave, eve] = people(server, ["Alice", "Bob", "Carol", "Dave", "Eve"]).await;
    let devices = [peer.device(), peer.device(), peer.device(), peer.device(), peer.device()];
    for (person, device) in [&alice, &bob, &carol, &dave, &eve].into_iter().zip(&devices) {
        person.subscribes(device).await;
    }
    let group = alice.founds().await;
    for person in [&bob, &carol, &dave] {
        person.enters(&group).await;
    }
    dave.leaves(&group).await;
    bob.says(&group, "to all of you").await;
    assert_eq!(peer.wait_for(&devices[0], 1).await, [payload(&bob)]);
    assert_eq!(peer.wait_for(&devices[2], 1).await, [payload(&bob)]);
    eve.enters(&group).await;
    alice.says(&group, "to Eve too").await;
    for (device, from) in [(&devices[1], &alice), (&devices[4], &alice)] {
        assert_eq!(peer.wait_for(device, 1).await, [payload(from)]);
    }
    peer.wait_for(&devices[2], 2).await;
    assert_eq!(peer.pushes_to(&devices[0]).len(), 1);
    assert!(peer.pushes_to(&devices[3]).is_empty(), "who left is not notified");
    // Joining and leaving are no messages.
    assert_eq!(peer.received().len(), 5);
}

/// Shows (docs/protocol.md): Pushes.
#[tokio::test]
async fn without_a_key_pair_nothing_is_sent() {
    let server = Setup::on(&fresh_database().await).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    bob.subscribes(&Device::new()).await;
    alice.write(&thread, &bob, "a text").await;
    assert_eq!(unfinished(server.setup()).await, 0);
    assert!(!server.get("/metrics").await.text.contains("be8_push_total{"));
}

/// Shows (docs/protocol.md): Push services.
#[tokio::test]
async fn endpoints_that_are_not_on_the_list_get_nothing() {
    let hosts = "push.example.org,*.push.example.net";
    let Pushing { server, peer, .. } = &Pushing::start_with(|setup| setup.with("push-hosts", hosts)).await;
    let (alice, bob, thread) = two_people(server).await;
    let allowed = [peer.device_at("push.example.org"), peer.device_at("a.push.example.net")];
    let hosts = ["127.0.0.1", "localhost", "push.example.org:8443", "push.example.net", "fcm.googleapis.com", "[::1]"];
    let others = hosts.map(|host| peer.device_at(host));
    for device in allowed.iter().chain(&others) {
        bob.subscribes(device).await;
    }
    alice.write(&thread, &bob, "a text").await;
    for device in &allowed {
        peer.wait_for(device, 1).await;
    }
    eventually("all is over", async || unfinished(server.setup()).await == 0).await;
    assert_eq!(peer.received().len(), 2);
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains("be8_push_total{outcome=\"forbidden\"} 6"), "{metrics}");
    // That something is subscribed there is known before anybody writes.
    for line in ["be8_push_subscriptions_total{listed=\"no\"} 6", "be8_push_subscriptions_total{listed=\"yes\"} 2"] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn a_renewed_subscription_is_used() {
    let Pushing { server, peer, .. } = &Pushing::start().await;
    let (alice, bob, thread) = two_people(server).await;
    let device = peer.device();
    bob.subscribes(&device).await;
    alice.write(&thread, &bob, "a text").await;
    peer.wait_for(&device, 1).await;
    let renewed = device.renewed();
    peer.knows(&renewed);
    bob.subscribes(&renewed).await;
    alice.write(&thread, &bob, "for the new keys").await;
    // What is not encrypted for them cannot be read, and would be a fault.
    assert_eq!(peer.wait_for(&renewed, 2).await.len(), 2);
}

#[tokio::test]
async fn nothing_of_a_push_is_logged() {
    let Pushing { server, peer, .. } =
        &Pushing::start_with(|setup| setup.with("log", "trace,web_push=trace,web_push::vapid=trace,ece=trace")).await;
    let (alice, bob, thread) = two_people(server).await;
    let (device, refuses, gone) = (peer.device(), peer.device(), peer.device());
    peer.will(&refuses, [super::peer::Manner::Status(400)]);
    peer.will(&gone, [super::peer::Manner::Status(410)]);
    for device in [&device, &refuses, &gone] {
        bob.subscribes(device).await;
    }
    alice.write(&thread, &bob, "a text").await;
    for device in [&device, &refuses, &gone] {
        peer.wait_for(device, 1).await;
    }
    eventually("all is over", async || unfinished(server.setup()).await == 0).await;
    let log = server.setup().log();
    assert!(log.contains("TRACE"), "nothing is traced");
    let metrics = server.get("/metrics").await.text;
    for secret in [&device, &refuses, &gone].into_iter().flat_map(Device::secrets).chain(["vapid t=".to_owned()]) {
        assert!(!log.contains(&secret), "{secret} is in the log");
        assert!(!metrics.contains(&secret), "{secret} is in the measurements");
    }
    for topic in peer.received().iter().map(|push| &push.topic) {
        assert!(!log.contains(topic), "{topic} is in the log");
    }
}
