//! Signed heads: one history from two nodes, no head lost or contradicted by a sudden death, and no start on a database
//! that is not the one that was signed.

use std::fs;
use std::process::Command;

use be8::audit::notes::Checkpoint;
use be8_events::Hash32;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{as_operator, covering_checkpoint, entries, eventful, log_key, root, signing};
use crate::client::two_people;
use crate::cluster::fresh_database;
use crate::library::Library;
use crate::patience::{eventually, within};
use crate::server::{Server, Setup};

/// All heads that were ever signed, after checking each against the events.
async fn sound_heads(server: &Server) -> Vec<u64> {
    let library = Library::open(server).await;
    let rows: Vec<(i64, Vec<u8>, String)> =
        sqlx::query_as("select size, root, note from audit_heads where log = 1 order by size")
            .fetch_all(&library.pool)
            .await
            .unwrap();
    let (key, entries) = (log_key(server).await, entries(server).await);
    let check = |(size, stored, note): &(i64, Vec<u8>, String)| {
        let checkpoint = Checkpoint::open(note, &key).expect("signed by the one key");
        let expected = root(&entries[..usize::try_from(*size).unwrap()]);
        assert_eq!((checkpoint.size, checkpoint.root, &stored[..]), (size.unsigned_abs(), expected, &expected.0[..]));
        checkpoint.size
    };
    rows.iter().map(check).collect()
}

#[tokio::test]
async fn two_nodes_sign_one_history() {
    let (setup, _token) = signing().await;
    let first = setup.start().await;
    let second = first.setup().second().start().await;
    let (alice, bob, thread) = two_people(&first).await;
    let (there, other) = (alice.at(&second), bob.at(&second));
    for round in 0..3 {
        tokio::join!(alice.write_many(&thread, &bob, 40), there.write_many(&thread, &other, 40));
        let heads = [covering_checkpoint(&first).await.0, covering_checkpoint(&second).await.0];
        let entries = entries(&second).await;
        for head in heads {
            let expected = root(&entries[..usize::try_from(head.size).unwrap()]);
            assert_eq!(head.root, expected, "round {round}: both show the same log");
        }
    }
    assert!(sound_heads(&second).await.len() >= 3);
    // Whichever signed dies: the other goes on.
    first.kill().await;
    there.write_many(&thread, &other, 40).await;
    covering_checkpoint(&second).await;
    sound_heads(&second).await;
}

#[tokio::test]
async fn a_death_between_tiles_and_head_contradicts_nothing() {
    let (setup, _token) = signing().await;
    let mut server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    for round in 0..3 {
        covering_checkpoint(&server).await;
        // Heads are read, but no new one can be stored.
        let mut blocker = PgConnection::connect(server.setup().database_url()).await.unwrap();
        sqlx::raw_sql("begin; lock table audit_heads in exclusive mode").execute(&mut blocker).await.unwrap();
        alice.at(&server).write_many(&thread, &bob, 300).await;
        let watcher = Library::open(&server).await;
        eventually("a head waits to be stored", async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_locks where relation = 'audit_heads'::regclass and not granted",
            )
            .fetch_one(&watcher.pool)
            .await
            .unwrap();
            waiting > 0
        })
        .await;
        // Its file is there already: nobody else will sign another head of that size.
        let key = log_key(&server).await;
        let file = server.setup().audit_key().with_extension("key.head");
        let signed = Checkpoint::open(&fs::read_to_string(&file).unwrap(), &key).unwrap();
        let published = server.get("/audit/log/checkpoint").await.text;
        assert!(Checkpoint::open(&published, &key).unwrap().size < signed.size, "round {round}");
        let setup = server.kill().await;
        drop(watcher);
        blocker.close().await.unwrap();
        server = setup.start().await;
        covering_checkpoint(&server).await;
        let all = entries(&server).await;
        assert_eq!(root(&all[..usize::try_from(signed.size).unwrap()]), signed.root);
        sound_heads(&server).await;
    }
}

/// Stops a server.
async fn stopped(server: Server) -> Setup {
    server.terminate();
    server.ended().await.0
}

/// What a server says that does not start.
async fn refusal(setup: &Setup) -> String {
    let (mut process, _printed) = setup.launch();
    let status = within("the end of a server that does not start", process.wait()).await.unwrap();
    assert!(!status.success(), "it started:\n{}", setup.log());
    setup.log()
}

