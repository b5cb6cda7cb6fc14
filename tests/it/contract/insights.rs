//! `/invitelink`, `/insights` and `/insightsuntil`.

use serde_json::{Value, json};

use super::no_text;
use crate::client::Person;
use crate::cluster::fresh_database;
use crate::patience::eventually;
use crate::server::{Server, Setup};

/// The counters in their order, all as numbers; their JSON types are checked on the way.
async fn insights(server: &Server) -> Vec<i64> {
    let answer = server.get("/insights").await.json();
    assert_eq!(answer["valid"], true);
    let names = [
        "accs",
        "groups",
        "threads",
        "messages",
        "images",
        "panic",
        "sentInviteLinks",
        "usedInviteLinks",
        "sentGrouInviteLinks",
        "usedGroupInviteLinks",
    ];
    let list = answer["insights"].as_array().unwrap();
    assert_eq!(list.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
    let value = |(nth, one): (usize, &Value)| match &one["value"] {
        Value::Number(number) if nth < 2 || *number == 0.into() => number.as_i64().unwrap(),
        Value::String(text) if nth >= 2 && text != "0" => text.parse().unwrap(),
        other => panic!("{}: {other}", names[nth]),
    };
    let values: Vec<i64> = list.iter().enumerate().map(value).collect();
    let older = [0, 1, 2, 3, 6, 7, 8, 9].map(|nth| (values[nth] + if nth < 2 { 10_000 } else { 0 }).to_string());
    assert_eq!(answer["insight"], json!(older));
    values
}

async fn post(person: &Person, path: &str, body: &Value) -> Value {
    let answer = person.client.post(path, body).await;
    assert_eq!(answer.verdict(), "200 ok", "{path}");
    answer.json()
}

/// What somebody does, and what that adds to threads and messages.
///
/// Shows (docs/protocol.md): Counters; Invite links.
#[tokio::test]
async fn everything_counts_as_the_protocol_says() {
    let server = Server::start().await;
    assert_eq!(insights(&server).await, [0; 10]);
    let mut expected = [0; 10];
    let (alice, bob) = (Person::sign_up(&server, "Alice").await, Person::sign_up(&server, "Bob").await);
    let carol = Person::sign_up(&server, "Carol").await;
    expected[0] = 3;
    assert_eq!(insights(&server).await, expected, "WELCOME is not counted");

    let thread = alice.start_conversation(&bob).await;
    (expected[2], expected[3]) = (1, 1);
    assert_eq!(insights(&server).await, expected, "STARTCONVERSATION is");
    alice.start_conversation(&bob).await;
    alice.write(&thread, &bob, "one").await;
    bob.write(&thread, &alice, "two").await;
    alice.messages(&thread).await;
    bob.messages(&thread).await;
    expected[3] = 3;
    assert_eq!(insights(&server).await, expected, "neither a second start nor reading counts");

    let group = post(&alice, "/groupcreate", &json!({ "nickname": "G", "groupType": "public" })).await;
    let group = json!({ "groupID": group["groupID"] });
    expected[1] = 1;
    assert_eq!(insights(&server).await, expected, "CREATEDGROUP is not");
    post(&alice, "/groupjoinmember", &group).await;
    (expected[2], expected[3]) = (2, 5);
    assert_eq!(insights(&server).await, expected, "the creator's first join: its message and one more");
    post(&bob, "/groupjoinmember", &group).await;
    (expected[2], expected[3]) = (3, 7);
    assert_eq!(insights(&server).await, expected);
    let mut add = group.clone();
    add["memberID"] = json!(carol.id);
    post(&bob, "/groupaddmember", &add).await;
    (expected[2], expected[3]) = (4, 10);
    assert_eq!(insights(&server).await, expected, "an add: in the group, in the added one's own thread, and one more");
    assert_eq!(carol.client.post("/groupjoinmember", &group).await.verdict(), "200 ISALREADYMEMBER");
    post(&alice, "/groupincreaseversion", &group).await;
    post(&bob, "/groupleavemember", &group).await;
    expected[3] += 2; // in the group, and in the leaver's own thread
    let mut kick = group.clone();
    kick["accID"] = json!(carol.id);
    post(&alice, "/groupkickmember", &kick).await;
    expected[3] += 2;
    post(&alice, "/groupdestroygroup", &group).await;
    expected[3] += 1; // GROUPDELETED to the one member
    assert_eq!(insights(&server).await, expected, "no count sinks");

    for (kind, sent, used, nth) in [
        ("user", json!(true), json!(null), 6),
        ("join", json!(true), json!(true), 6),
        ("user", json!(false), json!(true), 7),
        ("group", json!(true), json!(null), 8),
        ("group", json!(""), json!(true), 9),
    ] {
        post(&alice, "/invitelink", &json!({ "type": kind, "sentInviteLink": sent, "usedInviteLink": used })).await;
        expected[nth] += 1;
        assert_eq!(insights(&server).await, expected, "{kind} {sent} {used}");
    }

    // All of it is in the log: another server says the same.
    let server = server.kill().await.start().await;
    assert_eq!(insights(&server).await, expected);
}

/// Shows (docs/protocol.md): Checks of fields; Invite links.
#[tokio::test]
async fn invite_links_are_checked_in_order() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let verdict = async |person: &crate::client::Client, body: &Value| person.post("/invitelink", body).await.verdict();
    let stranger = server.client().with_cookie("invalid");
    assert_eq!(verdict(&stranger, &json!({})).await, "401 NOTAUTH");
    for kind in no_text().into_iter().chain([json!("dialog"), json!("User"), json!(["user"])]) {
        let body = json!({ "type": kind, "sentInviteLink": "no" });
        assert_eq!(verdict(&alice.client, &body).await, "200 INVALIDLINKTYPE", "{kind}");
    }
    // The first that is true in JavaScript must be `true`.
    let truthy = [json!("true"), json!(1), json!([]), json!({}), json!(-1)];
    for flag in &truthy {
        let body = json!({ "type": "user", "sentInviteLink": flag, "usedInviteLink": true });
        assert_eq!(verdict(&alice.client, &body).await, "200 NOTUSEDORSENTLINK", "{flag}");
    }
    for flag in truthy.iter().chain(&[json!(null), json!(false), json!(0), json!("")]) {
        let body = json!({ "type": "group", "usedInviteLink": flag });
        assert_eq!(verdict(&alice.client, &body).await, "200 NOTUSEDORSENTLINK", "{flag}");
    }
    assert_eq!(verdict(&alice.client, &json!({ "type": "group" })).await, "200 NOTUSEDORSENTLINK");
    assert_eq!(insights(&server).await[6..], [0; 4]);
}

