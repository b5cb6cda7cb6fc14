//! Whose a device is: it ends with the session that subscribed it, and an endpoint has one account.

use be8_events::Event;
use be8_events::device::Dropped;
use serde_json::json;

use super::peer::Device;
use super::{Pushing, device_events, unfinished};
use crate::client::{Person, two_people};
use crate::patience::eventually;

/// Bob, to whom Alice writes, with a device that ends and one in another session that stays.
struct Scene {
    pushing: Pushing,
    alice: Person,
    bob: Person,
    thread: String,
    ends: Device,
    stays: Device,
    /// How many messages were written.
    written: usize,
}

impl Scene {
    async fn new() -> Self {
        let pushing = Pushing::start().await;
        let (alice, bob, thread) = two_people(&pushing.server).await;
        let (ends, stays) = (pushing.peer.device(), pushing.peer.device());
        bob.subscribes(&ends).await;
        let mut scene = Self { pushing, alice, bob, thread, ends, stays, written: 0 };
        let login = json!({ "accID": scene.bob.id, "password": scene.bob.password });
        let other = scene.pushing.server.post("/login", &login).await;
        assert_eq!(other.status, 200, "{}", other.text);
        let cookie = other.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let other = scene.pushing.server.client().with_cookie(&cookie);
        assert_eq!(other.post("/subscribe", &scene.stays.subscription()).await.status, 201);
        scene.write().await;
        scene.pushing.peer.tells(&scene.ends, 1).await;
        scene
    }

    /// Writes a message, and waits until the device that stays has it and nothing else is under way.
    async fn write(&mut self) {
        self.alice.write(&self.thread, &self.bob, "a text").await;
        self.written += 1;
        self.pushing.peer.tells(&self.stays, self.written).await;
        eventually("all is over", async || unfinished(self.pushing.server.setup()).await == 0).await;
    }

    /// The first device has ended for this reason: nothing is pushed to it any more.
    async fn has_ended(&mut self, why: Dropped) {
        self.write().await;
        assert_eq!(self.pushing.peer.told(&self.ends).len(), 1, "{why:?}");
        let events = device_events(&self.pushing.server).await;
        let Event::DeviceSubscribed(subscribed) = &events[0] else { panic!("{events:?}") };
        let dropped: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::DeviceDropped(dropped) => Some((dropped.endpoint, dropped.why)),
                _ => None,
            })
            .collect();
        assert_eq!(dropped, [(subscribed.endpoint, why)]);
    }
}

#[tokio::test]
async fn a_device_ends_with_a_logout() {
    let mut scene = Scene::new().await;
    assert_eq!(scene.bob.client.post("/logout", &json!({})).await.status, 200);
    scene.has_ended(Dropped::SessionEnded).await;
}

#[tokio::test]
async fn a_device_ends_with_a_new_account_in_its_browser() {
    let mut scene = Scene::new().await;
    let account = json!({ "nickname": "Next", "password": "another secret" });
    assert_eq!(scene.bob.client.post("/newacc", &account).await.status, 200);
    scene.has_ended(Dropped::SessionEnded).await;
}

#[tokio::test]
async fn devices_end_when_the_operator_ends_the_sessions() {
    let scene = Scene::new().await;
    let setup = scene.pushing.server.setup();
    let (done, said, problem) = setup.command(&["account", "end-sessions", &scene.bob.id], "").await;
    assert!(done && said.contains('2'), "{said} {problem}");
    let events = device_events(&scene.pushing.server).await;
    let ended = |event: &&Event| matches!(event, Event::DeviceDropped(e) if e.why == Dropped::SessionEnded);
    assert_eq!(events.iter().filter(ended).count(), 2);
    scene.alice.write(&scene.thread, &scene.bob, "for nobody").await;
    // A later message to somebody else comes after it in the log.
    let (_, carol, thread) = two_people(&scene.pushing.server).await;
    let device = scene.pushing.peer.device();
    carol.subscribes(&device).await;
    let from = Person::sign_up(&scene.pushing.server, "Dora").await;
    let with = from.start_conversation(&carol).await;
    from.write(&with, &carol, "hello").await;
    scene.pushing.peer.tells(&device, 1).await;
    assert_eq!(scene.pushing.peer.told(&scene.ends).len() + scene.pushing.peer.told(&scene.stays).len(), 2, "{thread}");
}

#[tokio::test]
async fn an_endpoint_that_another_account_subscribes_leaves_the_former_one() {
    let mut scene = Scene::new().await;
    let carol = Person::sign_up(&scene.pushing.server, "Carol").await;
    // The browser is the same, its keys are new.
    carol.subscribes(&scene.ends.renewed()).await;
    scene.has_ended(Dropped::Taken).await;
    // The log does not say who took it, nor that they are the same.
    let events = device_events(&scene.pushing.server).await;
    let endpoints: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::DeviceSubscribed(subscribed) => Some(subscribed.endpoint),
            _ => None,
        })
        .collect();
    assert!(endpoints.len() == 3 && endpoints[0] != endpoints[2], "{endpoints:?}");
    // Nothing is left of it once its account is gone.
    let count = "select count(*) from push_endpoints";
    let pool = sqlx::PgPool::connect(scene.pushing.server.setup().database_url()).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap(), 2);
    for person in [&carol, &scene.bob] {
        assert_eq!(person.client.get("/destroyacc").await.status, 200);
    }
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap(), 0);
}
