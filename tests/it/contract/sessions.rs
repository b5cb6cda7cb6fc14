//! What an account does about its own sessions, its password and its devices: `/me/sessions`, `/me/password`, `/me/devices`.

use reqwest::Method;
use serde_json::{Value, json};

use super::accounts::is_nobody;
use super::logins::{device, login};
use super::no_text;
use crate::client::{Answer, Client, Person, two_people};
use crate::cluster::fresh_database;
use crate::library::Library;
use crate::patience::eventually;
use crate::push::Pushing;
use crate::server::{Server, Setup};

/// Sends a request of a method with a body.
async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Answer {
    client.send(client.request(method, path).json(body)).await
}

async fn delete(client: &Client, path: &str) -> Answer {
    client.send(client.request(Method::DELETE, path)).await
}

/// The sessions of an account, as it sees them.
async fn sessions(client: &Client) -> Vec<Value> {
    client.get("/me/sessions").await.json()["sessions"].as_array().expect("a list").clone()
}

/// One more session of an account.
async fn another(server: &Server, person: &Person) -> Client {
    device(server, &login(server, person.id.as_str(), person.password.as_str()).await)
}

/// Shows (docs/protocol.md): Sessions of an account.
#[tokio::test]
async fn an_account_sees_names_and_ends_its_sessions() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let [phone, tablet] = [another(&server, &alice).await, another(&server, &alice).await];
    let listed = sessions(&phone).await;
    let kinds: Vec<_> = listed.iter().map(|one| (one["kind"].as_str().unwrap(), one["current"] == true)).collect();
    assert_eq!(kinds, [("created", false), ("login", true), ("login", false)]);
    assert!(listed.iter().all(|one| one.get("name").is_none() && one["opened"].as_str().unwrap().ends_with('Z')));
    let of = |nth: usize| format!("/me/sessions/{}", listed[nth]["session"].as_str().unwrap());

    // A name is the account's own: of any of its sessions, given by any of them.
    let named = |name: Value| json!({ "name": name });
    for (client, path, name) in [
        (&phone, of(0), json!("The browser")),
        (&phone, "/me/sessions/current".to_owned(), json!("The \u{1f4f1} phone")),
    ] {
        for _ in 0..2 {
            assert_eq!(send(client, Method::PUT, &path, &named(name.clone())).await.verdict(), "200 ok");
        }
    }
    let names = async || sessions(&alice.client).await.iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names().await, [json!("The browser"), json!("The \u{1f4f1} phone"), Value::Null]);
    // One that is what it was is no event.
    let pool = Library::open(&server).await.pool.clone();
    let count = "select count(*) from events where kind = 'SessionNamed'";
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap(), 2);
    let refused = async |client: &Client, method, path: &str, name: Value, status, code| {
        let answer = send(client, method, path, &named(name)).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{path}");
    };
    for bad in no_text().into_iter().filter(|text| *text != json!("")).chain([json!("n".repeat(65))]) {
        refused(&phone, Method::PUT, &of(0), bad, 400, "INVALIDINPUT").await;
    }
    for path in ["/me/sessions/none".to_owned(), format!("/me/sessions/{}", "ab".repeat(32))] {
        refused(&phone, Method::PUT, &path, json!("x"), 404, "NOTFOUND").await;
        refused(&phone, Method::DELETE, &path, json!("x"), 404, "NOTFOUND").await;
    }
    // Nobody else has them.
    refused(&bob.client, Method::PUT, &of(0), json!("x"), 404, "NOTFOUND").await;
    refused(&bob.client, Method::DELETE, &of(0), json!("x"), 404, "NOTFOUND").await;
    assert_eq!(send(&phone, Method::PUT, &of(0), &named(json!(""))).await.verdict(), "200 ok");
    assert_eq!(names().await[0], Value::Null);

    // One ends, with its streams; then all others.
    let mut stream = tablet.events().await;
    assert_eq!(delete(&phone, &of(2)).await.verdict(), "200 ok");
    assert_eq!(stream.rest().await, []);
    is_nobody(&tablet, &json!({})).await;
    let more = another(&server, &alice).await;
    assert_eq!(delete(&phone, "/me/sessions").await.json(), json!({ "valid": true, "ended": 2 }));
    assert_eq!(delete(&phone, "/me/sessions").await.json(), json!({ "valid": true, "ended": 0 }));
    is_nobody(&alice.client, &json!({})).await;
    is_nobody(&more, &json!({})).await;
    assert_eq!(sessions(&phone).await.len(), 1);
    bob.write(&thread, &alice, "hello").await;
    assert_eq!(delete(&phone, "/me/sessions/current").await.verdict(), "200 ok");
    is_nobody(&phone, &json!({})).await;
}

