//! The rotating key of the vault: changed while servers run, resumed wherever it was cut off, and after it nothing on the
//! disk opens what was erased.

mod files;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use be8::domain::erasure::Erase;
use be8_events::erasure::Cause;
use be8_events::{Subject, put_field};
use hkdf::Hkdf;
use serde_json::Value;
use sha2::Sha256;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::client::{Person, two_people};
use crate::cluster::fresh_database;
use crate::library::Library;
use crate::patience::eventually;
use crate::server::{Server, Setup, two_nodes};

fn rotating(setup: &Setup) -> PathBuf {
    setup.master_key().with_file_name("rotating.key")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.trim().chars().map(|digit| digit.to_digit(16).expect("a digit")).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("a byte")).collect()
}

/// The rotating keys of a file, by generation.
fn keys_of(file: &Path) -> Vec<(i32, Vec<u8>)> {
    let text = fs::read_to_string(file).expect("the rotating keys");
    let parse = |line: &str| {
        let (generation, key) = line.split_once(' ').expect("two words");
        (generation.parse().expect("a number"), unhex(key))
    };
    text.lines().map(parse).collect()
}

/// Whether a wrapped key opens under a master key with one of these rotating keys, or alone. By the definition, and with
/// no code of the server.
fn opens(master: &[u8], rotating: &[(i32, Vec<u8>)], id: i64, subject: &str, wrapped: &[u8]) -> bool {
    let mut data = Vec::new();
    put_field(&mut data, &id.to_be_bytes());
    put_field(&mut data, subject.as_bytes());
    let with = |secret: &[u8], label: &[u8]| {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(None, secret).expand(label, &mut key).expect("32 bytes");
        let nonce: [u8; 12] = wrapped[..12].try_into().expect("a nonce");
        Aes256Gcm::new(&key.into()).decrypt(&nonce.into(), Payload { msg: &wrapped[12..], aad: &data }).is_ok()
    };
    with(master, b"be8/wrap/1") || rotating.iter().any(|(_, key)| with(&[master, key].concat(), b"be8/wrap/2"))
}

/// Where bytes lie in the files below a directory.
fn found(directory: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            out.extend(found(&entry.path(), bytes));
        } else if kind.is_file()
            && fs::read(entry.path()).is_ok_and(|content| content.windows(bytes.len()).any(|window| window == bytes))
        {
            out.push(entry.path());
        }
    }
    out
}

async fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(2).connect(url).await.expect("the database")
}

/// Runs a command beside the server, which must succeed.
async fn fine(setup: &Setup, arguments: &[&str]) -> String {
    let said = setup.run(arguments).await;
    assert!(said.success, "{arguments:?}: {said:?}");
    said.out
}

/// What is left of an account, for programs.
async fn report(setup: &Setup, account: &str) -> Value {
    let out = fine(setup, &["erasure-report", "--format", "json", account]).await;
    serde_json::from_str(&out).expect("a report")
}

