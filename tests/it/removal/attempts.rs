//! Attempts at lock codes are counted outside of the log: the counts go with their accounts, however those end.

use be8_events::AccId;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::client::Person;
use crate::groups::people;
use crate::library::Library;
use crate::patience::eventually;
use crate::server::{Server, two_nodes};

/// The accounts with counted attempts.
async fn counted(pool: &PgPool) -> Vec<i64> {
    sqlx::query_scalar("select account from code_attempts order by account").fetch_all(pool).await.unwrap()
}

fn number(person: &Person) -> i64 {
    person.id.parse::<AccId>().unwrap().number()
}

impl Person {
    async fn sets_codes(&self) {
        let codes = json!({ "unlockCode": "1234", "destroyCode": "9999" });
        assert_eq!(self.client.post("/codeset", &codes).await.verdict(), "200 ok");
    }

    async fn enters_code(&self, code: &str) -> Value {
        self.client.post("/codeunlock", &json!({ "code": code })).await.json()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_go_with_their_accounts() {
    let server = Server::start().await;
    let library = Library::open(&server).await;
    let names = ["Panics", "Removed", "Expires", "Destroys by code", "Stays"];
    let all = people(&server, names).await;
    for person in &all {
        person.sets_codes().await;
        assert_eq!(person.enters_code("0000").await["inValid"], true);
    }
    assert_eq!(counted(&library.pool).await, all.each_ref().map(number));
    let [panics, removed, expires, by_code, stays] = &all;
    panics.vanishes().await;
    let said = server.setup().run(&["account", "remove", &removed.id]).await;
    assert!(said.success, "{said:?}");
    library.expires(expires).await;
    assert_eq!(by_code.enters_code("9999").await["isDestroyCode"], true);
    eventually("only the count of the living is left", async || counted(&library.pool).await == [number(stays)]).await;
}

/// A client that guesses while the account ends leaves no orphaned count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_that_race_with_the_end_leave_nothing() {
    let (one, two) = two_nodes().await;
    let library = Library::open(&one).await;
    for round in 0..12 {
        let person = Person::sign_up(&one, "Guessed").await;
        person.sets_codes().await;
        let there = person.at(&two);
        let guesses =
            join_all((0..8).map(|nth: usize| if nth.is_multiple_of(2) { &person } else { &there }).map(async |who| {
                let answer = who.client.post("/codeunlock", &json!({ "code": "0000" })).await;
                assert!(answer.status < 500, "{answer:?}");
            }));
        let end = async {
            for _ in 0..round {
                person.client.get("/me").await;
            }
            there.vanishes().await;
        };
        tokio::join!(guesses, end);
    }
    eventually("no count is left", async || counted(&library.pool).await.is_empty()).await;
}
