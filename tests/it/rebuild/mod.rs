//! Rebuilding the read models: all of them or some, killed and gone on with, aborted, refused, undone.

mod serving;

use be8::domain::erasure::Erase;
use be8_events::erasure::Cause;
use be8_events::{Subject, ThreadId};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::process::Child;

use crate::cluster::{Database, fresh_database};
use crate::patience::eventually;
use crate::program::Program;
use crate::rig::Rig;
use crate::storm::Storm;

/// A database that random commands have filled, and the program on it.
pub struct Filled {
    pub database: Database,
    pub rig: Rig,
    pub storm: Storm,
    pub program: Program,
}

impl Filled {
    pub async fn new(seed: u64) -> Self {
        let database = fresh_database().await;
        let rig = Rig::on(&database.url).await;
        let mut storm = Storm::new(&rig, seed).await;
        for _ in 0..80 {
            storm.blow().await;
        }
        let program = Program::on(&database.url, &rig.master_key());
        Self { database, rig, storm, program }
    }

    /// Erases what some wrote in some conversations.
    pub async fn erase_some(&self) {
        for thread in self.storm.threads.iter().take(5) {
            let ThreadId::Dialog { initiator, .. } = *thread else { continue };
            let stay = Subject::Stay { thread: *thread, author: initiator, stay: 1 };
            let erase = Erase { subjects: vec![stay], cause: Cause::Operator };
            self.storm.nodes[0].ledger.execute(erase).await.unwrap();
        }
    }

    /// Lets go of the database; answers the program on it, with the key.
    pub async fn close(self) -> (Database, Program, Rig) {
        for node in self.storm.nodes {
            node.stop().await;
        }
        self.rig.pool.close().await;
        (self.database, self.program, self.rig)
    }

    async fn live(&self) -> i32 {
        value(&self.rig.pool, "select generation from log_head").await
    }

    async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.rig.pool).await.unwrap();
    }

    /// Has a rebuild wait after its first written pages; it goes on when the returned pool's lock ends.
    async fn held_rebuild(&self) -> (Child, sqlx::Transaction<'static, sqlx::Postgres>) {
        self.run(
            "create or replace function hold_it() returns trigger language plpgsql as $$ begin
                 if new.reached > 40 and new.phase = 'replay' then perform pg_advisory_xact_lock(4711); end if;
                 return new; end $$;
             create or replace trigger hold_it before update on read_generations
                 for each row execute function hold_it()",
        )
        .await;
        let mut hold = self.rig.pool.begin().await.unwrap();
        sqlx::query("select pg_advisory_xact_lock(4711)").execute(&mut *hold).await.unwrap();
        let child = self.program.spawn(&["rebuild", "--events-at-once", "10"]);
        let waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 4711
                     and database = (select oid from pg_database where datname = current_database())";
        eventually("the rebuild is held up", async || value::<i64>(&self.rig.pool, waits).await == 1).await;
        (child, hold)
    }
}

