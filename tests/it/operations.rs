//! Running a server: its state, its measurements, its log, its start and its end.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::client::{Answer, Client, Person, http_client, two_people};
use crate::cluster::fresh_database;
use crate::crypto::encrypt_password;
use crate::hold::Hold;
use crate::patience::{eventually, within};
use crate::server::{Server, Setup};

/// Shows (docs/protocol.md): Health and metrics.
#[tokio::test]
async fn a_server_answers_health_and_metrics() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let _stream = alice.client.events().await;
    alice.write(&thread, &bob, "one").await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).await.json(), json!({ "status": "ok" }));
    }
    let metrics = server.get("/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    for (name, at_least) in [
        ("be8_http_requests_total", 8.0),
        ("be8_http_request_seconds_count", 8.0),
        ("be8_ledger_events_total", 8.0),
        ("be8_ledger_commit_seconds_count", 4.0),
        ("be8_ledger_batch_commands_count", 4.0),
        ("be8_log_position", 8.0),
        ("be8_feed_streams", 1.0),
    ] {
        let value = server.metric(name).await;
        assert!(value >= at_least, "{name} is {value}");
    }
    // By route, also where the answer is no; never by what a request names, its method included.
    server.get("/some/secret/path?x=10001").await;
    let stranger = Client::new(&server.url());
    stranger.get("/me").await;
    stranger.try_send(stranger.request(Method::from_bytes(b"SECRETLY").unwrap(), "/me")).await.unwrap();
    let text = server.get("/metrics").await.text;
    for counted in [
        r#"method="POST",route="/writemessage",status="200""#,
        r#"method="GET",route="/me",status="401""#,
        r#"method="other",route="/me",status="404""#,
        r#"method="GET",route="other",status="404""#,
    ] {
        assert!(text.contains(&format!("be8_http_requests_total{{{counted}}}")), "{counted} in {text}");
    }
    assert!(!text.to_ascii_lowercase().contains("secret") && !text.contains("10001"));
}

/// Shows (docs/protocol.md): Health and metrics.
#[tokio::test]
async fn a_starting_server_is_not_ready() {
    let database = fresh_database().await;
    // A server that brings the schema up to date holds this lock; here it is never released.
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let setup = Setup::on(&database).at_a_known_address();
    let lock = migration_lock(&database.name);
    sqlx::query("select pg_advisory_lock($1)").bind(lock).execute(&mut connection).await.unwrap();
    let client = Client::new(&setup.url());
    let early = async {
        let ask = async |path: &str| client.try_send(client.request(Method::GET, path)).await;
        eventually("it listens", async || ask("/healthz").await.is_ok_and(|answer| answer.status == 200)).await;
        let answer = ask("/readyz").await.unwrap();
        assert_eq!((answer.verdict().as_str(), answer.header("retry-after")), ("503 UNAVAILABLE", Some("1")));
        let body = json!({ "nickname": "Early", "password": "p" });
        assert_eq!(client.post("/newacc", &body).await.verdict(), "503 UNAVAILABLE");
        sqlx::query("select pg_advisory_unlock($1)").bind(lock).execute(&mut connection).await.unwrap();
    };
    let (server, ()) = tokio::join!(setup.start(), early);
    assert_eq!(server.get("/readyz").await.status, 200);
}

/// The advisory lock that migrations of a database take.
fn migration_lock(database: &str) -> i64 {
    // As sqlx computes it: CRC-32 (ISO HDLC) of the name, times a constant of its own.
    let crc = database.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    });
    0x3d32_ad9e * i64::from(!crc)
}