/// Shows (docs/protocol.md): Counters of past days.
#[tokio::test]
async fn ranges_are_checked() {
    let server = Server::start().await;
    let until =
        async |start: Value, end: Value| server.post("/insightsuntil", &json!({ "start": start, "end": end })).await;
    let answer = until(json!("2022-07-01"), json!("2022-07-28")).await;
    assert_eq!(answer.verdict(), "200 ok");
    let days = answer.json()["insights"].as_array().unwrap().clone();
    assert_eq!(days.len(), 28);
    assert_eq!(days[27], json!({ "insights": [], "date": "2022-07-28T00:00:00.000Z" }));
    for bad in no_text().into_iter().chain([json!("2022-02-30"), json!("never"), json!(1656633600)]) {
        assert_eq!(until(bad.clone(), json!("2022-07-28")).await.verdict(), "400 INVALIDINPUT", "{bad}");
        assert_eq!(until(json!("2022-07-01"), bad.clone()).await.verdict(), "400 INVALIDINPUT", "{bad}");
    }
    assert_eq!(server.post("/insightsuntil", &json!({})).await.verdict(), "400 INVALIDINPUT");
    for (start, end, verdict) in [
        ("2022-07-02", "2022-07-01", "400 INVALIDINPUT"),
        ("2022-01-01", "2023-01-02", "400 INVALIDINPUT"),
        ("2022-01-01", "2023-01-01", "200 ok"),
        ("0000-01-01", "0000-12-31", "200 ok"),
        ("9999-01-01", "9999-12-31", "200 ok"),
    ] {
        assert_eq!(until(json!(start), json!(end)).await.verdict(), verdict, "{start} {end}");
    }
}

/// The value of a day is that of its first hour that struck; a day without one has none.
///
/// Shows (docs/protocol.md): Counters of past days.
#[tokio::test]
async fn days_have_the_counters_of_their_first_hour() {
    let setup = Setup::on(&fresh_database().await).with_hours().with_file("test-clock-file", "0");
    let clock = setup.file("test-clock-file");
    let server = setup.start().await;
    // Noon of tomorrow: no midnight comes by itself.
    let now = chrono::Utc::now();
    let noon = now.date_naive().succ_opt().unwrap().and_hms_opt(12, 10, 0).unwrap().and_utc();
    let first_day = noon.date_naive();
    let turn = async |server: &Server, hours: i64| {
        let before = hours_struck(server).await;
        let seconds = (noon - now).num_seconds() + hours * 3600;
        crate::clock::turn(&clock, seconds);
        eventually("the hour strikes", async || hours_struck(server).await > before).await;
    };
    turn(&server, 0).await;
    Person::sign_up(&server, "Alice").await;
    turn(&server, 1).await;
    Person::sign_up(&server, "Bob").await;
    // The next day, early; then nobody is there for two days.
    turn(&server, 13).await;
    let people = (Person::sign_up(&server, "Carol").await, Person::sign_up(&server, "Dave").await);
    people.0.start_conversation(&people.1).await;
    let setup = server.kill().await;
    crate::clock::turn(&clock, (noon - now).num_seconds() + 4 * 24 * 3600);
    let server = setup.start().await;
    eventually("the hour of the start strikes", async || hours_struck(&server).await == 5).await;

    let day = |nth: i64| (first_day + chrono::TimeDelta::days(nth)).to_string();
    let answer = server.post("/insightsuntil", &json!({ "start": day(-1), "end": day(5) })).await.json();
    let days = answer["insights"].as_array().unwrap();
    let said = |nth: usize| {
        let pairs = days[nth]["insights"].as_array().unwrap();
        pairs.iter().map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(days.len(), 7);
    assert_eq!(days[1]["date"], format!("{}T00:00:00.000Z", day(0)));
    for (nth, accs, threads) in [(1, "0", "0"), (2, "2", "0"), (5, "4", "1")] {
        let said = said(nth);
        assert_eq!((said.len(), said[0], said[2]), (10, ("accs", accs), ("threads", threads)), "{nth}");
    }
    assert_eq!(said(0)[0], ("accs", "0"), "today, at the start");
    for gap in [3, 4, 6] {
        assert_eq!(said(gap), [], "{gap}");
    }
}

/// How many hours struck so far.
async fn hours_struck(server: &Server) -> i64 {
    let library = crate::library::Library::open(server).await;
    sqlx::query_scalar("select count(*) from events where kind = 'HourStruck'").fetch_one(&library.pool).await.unwrap()
}
