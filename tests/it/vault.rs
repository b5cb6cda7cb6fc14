//! The vault against a real PostgreSQL: opening it, finding and erasing keys, rotating the master key.

use std::sync::Arc;
use std::time::Duration;

use be8::vault::{DataKey, Found, FreshKey, KeyRow, KeySet, MasterKey, Vault, VaultError};
use be8_events::erasure::DeletedKey;
use be8_events::{AccId, Hash32, KeyId, Sealed, SealedContext, Subject};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;

use crate::cluster::fresh_database;

const SALT: Hash32 = Hash32([9; 32]);
const CONTEXT: SealedContext<'static> = SealedContext { kind: "PublicKeySet", schema: 1, salt: &SALT };

/// Master key files by name.
struct Masters(TempDir);

impl Masters {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn key(&self, name: &str) -> MasterKey {
        MasterKey::load_or_create(self.0.path().join(name)).unwrap()
    }
}

async fn empty_vault() -> PgPool {
    let database = fresh_database().await;
    let pool = PgPoolOptions::new().max_connections(5).connect(&database.url).await.unwrap();
    sqlx::raw_sql(include_str!("../../migrations/0002_vault.sql")).execute(&pool).await.unwrap();
    sqlx::raw_sql(include_str!("../../migrations/0016_vault_rotation.sql")).execute(&pool).await.unwrap();
    pool
}

fn account(number: i64) -> Subject {
    Subject::Account(AccId::new(number).unwrap())
}

async fn insert(pool: &PgPool, row: &KeyRow) -> Result<(), sqlx::Error> {
    sqlx::query("insert into vault.key (id, subject, wrapped, master) values ($1, $2, $3, $4)")
        .bind(row.id)
        .bind(&row.subject)
        .bind(&row.wrapped)
        .bind(row.master)
        .execute(pool)
        .await
        .map(drop)
}

/// Keys 1 to `count`, committed and remembered, each with something sealed under it.
async fn fill(pool: &PgPool, vault: &Vault, count: i64) -> Vec<Sealed> {
    let mut payloads = Vec::new();
    for id in 1..=count {
        let FreshKey { key, row } = vault.fresh_key(id, account(10_000 + id));
        insert(pool, &row).await.unwrap();
        vault.remember(std::slice::from_ref(&key));
        payloads.push(vault.seal(&KeySet::Lasting(key), CONTEXT, format!("secret {id}").as_bytes()));
    }
    payloads
}

async fn erase(pool: &PgPool, id: KeyId) -> Result<(), sqlx::Error> {
    sqlx::query("update vault.key set wrapped = null where id = $1").bind(id).execute(pool).await.map(drop)
}

async fn live(pool: &PgPool) -> Vec<KeyId> {
    sqlx::query_scalar("select id from vault.key where wrapped is not null order by id").fetch_all(pool).await.unwrap()
}

async fn generations(pool: &PgPool) -> Vec<i32> {
    sqlx::query_scalar("select generation from vault.master order by generation").fetch_all(pool).await.unwrap()
}

/// What of these payloads can be read now.
async fn readable(pool: &PgPool, vault: &Arc<Vault>, payloads: &[Sealed]) -> Result<Vec<Option<String>>, VaultError> {
    let opener = vault.opener(&live(pool).await).await?;
    let text = |plain: be8_events::Secret<Vec<u8>>| String::from_utf8(plain.into_inner()).unwrap();
    payloads.iter().map(|sealed| Ok(opener.open(sealed, CONTEXT)?.map(text))).collect()
}

/// `secret 1` and so on, without those of the erased keys.
fn expected(count: i64, erased: &[KeyId]) -> Vec<Option<String>> {
    (1..=count).map(|id| (!erased.contains(&id)).then(|| format!("secret {id}"))).collect()
}

