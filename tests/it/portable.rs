//! Getting data out and in: export and import, dumps with the vault and without it, and looking at the log.

use std::process::Command;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::client::two_people;
use crate::cluster::{Database, fresh_database};
use crate::patience::within;
use crate::program::Program;
use crate::rebuild::{Filled, tables};
use crate::server::Server;

/// All that must be equal after an import: the log, what is sealed, and the read models, as text.
async fn contents(database: &Database) -> Vec<(String, Vec<String>)> {
    let pool = PgPool::connect_with(database.options.clone()).await.unwrap();
    let live: i32 = sqlx::query_scalar("select generation from log_head").fetch_one(&pool).await.unwrap();
    let events = "(select e.*, s.name from events e join streams s on s.id = e.stream)";
    let mut sources = vec![events.to_owned(), "sealed".to_owned(), "sealed_message".to_owned()];
    let live = format!("read_{live}");
    sources.extend(tables(&pool, &live).await.iter().map(|table| format!("{live}.{table}")));
    let mut contents = Vec::new();
    for source in sources {
        let sql = format!("select t::text from {source} t order by t::text collate \"C\"");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&pool).await.unwrap();
        contents.push((source, rows));
    }
    let head = "select (position, time, generation, accounts, groups, streams, keys)::text from log_head";
    contents.push(("head".to_owned(), sqlx::query_scalar(head).fetch_all(&pool).await.unwrap()));
    pool.close().await;
    contents
}

