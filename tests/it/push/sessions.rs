//! Whose a device is: it ends with the session that subscribed it, and an endpoint has one account.

use be8::domain::session::{EndSession, OpenSession};
use be8::ledger::ExpectedVersion;
use be8::support::clock::{Clock as _, SystemClock};
use be8_events::device::{DeviceSecret, DeviceSubscribed, Dropped};
use be8_events::session::{Ending, SessionEnded};
use be8_events::{DeviceEvent, Event, Hash32, NewEvent, Sealing, Secret, SecretPayload, StreamName, Subject};
use be8_projections::ReadModels;
use serde_json::json;

use super::peer::{Device, Manner};
use super::{Pushing, device_events, unfinished};
use crate::client::{Client, Person, two_people};
use crate::cluster::fresh_database;
use crate::patience::eventually;
use crate::program::Program;
use crate::rig::{Rig, token};

/// Bob, to whom Alice writes, with a device that ends and one in another session that stays.
struct Scene {
    pushing: Pushing,
    alice: Person,
    bob: Person,
    thread: String,
    ends: Device,
    stays: Device,
    /// The session of the second one.
    other: Client,
    /// How many messages were written.
    written: usize,
}

impl Scene {
    async fn new() -> Self {
        let pushing = Pushing::start().await;
        let (alice, bob, thread) = two_people(&pushing.server).await;
        let (ends, stays) = (pushing.peer.device(), pushing.peer.device());
        bob.subscribes(&ends).await;
        let other = bob.client.clone();
        let mut scene = Self { pushing, alice, bob, thread, ends, stays, other, written: 0 };
        scene.other = scene.login().await;
        assert_eq!(scene.other.post("/subscribe", &scene.stays.subscription()).await.status, 201);
        scene.write().await;
        scene.pushing.peer.wait_for(&scene.ends, 1).await;
        scene
    }

    /// Another session of Bob's.
    async fn login(&self) -> Client {
        let login = json!({ "accID": self.bob.id, "password": self.bob.password });
        let answer = self.pushing.server.post("/login", &login).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        self.pushing.server.client().with_cookie(&cookie)
    }

    /// Writes a message, and waits until the device that stays has it and nothing else is under way.
    async fn write(&mut self) {
        self.alice.write(&self.thread, &self.bob, "a text").await;
        self.written += 1;
        self.pushing.peer.wait_for(&self.stays, self.written).await;
        eventually("all is over", async || unfinished(self.pushing.server.setup()).await == 0).await;
    }

    /// The first device has ended for this reason: nothing is pushed to it any more, after what was pushed before.
    async fn has_ended(&mut self, why: Dropped, before: usize) {
        self.write().await;
        assert_eq!(self.pushing.peer.pushes_to(&self.ends).len(), before, "{why:?}");
        let events = device_events(&self.pushing.server).await;
        let Event::Device(DeviceEvent::DeviceSubscribed(subscribed)) = &events[0] else { panic!("{events:?}") };
        let dropped: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Device(DeviceEvent::DeviceDropped(dropped)) => Some((dropped.endpoint, dropped.why)),
                _ => None,
            })
            .collect();
        assert_eq!(dropped, [(subscribed.endpoint, why)]);
    }
}

/// Shows (docs/protocol.md): Sessions and their devices.
#[tokio::test]
async fn a_device_ends_with_a_logout() {
    let mut scene = Scene::new().await;
    assert_eq!(scene.bob.client.post("/logout", &json!({})).await.status, 200);
    scene.has_ended(Dropped::SessionEnded, 1).await;
}

/// Shows (docs/protocol.md): Sessions and their devices.
#[tokio::test]
async fn a_device_ends_with_a_new_account_in_its_browser() {
    let mut scene = Scene::new().await;
    let account = json!({ "nickname": "Next", "password": "another secret" });
    assert_eq!(scene.bob.client.post("/newacc", &account).await.status, 200);
    scene.has_ended(Dropped::SessionEnded, 1).await;
}

