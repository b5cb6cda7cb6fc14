//! What expires: accounts at their time, messages after a month, with a clock that the tests turn.

use be8_events::account::LifetimeExtended;
use be8_events::{AccId, Event, Hash32, NewEvent, StreamName, Timestamp};
use chrono::TimeDelta;
use serde_json::json;

use super::Hands;
use crate::client::Person;
use crate::contract::accounts::is_nobody;
use crate::library::Library;
use crate::patience::eventually;
use crate::replay::replay;
use crate::rig::Rig;
use crate::server::Server;

/// Extends the life of an account as a token does.
async fn extend(library: &Library, person: &Person, days: i64, endless: bool) {
    let account: AccId = person.id.parse().unwrap();
    let until = Timestamp::from(chrono::Utc::now() + TimeDelta::days(days));
    let event: Event = LifetimeExtended { until, endless, token: Hash32([7; 32]) }.into();
    let stream = StreamName::Account(account);
    let new = NewEvent { stream, actor: Some(account), event, secret: None };
    library.ledger.append(stream, be8::ledger::ExpectedVersion::Any, vec![new]).await.unwrap();
}

/// The kinds of the events of the log, but for the hours.
async fn kinds(library: &Library) -> Vec<String> {
    let kinds = sqlx::query_scalar("select kind from events where kind <> 'HourStruck' order by position");
    kinds.fetch_all(&library.pool).await.unwrap()
}

/// Ends what has expired, once, beside the server; answers what was done.
async fn expire(server: &Server) -> Vec<u32> {
    let mut done = None;
    // The server has to store first that the time has really passed.
    eventually("the clock is trusted", async || {
        let said = server.setup().run(&["expire"]).await;
        assert!(said.success, "{said:?}");
        done = Some(said.out).filter(|out| !out.contains("jumped"));
        done.is_some()
    })
    .await;
    done.unwrap().lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

async fn partitions(library: &Library) -> i64 {
    let count = sqlx::query_scalar("select count(*) from pg_inherits where inhparent = 'sealed_message'::regclass");
    count.fetch_one(&library.pool).await.unwrap()
}

/// Shows (docs/protocol.md): Expiry of accounts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_lives_for_thirty_days_or_as_long_as_its_token_says() {
    let hands = Hands::new();
    let server = hands.server().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let [bob, carol, dave] = crate::groups::people(&server, ["Bob", "Carol", "Dave"]).await;
    let library = Library::open(&server).await;
    extend(&library, &bob, 36_500, true).await;
    extend(&library, &carol, 45, false).await;
    let thread = alice.start_conversation(&bob).await;
    bob.write(&thread, &alice, "to Alice").await;
    let group = alice.founds().await;
    bob.enters(&group).await;

    hands.ahead(TimeDelta::days(30) - TimeDelta::minutes(5));
    let before = kinds(&library).await;
    assert_eq!(expire(&server).await[0], 0);
    assert_eq!(kinds(&library).await, before, "not a minute early");
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok");
    let (mut hers, mut his) = (alice.client.events().await, bob.client.events().await);

    hands.ahead(TimeDelta::days(30));
    // Hidden from its second on, whatever the process does.
    is_nobody(&alice.client, &json!({ "threadID": thread })).await;
    assert_eq!(bob.client.post("/getmessages", &json!({ "threadID": thread })).await.verdict(), "400 INVALIDTHREADID");
    eventually("the accounts are removed", async || {
        kinds(&library).await.iter().filter(|kind| *kind == "AccountRemoved").count() == 2
    })
    .await;
    // The process on its own does all that a removal does; nobody else's account is touched.
    assert_eq!(his.event().await.data, json!({ "action": "expiredAcc", "accID": alice.id, "threadID": thread }));
    let received = his.event().await.data;
    assert_eq!((&received["action"], &received["leavingMember"]), (&json!("groupMemberRemove"), &json!(bob.id)));
    assert_eq!(hers.rest().await, [], "removed accounts receive nothing");
    let texts: Vec<String> = bob.sees(&format!("{}:s1", bob.id)).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["WELCOME", "ACCDELETED", "GROUPDELETED"]);
    for (person, verdict) in [(&bob, "200 ok"), (&carol, "200 ok"), (&alice, "401 NOTAUTH"), (&dave, "401 NOTAUTH")] {
        assert_eq!(person.client.get("/me").await.verdict(), verdict, "{}", person.nickname);
    }
    hands.ahead(TimeDelta::days(45));
    eventually("Carol's time is over, too", async || {
        kinds(&library).await.iter().filter(|kind| *kind == "AccountRemoved").count() == 3
    })
    .await;
    assert_eq!(bob.client.get("/me").await.verdict(), "200 ok");
    let reasons: Vec<String> = sqlx::query_scalar(
        "select convert_from(payload, 'UTF8')::json->>'reason' from events where kind = 'AccountRemoved'",
    )
    .fetch_all(&library.pool)
    .await
    .unwrap();
    assert_eq!(reasons, ["expiry"; 3]);
    replay(&Rig::on(server.setup().database_url()).await, 7).await;
}