pub async fn value<T>(pool: &PgPool, sql: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The tables of a generation.
pub async fn tables(pool: &PgPool, schema: &str) -> Vec<String> {
    let sql = "select c.relname::text from pg_class c where c.relnamespace = to_regnamespace($1) and c.relkind = 'r' order by 1";
    sqlx::query_scalar(sql).bind(schema).fetch_all(pool).await.unwrap()
}

/// What makes the indexes and constraints of a generation, without its name.
async fn indexes(pool: &PgPool, schema: &str) -> Vec<String> {
    let sql = "select replace(indexdef, schemaname || '.', '') from pg_indexes where schemaname = $1
               union all select conrelid::regclass::text || pg_get_constraintdef(oid) from pg_constraint
               where connamespace = to_regnamespace($1)";
    let mut found: Vec<String> = sqlx::query_scalar(sql).bind(schema).fetch_all(pool).await.unwrap();
    found.iter_mut().for_each(|text| *text = text.replace(&format!("{schema}."), ""));
    found.sort();
    found
}

/// Two generations are the same: tables, rows, indexes.
async fn same(pool: &PgPool, one: &str, other: &str) {
    let names = tables(pool, one).await;
    assert!(names.len() >= 8, "{names:?}");
    assert_eq!(names, tables(pool, other).await);
    for table in names {
        let differ = format!(
            "select count(*) from ((table {one}.{table} except all table {other}.{table})
             union all (table {other}.{table} except all table {one}.{table})) d"
        );
        assert_eq!(value::<i64>(pool, &differ).await, 0, "{table} of {one} and {other}");
    }
    assert_eq!(indexes(pool, one).await, indexes(pool, other).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuilt_generation_is_the_old_one_and_there_is_a_way_back() {
    let mut filled = Filled::new(11).await;
    let pool = filled.rig.pool.clone();
    let head: i64 = value(&pool, "select position from log_head").await;
    let output = filled.program.run(&["rebuild", "--events-at-once", "7"]).await.fine();
    assert!(output.starts_with(&format!("read_2 is live, instead of read_1, at position {head}.\n")), "{output}");
    assert!(output.contains("equal to the ones before"), "{output}");
    assert_eq!(filled.live().await, 2);
    same(&pool, "read_1", "read_2").await;

    // The ledgers of both nodes go on, and write into the new one only.
    for _ in 0..10 {
        filled.storm.blow().await;
    }
    assert!(value::<i64>(&pool, "select position from log_head").await > head);
    let status = filled.program.run(&["rebuild", "--status"]).await.fine();
    let phases: Vec<Vec<&str>> = status.lines().skip(1).map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(phases, [["read_1", "old"], ["read_2", "live"]], "{status}");

    let output = filled.program.run(&["rebuild", "--rollback"]).await.fine();
    assert_eq!(output, "read_1 is live again, instead of read_2.\n");
    same(&pool, "read_1", "read_2").await;
    for _ in 0..10 {
        filled.storm.blow().await;
    }
    // The next one: what was kept before goes, what it replaces is kept.
    filled.program.run(&["rebuild"]).await.fine();
    assert_eq!((filled.live().await, tables(&pool, "read_2").await), (3, vec![]));
    same(&pool, "read_1", "read_3").await;
    assert_eq!(filled.program.run(&["rebuild", "--drop-old"]).await.fine(), "read_1 is removed.\n");
    assert_eq!(filled.program.run(&["rebuild", "--drop-old"]).await.fine(), "No earlier generation is kept.\n");
    let complaint = filled.program.run(&["rebuild", "--rollback"]).await.complaint();
    assert_eq!(complaint, "be8: no earlier generation is kept that this build can read\n");
    for _ in 0..10 {
        filled.storm.blow().await;
    }
    assert!(filled.program.run(&["check"]).await.fine().ends_with("sound\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_read_models_are_rebuilt_and_the_others_taken_over() {
    let filled = Filled::new(12).await;
    let pool = &filled.rig.pool;
    // What is taken over shows that it was: nobody replays it.
    filled.run("update read_1.session set account = account + 1; update read_1.message set id = id + 100").await;
    let complaint = filled.program.run(&["rebuild", "messages"]).await.complaint();
    assert!(complaint.contains("live and rebuilt tables differ in message ("), "{complaint}");
    assert!(!complaint.contains("session"), "{complaint}");
    let status = filled.program.run(&["rebuild", "--status"]).await.fine();
    assert!(status.contains("catch-up, stopped") && status.contains("threads messages"), "{status}");
    let output = filled.program.run(&["rebuild", "messages", "--force"]).await.fine();
    assert!(output.contains("message differed: "), "{output}");
    assert_eq!(value::<i64>(pool, "select count(*) from read_2.message where id > 100").await, 0);
    filled.run("update read_1.message set id = id - 100").await;
    same(pool, "read_1", "read_2").await;

    let complaint = filled.program.run(&["rebuild", "message"]).await.complaint();
    assert!(complaint.starts_with("be8: there is no read model \"message\"; there are accounts, "), "{complaint}");
    // Those of another version cannot be taken over.
    filled.run("update read_generations set models = '{}'").await;
    let complaint = filled.program.run(&["rebuild", "groups"]).await.complaint();
    assert_eq!(complaint, "be8: the live read models are of another version: rebuild all of them\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_rebuild_goes_on_where_it_stood() {
    let mut filled = Filled::new(13).await;
    let pool = filled.rig.pool.clone();
    let (mut child, hold) = filled.held_rebuild().await;
    child.kill().await.unwrap();
    let at = "select reached from read_generations where generation = 2";
    let reached: i64 = value(&pool, at).await;
    assert_eq!((reached, filled.live().await), (40, 1));
    hold.rollback().await.unwrap();
    // Nobody finishes it for the dead.
    let held =
        "select count(*) from pg_stat_activity where datname = current_database() and query like '%reached = $2%'
                and state <> 'idle' and pid <> pg_backend_pid()";
    eventually("PostgreSQL has noticed", async || value::<i64>(&pool, held).await == 0).await;
    assert_eq!(value::<i64>(&pool, at).await, 40);
    assert!(filled.program.run(&["rebuild", "--status"]).await.fine().contains("replay, stopped"));
    filled.run("drop trigger hold_it on read_generations").await;
    // Writes went on meanwhile.
    for _ in 0..5 {
        filled.storm.blow().await;
    }
    // A row that only what was written before the kill can have shows that it is not started again.
    filled.run("update read_generations set build = 'of the killed' where generation = 2").await;
    filled.program.run(&["rebuild"]).await.fine();
    assert_eq!(
        value::<String>(&pool, "select build from read_generations where generation = 2").await,
        "of the killed"
    );
    assert_eq!(filled.live().await, 2);
    same(&pool, "read_1", "read_2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_is_aborted_and_there_is_one_at_a_time() {
    let filled = Filled::new(14).await;
    let pool = &filled.rig.pool;
    assert_eq!(filled.program.run(&["rebuild", "--abort"]).await.fine(), "There is no rebuild to abort.\n");
    let (child, hold) = filled.held_rebuild().await;
    let complaint = filled.program.run(&["rebuild"]).await.complaint();
    assert_eq!(complaint, "be8: a rebuild is running already (be8 rebuild --status)\n");
    let status = filled.program.run(&["rebuild", "--status"]).await.fine();
    assert!(status.lines().any(|line| line.starts_with("read_2      replay  ")), "{status}");

    let abort = filled.program.spawn(&["rebuild", "--abort"]);
    let waits = "select count(*) from pg_stat_activity where datname = current_database()
                 and query like '%aborted = true%' and wait_event_type = 'Lock'";
    eventually("the abort waits", async || value::<i64>(pool, waits).await == 1).await;
    hold.rollback().await.unwrap();
    assert_eq!(Program::ended(abort).await.fine(), "Aborted: read_2 is removed.\n");
    assert_eq!(Program::ended(child).await.complaint(), "be8: the rebuild was aborted\n");
    assert_eq!((filled.live().await, tables(pool, "read_2").await), (1, vec![]));
    assert_eq!(value::<i64>(pool, "select count(*) from read_generations").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_not_switched_to_unless_forced() {
    let filled = Filled::new(15).await;
    let pool = &filled.rig.pool;
    filled.run("delete from read_1.thread_member where ctid = (select min(ctid) from read_1.thread_member)").await;
    for _ in 0..2 {
        // Also the second time, when only the comparison is left.
        let complaint = filled.program.run(&["rebuild"]).await.complaint();
        assert!(complaint.starts_with("be8: live and rebuilt tables differ in thread_member ("), "{complaint}");
        assert_eq!(filled.live().await, 1);
    }
    let output = filled.program.run(&["rebuild", "--force"]).await.fine();
    assert!(output.contains("thread_member differed: "), "{output}");
    assert_eq!(filled.live().await, 2);
    let more = "select (select count(*) from read_2.thread_member) - (select count(*) from read_1.thread_member)";
    assert_eq!(value::<i64>(pool, more).await, 1);
    // Now it is what follows from the log.
    assert!(filled.program.run(&["check"]).await.fine().ends_with("sound\n"));
}

#[tokio::test]
async fn the_live_generation_is_not_removed() {
    let rig = Rig::new().await;
    rig.node().await.account(1).await;
    let mut connection = rig.pool.acquire().await.unwrap();
    let removal = be8::ledger::rebuild::remove(&mut connection, be8_projections::Generation::FIRST).await.unwrap();
    assert_eq!(removal, be8::ledger::rebuild::Removal::Live);
    let left = "select (select count(*) from read_1.account) + (select count(*) from read_generations)";
    assert_eq!(value::<i64>(&rig.pool, left).await, 2);
}