/// Shows (docs/protocol.md): Sessions and their devices.
#[tokio::test]
async fn a_device_ends_with_a_login_of_anybody_in_its_browser() {
    for same in [true, false] {
        let mut scene = Scene::new().await;
        let next = if same { scene.bob.clone() } else { Person::sign_up(&scene.pushing.server, "Next").await };
        let login = json!({ "accID": next.id, "password": next.password });
        let wrong = json!({ "accID": next.id, "password": "a wrong one" });
        assert_eq!(scene.bob.client.post("/login", &wrong).await.status, 401);
        scene.write().await;
        scene.pushing.peer.wait_for(&scene.ends, 2).await;
        assert_eq!(scene.bob.client.post("/login", &login).await.status, 200);
        scene.has_ended(Dropped::SessionEnded, 2).await;
        // The session itself is open, for anyone who still has its cookie.
        assert_eq!(scene.bob.client.get("/me").await.status, 200);
    }
}

#[tokio::test]
async fn devices_end_when_the_operator_ends_the_sessions() {
    let scene = Scene::new().await;
    let setup = scene.pushing.server.setup();
    let (done, said, problem) = setup.command(&["account", "end-sessions", &scene.bob.id], "").await;
    assert!(done && said.contains('2'), "{said} {problem}");
    let events = device_events(&scene.pushing.server).await;
    let ended = |event: &&Event| matches!(event, Event::Device(DeviceEvent::DeviceDropped(e)) if e.why == Dropped::SessionEnded);
    assert_eq!(events.iter().filter(ended).count(), 2);
    scene.alice.write(&scene.thread, &scene.bob, "for nobody").await;
    // A later message to somebody else comes after it in the log.
    let (_, carol, thread) = two_people(&scene.pushing.server).await;
    let device = scene.pushing.peer.device();
    carol.subscribes(&device).await;
    let from = Person::sign_up(&scene.pushing.server, "Dora").await;
    let with = from.start_conversation(&carol).await;
    from.write(&with, &carol, "hello").await;
    scene.pushing.peer.wait_for(&device, 1).await;
    assert_eq!(
        scene.pushing.peer.pushes_to(&scene.ends).len() + scene.pushing.peer.pushes_to(&scene.stays).len(),
        2,
        "{thread}"
    );
}