/// The generations that the vault has.
async fn generations(pool: &PgPool) -> Vec<i32> {
    sqlx::query_scalar("select generation from vault.master order by generation").fetch_all(pool).await.expect("rows")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_on_the_disk_opens_an_erased_key() {
    let server = Setup::without_database().start().await;
    let data = server.setup().master_key().parent().expect("a directory").to_owned();
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "Alice's").await;
    let socket = server.setup().data_dir().join("postgres/socket");
    let pool = pool(&format!("postgres:///be8?host={}&port=5432&user=be8", socket.display())).await;
    let subject = format!("account/{}", alice.id);
    let (id, wrapped): (i64, Vec<u8>) = sqlx::query_as("select id, wrapped from vault.key where subject = $1")
        .bind(&subject)
        .fetch_one(&pool)
        .await
        .expect("Alice's key");
    let setup = server.setup();
    let master = unhex(&fs::read_to_string(setup.master_key()).expect("the master key"));
    let before = keys_of(&rotating(setup));
    assert!(opens(&master, &before, id, &subject, &wrapped), "the test opens what the server wrapped");
    assert!(!opens(&master, &[], id, &subject, &wrapped), "the master key alone does not");
    assert!(!opens(&[0; 32], &before, id, &subject, &wrapped), "nor does the rotating key");

    fine(setup, &["account", "remove", &alice.id]).await;
    let said = report(setup, &alice.id).await;
    assert_eq!(said["copies"]["worthless"], false, "{said}");
    assert!(said["copies"]["until"].is_string(), "{said}");
    // What PostgreSQL can reach of the old version of the row goes at once.
    eventually("the table of keys is clean", async || {
        let dead: i64 =
            sqlx::query_scalar("select n_dead_tup from pg_stat_all_tables where relid = 'vault.key'::regclass")
                .fetch_one(&pool)
                .await
                .expect("a number");
        dead == 0
    })
    .await;
    sqlx::raw_sql("checkpoint").execute(&pool).await.expect("a checkpoint");
    let copies = found(&data, &wrapped);
    assert!(
        copies.iter().any(|file| file.to_string_lossy().contains("pg_wal")),
        "the log of the database has it: {copies:?}"
    );

    let out = fine(setup, &["vault", "rotate", "--destroy-old"]).await;
    assert!(out.contains("older keys    destroyed"), "{out}");
    let after = keys_of(&rotating(setup));
    assert_eq!((after.len(), after[0].0), (1, before[0].0 + 1));
    assert!(!opens(&master, &after, id, &subject, &wrapped), "nothing opens it with the files as they are");
    for (_, key) in &before {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(found(&data, hex.as_bytes()).is_empty(), "the older key is nowhere");
        assert!(found(&data, key).is_empty());
    }
    assert_eq!(report(setup, &alice.id).await["copies"]["worthless"], true);
    // And who lives goes on, also after a restart.
    assert_eq!(bob.client.get("/me").await.json()["accObj"]["nickname"], "Bob");
    pool.close().await;
    let (setup, status) = {
        server.terminate();
        server.ended().await
    };
    assert!(status.success());
    let server = setup.start().await;
    assert_eq!(bob.at(&server).client.get("/me").await.json()["accObj"]["nickname"], "Bob");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_changes_by_itself_soon_after_an_erasure() {
    let clock = tempfile::NamedTempFile::new().expect("a file");
    fs::write(clock.path(), "0").expect("a clock");
    let setup = Setup::on(&fresh_database().await).with("test-clock-file", clock.path().display());
    let setup = setup.with("vault-erasure-minutes", 30).with("vault-grace-minutes", 20);
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "Alice's").await;
    let pool = pool(server.setup().database_url()).await;
    let library = Library::open(&server).await;
    library
        .ledger
        .execute(Erase {
            subjects: vec![Subject::Account(alice.id.parse().expect("an account"))],
            cause: Cause::Operator,
        })
        .await
        .expect("an erasure");
    assert_eq!(generations(&pool).await, [1]);
    fs::write(clock.path(), (31 * 60).to_string()).expect("a clock");
    eventually("the rotation", async || generations(&pool).await == [2]).await;
    assert_eq!(keys_of(&rotating(server.setup())).len(), 2, "the older key is kept for a while");
    fs::write(clock.path(), (55 * 60).to_string()).expect("a clock");
    eventually("the end of the older key", async || keys_of(&rotating(server.setup())).len() == 1).await;
    // Without an erasure it changes after a day.
    assert_eq!(generations(&pool).await, [2]);
    fs::write(clock.path(), (27 * 60 * 60).to_string()).expect("a clock");
    eventually("the next rotation", async || generations(&pool).await == [3]).await;
    assert_eq!(bob.client.get("/me").await.json()["accObj"]["nickname"], "Bob");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_servers_follow_and_one_that_cannot_holds_the_rotation_back() {
    let (one, two) = two_nodes().await;
    let (alice, bob, thread) = two_people(&one).await;
    alice.write(&thread, &bob, "first").await;
    fine(one.setup(), &["vault", "rotate"]).await;
    bob.at(&two).write(&thread, &alice, "second").await;
    // A key that the other server has never seen.
    let carol = Person::sign_up(&two, "Carol").await;
    assert_eq!(carol.at(&one).client.get("/me").await.json()["accObj"]["nickname"], "Carol");
    fine(two.setup(), &["vault", "rotate", "--destroy-old"]).await;
    for server in [&one, &two] {
        assert_eq!(alice.at(server).messages(&thread).await.len(), 3);
        Person::sign_up(server, "Dave").await;
    }
    let pool = pool(one.setup().database_url()).await;
    assert_eq!(generations(&pool).await, [3]);
    // A server with a copy of the file that does not follow the original.
    let copy = tempfile::tempdir().expect("a directory");
    let file = copy.path().join("rotating.key");
    fs::copy(rotating(one.setup()), &file).expect("a copy");
    let third = one.setup().second().with("rotating-key-file", file.display()).start().await;
    let said = one.setup().run(&["vault", "rotate"]).await;
    assert!(!said.success && said.err.contains("2 of 3 servers have read the new key"), "{said:?}");
    assert_eq!(generations(&pool).await, [3], "nothing changed");
    Person::sign_up(&third, "Erin").await;
    // It goes on once that server is gone.
    third.kill().await;
    fine(one.setup(), &["vault", "rotate"]).await;
    // A server may have gone on before the command did.
    let reached = generations(&pool).await;
    assert!(reached == [4] || reached == [5], "{reached:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_anywhere_goes_on_and_the_vault_always_opens() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "Alice's").await;
    let mut setup = server.kill().await;
    let file = rotating(&setup);
    for round in 0..12_u64 {
        // A command that is killed at some moment, first of all early.
        let program = crate::program::Program::on(setup.database_url(), &setup.master_key());
        let mut child = program.spawn(&["vault", "rotate", "--destroy-old"]);
        tokio::time::sleep(std::time::Duration::from_millis(40 + 25 * round)).await;
        let _ = child.start_kill();
        let _ = child.wait().await;
        let server = setup.start().await;
        assert_eq!(bob.at(&server).messages(&thread).await.len(), 2, "round {round}");
        Person::sign_up(&server, "Somebody").await;
        setup = server.kill().await;
    }
    // Each step's end, made by hand: a spare key, and files that a killed process left.
    let newest = keys_of(&file).last().expect("a key").0;
    let mut text = fs::read_to_string(&file).expect("the file");
    text += &format!("{} {}\n", newest + 1, "ab".repeat(32));
    fs::write(&file, &text).expect("a file");
    for left in ["rotating.key.new", "rotating.key.old"] {
        fs::write(file.with_file_name(left), "1 half").expect("a file");
    }
    let server = setup.start().await;
    assert_eq!(bob.at(&server).messages(&thread).await.len(), 2);
    fine(server.setup(), &["vault", "rotate", "--destroy-old"]).await;
    assert_eq!(keys_of(&file).len(), 1);
    assert!(!file.with_file_name("rotating.key.new").exists() && !file.with_file_name("rotating.key.old").exists());
    assert_eq!(bob.at(&server).messages(&thread).await.len(), 2);
}

#[tokio::test]
async fn a_vault_of_before_gets_its_rotating_key_and_a_wrong_file_is_named() {
    let setup = Setup::on(&fresh_database().await).with_variable("BE8_VAULT_ROTATION_HOURS", "off");
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "Alice's").await;
    let dan = Person::sign_up(&server, "Dan").await;
    let setup = server.kill().await;
    let file = rotating(&setup);
    assert!(!file.exists(), "without rotation there is no second key");
    // A flag beats the variable.
    let setup = setup.with("vault-rotation-hours", "24");
    let server = setup.start().await;
    eventually("the log says it", async || server.setup().log().contains("this vault has no rotating key")).await;
    let out = fine(server.setup(), &["vault", "status"]).await;
    assert!(out.contains("rotating key  none"), "{out}");
    let out = fine(server.setup(), &["vault", "rotate", "--destroy-old"]).await;
    assert!(out.contains("rotating.key is part of every backup from now on"), "{out}");
    assert_eq!(keys_of(&file).len(), 1);
    assert_eq!(bob.at(&server).messages(&thread).await.len(), 2);
    // Copies of the keys that the master key alone wrapped open forever, and nothing else is said of them.
    let carol = Person::sign_up(&server, "Carol").await;
    for person in [&dan, &carol] {
        fine(server.setup(), &["account", "remove", &person.id]).await;
    }
    let out = fine(server.setup(), &["vault", "rotate", "--destroy-old"]).await;
    assert!(out.contains("open with the master key alone") && !out.contains("part of every backup"), "{out}");
    let of_dan = report(server.setup(), &dan.id).await;
    assert!(of_dan["copies"]["worthless"] == false && of_dan["copies"]["why"].is_string(), "{of_dan}");
    assert_eq!(report(server.setup(), &carol.id).await["copies"], serde_json::json!({ "worthless": true }));
    let setup = server.kill().await;
    // The file of another vault.
    let kept = fs::read(&file).expect("the file");
    fs::write(&file, format!("2 {}\n", "cd".repeat(32))).expect("a file");
    let said = setup.run(&["token", "list"]).await;
    assert!(!said.success && said.err.contains("no master key given opens the vault (generation 3)"), "{said:?}");
    assert!(said.err.contains("rotating.key"), "{said:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("rights");
    let said = setup.run(&["token", "list"]).await;
    assert!(said.err.contains("its mode is 0644"), "{said:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("rights");
    // A backup holds the file of before a dump and that of after it.
    fs::write(&file, [format!("1 {}\n", "cd".repeat(32)).into_bytes(), kept.clone(), kept].concat()).expect("a file");
    let server = setup.start().await;
    assert_eq!(bob.at(&server).messages(&thread).await.len(), 2);
}