fn digest_of(text: &str) -> String {
    let line = text.lines().find(|line| line.starts_with("digest")).expect("a digest");
    line.split_whitespace().last().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_is_what_was_exported() {
    let (database, program, rig) = Filled::new(31).await.close().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("be8.export");
    let name = file.to_str().unwrap();
    let ran = program.run(&["export", name, "--with-vault"]).await;
    assert!(ran.ok && ran.out.is_empty() && ran.err.contains("events with the vault"), "{}", ran.err);
    let exported = digest_of(&ran.err);
    assert_eq!(exported, digest_of(&program.run(&["check"]).await.fine()));
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(program.run(&["export", "-", "--with-vault"]).await.fine(), text, "the same once more");
    // A file that is there is somebody's backup.
    assert!(program.run(&["export", name]).await.complaint().contains("be8.export: File exists"));

    let copy = fresh_database().await;
    let importer = Program::on(&copy.url, &rig.master_key());
    let ran = importer.run(&["import", name]).await;
    assert!(ran.ok, "{}", ran.err);
    assert_eq!(digest_of(&ran.err), exported);
    for ((source, before), (_, after)) in contents(&database).await.iter().zip(contents(&copy).await) {
        assert_eq!(*before, after, "{source}");
    }
    let report = importer.run(&["check"]).await.fine();
    assert!(report.ends_with("sound\n") && !report.contains("note"), "{report}");
    assert_eq!(importer.run(&["export", "-", "--with-vault"]).await.fine(), text);
    let complaint = importer.run(&["import", name]).await.complaint();
    assert_eq!(complaint, "be8: the database has a log already: an import needs an empty one\n");

    // Without the vault: all that is public is there, and nothing can be opened.
    let lean = program.run(&["export", "-"]).await.fine();
    assert!(lean.len() < text.len() && !lean.contains("\"master\"") && !lean.contains("\"wrapped\""));
    let other = fresh_database().await;
    let reader = Program::on(&other.url, &rig.master_key().with_file_name("new.key"));
    assert!(reader.fed(&["import", "-"], lean.as_bytes()).await.ok);
    assert_eq!(contents(&database).await, contents(&other).await);
    let report = reader.run(&["check"]).await.fine();
    assert!(report.ends_with("sound\n") && report.contains("note           there is no vault"), "{report}");
    let expected =
        "be8: this log was imported without its vault: it can be read (be8 log, state, history, check), not served";
    // A command that would write founds no vault, either: the server would then start without the keys.
    for command in [&["token", "list"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let complaint = reader.run(command).await.complaint();
        assert!(complaint.lines().any(|line| line == expected), "{command:?}: {complaint}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_leaves_nothing_in_the_database() {
    let (_, program, rig) = Filled::new(32).await.close().await;
    let text = program.run(&["export", "-", "--with-vault"]).await.fine();
    let lines: Vec<&str> = text.lines().collect();
    let database = fresh_database().await;
    let importer = Program::on(&database.url, &rig.master_key());
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let nth = lines.iter().position(|line| line.starts_with(r#"{"event""#)).unwrap();
    let without_one = [&lines[..nth + 9], &lines[nth + 10..]].concat();
    let twice = [&lines[..=nth], &lines[nth..]].concat();
    let salt_at = text.find(r#""salt":""#).unwrap() + 8;
    let mut salted = text.clone().into_bytes();
    salted[salt_at] = if salted[salt_at] == b'0' { b'1' } else { b'0' };
    let bytes_at = text.find(r#""bytes":""#).unwrap() + 9;
    let mut resealed = text.clone().into_bytes();
    resealed[bytes_at] = if resealed[bytes_at] == b'A' { b'B' } else { b'A' };
    let line = |nth: usize| format!("be8: line {nth}: ");
    let cases: [(Vec<u8>, String, &str); 8] = [
        (joined(&lines[..lines.len() - 1]).into(), line(lines.len()), "the file is cut off here"),
        (text[..text.len() / 2].into(), "be8: line ".to_owned(), "the file is cut off here"),
        (joined(&without_one).into(), line(nth + 10), "after"),
        (joined(&twice).into(), line(nth + 2), "position 1 after 1"),
        (salted, line(lines.len()), "the checksum is not that of the lines before"),
        (resealed, line(nth + 1), "what is sealed is not what the event commits to"),
        (text.replacen("be8-export/1", "be8-export/9", 1).into(), line(1), "this version reads be8-export/1"),
        (b"nonsense\n".into(), line(1), "is no line of an export"),
    ];
    for (file, place, what) in cases {
        let complaint = importer.fed(&["import", "-"], &file).await.complaint();
        assert!(complaint.starts_with(&place) && complaint.contains(what), "{place}{what}: {complaint}");
    }
    let pool = PgPool::connect(&database.url).await.unwrap();
    let left =
        "select (select count(*) from events) + (select count(*) from vault.key) + (select count(*) from streams)";
    assert_eq!(sqlx::query_scalar::<_, i64>(left).fetch_one(&pool).await.unwrap(), 0);
    assert!(importer.fed(&["import", "-"], text.as_bytes()).await.ok);
}

/// Dumps a database and restores it into a new one.
async fn restored(server: &Server, flags: &[&str]) -> Database {
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("be8.dump");
    let copy = fresh_database().await;
    let dumped = Command::new("pg_dump")
        .arg("-Fc")
        .args(flags)
        .arg("-f")
        .arg(&dump)
        .arg(server.setup().database_url())
        .output()
        .expect("pg_dump");
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    let read =
        Command::new("pg_restore").args(["--exit-on-error", "-d", &copy.url]).arg(&dump).output().expect("pg_restore");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    copy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_come_back_with_the_vault_and_without_it() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "to be kept").await;
    bob.messages(&thread).await;
    let before = bob.messages(&thread).await;
    let master_key = server.setup().master_key();
    let program = Program::on(server.setup().database_url(), &master_key);
    // A generation that is rebuilt is restored as such.
    program.run(&["rebuild"]).await.fine();
    let digest = digest_of(&program.run(&["check"]).await.fine());

    let dumped = restored(&server, &[]).await;
    let exported = fresh_database().await;
    let file = program.run(&["export", "-", "--with-vault"]).await.fine();
    assert!(Program::on(&exported.url, &master_key).fed(&["import", "-"], file.as_bytes()).await.ok);
    for database in [&dumped, &exported] {
        let report = Program::on(&database.url, &master_key).run(&["check"]).await.fine();
        assert_eq!(digest_of(&report), digest);
        // The server that the copy was made of runs on: only one of the two may sign that log.
        let directory = tempfile::tempdir().unwrap();
        let audit_key = directory.path().join("audit.key");
        let copied = server.setup().second().through(database.url.clone()).with("audit-key-file", audit_key.display());
        if database.url == dumped.url {
            let restart = ["audit-restart", "--audit-key-file", audit_key.to_str().unwrap()];
            let key = Program::on(&database.url, &master_key).run(&restart).await.fine();
            let theirs = server.get("/audit/log/key").await.text;
            assert_ne!(key.trim_end(), theirs.trim_end());
        }
        let copy = copied.start().await;
        assert_eq!(bob.at(&copy).messages(&thread).await, before);
        // And it goes on from there.
        assert_eq!(alice.at(&copy).write(&thread, &bob, "more").await, 3);
        copy.kill().await;
    }

    let lean = restored(&server, &["--exclude-schema=vault"]).await;
    let reader = Program::on(&lean.url, &master_key);
    let report = reader.run(&["check"]).await.fine();
    assert!(report.ends_with("sound\n") && report.contains("there is no vault"), "{report}");
    assert_eq!(digest_of(&report), digest);
    assert!(reader.run(&["log"]).await.fine().contains("MessageWritten"));
    assert!(!reader.run(&["serve", "--listen", "127.0.0.1:0"]).await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_and_any_state_can_be_looked_at() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "a text that nobody sees").await;
    let program = Program::on(server.setup().database_url(), &server.setup().master_key());
    let lines = async |arguments: &[&str]| -> Vec<Value> {
        let text = program.run(&[arguments, &["--format", "json"]].concat()).await.fine();
        assert!(!text.contains("nobody sees") && !text.contains("Alice"), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&["log"]).await;
    assert!(all.iter().zip(1..).all(|(line, position)| line["position"] == position));
    let written = all.last().unwrap();
    assert_eq!((&written["kind"], &written["payload"]["id"]), (&json!("MessageWritten"), &json!(2)));
    assert!(written["sealed"].as_str().unwrap().len() == 64 && written["hash"].as_str().unwrap().len() == 64);
    let dialog = format!("dialog-{}-{}", alice.id, bob.id);
    let of_stream = lines(&["log", "--stream", &dialog]).await;
    let expected: Vec<&Value> = all.iter().filter(|line| line["stream"] == dialog).collect();
    assert_eq!(of_stream.iter().collect::<Vec<_>>(), expected);
    let created: Vec<&Value> = all.iter().filter(|line| line["kind"] == "AccountCreated").collect();
    assert_eq!(lines(&["log", "--kind", "AccountCreated"]).await.iter().collect::<Vec<_>>(), created);
    let second = created[1]["position"].to_string();
    assert_eq!(lines(&["log", "--kind", "AccountCreated", "--from", &second]).await, [created[1].clone()]);
    assert_eq!(lines(&["log", "--stream", &dialog, "--kind", "MessageWritten"]).await, std::slice::from_ref(written));
    assert_eq!(program.run(&["log"]).await.fine().lines().count(), all.len());
    assert!(program.run(&["log", "--kind", "Nonsense"]).await.complaint().contains("there are AccountCreated, "));

    // Followed: what is there, then what comes.
    use tokio::io::AsyncBufReadExt as _;
    let mut follower = program.spawn(&["log", "--stream", &dialog, "--follow", "--format", "json"]);
    let mut followed = tokio::io::BufReader::new(follower.stdout.take().unwrap()).lines();
    for expected in &of_stream {
        let line = within("a line", followed.next_line()).await.unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), *expected);
    }
    bob.write(&thread, &alice, "one more").await;
    let line: Value = serde_json::from_str(&within("a line", followed.next_line()).await.unwrap().unwrap()).unwrap();
    assert_eq!((&line["actor"], &line["payload"]["id"]), (&json!(bob.id.parse::<i64>().unwrap()), &json!(3)));
    follower.kill().await.unwrap();

    let state = async |arguments: &[&str]| -> Value {
        serde_json::from_str(&program.run(&[&["state"], arguments].concat()).await.fine()).unwrap()
    };
    let now = state(&[&dialog]).await;
    assert_eq!((&now["stream"], &now["version"]), (&json!(dialog), &json!(3)));
    let started = of_stream[0]["position"].to_string();
    for point in [started.as_str(), of_stream[0]["time"].as_str().unwrap()] {
        let then = state(&[&dialog, "--at", point]).await;
        assert_eq!((&then["version"], &then["time"]), (&json!(1), &of_stream[0]["time"]));
        assert_ne!(then["state"], now["state"]);
    }
    let complaint = program.run(&["state", &dialog, "--at", "1"]).await.complaint();
    assert_eq!(complaint, format!("be8: there was no stream {dialog} then\n"));
    assert!(program.run(&["state", "nonsense"]).await.complaint().contains("\"nonsense\" is no stream"));
    assert!(program.run(&["state", &dialog, "--at", "noon"]).await.complaint().starts_with("be8: --at: neither"));
}