/// Shows (docs/protocol.md): Sessions and their devices.
#[tokio::test]
async fn an_endpoint_that_another_account_subscribes_leaves_the_former_one() {
    let mut scene = Scene::new().await;
    let carol = Person::sign_up(&scene.pushing.server, "Carol").await;
    // The browser is the same, its keys are new.
    carol.subscribes(&scene.ends.renewed()).await;
    scene.has_ended(Dropped::Taken, 1).await;
    // The log does not say who took it, nor that they are the same.
    let events = device_events(&scene.pushing.server).await;
    let endpoints: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Device(DeviceEvent::DeviceSubscribed(subscribed)) => Some(subscribed.endpoint),
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

#[tokio::test]
async fn what_waits_for_another_attempt_is_not_sent_after_a_logout_on_another_node() {
    let mut scene = Scene::new().await;
    let other = scene.pushing.server.setup().second().start().await;
    scene.pushing.peer.will(&scene.ends, [Manner::RetryAfter(503, 2)]);
    scene.alice.write(&scene.thread, &scene.bob, "a text").await;
    scene.written += 1;
    scene.pushing.peer.wait_for(&scene.ends, 2).await;
    scene.pushing.peer.wait_for(&scene.stays, scene.written).await;
    eventually("one waits", async || unfinished(scene.pushing.server.setup()).await == 1).await;
    assert_eq!(scene.bob.at(&other).client.post("/logout", &json!({})).await.status, 200);
    eventually("all is over", async || unfinished(scene.pushing.server.setup()).await == 0).await;
    scene.has_ended(Dropped::SessionEnded, 2).await;
}

#[tokio::test]
async fn a_device_moves_to_the_newest_session_of_its_account() {
    let mut scene = Scene::new().await;
    // The same browser after its cookie was lost: it logs in again, and subscribes as at each start.
    let again = scene.login().await;
    assert_eq!(again.post("/subscribe", &scene.ends.subscription()).await.status, 201);
    assert_eq!(scene.bob.client.post("/logout", &json!({})).await.status, 200);
    scene.write().await;
    scene.pushing.peer.wait_for(&scene.ends, 2).await;
    assert_eq!(again.post("/logout", &json!({})).await.status, 200);
    scene.has_ended(Dropped::SessionEnded, 2).await;
}

#[tokio::test]
async fn a_request_that_comes_again_takes_no_endpoint_back() {
    let mut scene = Scene::new().await;
    let subscription = scene.pushing.peer.device();
    let body = subscription.subscription();
    let first = scene.bob.client.post_once("/subscribe", &body, "key").await;
    let carol = Person::sign_up(&scene.pushing.server, "Carol").await;
    carol.subscribes(&subscription).await;
    let repeated = scene.bob.client.post_once("/subscribe", &body, "key").await;
    assert_eq!((first.status, repeated.status), (201, 201));
    scene.write().await;
    let thread = scene.alice.start_conversation(&carol).await;
    scene.alice.write(&thread, &carol, "for Carol").await;
    scene.pushing.peer.wait_for(&subscription, 1).await;
    eventually("all is over", async || unfinished(scene.pushing.server.setup()).await == 0).await;
    assert_eq!(scene.pushing.peer.pushes_to(&subscription).len(), 1);
}

#[tokio::test]
async fn an_endpoint_of_two_accounts_is_pushed_to_for_the_one_that_subscribed_last() {
    let mut scene = Scene::new().await;
    // As after an import, or when both subscribe at the same moment: Carol's subscription does not see Bob's.
    let pool = sqlx::PgPool::connect(scene.pushing.server.setup().database_url()).await.unwrap();
    sqlx::query("delete from push_endpoints").execute(&pool).await.unwrap();
    let carol = Person::sign_up(&scene.pushing.server, "Carol").await;
    carol.subscribes(&scene.ends).await;
    assert!(
        !device_events(&scene.pushing.server)
            .await
            .iter()
            .any(|event| matches!(event, Event::Device(DeviceEvent::DeviceDropped(_))))
    );
    scene.has_ended(Dropped::Taken, 1).await;
    // What was lost comes back with the next start of a client, and is no event after that.
    let count = async || device_events(&scene.pushing.server).await.len();
    let before = count().await;
    for expected in [before + 1, before + 1] {
        assert_eq!(scene.other.post("/subscribe", &scene.stays.subscription()).await.status, 201);
        assert_eq!(count().await, expected);
    }
}

#[tokio::test]
async fn devices_of_an_older_log_end_with_any_session_of_the_account() {
    let database = fresh_database().await;
    let rig = Rig::on(&database.url).await;
    let node = rig.node().await;
    let account = node.account(1).await;
    let created = rig.events().await.into_iter().find(|one| one.event.kind() == "AccountCreated").unwrap();
    let checked = created.position;
    let login = |nth| OpenSession { account, checked, session: token(nth), displaces: Vec::new(), replaces: None };
    node.ledger.execute(login(2)).await.unwrap();
    // Version 1 of the event did not record the session; the version of today can be without one, too.
    let secret = DeviceSecret { endpoint: "https://push".to_owned(), p256dh: "BA".to_owned(), auth: "AA".to_owned() };
    let subscribed = |nth: u8| {
        let (endpoint, subscription) = (Hash32([nth; 32]), Hash32([100 + nth; 32]));
        let secret = SecretPayload::new(Sealing::Lasting(Subject::Account(account)), &Secret::new(secret.clone()));
        let event = DeviceSubscribed { endpoint, subscription, session: None }.into();
        NewEvent { stream: StreamName::Devices(account), actor: Some(account), event, secret: Some(secret) }
    };
    let append =
        async |event: NewEvent| node.ledger.append(event.stream, ExpectedVersion::Any, vec![event]).await.unwrap();
    append(subscribed(1)).await;
    // It ended without its devices, as it did then.
    let ended = SessionEnded { account, why: Ending::LoggedOut }.into();
    let session = StreamName::Session(token(2));
    append(NewEvent { stream: session, actor: Some(account), event: ended, secret: None }).await;
    append(subscribed(2)).await;
    let read = ReadModels::new(rig.pool.clone());
    let devices = async || read.devices(&[account], SystemClock.now()).await.unwrap().found.len();
    assert_eq!(devices().await, 1);
    // Rules of today apply to it.
    node.ledger.execute(login(3)).await.unwrap();
    node.ledger.execute(EndSession { session: Some(token(3)) }).await.unwrap();
    assert_eq!(devices().await, 0);
    let dropped = rig
        .events()
        .await
        .into_iter()
        .filter(|one| matches!(one.event, Event::Device(DeviceEvent::DeviceDropped(_))))
        .count();
    assert_eq!(dropped, 2);
    // A rebuild finds the same.
    let program = Program::on(&database.url, &rig.master_key());
    let said = program.run(&["rebuild", "devices"]).await.fine();
    assert!(said.contains("equal to the ones before"), "{said}");
}
