//! `/subscribe`, and the key pair of the server.

use be8_events::device::Dropped;
use be8_events::{DeviceEvent, Event};
use serde_json::{Value, json};
use tokio::process::Command;

use super::peer::Device;
use super::{Pair, Pushing, device_events};
use crate::client::{Person, two_people};
use crate::cluster::fresh_database;
use crate::contract::{no_text, refuses};
use crate::patience::within;
use crate::server::{Server, Setup};

/// Shows (docs/protocol.md): Subscriptions.
#[tokio::test]
async fn a_subscription_is_checked_as_the_protocol_says() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let device = Device::new();
    let body = device.subscription();
    let refused = "400 INVALIDSUBSCRIBE";
    let expiry = [json!(""), json!(true), json!(false), json!({}), json!([]), json!(1234), json!(0), json!("null")];
    refuses(&alice.client, "/subscribe", &body, "expirationTime", &expiry, refused).await;
    let mut endpoints = no_text();
    for text in
        ["https", "https://", "http://https.example.org/x", "ftp://https/", "https:/x", &"https://a.b/".repeat(171)]
    {
        endpoints.push(json!(text));
    }
    refuses(&alice.client, "/subscribe", &body, "endpoint", &endpoints, refused).await;
    refuses(&alice.client, "/subscribe", &body, "keys", &no_text(), refused).await;
    for name in ["p256dh", "auth"] {
        let other = if name == "auth" { &body["keys"]["p256dh"] } else { &body["keys"]["auth"] };
        let short = json!(body["keys"][name].as_str().unwrap().split_at(8).0);
        let not_base64 = json!("!".repeat(if name == "auth" { 22 } else { 87 }));
        let mut wrong: Vec<Value> = no_text().into_iter().chain([other.clone(), short, not_base64]).collect();
        if name == "p256dh" {
            wrong.push(json!("B".repeat(87))); // 65 bytes, and no point of the curve
        }
        for value in wrong.into_iter().map(Some).chain([None]) {
            let mut body = body.clone();
            match value {
                Some(value) => body["keys"][name] = value,
                None => _ = body["keys"].as_object_mut().unwrap().remove(name),
            }
            assert_eq!(alice.client.post("/subscribe", &body).await.verdict(), refused, "{body}");
        }
    }
    assert_eq!(alice.client.post("/subscribe", &json!({})).await.verdict(), refused);
    assert_eq!(alice.client.post("/subscribe", &json!([])).await.verdict(), refused);
    // A session is asked for first.
    for body in [&body, &json!({})] {
        assert_eq!(server.post("/subscribe", body).await.verdict(), "401 NOTAUTH");
    }
    assert_eq!(device_events(&server).await, []);
    alice.subscribes(&device).await;
    // Whatever else a browser may add, and wherever the endpoint leads: what is accepted need not be pushed to.
    for endpoint in ["https://127.0.0.1/x", "https://example.org:8443/x?y#z", "https://user:pass@localhost/"] {
        let mut body = Device::new().subscription();
        body["endpoint"] = json!(endpoint);
        body["options"] = json!({ "userVisibleOnly": true });
        assert_eq!(alice.client.post("/Subscribe/", &body).await.status, 201, "{endpoint}");
    }
    assert_eq!(device_events(&server).await.len(), 4);
}