#[tokio::test]
async fn nothing_personal_is_logged_even_when_everything_is() {
    let setup = Setup::on(&fresh_database().await).with("log", "trace");
    let server = setup.start().await;
    let (nickname, text) = ("Zyxwvut-Nickname", "a text that nobody else may read");
    let alice = Person::sign_up(&server, nickname).await;
    let bob = Person::sign_up(&server, "Qponmlk-Nickname").await;
    let mut stream = bob.client.events().await;
    let thread = alice.start_conversation(&bob).await;
    alice.write(&thread, &bob, text).await;
    stream.events(2).await;
    bob.messages(&thread).await;
    bob.threads().await;
    // Also what is refused, and what cannot be read.
    let plain = json!({ "nickname": nickname, "password": "Password-Qwertz", "salt": 7 });
    server.post("/newacc", &plain).await;
    let encrypted = encrypt_password("Password-Qwertz", "1");
    server.post("/newacc", &json!({ "nickname": nickname, "password": encrypted, "salt": "2" })).await;
    alice.client.post_raw("/writemessage", Some("application/json"), format!(r#"{{"text":"{text}"#)).await;
    alice.client.post("/writemessage", &alice.letter("nonsense", &bob.id, text)).await;
    alice.client.get(&format!("/nowhere?nickname={nickname}")).await;
    let cookie = alice.client.cookie().to_owned();
    let token = &cookie["be8=".len()..cookie.find(';').unwrap()];
    let setup = server.kill().await;

    let log = setup.log();
    assert!(log.contains("DEBUG") && log.contains("/writemessage"), "everything is logged");
    for secret in [nickname, "Qponmlk", text, "Password-Qwertz", &encrypted, &alice.password, &bob.password, token] {
        if let Some(line) = log.lines().find(|line| line.contains(secret)) {
            panic!("{secret:?} was logged: {line}");
        }
    }
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut streams = [alice.client.events().await, bob.client.events().await];
    alice.write(&thread, &bob, "one").await;
    let seen = [streams[0].event().await, streams[1].event().await];
    alice.write(&thread, &bob, "two").await;
    server.terminate();
    for stream in &mut streams {
        // What was committed may still be sent; then comes the end.
        assert!(stream.rest().await.len() <= 1);
    }
    let (setup, status) = server.ended().await;
    assert!(status.success(), "{status}");

    // The next server knows what was missed.
    let server = setup.start().await;
    let (alice, bob) = (alice.at(&server), bob.at(&server));
    alice.write(&thread, &bob, "three").await;
    for (person, seen) in [(&alice, &seen[0]), (&bob, &seen[1])] {
        let missed = person.client.events_after(&seen.id).await.ids(2).await;
        assert_eq!(missed[1], person.client.newest_change().await.id);
        let in_order = person.client.ids_until(&missed[1]).await;
        assert_eq!(in_order[in_order.len() - 3..], [&seen.id, &missed[0], &missed[1]].map(String::clone));
    }
}

#[tokio::test]
async fn a_stopping_server_finishes_the_batch_in_flight() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let url = server.setup().database_url().to_owned();
    let mut hold = Hold::next_append(&url).await;
    let letter =
        |text: &str| alice.client.request(Method::POST, "/writemessage").json(&alice.letter(&thread, &bob.id, text));
    let in_flight = tokio::spawn(letter("in flight").send());
    hold.caught().await;
    let waiting = tokio::spawn(letter("waiting").send());
    eventually("the second one waits", async || server.metric("be8_ledger_queue").await >= 1.0).await;

    server.terminate();
    eventually("the server notices it", async || server.setup().log().contains("stopping")).await;
    hold.release().await;
    let answer = Answer::read(in_flight.await.unwrap().unwrap()).await;
    assert_eq!((answer.verdict().as_str(), &answer.json()["messageID"]), ("200 ok", &json!("message:10001:10002:2")));
    let refused = Answer::read(waiting.await.unwrap().unwrap()).await;
    assert_eq!((refused.verdict().as_str(), refused.header("retry-after")), ("503 UNAVAILABLE", Some("1")));
    let (setup, status) = server.ended().await;
    assert!(status.success() && status.signal().is_none(), "{status}");

    let server = setup.start().await;
    let texts: Vec<_> = bob.at(&server).messages(&thread).await.iter().map(|m| m["text"].clone()).collect();
    assert_eq!(texts, ["STARTCONVERSATION", "in flight"]);
}

#[tokio::test]
async fn a_server_whose_output_nobody_reads_serves_and_stops() {
    let setup = Setup::on(&fresh_database().await).at_a_known_address();
    let (mut process, printed) = setup.launch_logging(Stdio::piped());
    // As when the journal ends, or a pipe's other side.
    drop((process.stderr.take(), printed));
    let ready = format!("{}/readyz", setup.url());
    let http = http_client().build().expect("a client");
    let is_ready = async || http.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200);
    eventually("it is ready", is_ready).await;
    let pid = Pid::from_raw(process.id().expect("it runs").cast_signed()).expect("a process id");
    kill_process(pid, Signal::TERM).expect("a signal");
    assert!(within("its end", process.wait()).await.expect("its status").success());
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_reported_in_one_line() {
    let database = fresh_database().await;
    let url = "postgres://be8:TOPSECRET@127.0.0.1:1/nowhere".to_owned();
    for (setup, complaint) in [
        (Setup::on(&database).with("events-queue", "0"), "be8: setting events-queue: 0 is out of range"),
        (Setup::on(&database).with("log-format", "xml"), r#"be8: setting log-format: "xml" is neither text nor json"#),
        (Setup::on(&database).listening_on("0.0.0.0:0"), "be8: setting test-mode: not while listening on 0.0.0.0:0"),
        (Setup::on(&database).through(url), "be8: "),
    ] {
        let (mut process, _) = setup.launch();
        let status = within("the end of the process", process.wait()).await.unwrap();
        let log = setup.log();
        assert_eq!(status.code(), Some(1), "{log}");
        let complaints: Vec<&str> = log.lines().filter(|line| line.starts_with("be8: ")).collect();
        assert!(matches!(complaints[..], [line] if line.starts_with(complaint)), "{log}");
        assert!(!log.contains("TOPSECRET"), "{log}");
    }
}

#[tokio::test]
async fn every_measurement_has_help_and_type() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let stream = bob.client.events().await;
    alice.write(&thread, &bob, "hello").await;
    let text = server.get("/metrics").await.text;
    drop(stream);
    let described = |line: &str, what: &str, name: &str| {
        line.strip_prefix(what).is_some_and(|rest| rest.starts_with(&format!(" {name} ")))
    };
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let series = line.split(['{', ' ']).next().expect("a name");
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end)).unwrap_or(series);
        for what in ["# HELP", "# TYPE"] {
            assert!(text.lines().any(|line| described(line, what, name)), "{what} of {name}");
        }
    }
    // Prometheus' own check, where it is installed: it prints nothing if there is nothing to say.
    if let Ok(mut promtool) = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        std::io::Write::write_all(&mut promtool.stdin.take().expect("its input"), text.as_bytes()).expect("read");
        let output = promtool.wait_with_output().expect("its output");
        let says = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(says, ["", ""]);
        assert!(output.status.success());
    }
}