fn refused(result: Result<(), sqlx::Error>, why: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[tokio::test]
async fn a_vault_opens_with_its_own_master_key_only() {
    let (pool, masters) = (empty_vault().await, Masters::new());
    Vault::open(pool.clone(), masters.key("one")).await.unwrap();
    Vault::open(pool.clone(), masters.key("one")).await.unwrap();
    let error = Vault::open(pool.clone(), masters.key("other")).await.unwrap_err();
    assert!(matches!(error, VaultError::WrongMaster { generation: 1 }));
    assert_eq!(error.to_string(), "no master key given opens the vault (generation 1)");
    Vault::open_rotating(pool, masters.key("other"), masters.key("one")).await.unwrap();
}

#[tokio::test]
async fn of_nodes_that_start_at_once_with_different_keys_one_wins() {
    let (pool, masters) = (empty_vault().await, Masters::new());
    let starts: Vec<_> = (0..8).map(|n| tokio::spawn(Vault::open(pool.clone(), masters.key(&n.to_string())))).collect();
    let mut opened = 0;
    for start in starts {
        match start.await.unwrap() {
            Ok(_) => opened += 1,
            Err(error) => assert!(matches!(error, VaultError::WrongMaster { generation: 1 })),
        }
    }
    assert_eq!(opened, 1);
    assert_eq!(generations(&pool).await, [1]);
}

#[tokio::test]
async fn keys_are_found_by_subject() {
    let (pool, masters) = (empty_vault().await, Masters::new());
    let vault = Vault::open(pool.clone(), masters.key("one")).await.unwrap();
    assert!(vault.find(&[]).await.unwrap().is_empty());
    assert!(vault.find(&[account(10_001)]).await.unwrap().is_empty());
    let payloads = fill(&pool, &vault, 3).await;
    erase(&pool, 2).await.unwrap();

    // The node that made them, and one that has not seen them yet.
    for vault in [vault, Vault::open(pool.clone(), masters.key("one")).await.unwrap()] {
        let found = vault.find(&[1, 2, 4].map(|n| account(10_000 + n))).await.unwrap();
        assert_eq!(found.len(), 2);
        assert!(matches!(found[&account(10_002)], Found::Erased(2)));
        let Found::Live(key) = &found[&account(10_001)] else { panic!("key 1 lives") };
        assert_eq!(key.id(), 1);
        assert_eq!(readable(&pool, &vault, &payloads).await.unwrap(), expected(3, &[2]));
        let again = vault.seal(&KeySet::Lasting(key.clone()), CONTEXT, b"again");
        assert_ne!(again.nonce, payloads[0].nonce);
        let plain = vault.opener(&[1]).await.unwrap().open(&again, CONTEXT).unwrap().unwrap();
        assert_eq!(plain.expose(), b"again");
    }
}

#[tokio::test]
async fn a_cached_key_is_used_only_where_a_statement_named_it_live() {
    let (pool, masters) = (empty_vault().await, Masters::new());
    let vault = Vault::open(pool.clone(), masters.key("one")).await.unwrap();
    let [account, stay, day] = [1, 2, 3].map(|id| vault.fresh_key(id, account(10_000 + id)));
    for fresh in [&account, &stay, &day] {
        insert(&pool, &fresh.row).await.unwrap();
    }
    let keys: Vec<DataKey> = [account, stay, day].map(|fresh| fresh.key).to_vec();
    vault.remember(&keys);
    let sealed = vault.seal(&KeySet::from_keys(keys).unwrap(), CONTEXT, b"hello");
    assert_eq!(sealed.keys, [1, 2, 3]);

    let opener = vault.opener(&[3, 1, 2, 1]).await.unwrap();
    assert_eq!(opener.open(&sealed, CONTEXT).unwrap().unwrap().expose(), b"hello");
    assert_eq!(format!("{:?}", opener.open(&sealed, CONTEXT).unwrap()), "Some(***)");
    for live in [&[1, 2][..], &[2, 3], &[1, 3], &[]] {
        assert!(vault.opener(live).await.unwrap().open(&sealed, CONTEXT).unwrap().is_none());
    }
    let altered = Sealed { bytes: vec![0; 21], ..sealed.clone() };
    assert!(matches!(opener.open(&altered, CONTEXT), Err(VaultError::Unseal(keys)) if keys == [1, 2, 3]));

    // Erased after the reading statement, forgotten before its answer is opened.
    erase(&pool, 2).await.unwrap();
    vault.forget(&[2]);
    assert!(vault.opener(&[1, 2, 3]).await.unwrap().open(&sealed, CONTEXT).unwrap().is_none());
    assert!(matches!(vault.opener(&[99, 1, 2, 98]).await, Err(VaultError::Missing(keys)) if keys == [98, 99]));
}

#[tokio::test]
async fn the_database_guards_the_keys() {
    let (pool, masters) = (empty_vault().await, Masters::new());
    let vault = Vault::open(pool.clone(), masters.key("one")).await.unwrap();
    fill(&pool, &vault, 2).await;
    let server = vault.fresh_key(3, Subject::Server);
    insert(&pool, &server.row).await.unwrap();
    erase(&pool, 1).await.unwrap();
    erase(&pool, 1).await.unwrap();

    let run = async |sql: &'static str| sqlx::query(sql).execute(&pool).await.map(drop);
    refused(
        run("update vault.key k set wrapped = o.wrapped, master = 1 from vault.key o where k.id = 1 and o.id = 2")
            .await,
        "an erased key stays erased",
    );
    refused(run("delete from vault.key where id = 1").await, "never removed");
    refused(run("truncate vault.key").await, "never removed");
    refused(run("truncate vault.master cascade").await, "never removed");
    refused(run("update vault.key set subject = 'x' where id = 2").await, "never change");
    refused(run("update vault.key set id = 9 where id = 2").await, "never change");
    refused(run("delete from vault.master").await, "key_has_a_master");
    refused(run("update vault.key set master = null where id = 2").await, "key_is_wrapped_by_a_master");
    refused(erase(&pool, 3).await, "the key of the server is never erased");
    refused(insert(&pool, &vault.fresh_key(4, account(10_001)).row).await, "key_subject_key");
    assert_eq!(live(&pool).await, [2, 3]);
}

#[tokio::test]
async fn an_altered_row_is_seen() {
    let (pool, masters) = (empty_vault().await, Masters::new());
    let vault = Vault::open(pool.clone(), masters.key("one")).await.unwrap();
    fill(&pool, &vault, 2).await;
    // The wrapped key of another subject.
    sqlx::query("update vault.key k set wrapped = o.wrapped from vault.key o where k.id = 1 and o.id = 2")
        .execute(&pool)
        .await
        .unwrap();
    let vault = Vault::open(pool.clone(), masters.key("one")).await.unwrap();
    assert!(matches!(vault.find(&[account(10_001)]).await, Err(VaultError::Unwrap(1))));
    assert!(matches!(vault.opener(&[1, 2]).await, Err(VaultError::Unwrap(1))));
    vault.opener(&[2]).await.unwrap();
}

#[tokio::test]
async fn deletions_are_applied_to_an_older_copy() {
    let (pool, masters) = (empty_vault().await, Masters::new());
    let vault = Vault::open(pool.clone(), masters.key("one")).await.unwrap();
    let payloads = fill(&pool, &vault, 3).await;
    erase(&pool, 1).await.unwrap();

    let deleted = |id: KeyId| DeletedKey { id, subject: account(10_000 + id) };
    let deletions = [deleted(2), deleted(1), deleted(7), deleted(2)];
    assert_eq!(vault.apply_deletions(&deletions).await.unwrap(), 2);
    assert_eq!(vault.apply_deletions(&deletions).await.unwrap(), 0);
    assert_eq!(vault.apply_deletions(&[]).await.unwrap(), 0);
    assert_eq!(live(&pool).await, [3]);
    assert_eq!(readable(&pool, &vault, &payloads).await.unwrap(), expected(3, &[1, 2]));
    // The copy was older than key 7: its subject never gets a second one.
    assert!(matches!(vault.find(&[account(10_007)]).await.unwrap()[&account(10_007)], Found::Erased(7)));
}

#[tokio::test]
async fn a_rotation_changes_the_master_key_and_nothing_else() {
    let (pool, masters) = (empty_vault().await, Masters::new());
    let vault = Vault::open(pool.clone(), masters.key("old")).await.unwrap();
    let payloads = fill(&pool, &vault, 1_203).await;
    erase(&pool, 5).await.unwrap();
    let other_node = Vault::open_rotating(pool.clone(), masters.key("old"), masters.key("new")).await.unwrap();
    let ignorant_node = Vault::open(pool.clone(), masters.key("old")).await.unwrap();
    let stale = other_node.fresh_key(2_000, account(12_000));

    assert_eq!(vault.rotate(masters.key("new")).await.unwrap(), 1_202);
    assert_eq!(generations(&pool).await, [2]);
    assert_eq!(vault.rotate(masters.key("new")).await.unwrap(), 0);

    // Nodes that serve go on reading, and those that know the new key go on writing.
    for vault in [&vault, &other_node] {
        assert_eq!(readable(&pool, vault, &payloads).await.unwrap(), expected(1_203, &[5]));
    }
    let error = insert(&pool, &stale.row).await.unwrap_err();
    assert!(Vault::is_outdated(&error), "{error}");
    other_node.refresh().await.unwrap();
    insert(&pool, &other_node.fresh_key(2_000, account(12_000)).row).await.unwrap();
    assert!(matches!(ignorant_node.refresh().await, Err(VaultError::WrongMaster { generation: 2 })));
    let error = ignorant_node.find(&[account(12_000)]).await.unwrap_err();
    assert!(matches!(error, VaultError::WrongMaster { generation: 2 }));
    assert!(matches!(ignorant_node.opener(&[2_000]).await, Err(VaultError::WrongMaster { generation: 2 })));

    let error = Vault::open(pool.clone(), masters.key("old")).await.unwrap_err();
    assert!(matches!(error, VaultError::WrongMaster { generation: 2 }));
    let vault = Vault::open(pool.clone(), masters.key("new")).await.unwrap();
    assert_eq!(readable(&pool, &vault, &payloads).await.unwrap(), expected(1_203, &[5]));
}

#[tokio::test]
async fn a_rotation_that_was_cut_off_is_resumed() {
    let (pool, masters) = (empty_vault().await, Masters::new());
    let vault = Vault::open(pool.clone(), masters.key("old")).await.unwrap();
    let payloads = fill(&pool, &vault, 20).await;

    // An append that erases a key and takes its time: the rotation cannot end, nor does it wait.
    let mut append = pool.begin().await.unwrap();
    sqlx::query("update vault.key set wrapped = null where id = 7").execute(&mut *append).await.unwrap();
    let cut_off = tokio::time::timeout(Duration::from_millis(500), vault.rotate(masters.key("new"))).await;
    assert!(cut_off.is_err());
    assert_eq!(generations(&pool).await, [1, 2]);
    append.commit().await.unwrap();
    drop(vault);

    for (name, generation) in [("old", 2), ("new", 1), ("other", 1)] {
        let error = Vault::open(pool.clone(), masters.key(name)).await.unwrap_err();
        assert!(matches!(error, VaultError::WrongMaster { generation: closed } if closed == generation));
    }
    for (one, other) in [("old", "new"), ("new", "old")] {
        let vault = Vault::open_rotating(pool.clone(), masters.key(one), masters.key(other)).await.unwrap();
        assert_eq!(readable(&pool, &vault, &payloads).await.unwrap(), expected(20, &[7]));
        let error = vault.rotate(masters.key("other")).await.unwrap_err();
        assert!(matches!(error, VaultError::RotationUnderWay { generation: 2 }));
    }
    let vault = Vault::open_rotating(pool.clone(), masters.key("new"), masters.key("old")).await.unwrap();
    vault.rotate(masters.key("new")).await.unwrap();
    assert_eq!(generations(&pool).await, [2]);
    let vault = Vault::open(pool.clone(), masters.key("new")).await.unwrap();
    assert_eq!(readable(&pool, &vault, &payloads).await.unwrap(), expected(20, &[7]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_born_and_die_while_a_rotation_runs() {
    let (pool, masters) = (empty_vault().await, Masters::new());
    let vault = Vault::open(pool.clone(), masters.key("0")).await.unwrap();
    let mut payloads = fill(&pool, &vault, 300).await;
    let rotator = vault.clone();
    let keys: Vec<MasterKey> = (1..=5).map(|n| masters.key(&n.to_string())).collect();
    let rotations = tokio::spawn(async move {
        for key in keys {
            rotator.rotate(key).await.unwrap();
        }
    });
    let mut erased = Vec::new();
    for id in 301..=600 {
        let subject = account(10_000 + id);
        let fresh = loop {
            assert!(vault.find(&[subject]).await.unwrap().is_empty());
            let fresh = vault.fresh_key(id, subject);
            match insert(&pool, &fresh.row).await {
                Ok(()) => break fresh,
                Err(error) => assert!(Vault::is_outdated(&error), "{error}"),
            }
        };
        vault.remember(std::slice::from_ref(&fresh.key));
        payloads.push(vault.seal(&KeySet::Lasting(fresh.key), CONTEXT, format!("secret {id}").as_bytes()));
        if id % 7 == 0 {
            erase(&pool, id - 290).await.unwrap();
            vault.forget(&[id - 290]);
            erased.push(id - 290);
        }
    }
    rotations.await.unwrap();
    assert_eq!(generations(&pool).await, [6]);
    for vault in [vault, Vault::open(pool.clone(), masters.key("5")).await.unwrap()] {
        assert_eq!(readable(&pool, &vault, &payloads).await.unwrap(), expected(600, &erased));
    }
}
