//! The check: what it says of a sound log, and of every kind of damage.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::cluster::{Database, copy_of};
use crate::program::Program;
use crate::rebuild::Filled;

/// Does what the database refuses, as a superuser can.
async fn damage(database: &Database, sql: &str) {
    let mut connection = PgConnection::connect_with(&database.options).await.unwrap();
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut connection).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.unwrap();
}

/// What was done to the log, and what the check must say.
const DAMAGES: &[(&str, &str)] = &[
    ("delete from events where position = 5", "position 5: there is no event\n"),
    ("delete from events where position = 1", "position 1: there is something sealed, but no event\n"),
    ("delete from events where position between 5 and 7", "position 5: there is no event, and none up to 7\n"),
    ("update log_head set position = position + 1", ": there is no event\n"),
    ("update log_head set position = position - 1", "there is an event beyond the head"),
    ("update log_head set time = time + interval '1 day'", "head: the head row says "),
    ("update log_head set accounts = 10000", "head: the head row counts accounts up to 10000, but there is 100"),
    ("update log_head set groups = 10000", "head: the head row counts groups up to 10000, but there is 100"),
    (
        "update audit_map set root = decode(repeat('ab', 32), 'hex')",
        "head: the stored map of histories is not that of the events up to position ",
    ),
    (
        "insert into audit_map_nodes (prefix, born, node) values ('\\x0f0f0f', 1, '\\x00')",
        "head: the stored nodes of the map of histories are not those of its entries",
    ),
    ("update log_head set keys = 1", "head: the head row counts keys up to 1, but there is "),
    ("update log_head set streams = 1", "head: the head row counts streams up to 1, but there is "),
    (
        "update events set version = version + 1 where position = (select max(position) from events)",
        " of its stream, after version ",
    ),
    (
        "update events set time = time - interval '400 days' where position = (select max(position) from events)",
        ", that of the event before\n",
    ),
    ("update events set payload = '{' where position = 3", "position 3: malformed payload of "),
    ("update events set kind = 'Nonsense' where position = 3", "position 3: unknown event Nonsense version 1\n"),
    ("update events set schema = 9 where position = 3", " version 9\n"),
    ("update events set salt = '\\x00' where position = 3", "position 3: a hash is not 32 bytes long\n"),
    ("update streams set name = 'nonsense' where id = 1", ": unknown stream name\n"),
    ("delete from streams where id = 1", ": unknown stream name\n"),
    (
        "update sealed set bytes = set_byte(bytes, 0, get_byte(bytes, 0) # 1) where position = 1",
        "position 1: its sealed payload is not the one that the event commits to\n",
    ),
    ("update sealed set key = key + 1 where position = 1", "position 1: its sealed payload is not the one that"),
    ("update sealed set nonce = '\\x00' where position = 1", "position 1: its sealed payload is not the one that"),
    (
        "delete from sealed where position = 1",
        "position 1: its sealed payload is missing, and no key of it was deleted\n",
    ),
    (
        "update events set sealed = null where position = 1",
        "position 1: something is sealed that the event does not commit to\n",
    ),
    (
        "insert into sealed select 1000000, key, nonce, bytes from sealed where position = 1",
        "position 1000000: there is something sealed, but no event\n",
    ),
    // The payload is bound to its event: that opens no more.
    ("update events set salt = sha256('x') where position = 1", "position 1: its sealed payload does not open: "),
    (
        "update vault.key set wrapped = null, master = null where subject = 'account/10001'",
        "of account/10001 is erased, but no KeysDeleted of the log says so\n",
    ),
    (
        "update vault.key set wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1) where subject = 'account/10001'",
        "position 1: its sealed payload does not open: data key ",
    ),
    ("delete from vault.key where subject = 'account/10001'", "of account/10001 is missing in the vault\n"),
    (
        "update vault.key set subject = 'account/1' where subject = 'account/10001'",
        ", which is of account/1 and not of account/10001\n",
    ),
    (
        "update vault.key set master = 1, wrapped = (select wrapped from vault.key where subject = 'account/10001')
         where id = (select min(id) from vault.key where wrapped is null)",
        " was deleted here, but lives in the vault\n",
    ),
    ("update read_1.account set nickname = 2 where id = 10001", "table account: 1 rows only live, 1 only replayed\n"),
    (
        "delete from read_1.session where ctid = (select min(ctid) from read_1.session)",
        "table session: 0 rows only live, 1",
    ),
    ("insert into read_1.group_key values (1, 1, 1, 1)", "table group_key: 1 rows only live, 0 only replayed\n"),
    ("create table read_1.stranger (id bigint)", "head: read_1.stranger does not belong to any read model\n"),
];

