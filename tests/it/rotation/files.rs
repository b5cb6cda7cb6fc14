//! Key files that are lost, older, in other hands, or face a clock that is wrong.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::{fine, generations, keys_of, pool, rotating};
use crate::client::{Person, two_people};
use crate::cluster::{copy_of, fresh_database};
use crate::patience::eventually;
use crate::server::{Server, Setup, two_nodes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_opens_with_the_rotating_key_of_its_time_and_with_no_later_one() {
    let database = fresh_database().await;
    let server = Setup::on(&database).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "Alice's").await;
    let setup = server.kill().await;
    let restored = Setup::on(&copy_of(&database).await);
    for file in ["master.key", "rotating.key", "audit.key", "audit.key.head"] {
        let from = setup.master_key().with_file_name(file);
        fs::copy(from, restored.master_key().with_file_name(file)).expect("a copy");
    }
    let server = setup.start().await;
    for _ in 0..2 {
        fine(server.setup(), &["vault", "rotate", "--destroy-old"]).await;
    }
    let later = fs::read(rotating(server.setup())).expect("the file");
    let file = rotating(&restored);
    let kept = fs::read(&file).expect("the copy");
    fs::write(&file, &later).expect("a file");
    let said = restored.run(&["token", "list"]).await;
    assert!(!said.success && said.err.contains("no master key given opens the vault (generation 1)"), "{said:?}");
    assert!(said.err.contains("a restored database those that were saved with it"), "{said:?}");
    // As a backup has it: the file of before and of after.
    fs::write(&file, [kept, later].concat()).expect("a file");
    let server = restored.start().await;
    assert_eq!(bob.at(&server).messages(&thread).await.len(), 2);
    fine(server.setup(), &["vault", "rotate", "--destroy-old"]).await;
    assert_eq!(keys_of(&file).len(), 1);
    assert_eq!(bob.at(&server).messages(&thread).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotating_key_that_was_lost_is_never_replaced_by_another_one() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "Alice's").await;
    let file = rotating(server.setup());
    let elsewhere = file.with_file_name("elsewhere");
    fs::rename(&file, &elsewhere).expect("another name");
    let said = server.setup().run(&["vault", "rotate"]).await;
    assert!(!said.success && said.err.contains("no master key given opens the vault"), "{said:?}");
    assert!(said.err.contains("rotating.key"), "{said:?}");
    eventually("the server says it", async || {
        server.setup().log().contains("the rotating key of the vault cannot be followed")
    })
    .await;
    assert!(!file.exists());
    // It has the key in memory and goes on, until the file is back.
    Person::sign_up(&server, "Carol").await;
    fs::rename(&elsewhere, &file).expect("its name");
    fine(server.setup(), &["vault", "rotate", "--destroy-old"]).await;
    assert_eq!(bob.messages(&thread).await.len(), 2);
    // What a rotation that was killed left is overwritten without another rotation.
    let (old, witness) = (file.with_file_name("rotating.key.old"), file.with_file_name("witness"));
    fs::write(&witness, "1 secret").expect("a file");
    fs::hard_link(&witness, &old).expect("another name");
    eventually("it is removed", async || !old.exists()).await;
    assert_eq!(fs::read(&witness).expect("the file"), [0; 8]);
    let setup = server.kill().await;
    fs::rename(&file, &elsewhere).expect("another name");
    let (mut process, _printed) = setup.launch();
    let status = crate::patience::within("the end of the start", process.wait()).await.expect("a status");
    assert!(!status.success() && !file.exists());
    fs::rename(&elsewhere, &file).expect("its name");
    let server = setup.start().await;
    assert_eq!(bob.at(&server).messages(&thread).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_read_the_file_any_more_holds_the_rotation_back() {
    let (one, two) = two_nodes().await;
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("rotating.key");
    fs::copy(rotating(one.setup()), &file).expect("a copy");
    let third = one.setup().second().with("rotating-key-file", file.display()).start().await;
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("rights");
    let said = two.setup().run(&["vault", "rotate"]).await;
    assert!(!said.success && said.err.contains("2 of 3 servers have read the new key"), "{said:?}");
    let pool = pool(one.setup().database_url()).await;
    assert_eq!(generations(&pool).await, [1]);
    // Both files as one: it goes on by itself.
    fs::remove_file(&file).expect("no file");
    std::os::unix::fs::symlink(rotating(one.setup()), &file).expect("a link");
    eventually("the rotation", async || generations(&pool).await == [2]).await;
    for server in [&one, &two, &third] {
        Person::sign_up(server, "Somebody").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_for_a_while_destroys_no_key_early_and_keeps_none_for_long() {
    let clock = tempfile::NamedTempFile::new().expect("a file");
    let set = |minutes: u64| fs::write(clock.path(), (minutes * 60).to_string()).expect("a clock");
    set(0);
    let setup = Setup::on(&fresh_database().await).with("test-clock-file", clock.path().display());
    let server = setup.with("vault-grace-minutes", 20).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "Alice's").await;
    fine(server.setup(), &["vault", "rotate"]).await;
    let file = rotating(server.setup());
    assert_eq!(keys_of(&file).len(), 2);
    let pool = pool(server.setup().database_url()).await;
    // The key is 40 days old by this clock, so the next one is due; but nothing that a jump of the clock ended is destroyed.
    set(40 * 24 * 60);
    eventually("the rotation", async || generations(&pool).await == [3]).await;
    assert_eq!(keys_of(&file).len(), 3);
    // The clock is set right. What was noted in the future is not waited for.
    set(1);
    eventually("the next rotation", async || generations(&pool).await == [4]).await;
    assert_eq!(keys_of(&file).len(), 4);
    set(30);
    eventually("the end of the older keys", async || keys_of(&file).len() == 1).await;
    assert_eq!(generations(&pool).await, [4]);
    assert_eq!(bob.messages(&thread).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_held_back_is_measured_on_every_server() {
    let clock = tempfile::NamedTempFile::new().expect("a file");
    let set = |minutes: u64| fs::write(clock.path(), (minutes * 60).to_string()).expect("a clock");
    set(0);
    let setup = Setup::on(&fresh_database().await).with("test-clock-file", clock.path().display());
    let one = setup.with("vault-grace-minutes", 1).start().await;
    let (alice, bob, thread) = two_people(&one).await;
    alice.write(&thread, &bob, "Alice's").await;
    let overdue = async |server: &Server| server.metric("be8_vault_rotation_overdue_seconds").await;
    // A server that has a copy of the file and does not follow the original.
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("rotating.key");
    fs::copy(rotating(one.setup()), &file).expect("a copy");
    let other = one.setup().second().with("rotating-key-file", file.display()).start().await;
    for server in [&one, &other] {
        assert!(overdue(server).await.abs() < f64::EPSILON);
    }
    // A day and half an hour later.
    set(24 * 60 + 30);
    for server in [&one, &other] {
        eventually("it is overdue", async || (1700.0..2000.0).contains(&overdue(server).await)).await;
    }
    // Once nobody holds it back it is in time.
    other.kill().await;
    let pool = pool(one.setup().database_url()).await;
    eventually("the rotation", async || generations(&pool).await == [2]).await;
    eventually("it is not overdue", async || overdue(&one).await.abs() < f64::EPSILON).await;
}