/// Shows (docs/protocol.md): Sessions of an account.
#[tokio::test]
async fn a_session_is_seen_by_the_day_and_written_once_for_it() {
    let setup = Setup::on(&fresh_database().await).with("session-days-seconds", 1).with_file("test-clock-file", "0");
    let server = setup.start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let phone = another(&server, &alice).await;
    let pool = Library::open(&server).await.pool.clone();
    let written = async || {
        let rows = "select xmin::text || ' ' || day from session_days order by session";
        sqlx::query_scalar::<_, String>(rows).fetch_all(&pool).await.unwrap()
    };
    let events = async || sqlx::query_scalar::<_, i64>("select count(*) from events").fetch_one(&pool).await.unwrap();
    let before = events().await;
    phone.get("/getthreads").await;
    eventually("both are written", async || written().await.len() == 2).await;
    let first = written().await;
    for _ in 0..20 {
        phone.get("/getthreads").await;
    }
    // The pause passes, and nothing is written of the same day.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert_eq!(written().await, first);
    let day = |one: &Value| one["seen"].as_str().expect("a day").to_owned();
    let seen: Vec<String> = sessions(&phone).await.iter().map(day).collect();
    assert_eq!((seen.len(), &seen[0]), (2, &seen[1]));
    crate::clock::turn(&server.setup().file("test-clock-file"), 24 * 3600);
    phone.get("/me").await;
    let later: Vec<String> = sessions(&phone).await.iter().map(day).collect();
    assert_eq!(later[0], seen[0], "the other one was not used since");
    assert!(later[1] > seen[1], "{later:?}");
    eventually("the new day is written", async || written().await != first).await;
    assert_eq!(events().await, before, "it costs no event");

    // What is written survives the server, and goes with its session.
    assert_eq!(delete(&phone, "/me/sessions").await.json()["ended"], 1);
    server.terminate();
    let (setup, _) = server.ended().await;
    let server = setup.start().await;
    let phone = phone.at(&server);
    assert_eq!(day(&sessions(&phone).await[0]), later[1]);
    eventually("the ended one is forgotten", async || written().await.len() == 1).await;
}

/// Shows (docs/protocol.md): Changing the password.
#[tokio::test]
async fn a_password_is_changed_with_the_old_one() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let change = async |client: &Client, old: &str, new: Value, others: Value| {
        let body = json!({ "oldPassword": old, "newPassword": new, "endOthers": others });
        client.post("/me/password", &body).await
    };
    let phone = another(&server, &alice).await;
    for bad in no_text().into_iter().chain([json!("p".repeat(1025))]) {
        let answer = change(&phone, &alice.password, bad, json!(true)).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("INVALIDPASSWORD")));
    }
    for wrong in ["", "another"] {
        let answer = change(&phone, wrong, json!("new"), json!(true)).await;
        assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("OLDPASSWORDWRONG")));
    }
    assert_eq!(login(&server, alice.id.as_str(), "new").await.verdict(), "401 NOTAUTH");
    let answer = change(&phone, &alice.password, json!("new"), json!(false)).await;
    assert_eq!(answer.json(), json!({ "valid": true, "ended": 0 }));
    assert_eq!(login(&server, alice.id.as_str(), alice.password.as_str()).await.verdict(), "401 NOTAUTH");
    device(&server, &login(&server, alice.id.as_str(), "new").await);
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok");
    // Once more, and the others end.
    let answer = change(&phone, "new", json!("newer"), json!(true)).await;
    assert_eq!(answer.json(), json!({ "valid": true, "ended": 2 }));
    is_nobody(&alice.client, &json!({})).await;
    device(&server, &login(&server, alice.id.as_str(), "newer").await);
    // Neither password is anywhere in the clear.
    let rows = "select count(*) from events where convert_from(payload, 'UTF8') like '%newer%'";
    let pool = Library::open(&server).await.pool.clone();
    assert_eq!(sqlx::query_scalar::<_, i64>(rows).fetch_one(&pool).await.unwrap(), 0);
}

