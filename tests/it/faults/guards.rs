//! What the database itself refuses to any client: changing the log, and losing what can still be read.

use be8::domain::erasure::Erase;
use be8::process::sweep::SWEEPING;
use be8_events::erasure::Cause;
use be8_events::{ErasureEvent, Event, Subject};
use sqlx::AssertSqlSafe;

use super::sound_log;
use crate::client::two_people;
use crate::cluster::fresh_database;
use crate::library::{Library, hold_up};
use crate::server::{Server, Setup};

/// Runs a statement as the most powerful user that there is; answers how many rows it touched, or the SQLSTATE.
async fn run(library: &Library, statement: &str) -> Result<u64, String> {
    match sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&library.pool).await {
        Ok(done) => Ok(done.rows_affected()),
        Err(sqlx::Error::Database(error)) => Err(error.code().expect("an SQLSTATE").into_owned()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn the_log_cannot_be_changed() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "for good").await;
    let library = Library::open(&server).await;
    let before = sound_log(&library.pool).await;
    let partition: String = sqlx::query_scalar("select tableoid::regclass::text from sealed_message limit 1")
        .fetch_one(&library.pool)
        .await
        .unwrap();
    // Even where no row would be touched.
    for table in ["events", "streams"] {
        for statement in [
            format!("update {table} set {} where false", if table == "events" { "kind = 'x'" } else { "name = 'x'" }),
            format!("delete from {table}"),
            format!("delete from {table} where false"),
            format!("truncate {table}"),
        ] {
            assert_eq!(run(&library, &statement).await, Err("23000".to_owned()), "{statement}");
        }
    }
    for table in ["sealed", "sealed_message", &partition] {
        for statement in [
            format!("update {table} set bytes = bytes where false"),
            format!("truncate {table}"),
            format!("delete from {table}"),
        ] {
            assert_eq!(run(&library, &statement).await, Err("23000".to_owned()), "{statement}");
        }
    }
    for statement in ["delete from log_head", "truncate log_head", "delete from vault.key", "truncate vault.key"] {
        assert_eq!(run(&library, statement).await, Err("23000".to_owned()), "{statement}");
    }
    for statement in
        ["insert into log_head select false, 0, now(), 1, 0, 0, 0, 0, 0", "insert into log_head select * from log_head"]
    {
        assert!(run(&library, statement).await.is_err(), "{statement}");
    }
    assert_eq!(sound_log(&library.pool).await, before);
    assert_eq!(library.texts(&thread).await[&2], "for good");
}

#[tokio::test]
async fn sealed_bytes_go_only_after_their_key() {
    let database = fresh_database().await;
    // The server must not be faster.
    let _held_up = hold_up(&database.url, SWEEPING).await;
    let server = Setup::on(&database).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "Alice's").await;
    bob.write(&thread, &alice, "Bob's").await;
    let library = Library::open(&server).await;
    let subject = Subject::Account(alice.id.parse().unwrap());
    library.ledger.execute(Erase { subjects: vec![subject], cause: Cause::Operator }).await.unwrap();

    // One row whose key lives keeps the whole statement from happening.
    assert_eq!(run(&library, "delete from sealed_message").await, Err("23000".to_owned()));
    let of = |alive: &str| {
        let keys = "select s.position from sealed_message s join vault.key k on k.id = s.account_key";
        format!("{keys} where k.wrapped is {alive} null")
    };
    let delete = |alive| format!("delete from sealed_message where position in ({})", of(alive));
    assert_eq!(run(&library, &delete("not")).await, Err("23000".to_owned()));
    assert_eq!(run(&library, &delete("")).await, Ok(1));
    let dead = "delete from sealed where key in (select id from vault.key where wrapped is null)";
    // Nickname and password hash.
    assert_eq!(run(&library, dead).await, Ok(1));
    let left = "select from sealed where key in (select id from vault.key where wrapped is null)";
    assert_eq!(run(&library, left).await, Ok(0));
    // Readers see no difference between what was erased and what was swept.
    let messages = bob.messages(&thread).await;
    assert_eq!((&messages[1]["messageType"], &messages[2]["text"]), (&"removed".into(), &"Bob's".into()));
    let events = sound_log(&library.pool).await;
    assert!(events.iter().any(|event| matches!(event.event, Event::Erasure(ErasureEvent::KeysDeleted(_)))));
    // The tombstone stays one, and the server's own key cannot die.
    let tombstone = "update vault.key set master = 1,
        wrapped = (select wrapped from vault.key where wrapped is not null limit 1) where wrapped is null";
    assert_eq!(run(&library, tombstone).await, Err("23000".to_owned()));
}
