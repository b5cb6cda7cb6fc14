//! What the answers of a push service lead to.

use std::time::Duration;

use be8_events::device::Dropped;
use be8_events::{DeviceEvent, Event};

use super::peer::{Device, Manner, Peer};
use super::{Pushing, device_events, payload, unfinished};
use crate::client::{Person, two_people};
use crate::patience::eventually;
use crate::server::Server;

/// A device of somebody to whom somebody else writes.
struct Scene {
    pushing: Pushing,
    alice: Person,
    bob: Person,
    thread: String,
    device: Device,
}

impl Scene {
    async fn new() -> Self {
        let pushing = Pushing::start().await;
        let (alice, bob, thread) = two_people(&pushing.server).await;
        let device = pushing.peer.device();
        bob.subscribes(&device).await;
        Self { pushing, alice, bob, thread, device }
    }

    fn server(&self) -> &Server {
        &self.pushing.server
    }

    fn peer(&self) -> &Peer {
        &self.pushing.peer
    }

    async fn write(&self) {
        self.alice.write(&self.thread, &self.bob, "a text").await;
    }

    /// Waits until nothing is to be done any more.
    async fn all_is_over(&self) {
        eventually("all is over", async || unfinished(self.server().setup()).await == 0).await;
    }

    async fn counted(&self, outcome: &str) -> bool {
        let metrics = self.server().get("/metrics").await.text;
        metrics.contains(&format!("be8_push_total{{outcome=\"{outcome}\"}}"))
    }
}

/// Shows (docs/protocol.md): Push services.
#[tokio::test]
async fn a_device_that_is_gone_is_dropped() {
    for status in [404, 410] {
        let scene = Scene::new().await;
        let stays = scene.peer().device();
        scene.bob.subscribes(&stays).await;
        scene.peer().always(&scene.device, Some(Manner::Status(status)));
        scene.write().await;
        scene.peer().wait_for(&scene.device, 1).await;
        scene.all_is_over().await;
        let events = device_events(scene.server()).await;
        let [
            Event::Device(DeviceEvent::DeviceSubscribed(subscribed)),
            _,
            Event::Device(DeviceEvent::DeviceDropped(dropped)),
        ] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!((dropped.endpoint, dropped.why), (subscribed.endpoint, Dropped::Gone));
        scene.write().await;
        scene.peer().wait_for(&stays, 2).await;
        scene.all_is_over().await;
        assert_eq!(scene.peer().pushes_to(&scene.device).len(), 1, "{status}");
        assert!(scene.counted("gone").await);
        // It may come back.
        scene.peer().always(&scene.device, None);
        scene.bob.subscribes(&scene.device).await;
        scene.write().await;
        scene.peer().wait_for(&scene.device, 2).await;
    }
}