async fn run(setup: &Setup, statements: &str) {
    let mut connection = PgConnection::connect(setup.database_url()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_rewritten_database_is_refused_at_start() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (group, [alice, bob, ..]) = eventful(&server).await;
    let history = as_operator(&server, &format!("/audit/groups/{group}/history")).await.json();
    let position = history["entries"][1]["position"].as_i64().unwrap();
    covering_checkpoint(&server).await;
    let setup = stopped(server).await;
    let change =
        |what: &str| format!("alter table events disable trigger user; {what}; alter table events enable trigger user");
    let salt = |salt: &str| format!("update events set salt = {salt} where position = {position}");

    // One event reads otherwise, the hashes as before.
    run(&setup, "create table kept as select * from events").await;
    run(&setup, &change(&salt("sha256('another history')"))).await;
    let said = refusal(&setup).await;
    assert!(said.contains("does not extend the log that was signed"), "{said}");
    assert!(said.contains(&format!("another event stands at position {position}")), "{said}");
    // Nor does a command of the operator write to it.
    let (done, _, complaint) = setup.command(&["token", "add", "promo", "--days", "90"], "").await;
    assert!(!done && complaint.contains("does not extend the log that was signed"), "{complaint}");

    // The hashes are rewritten too: they are computed again from the events.
    run(&setup, "create table tiles as select * from audit_tiles; truncate audit_tiles").await;
    let said = refusal(&setup).await;
    assert!(said.contains("events have the root"), "{said}");
    // And so are the heads in the database: the file beside the key knows.
    let heads = "alter table audit_heads disable trigger user; create table heads as select * from audit_heads;
        delete from audit_heads; alter table audit_heads enable trigger user";
    run(&setup, heads).await;
    let said = refusal(&setup).await;
    assert!(said.contains("audit.key.head"), "{said}");

    // As it was, it starts again: also without the tiles, which are made from the events.
    run(
        &setup,
        &change(&format!(
            "update events e set salt = k.salt from kept k where k.position = e.position and k.position = {position}"
        )),
    )
    .await;
    let server = setup.start().await;
    alice.at(&server).says(&group, "as before").await;
    covering_checkpoint(&server).await;
    sound_heads(&server).await;

    // The newest events are gone, as from an older copy.
    bob.at(&server).says(&group, "not in the copy").await;
    let (checkpoint, _) = covering_checkpoint(&server).await;
    let setup = stopped(server).await;
    let older = format!(
        "create table newest as select * from events where position >= {size};
         {} ; update log_head set position = {size} - 1",
        change(&format!("delete from events where position >= {}", checkpoint.size)),
        size = checkpoint.size
    );
    run(&setup, &older).await;
    let said = refusal(&setup).await;
    assert!(
        said.contains(&format!("{} events were signed, and it has {}", checkpoint.size, checkpoint.size - 1)),
        "{said}"
    );

    // If there is no better copy, another log begins, under another name and key; the old ones are kept.
    let old = fs::read_to_string(setup.audit_key()).unwrap();
    let restart = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
        command.args(["audit-restart", "--database-url", setup.database_url(), "--audit-name", "example.com/log"]);
        command
            .arg("--master-key-file")
            .arg(setup.master_key())
            .arg("--data-dir")
            .arg(setup.master_key().with_file_name("cli"));
        command.output().unwrap()
    };
    let output = restart();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = String::from_utf8(output.stdout).unwrap();
    assert!(key.starts_with("example.com/log/2+"), "{key}");
    let aside = |file: &str| fs::read_to_string(setup.audit_key().with_file_name(file)).unwrap();
    assert_eq!(aside("audit.key.log-1"), old);
    assert!(aside("audit.key.head.log-1").contains(&checkpoint.size.to_string()));
    let server = setup.clone().start().await;
    assert_eq!(log_key(&server).await.to_string(), key.trim_end());
    covering_checkpoint(&server).await;
    // Nothing of the kind happens beside a server that signs.
    let output = restart();
    assert!(String::from_utf8_lossy(&output.stderr).contains("stop it first"));
}

#[tokio::test]
async fn another_database_and_another_key_are_refused_at_start() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    eventful(&server).await;
    covering_checkpoint(&server).await;
    let setup = stopped(server).await;
    let key = fs::read_to_string(setup.audit_key()).unwrap();

    // An empty database under the old key: the head beside the key is not in it.
    let empty = setup.clone().through(fresh_database().await.url);
    // Its vault is another one too: the master key would refuse first if it did not open it.
    assert!(refusal(&empty).await.contains("events were signed, and it has"));

    fs::remove_file(setup.audit_key()).unwrap();
    assert!(refusal(&setup).await.contains("but there is no file"));
    assert!(!setup.audit_key().exists(), "no new key is made");

    let output = Command::new(env!("CARGO_BIN_EXE_be8"))
        .args(["audit-key", "--audit-name", "example.com/other", "--audit-key-file"])
        .arg(setup.audit_key())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(refusal(&setup).await.contains("holds another key"));

    fs::write(setup.audit_key(), key).unwrap();
    setup.start().await;
}

#[tokio::test]
async fn the_command_line_makes_keys_and_checks_everything() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let be8 = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
        command.args(arguments).arg("--master-key-file").arg(server.setup().master_key());
        command.args(["--database-url", server.setup().database_url(), "--data-dir"]);
        command.arg(server.setup().master_key().with_file_name("cli"));
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    // The key lies beside the master key, and the server has it.
    let (ok, key, _) = be8(&["audit-key"]);
    assert!(ok);
    assert_eq!(key.trim_end(), log_key(&server).await.to_string());
    let witness = server.setup().master_key().with_file_name("witness.key");
    let (ok, both, _) = be8(&["audit-key", "--witness-key", witness.to_str().unwrap()]);
    assert!(ok && both.starts_with(&key) && both.lines().count() == 2, "{both}");
    for bad in [["--public-audit-log", "maybe"], ["--witnesses", "http://x"], ["--witness-logs", "x"]] {
        let (ok, _, said) = be8(&["audit-key", bad[0], bad[1]]);
        assert!(!ok && said.contains(&bad[0][2..]), "{said}");
    }

    let (alice, bob, thread) = two_people(&server).await;
    alice.write_many(&thread, &bob, 300).await;
    covering_checkpoint(&server).await;
    let (ok, said, error) = be8(&["audit-check"]);
    assert!(ok && said.contains("events are as the transparency log has them"), "{said}{error}");
    let other = Hash32::sha256(b"another").0.map(|byte| format!("{byte:02x}")).concat();
    let rewrite = format!(
        "alter table events disable trigger user; update events set salt = '\\x{other}' where position = 5;
         alter table events enable trigger user"
    );
    run(server.setup(), &rewrite).await;
    let (ok, _, error) = be8(&["audit-check"]);
    assert!(!ok && error.contains("another event stands at position 5"), "{error}");
}
