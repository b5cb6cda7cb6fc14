//! A log as an older build wrote it, with every kind of event that it knew: imported, checked, and shown as that build showed it.
//!
//! `tests/fixtures/21deeaf/make.py` made it with the program of that commit.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use be8::support::clock::{Clock as _, SystemClock};
use be8_events::{Event, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::client::{Client, number_of};
use crate::clock::set;
use crate::cluster::fresh_database;
use crate::program::Program;
use crate::server::{Server, Setup};

/// What is known of the log besides its export.
#[derive(Deserialize)]
struct Known {
    /// The time of the newest event.
    time: Timestamp,
    digest: String,
    /// How many events there are of each kind.
    kinds: BTreeMap<String, usize>,
    /// The sessions of those who read.
    cookies: BTreeMap<String, String>,
    answers: Vec<Asked>,
}

/// A question to the old program, and what it answered.
#[derive(Deserialize)]
struct Asked {
    who: String,
    method: String,
    path: String,
    body: Option<Value>,
    answer: Value,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/21deeaf").join(name)
}

fn known() -> Known {
    serde_json::from_slice(&fs::read(fixture("answers.json")).expect("the answers")).expect("JSON")
}

/// A server with its master key (that build had no other), whose clock shows the time at which the log ends.
async fn setup(known: &Known) -> Setup {
    let setup = Setup::on(&fresh_database().await).with_file("test-clock-file", "0");
    fs::copy(fixture("master.key"), setup.master_key()).expect("the master key");
    fs::set_permissions(setup.master_key(), fs::Permissions::from_mode(0o600)).expect("its mode");
    let ago = SystemClock.now().to_utc() - known.time.to_utc();
    set(&setup.file("test-clock-file"), 1 - ago.num_seconds());
    setup
}

/// Lays the contents of the images where the server looks for them: in the folder of its database.
async fn lay_images(setup: &Setup) {
    let mut database = PgConnection::connect(setup.database_url()).await.expect("the database");
    let name: String =
        sqlx::query_scalar("select id::text from media_store").fetch_one(&mut database).await.expect("its name");
    copy_folder(&fixture("media"), &setup.data_dir().join("media").join(name));
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let to = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).expect("a file");
        }
    }
}

async fn ask(server: &Server, known: &Known, asked: &Asked) -> Value {
    let client = server.client().with_cookie(&known.cookies[&asked.who]);
    let request = client.request(Method::from_bytes(asked.method.as_bytes()).expect("a method"), &asked.path);
    let answer = client
        .send(match &asked.body {
            Some(body) => request.json(body),
            None => request,
        })
        .await;
    assert_eq!(answer.status, 200, "{} {}: {}", asked.who, asked.path, answer.text);
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_an_older_build_is_checked_and_shown_as_it_was() {
    let known = known();
    let setup = setup(&known).await;
    let program = Program::on(setup.database_url(), &setup.master_key());
    let ran = program.run(&["import", fixture("be8.export").to_str().expect("a path")]).await;
    assert!(ran.ok, "{}", ran.err);
    assert!(ran.err.contains(&known.digest), "{}", ran.err);
    let report = program.run(&["check"]).await.fine();
    assert!(report.ends_with("sound\n") && report.contains(&known.digest), "{report}");

    // All kinds of that build are in it, and this one knows each.
    assert!(known.kinds.keys().all(|kind| Event::KINDS.iter().any(|(name, _)| name == kind)), "{:?}", known.kinds);
    let log = program.run(&["log", "--format", "json"]).await.fine();
    let mut kinds = BTreeMap::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("an event");
        *kinds.entry(line["kind"].as_str().expect("its kind").to_owned()).or_insert(0) += 1;
    }
    assert_eq!(kinds, known.kinds);

    lay_images(&setup).await;
    let server = setup.start().await;
    for asked in &known.answers {
        let answer = ask(&server, &known, asked).await;
        assert_eq!(answer, asked.answer, "{} {} {:?}", asked.who, asked.path, asked.body);
    }
    // And its conversations go on.
    let alice: Client = server.client().with_cookie(&known.cookies["alice"]);
    let [me, you] = ["10001", "10002"];
    let thread = format!("{me}:{you}");
    let letter = json!({
        "text": "aGVyZQ==", "sender": me, "receiver": you, "threadID": thread, "type": "user", "messageType": "text",
        "iv": "2d1a8a7e-7f1c-4a4e-9a8a-3a6f8a1b2c3d", "endless": false,
    });
    let before = alice.post("/getmessages", &json!({ "threadID": thread })).await.json();
    let count = before["messages"].as_array().expect("a list").len();
    assert_eq!(number_of(&alice.post("/writemessage", &letter).await, &thread) as usize, count + 1);
    let report = program.run(&["check"]).await.fine();
    assert!(report.ends_with("sound\n"), "{report}");
}