/// Shows (docs/protocol.md): Placeholders for what is erased; How long messages are kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_hidden_after_thirty_days_and_gone_a_day_later() {
    let hands = Hands::new();
    let server = hands.server().await;
    let [alice, bob] = crate::groups::people(&server, ["Alice", "Bob"]).await;
    let library = Library::open(&server).await;
    extend(&library, &alice, 1000, false).await;
    extend(&library, &bob, 1000, false).await;
    let thread = alice.start_conversation(&bob).await;
    alice.write(&thread, &bob, "long ago").await;
    let group = alice.founds().await;
    alice.says(&group, "long ago").await;
    let ended = bob.founds().await;
    bob.destroys(&ended).await;
    let sealed = "select count(*) from sealed_message";
    let sealed = async || -> i64 { sqlx::query_scalar(sealed).fetch_one(&library.pool).await.unwrap() };
    assert_eq!((sealed().await, partitions(&library).await), (2, 8));

    hands.ahead(TimeDelta::days(30) - TimeDelta::minutes(5));
    assert_eq!(expire(&server).await[2..4], [0, 0]);
    assert_eq!(alice.messages(&thread).await.len(), 2);
    assert_eq!(alice.threads().await[0]["text"], "long ago");

    hands.ahead(TimeDelta::days(30));
    // Hidden from this second on; each list still has a title that the web client knows (4.12).
    for (thread, title, sender) in [(&thread, "STARTCONVERSATION", "s1"), (&group, "ACCJOINEDGROUP", group.as_str())] {
        assert_eq!(alice.messages(thread).await, [] as [serde_json::Value; 0]);
        let listed = alice.thread(thread).await.expect("the thread");
        assert_eq!((&listed["messageType"], &listed["text"]), (&json!("system"), &json!(title)));
        assert_eq!((&listed["sender"], listed.get("iv")), (&json!(sender), None));
    }
    bob.write(&thread, &alice, "a month later").await;
    assert_eq!(alice.sees(&thread).await, [(3, "a month later".to_owned())]);

    // At most 25 hours later their bytes are gone: the day's key first, then its partition.
    hands.ahead(TimeDelta::days(31) + TimeDelta::hours(1));
    eventually("the partition is gone", async || sealed().await == 1).await;
    let gone = "select count(*) from vault.key where subject like 'day/%' and wrapped is null";
    let gone: i64 = sqlx::query_scalar(gone).fetch_one(&library.pool).await.unwrap();
    assert!(gone >= 1);
    assert_eq!(alice.sees(&thread).await, [(3, "a month later".to_owned())]);
    assert_eq!(alice.write(&thread, &bob, "and on").await, 4);
    // The name of the destroyed group is forgotten with the message about its end.
    let created = async || {
        let messages = bob.messages(&format!("{}:s1", bob.id)).await;
        let created: Vec<_> = messages.iter().map(|message| message["extra2"].clone()).collect();
        assert_eq!(
            messages.iter().map(|message| message["text"].clone()).collect::<Vec<_>>(),
            ["WELCOME", "CREATEDGROUP"]
        );
        created[1].clone()
    };
    eventually("the group has no name any more", async || created().await == "Group").await;
    let messages = alice.messages(&format!("{}:s1", alice.id)).await;
    assert_eq!(messages[1]["extra2"], "Friends", "a living group has one");
    // Nothing is left to do, and what is left of the log is whole.
    // (The server sweeps at the same time.)
    assert_eq!(expire(&server).await[..5], [0; 5]);
    replay(&Rig::on(server.setup().database_url()).await, 1000).await;
}

#[tokio::test]
async fn a_partition_that_was_left_half_dropped_is_dropped() {
    let hands = Hands::new();
    let server = hands.server().await;
    let (alice, bob, thread) = crate::client::two_people(&server).await;
    alice.write(&thread, &bob, "long ago").await;
    let library = Library::open(&server).await;
    let setup = server.kill().await;
    let names =
        "select relname::text from pg_class where relkind = 'r' and relname like 'sealed\\_message\\_%' order by 1";
    let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&library.pool).await.unwrap();
    assert_eq!(names.len(), 8);
    let left = async || -> Vec<String> {
        let left = sqlx::query_scalar("select relname::text from pg_class where relname = any ($1) order by 1");
        left.bind(&names).fetch_all(&library.pool).await.unwrap()
    };
    // As a process leaves it that dies between the two steps of detaching, and of dropping.
    let detach = format!("alter table sealed_message detach partition {}", names[1]);
    sqlx::raw_sql(sqlx::AssertSqlSafe(detach)).execute(&library.pool).await.unwrap();
    hands.ahead(TimeDelta::days(40));
    // Nobody knows whether 40 days have passed without a server.
    let said = setup.run(&["expire"]).await;
    assert!(said.success && said.out.contains("days whose messages were erased           0"), "{said:?}");
    let said = setup.run(&["expire", "--dry-run", "--confirm-clock"]).await;
    assert!(said.success && said.out.contains("days whose messages are to be erased      1"), "{said:?}");
    assert_eq!(left().await, names, "a dry run drops nothing");
    let said = setup.run(&["expire", "--confirm-clock"]).await;
    assert!(said.success, "{said:?}");
    assert_eq!(left().await, [] as [String; 0], "{said:?}");
}