/// Runs the program, without anything of the developer's environment; answers with its status and its standard error.
fn run_alone(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_be8"));
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let output = command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).output().expect("it ran");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

/// The level and the message of each line.
fn json_lines(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_else(|| panic!("a text in {line}")).to_owned();
        assert!(line["timestamp"].is_string(), "{line}");
        (text(&line["level"]), text(&line["fields"]["message"]))
    };
    text.lines().map(line).collect()
}

#[tokio::test]
async fn every_line_of_the_log_is_json_up_to_the_last_one() {
    let directory = crate::cluster::passable_directory();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let by_file = file("json.toml", "log-format = \"json\"\nevents-queue = 0\n");
    let broken = file("broken.toml", "log-format = \n");
    let data = directory.path().join("data").to_str().expect("UTF-8").to_owned();
    let nowhere = "postgres://be8@127.0.0.1:1/nowhere";
    let json: &[&str] = &["--log-format", "json"];
    let environment: &[(&str, &str)] = &[("BE8_LOG_FORMAT", "json")];
    for (arguments, variables, code, complaint) in [
        (
            &["serve", "--log-format=json", "--no-such-flag"][..],
            &[][..],
            2,
            "error: unexpected argument '--no-such-flag'",
        ),
        (&["serve", "--events-queue", "0"], environment, 1, "be8: setting events-queue"),
        (&["no-such-command"], environment, 2, "error: unrecognized subcommand"),
        (&["serve", "--config", &by_file], &[], 1, "be8: setting events-queue"),
        (&[&["serve", "--config", &broken][..], json].concat(), &[], 1, "be8: "),
        (&[&["serve", "--listen", "192.0.2.1:1", "--data-dir", &data][..], json].concat(), &[], 1, "be8: "),
        (&[&["check", "--data-dir", &data, "--database-url", nowhere][..], json].concat(), &[], 1, "be8: "),
        (&[&["account", "sessions", "10001", "--database-url", nowhere][..], json].concat(), &[], 1, "be8: "),
        (&["state", "nothing", "--data-dir", &data], environment, 1, "be8: "),
    ] {
        let (status, text) = run_alone(arguments, variables);
        assert_eq!(status, Some(code), "{arguments:?}: {text}");
        let lines = json_lines(&text);
        let (level, message) = lines.last().unwrap_or_else(|| panic!("{arguments:?} says nothing"));
        assert!(level == "ERROR" && message.starts_with(complaint), "{arguments:?}: {text}");
    }
    let (status, text) = run_alone(&[&["vapid", "--data-dir", &data][..], json].concat(), &[]);
    assert_eq!((status, json_lines(&text).len()), (Some(0), 2), "{text}");
    // A server, from its start to an orderly end.
    let database = fresh_database().await;
    let server = Setup::on(&database).with("log-format", "json").start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "hello").await;
    server.terminate();
    let (setup, status) = server.ended().await;
    assert!(status.success());
    assert!(!json_lines(&setup.log()).is_empty());
    // What others read is as it was.
    let (status, text) = run_alone(&["serve", "--log-format", "text", "--events-queue", "0"], environment);
    assert_eq!((status, text.as_str()), (Some(1), "be8: setting events-queue: 0 is out of range\n"));
}