/// Shows (docs/protocol.md): Unchanged values; Subscriptions.
#[tokio::test]
async fn the_same_again_is_no_event_and_the_oldest_gives_way() {
    let server = Setup::on(&fresh_database().await).with("devices-per-account", 3).start().await;
    let (alice, bob, _) = two_people(&server).await;
    let devices = [Device::new(), Device::new(), Device::new(), Device::new()];
    for device in &devices[..3] {
        alice.subscribes(device).await;
        alice.subscribes(device).await;
    }
    assert_eq!(device_events(&server).await.len(), 3);
    // Somebody else's devices are another matter, and nothing in the log shows that one is at the endpoint of another.
    bob.subscribes(&Device::new()).await;
    let events = device_events(&server).await;
    let fingerprint = |event: &Event| match event {
        Event::Device(DeviceEvent::DeviceSubscribed(e)) => (e.endpoint, e.subscription),
        other => panic!("{other:?}"),
    };
    let (first, other) = (fingerprint(&events[0]), fingerprint(&events[3]));
    assert!(first.0 != other.0 && first.1 != other.1);
    alice.subscribes(&devices[1].renewed()).await;
    let events = device_events(&server).await;
    let (before, after) = (fingerprint(&events[1]), fingerprint(&events[4]));
    assert!(before.0 == after.0 && before.1 != after.1);
    alice.subscribes(&devices[3]).await;
    let events = device_events(&server).await;
    let Event::Device(DeviceEvent::DeviceDropped(dropped)) = &events[5] else { panic!("{events:?}") };
    assert_eq!((dropped.endpoint, dropped.why), (first.0, Dropped::Displaced));
    assert_eq!(events.len(), 7);
    // The read model says the same.
    let pool = sqlx::PgPool::connect(server.setup().database_url()).await.unwrap();
    let count = "select count(*) from read_1.device where account = $1";
    for (person, expected) in [(&alice, 3), (&bob, 1)] {
        let account: i64 = person.id.parse().unwrap();
        let found: i64 = sqlx::query_scalar(count).bind(account).fetch_one(&pool).await.unwrap();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn only_devices_that_were_not_displaced_get_pushes() {
    let pushing = Pushing::start_with(|setup| setup.with("devices-per-account", 2)).await;
    let (alice, bob, thread) = two_people(&pushing.server).await;
    let devices = [pushing.peer.device(), pushing.peer.device(), pushing.peer.device()];
    for device in &devices {
        bob.subscribes(device).await;
    }
    alice.write(&thread, &bob, "hello").await;
    for device in &devices[1..] {
        pushing.peer.wait_for(device, 1).await;
    }
    assert!(pushing.peer.pushes_to(&devices[0]).is_empty());
}

/// Runs `be8 vapid`; what it printed on both ways.
async fn vapid(arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
    command.env_clear().arg("vapid").args(arguments);
    let output = within("be8 vapid", command.output()).await.expect("its output");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// Shows (docs/protocol.md): Pushes.
#[tokio::test]
async fn be8_vapid_makes_a_key_pair_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vapid.key");
    let named = ["--data-dir", directory.path().to_str().unwrap()];
    let (done, public, said) = vapid(&named).await;
    assert!(done && said.contains("made a key pair") && said.contains("--vapid-subject"), "{said}");
    assert_eq!(public.len(), 88, "87 characters and a line end");
    let private = std::fs::read_to_string(&file).unwrap();
    let again = vapid(&["--vapid-key-file", file.to_str().unwrap(), "--vapid-subject", "mailto:a@b.c"]).await;
    assert_eq!(again, (true, public.clone(), String::new()));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), private);
    assert!(!said.contains(private.trim()) && !public.contains(private.trim()));
    let below = file.join("below").display().to_string();
    let (done, _, said) = vapid(&["--vapid-key-file", &below]).await;
    assert!(!done && said.contains(&format!("VAPID key file {below}")), "{said}");
}

#[tokio::test]
async fn a_server_refuses_settings_of_push_that_cannot_be() {
    let pair = Pair::new();
    let file = pair.file.to_str().unwrap();
    let database = fresh_database().await;
    for (flags, says) in [
        (vec!["--vapid-key-file", file], "vapid-subject is missing"),
        (vec!["--vapid-key-file", file, "--vapid-subject", "me"], "neither a mailto: nor an https: URL"),
        (vec!["--vapid-key-file", "/nowhere", "--vapid-subject", "mailto:a@b.c"], "VAPID key file /nowhere"),
        (vec!["--push-hosts", "127.0.0.1"], "push-hosts"),
        (vec!["--push-test-peer", "http://127.0.0.1:9"], "push-test-peer: only with test-mode"),
        (vec!["--test-mode", "true", "--push-test-peer", "http://192.0.2.1:9"], "push-test-peer: only on a loopback"),
        (vec!["--test-mode", "true", "--push-test-peer", "https://127.0.0.1:9"], "push-test-peer: no http://"),
        (vec!["--test-mode", "true", "--listen", "0.0.0.0:0", "--push-test-peer", "http://127.0.0.1:9"], "test-mode"),
    ] {
        let files = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
        command.env_clear().args(["serve", "--database-url", &database.url, "--data-dir"]).arg(files.path());
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(&flags).kill_on_drop(true);
        let output = within("the end of a server that cannot start", command.output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(says), "{flags:?}: {said}");
    }
}
