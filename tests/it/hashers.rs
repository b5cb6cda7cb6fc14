//! Who waits for whom at the password hashers: nobody for those who want many.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Answer, Client, Person};
use crate::cluster::fresh_database;
use crate::patience::within;
use crate::server::{Server, Setup};

/// A server with one hasher that takes its time, behind a proxy that says who sends a request.
async fn slow_hasher(passes: u32, queue: usize) -> Server {
    let setup = Setup::on(&fresh_database().await).with("trusted-proxy", "127.0.0.0/8").with("hash-workers", 1);
    setup.with("hash-passes", passes).with("hash-queue", queue).with("login-queue", queue).start().await
}

/// Sends a request from this address.
async fn send(client: &Client, address: &str, path: &str, body: &Value) -> Answer {
    client.send(client.request(Method::POST, path).header("x-forwarded-for", address).json(body)).await
}

fn login(account: &str, password: &str) -> Value {
    json!({ "accID": account, "password": password })
}

/// This many requests at once, made by a function of their number.
fn crowd<F: Future<Output = Answer> + Send + 'static>(size: usize, ask: impl Fn(usize) -> F) -> JoinSet<Answer> {
    (0..size).map(ask).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_logins_from_one_address_shut_out_nobody() {
    let server = slow_hasher(4000, 63).await;
    let alice = Person::sign_up(&server, "Alice").await;
    let client = server.client();
    // Given as many logins from the addresses of one network as wait for their check,
    let mut crowd = crowd(60, |nth| {
        let client = client.clone();
        async move {
            let address = format!("2001:db8:0:1::{nth}");
            send(&client, &address, "/login", &login(&(90_000 + nth).to_string(), "p")).await
        }
    });
    // of which it has a quarter of the places,
    for _ in 0..60 - 17 {
        let refused = within("a refusal", crowd.join_next()).await.unwrap().unwrap();
        assert!(["429 RATELIMITED", "401 NOTAUTH"].contains(&refused.verdict().as_str()), "{}", refused.verdict());
    }
    let waiting = crowd.len();
    // when somebody logs in from elsewhere, and somebody signs up, then they are served before most of the crowd.
    let mine = send(&client, "192.0.2.7", "/login", &login(&alice.id, &alice.password)).await;
    assert_eq!(mine.verdict(), "200 ok");
    let new = send(&client, "192.0.2.8", "/newacc", &json!({ "nickname": "Bob", "password": "p" })).await;
    assert_eq!(new.verdict(), "200 ok");
    let mut served = 0;
    while crowd.try_join_next().is_some() {
        served += 1;
    }
    assert!(served < waiting, "{served} of {waiting} came first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_checks_its_codes_by_the_hundred_waits_for_itself() {
    let server = slow_hasher(4000, 63).await;
    let (alice, bob) = (Person::sign_up(&server, "Alice").await, Person::sign_up(&server, "Bob").await);
    let codes = json!({ "unlockCode": "1234", "destroyCode": "9999" });
    assert_eq!(alice.client.post("/codeset", &codes).await.verdict(), "200 ok");
    // Given her code checks, from one address after the other,
    let mut crowd = crowd(100, |nth| {
        let client = alice.client.clone();
        async move { send(&client, &format!("198.51.100.{nth}"), "/codeunlock", &json!({ "code": "0000" })).await }
    });
    let refused = within("a refusal", async {
        loop {
            let answer = crowd.join_next().await.expect("one of the crowd").unwrap();
            if answer.status == 503 {
                return answer;
            }
        }
    });
    assert_eq!(refused.await.header("retry-after"), Some("5"));
    // when others sign up, log in, and set codes, then it is before most of them.
    let new = send(&server.client(), "192.0.2.8", "/newacc", &json!({ "nickname": "Bob", "password": "p" })).await;
    assert_eq!(new.verdict(), "200 ok");
    let login = send(&server.client(), "127.0.0.1", "/login", &login(&bob.id, &bob.password)).await;
    assert_eq!(login.verdict(), "200 ok");
    assert_eq!(bob.client.post("/codeset", &codes).await.verdict(), "200 ok");
    while let Some(answer) = crowd.try_join_next() {
        assert!([200, 503].contains(&answer.unwrap().status));
    }
    assert!(!crowd.is_empty(), "some still wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_for_overload_is_no_attempt() {
    let server = slow_hasher(8000, 15).await;
    let alice = Person::sign_up(&server, "Alice").await;
    let client = server.client();
    // Given wrong passwords for her account from many addresses, which have the account's share of the places,
    let mut crowd = crowd(40, |nth| {
        let (client, id) = (client.clone(), alice.id.clone());
        async move { send(&client, &format!("198.51.100.{nth}"), "/login", &login(&id, "wrong")).await }
    });
    let mut refusals = 0;
    within("refusals for overload", async {
        while refusals < 30 {
            refusals += u32::from(crowd.join_next().await.expect("one of the crowd").unwrap().status == 429);
        }
    })
    .await;
    // when hers are refused more often than she may mistype it,
    let mut mine = 0;
    while mine < 10 {
        let answer = send(&client, "192.0.2.7", "/login", &login(&alice.id, &alice.password)).await;
        if answer.status != 429 {
            break;
        }
        assert_eq!(answer.header("retry-after"), Some("5"));
        mine += 1;
    }
    assert!(mine > 5, "{mine} were refused");
    // then the right one is taken as soon as there is a place.
    crowd.join_all().await;
    let answer = send(&client, "192.0.2.7", "/login", &login(&alice.id, &alice.password)).await;
    assert_eq!(answer.verdict(), "200 ok");
}
