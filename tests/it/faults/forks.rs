//! A database that does not continue the log which a node has seen: a standby that lagged was promoted, a snapshot was put
//! back, another database has its name now. The node notices, damages nothing and stops.

use be8::ledger::{Delivery, Leads, LedgerError, LogError, Tiles, TransparencyTables};
use be8_database::Connector;
use be8_events::{AccId, Hash32, Position, Timestamp};
use chrono::Utc;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::proxy::{Cut, Proxy};
use super::sound_log;
use crate::client::two_people;
use crate::cluster::{Database, fresh_database};
use crate::patience::eventually;
use crate::rig::{Rig, start};
use crate::server::Setup;

/// All tables of a database as they are at one moment.
struct Snapshot {
    url: String,
}

impl Snapshot {
    /// Copies them.
    async fn take(url: &str) -> Self {
        let taken = Self { url: url.to_owned() };
        taken.run("create schema standby", "create table standby.{flat} as table {table}").await;
        taken
    }

    /// Puts all tables back at once, as a failover to a standby does that had received no more.
    async fn promote(&self) {
        self.run("", "delete from {table}; insert into {table} overriding system value select * from standby.{flat}")
            .await;
    }

    async fn run(&self, first: &str, each: &'static str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let promoting = first.is_empty();
        // The head row's table comes first: who appends locks it first, too.
        let tables: Vec<(String, String)> = sqlx::query_as(
            "select format('%I.%I', n.nspname, c.relname), n.nspname || '__' || c.relname
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind = 'r' and n.nspname !~ '^(pg_|information_schema|standby)'
                 and (not $1 or to_regclass('standby.' || n.nspname || '__' || c.relname) is not null)
             order by c.relname <> 'log_head'",
        )
        .bind(promoting)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        // Triggers that keep the log append-only do not hold for what replicates it.
        let mut sql = format!("begin; set local session_replication_role = replica; lock table log_head; {first};");
        for (table, flat) in tables {
            sql += &(each.replace("{table}", &table).replace("{flat}", &flat) + ";");
        }
        sqlx::raw_sql(AssertSqlSafe(sql + "commit")).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// The only line of an error in the log of a server that stopped.
fn error_of(setup: &Setup) -> String {
    let log = setup.log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    errors[0].to_owned()
}

#[tokio::test]
async fn an_idle_node_notices_that_its_database_lost_what_it_acknowledged() {
    let database = fresh_database().await;
    let server = Setup::on(&database).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut stream = bob.client.events().await;
    let standby = Snapshot::take(&database.url).await;
    for text in ["one", "two", "three"] {
        alice.write(&thread, &bob, text).await;
    }
    stream.events(3).await;
    let end = sound_log(&pool(&database).await).await.len();
    standby.promote().await;
    let (setup, status) = server.ended().await;
    assert!(!status.success());
    assert_eq!(stream.rest().await, []);
    let error = error_of(&setup);
    let says = [
        format!("has seen position {end}"),
        format!("ends at position {}", end - 3),
        format!("from position {} on", end - 2),
    ];
    assert!(says.iter().all(|part| error.contains(part)), "{error}");
    // The next start serves what the database has, for no signed head says otherwise.
    let server = setup.start().await;
    assert_eq!(bob.at(&server).messages(&thread).await.len(), 1);
    assert_eq!(alice.at(&server).write(&thread, &bob, "again").await, 2);
    let checked = server.setup().run(&["check"]).await;
    assert!(checked.success, "{}{}", checked.out, checked.err);
}

async fn pool(database: &Database) -> sqlx::PgPool {
    sqlx::PgPool::connect(&database.url).await.unwrap()
}

/// A node that has not noticed yet that its database lost events must not store their hashes: the next start would take the
/// database for one that contradicts what was signed.
#[tokio::test]
async fn tiles_are_stored_only_beside_the_log_that_has_their_newest_event() {
    let database = fresh_database().await;
    let rig = Rig::on(&database.url).await;
    rig.node().await.account(1).await;
    let newest = rig.events().await.pop().expect("an event");
    let tables = TransparencyTables::of(&rig.log());
    let leads = Leads::new(&Connector::from(database.options.clone()));
    let mut lead = leads.take("transparency log").await.unwrap().expect("nobody else has it");
    let tiles = || Tiles::from([((0, 0), vec![7; 32])]);
    // The database has another event there, or none.
    for last in [(newest.position, Hash32([0; 32])), (newest.position.next(), newest.salt)] {
        assert!(!lead.store_tiles(tiles(), last).await.unwrap());
        assert_eq!(tables.size().await.unwrap(), 0);
    }
    assert!(lead.store_tiles(tiles(), (newest.position, newest.salt)).await.unwrap());
    assert_eq!(tables.size().await.unwrap(), 1);
}

/// Otherwise what is appended later at the positions that were lost would never be pushed, expired or swept.
#[tokio::test]
async fn a_process_saves_only_positions_that_the_log_of_its_database_has() {
    let database = fresh_database().await;
    let rig = Rig::on(&database.url).await;
    rig.node().await.account(1).await;
    let newest = rig.events().await.pop().expect("an event").position;
    let mut lead =
        Leads::new(&Connector::from(database.options.clone())).take("push").await.unwrap().expect("nobody has it");
    let before = lead.checkpoint().await.unwrap();
    let delivery = Delivery {
        account: AccId::new(100_000_001).expect("an id"),
        device: Hash32([1; 32]),
        service: "push.example".to_owned(),
        thread: 1,
        message: newest.next(),
        sender: AccId::new(100_000_002).expect("an id"),
        nickname: newest,
        written: Timestamp::from(Utc::now()),
    };
    let due = delivery.written;
    assert!(!lead.save_position(newest.next()).await.unwrap());
    assert!(lead.enqueue(std::slice::from_ref(&delivery), due, newest.next()).await.unwrap().is_empty());
    assert_eq!((lead.checkpoint().await.unwrap(), lead.backlog().await.unwrap().len()), (before, 0));
    assert_eq!(lead.enqueue(&[delivery], due, newest).await.unwrap(), [("push.example".to_owned(), 1)]);
    assert_eq!(lead.checkpoint().await.unwrap(), newest.0);
    assert!(lead.save_position(newest).await.unwrap());
}

#[tokio::test]
async fn nothing_is_decided_on_a_log_that_lost_its_end() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let two = (node.account(1).await, node.account(2).await).1;
    let seen = rig.count().await;
    rig.damage(
        "begin; delete from events where position > (select position - 2 from log_head);
         update log_head set position = position - 2; commit",
    )
    .await;
    let refused = node.ledger.execute(start(1, two)).await;
    assert!(matches!(refused, Err(LedgerError::Unavailable)), "{refused:?}");
    assert_eq!(rig.count().await, seen - 2);
    let error = node.ended().await.unwrap_err();
    let lost = Position(seen - 1);
    assert!(
        matches!(error, LogError::Fork { seen: s, end, lost: l } if s.0 == seen && end.0 == seen - 2 && l == lost),
        "{error}"
    );
}

#[tokio::test]
async fn a_log_of_the_same_length_or_longer_is_recognised_by_its_salts() {
    for more in [0, 3] {
        let rig = Rig::new().await;
        let node = rig.node().await;
        let two = (node.account(1).await, node.account(2).await).1;
        let seen = rig.count().await;
        // Another node wrote other events from the last but one on, and some more.
        rig.damage(&format!(
            "begin; update events set salt = sha256(salt) where position > {seen} - 2;
             insert into events select position + n, stream, version + n, kind, schema, time, actor, sha256(salt || n::text::bytea),
                 payload, sealed from events, generate_series(1, {more}) n where position = {seen};
             update log_head set position = position + {more}; commit"
        ))
        .await;
        let refused = node.ledger.execute(start(1, two)).await;
        assert!(matches!(refused, Err(LedgerError::Unavailable)), "{refused:?}");
        assert_eq!(rig.count().await, seen + more);
        let error = node.ended().await.unwrap_err();
        assert!(matches!(error, LogError::Fork { lost, .. } if lost.0 == seen - 1), "{error}");
    }
}

#[tokio::test]
async fn of_two_nodes_the_one_that_saw_more_stops_and_the_other_goes_on() {
    let database = fresh_database().await;
    let one = Setup::on(&database).start().await;
    let two = one.setup().second().start().await;
    let (alice, bob, thread) = two_people(&one).await;
    bob.at(&two).messages(&thread).await;
    rustix::process::kill_process(two.pid(), rustix::process::Signal::STOP).unwrap();
    let standby = Snapshot::take(&database.url).await;
    alice.write(&thread, &bob, "only the first node saw this").await;
    standby.promote().await;
    let (setup, status) = one.ended().await;
    assert!(!status.success());
    error_of(&setup);
    rustix::process::kill_process(two.pid(), rustix::process::Signal::CONT).unwrap();
    assert_eq!(alice.at(&two).write(&thread, &bob, "this continues what the second saw").await, 2);
    let checked = two.setup().run(&["check"]).await;
    assert!(checked.success, "{}{}", checked.out, checked.err);
}

#[tokio::test]
async fn the_outcome_of_an_append_to_a_log_that_was_lost_stays_unknown() {
    let database = fresh_database().await;
    let proxy = Proxy::start(&database).await;
    let server = Setup::on(&database).through(proxy.url()).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let standby = Snapshot::take(&database.url).await;
    alice.write(&thread, &bob, "lost").await;
    proxy.cut_next_append(Cut::After);
    let letter = alice.letter(&thread, &bob.id, "perhaps");
    let failover = async {
        eventually("the append is cut", async || proxy.cuts() == 1).await;
        proxy.reachable(false);
        standby.promote().await;
        proxy.reachable(true);
    };
    let (answer, ()) = tokio::join!(alice.client.post("/writemessage", &letter), failover);
    assert_eq!(answer.status, 503, "{}", answer.text);
    let (setup, status) = server.ended().await;
    assert!(!status.success());
    error_of(&setup);
    assert_eq!(
        sound_log(&pool(&database).await).await.last().map(|event| event.event.kind()),
        Some("ConversationStarted")
    );
}