#[tokio::test]
async fn a_refused_push_is_not_repeated_and_the_device_stays() {
    let scene = Scene::new().await;
    let cases = [
        (413, "too-large"),
        (400, "refused"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (301, "refused"),
        (307, "refused"),
    ];
    for (nth, (status, outcome)) in cases.into_iter().enumerate() {
        scene.peer().will(&scene.device, [Manner::Status(status)]);
        scene.write().await;
        scene.peer().wait_for(&scene.device, nth + 1).await;
        scene.all_is_over().await;
        assert!(scene.counted(outcome).await, "{status}");
    }
    scene.write().await;
    scene.peer().wait_for(&scene.device, cases.len() + 1).await;
    scene.all_is_over().await;
    assert_eq!(scene.peer().pushes_to(&scene.device).len(), cases.len() + 1);
    assert_eq!(device_events(scene.server()).await.len(), 1);
    // Told once, and not for each push.
    let log = scene.server().setup().log();
    assert_eq!(log.matches("may not accept our VAPID key pair").count(), 1, "{log}");
}

/// Shows (docs/protocol.md): Push services.
#[tokio::test]
async fn what_was_not_accepted_is_sent_again_until_it_is() {
    let scene = Scene::new().await;
    scene.peer().will(&scene.device, [Manner::RetryAfter(429, 1), Manner::Status(500), Manner::RetryAfter(503, 1)]);
    scene.write().await;
    assert_eq!(scene.peer().wait_for(&scene.device, 4).await, vec![payload(&scene.alice); 4]);
    scene.all_is_over().await;
    assert_eq!(scene.peer().pushes_to(&scene.device).len(), 4);
    assert!(scene.counted("not-now").await && scene.counted("accepted").await);
}

#[tokio::test]
async fn a_service_that_wants_to_be_left_alone_is() {
    let scene = Scene::new().await;
    let other = scene.peer().device();
    scene.bob.subscribes(&other).await;
    scene.peer().will(&scene.device, [Manner::RetryAfter(429, 1000)]);
    scene.write().await;
    scene.peer().wait_for(&scene.device, 1).await;
    scene.peer().wait_for(&other, 1).await;
    // What is written meanwhile takes the place of what waits, and waits as long.
    for nth in 2..6 {
        scene.write().await;
        scene.peer().wait_for(&other, nth).await;
    }
    assert_eq!(scene.peer().pushes_to(&scene.device).len(), 1);
    eventually("it alone waits", async || unfinished(scene.server().setup()).await == 1).await;
    assert_eq!(scene.peer().pushes_to(&scene.device).len(), 1);
}

#[tokio::test]
async fn a_late_answer_is_an_answer_and_a_lost_one_counts_as_sent() {
    let scene = Scene::new().await;
    scene.peer().will(&scene.device, [Manner::Slow(Duration::from_millis(700)), Manner::Never, Manner::HangUp]);
    for nth in 1..=3 {
        scene.write().await;
        scene.peer().wait_for(&scene.device, nth).await;
        scene.all_is_over().await;
        assert_eq!(scene.peer().pushes_to(&scene.device).len(), nth, "sent again");
    }
    assert!(scene.counted("accepted").await && scene.counted("lost").await);
    // The device stays.
    scene.write().await;
    scene.peer().wait_for(&scene.device, 4).await;
    assert_eq!(device_events(scene.server()).await.len(), 1);
}

#[tokio::test]
async fn a_device_that_is_refused_to_again_and_again_is_dropped() {
    let pushing = Pushing::start_with(|setup| setup.with("push-timeout-seconds", 2).with("push-refusals", 3)).await;
    let (alice, bob, thread) = two_people(&pushing.server).await;
    let [dead, unknown, alive] = [pushing.peer.device(), pushing.peer.device(), pushing.peer.device()];
    for device in [&dead, &unknown, &alive] {
        bob.subscribes(device).await;
    }
    pushing.peer.always(&dead, Some(Manner::Status(400)));
    pushing.peer.always(&unknown, Some(Manner::Status(403)));
    let write = async |nth: usize| {
        alice.write(&thread, &bob, "a text").await;
        pushing.peer.wait_for(&alive, nth).await;
        eventually("all is over", async || unfinished(pushing.server.setup()).await == 0).await;
    };
    // Which devices were dropped, by the order in which they subscribed.
    let dropped = async || {
        let events = device_events(&pushing.server).await;
        let subscribed: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Device(DeviceEvent::DeviceSubscribed(e)) => Some(e.endpoint),
                _ => None,
            })
            .collect();
        let nth = |event: &Event| match event {
            Event::Device(DeviceEvent::DeviceDropped(e)) if e.why == Dropped::Refused => {
                subscribed.iter().position(|of| *of == e.endpoint)
            }
            _ => None,
        };
        events.iter().filter_map(nth).collect::<std::collections::BTreeSet<_>>()
    };
    write(1).await;
    write(2).await;
    // One that is accepted begins the count again.
    pushing.peer.always(&dead, None);
    write(3).await;
    assert!(!dropped().await.contains(&0));
    pushing.peer.always(&dead, Some(Manner::Status(400)));
    for nth in 4..=8 {
        write(nth).await;
    }
    assert_eq!(dropped().await, [0, 1].into());
    assert_eq!(pushing.peer.pushes_to(&dead).len(), 6);
    // The first one to be refused by 403 may have come before the service accepted any.
    assert!((3..=4).contains(&pushing.peer.pushes_to(&unknown).len()));
    // Others are pushed to there, so the key is right.
    assert!(!pushing.server.setup().log().contains("a push service refuses every push: it may"));
    let refusals = "select count(*) from push_refusals";
    let pool = sqlx::PgPool::connect(pushing.server.setup().database_url()).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i64>(refusals).fetch_one(&pool).await.unwrap(), 0);
    // The browser subscribes again at its next start, now with the right key.
    pushing.peer.always(&dead, None);
    bob.subscribes(&dead).await;
    write(9).await;
    pushing.peer.wait_for(&dead, 7).await;
}

#[tokio::test]
async fn a_key_that_a_service_does_not_know_raises_one_alarm() {
    for status in [400, 401, 403] {
        let scene = Scene::new().await;
        let other = scene.peer().device();
        scene.bob.subscribes(&other).await;
        for device in [&scene.device, &other] {
            scene.peer().always(device, Some(Manner::Status(status)));
        }
        for nth in 1..=4 {
            scene.write().await;
            scene.peer().wait_for(&scene.device, nth).await;
            scene.peer().wait_for(&other, nth).await;
            scene.all_is_over().await;
        }
        let log = scene.server().setup().log();
        let alarms: Vec<&str> = log.lines().filter(|line| line.contains("a push service refuses every push")).collect();
        assert!(matches!(alarms[..], [line] if line.contains("ERROR") && line.contains("key")), "{status}: {log}");
        assert!(
            !device_events(scene.server())
                .await
                .iter()
                .any(|event| matches!(event, Event::Device(DeviceEvent::DeviceDropped(_))))
        );
        let gauge = async |value: &str| {
            let metrics = scene.server().get("/metrics").await.text;
            metrics.lines().any(|line| line.starts_with("be8_push_key_refused{") && line.ends_with(value))
        };
        assert!(gauge("} 1").await, "{status}");
        scene.peer().always(&scene.device, None);
        scene.write().await;
        scene.peer().wait_for(&scene.device, 5).await;
        scene.all_is_over().await;
        eventually("the alarm is over", async || gauge("} 0").await).await;
    }
}