/// A filled database in which something is erased and not swept yet.
async fn erased(seed: u64) -> Filled {
    let filled = Filled::new(seed).await;
    filled.erase_some().await;
    filled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_damage_is_named() {
    let (original, sound, rig) = erased(21).await.close().await;
    let report = sound.run(&["check"]).await.fine();
    assert!(report.ends_with("sound\n") && !report.contains("note"), "{report}");
    let json: Value = serde_json::from_str(&sound.run(&["check", "--format", "json"]).await.fine()).unwrap();
    assert_eq!(
        (&json["sound"], &json["problemCount"], &json["differences"]),
        (&true.into(), &0.into(), &Value::Array(vec![]))
    );
    // There is something to look at, erased things too.
    for (what, least) in [("position", 100), ("streams", 40), ("readable", 30), ("erased", 2), ("tables", 8)] {
        assert!(json[what].as_i64().unwrap() >= least, "{what}: {json}");
    }
    for (sql, expected) in DAMAGES {
        let copy = copy_of(&original).await;
        damage(&copy, sql).await;
        let ran = Program::on(&copy.url, &rig.master_key()).run(&["check"]).await;
        assert!(!ran.ok && ran.out.contains(expected), "{sql}:\n{}{}", ran.out, ran.err);
        assert_eq!(ran.err, "be8: something is wrong: see the report\n");
        assert!(!ran.out.contains("sound\n"), "{}", ran.out);
    }
    // What lies in the log itself changes its digest, even where nothing else shows it.
    let copy = copy_of(&original).await;
    let unsealed = "(select min(position) from events where sealed is null)";
    damage(&copy, &format!("update events set salt = sha256('x') where position = {unsealed}")).await;
    let report = Program::on(&copy.url, &rig.master_key()).run(&["check"]).await.fine();
    let digest = report.lines().find(|line| line.starts_with("digest")).unwrap();
    assert!(digest.len() > 64 && !digest.contains(json["digest"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swept_payloads_are_no_damage_and_a_check_changes_nothing() {
    let (database, program, rig) = erased(22).await.close().await;
    let said =
        async || -> Value { serde_json::from_str(&program.run(&["check", "--format", "json"]).await.fine()).unwrap() };
    // The storm sweeps, too.
    let before = said().await["swept"].as_u64().unwrap();
    // What may be swept by the rules of the database itself: a key of it is gone.
    let mut connection = PgConnection::connect_with(&database.options).await.unwrap();
    let swept = sqlx::query(
        "delete from sealed_message m where 3 > (select count(*) from vault.key k
         where k.wrapped is not null and k.id in (m.account_key, m.stay_key, m.day_key))",
    )
    .execute(&mut connection)
    .await
    .unwrap()
    .rows_affected();
    assert!(swept > 0);
    let json = said().await;
    assert_eq!((&json["sound"], json["swept"].as_u64()), (&true.into(), Some(before + swept)));
    let left =
        "select count(*) from pg_class where relname = 'account' or relnamespace::regnamespace::text like 'read%'
                and relkind = 'r' and relnamespace <> 'read_1'::regnamespace";
    assert_eq!(sqlx::query_scalar::<_, i64>(left).fetch_one(&mut connection).await.unwrap(), 1);

    // Without the master key the payloads are compared but not opened.
    let report = Program::on(&database.url, &rig.master_key().with_file_name("none")).run(&["check"]).await.fine();
    assert!(report.contains("there is no master key at hand"), "{report}");
    assert!(!rig.master_key().with_file_name("none").exists());
    // With another one: that is no finding, but a mistake.
    let other = rig.master_key().with_file_name("other");
    be8::vault::MasterKey::load_or_create(&other).unwrap();
    let ran = Program::on(&database.url, &other).run(&["check"]).await;
    assert!(!ran.ok && ran.out.is_empty() && ran.err.contains("master key"), "{}{}", ran.out, ran.err);
}