/// Shows (docs/protocol.md): Changing the password.
#[tokio::test]
async fn guessing_the_old_password_is_slowed_down_as_a_login_is() {
    let setup = Setup::on(&fresh_database().await).with_file("test-clock-file", "0");
    let server = setup.start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let guess = json!({ "oldPassword": "a guess", "newPassword": "mine" });
    for turn in 1..=12 {
        crate::clock::turn(&server.setup().file("test-clock-file"), turn * 1000);
        assert_eq!(alice.client.post("/me/password", &guess).await.status, 403);
    }
    // Both count together, and the right one has to wait, too.
    let right = json!({ "oldPassword": alice.password, "newPassword": "mine" });
    let early = alice.client.post("/me/password", &right).await;
    assert_eq!((early.status, &early.json()["code"]), (429, &json!("RATELIMITED")));
    assert!(early.header("retry-after").is_some());
    assert_eq!(login(&server, alice.id.as_str(), alice.password.as_str()).await.verdict(), "429 RATELIMITED");
    crate::clock::turn(&server.setup().file("test-clock-file"), 13_000);
    assert_eq!(alice.client.post("/me/password", &right).await.verdict(), "200 ok");
}

/// Shows (docs/protocol.md): Sessions and their devices.
#[tokio::test]
async fn a_device_is_listed_and_unsubscribed() {
    let pushing = Pushing::start().await;
    let server = &pushing.server;
    let (alice, bob, thread) = two_people(server).await;
    let [laptop, phone] = [pushing.peer.device(), pushing.peer.device()];
    alice.subscribes(&laptop).await;
    let other = another(server, &alice).await;
    assert_eq!(other.post("/subscribe", &phone.subscription()).await.status, 201);
    let devices = async || alice.client.get("/me/devices").await.json()["devices"].as_array().unwrap().clone();
    let listed = devices().await;
    let own = sessions(&alice.client).await;
    assert_eq!(listed.len(), 2);
    let of = |device: &crate::push::peer::Device| {
        listed.iter().find(|one| one["endpoint"] == device.subscription()["endpoint"]).expect("the device").clone()
    };
    assert_eq!([&of(&laptop)["session"], &of(&phone)["session"]], [&own[0]["session"], &own[1]["session"]]);
    let path = format!("/me/devices/{}", of(&phone)["device"].as_str().unwrap());
    // Nobody else has it, and nothing else is one.
    for (client, path) in [(&bob.client, path.as_str()), (&alice.client, "/me/devices/none")] {
        let answer = delete(client, path).await;
        assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("NOTFOUND")));
    }
    assert_eq!(delete(&alice.client, &path).await.verdict(), "200 ok");
    assert_eq!(delete(&alice.client, &path).await.status, 404);
    bob.write(&thread, &alice, "hello").await;
    pushing.peer.wait_for(&laptop, 1).await;
    assert_eq!(pushing.peer.pushes_to(&phone).len(), 0);
    // A session ends its own without knowing its name.
    assert_eq!(delete(&alice.client, "/me/devices/current").await.verdict(), "200 ok");
    assert_eq!(delete(&alice.client, "/me/devices/current").await.status, 404);
    assert_eq!(devices().await, [] as [Value; 0]);
    // It may come back.
    assert_eq!(other.post("/subscribe", &phone.subscription()).await.status, 201);
    assert_eq!(devices().await.len(), 1);
}
