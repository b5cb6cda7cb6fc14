//! JSON is read as JavaScript reads it: Node's `JSON.parse` is asked about generated texts, where there is a Node.

use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

use be8::http::request::json::{decimal, read};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::client::Person;
use crate::server::Server;

/// Reads texts, one a line as a JSON string, and writes each as it was understood.
const ORACLE: &str = r#"
const show = (value) => {
  if (typeof value === 'string') return JSON.stringify(value.toWellFormed());
  if (Array.isArray(value)) return `[${value.map(show).join()}]`;
  if (value === null || typeof value !== 'object') return String(value);
  const names = Object.keys(value).map((name) => [show(name), value[name]]).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${names.map(([name, value]) => `${name}:${show(value)}`).join()}}`;
};
for (const line of require('fs').readFileSync(0, 'utf8').trimEnd().split('\n')) {
  let shown = 'no JSON';
  try { shown = show(JSON.parse(JSON.parse(line))); } catch (error) { if (!(error instanceof SyntaxError)) throw error; }
  console.log(shown);
}
"#;

/// The same of what was read here.
fn show(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match value {
        Value::Number(number) => decimal(number),
        Value::Array(items) => format!("[{}]", join(items.iter().map(show).collect())),
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.iter().map(|(name, value)| (json!(name).to_string(), show(value))).collect();
            members.sort();
            format!("{{{}}}", join(members.into_iter().map(|(name, value)| format!("{name}:{value}")).collect()))
        }
        other => other.to_string(),
    }
}

/// Texts that are JSON, full of what is rare.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        r"\\u[dD][89aAbB][0-9a-fA-F]{2}",
        r"\\u[dD][c-fC-F][0-9a-fA-F]{2}",
        r"\\u[0-9a-fA-F]{4}",
        r#"\\["\\/bfnrt]"#,
        "[a-z €😀\u{7f}\u{2028}\u{d7ff}\u{e000}]",
    ];
    let string = prop::collection::vec(piece, 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()));
    // Names that differ in halves of pairs alone become equal, in an order that JavaScript does not have.
    let name = prop_oneof![
        Just("\"a\""),
        Just("\"b\""),
        Just("\"\\u0061\""),
        Just("\"1\""),
        Just("\"__proto__x\""),
        Just("\"\"")
    ];
    let number = prop_oneof![
        "-?(0|[1-9][0-9]{0,25})",
        r"-?(0|[1-9][0-9]{0,3})\.[0-9]{1,20}",
        r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,5})?[eE][-+]?[0-9]{1,3}",
        "[1-9][0-9]{300,330}",
        Just("1.7976931348623157e308".to_owned()),
        Just("1.7976931348623159e308".to_owned()),
        Just("18446744073709551615".to_owned()),
        Just("-9223372036854775808".to_owned()),
    ];
    let leaf = prop_oneof![3 => string, 3 => number, 1 => prop_oneof!["true", "false", "null"]];
    let space = "[ \t\n\r]{0,2}";
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let items =
            prop::collection::vec((space, inner.clone()).prop_map(|(space, item)| format!("{space}{item}")), 0..5);
        let members = prop::collection::vec((name.clone(), space, inner), 0..5);
        prop_oneof![
            items.prop_map(|items| format!("[{}]", items.join(","))),
            members.prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, space, value)| format!("{name}{space}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// The same with a character missing or one too many: mostly no JSON.
fn broken() -> impl Strategy<Value = String> {
    (texts(), any::<prop::sample::Index>(), prop::option::of(prop::char::range(' ', '~'))).prop_map(
        |(text, at, more)| {
            let mut characters: Vec<char> = text.chars().collect();
            let at = at.index(characters.len());
            match more {
                Some(character) => characters.insert(at, character),
                None => _ = characters.remove(at),
            }
            characters.into_iter().collect()
        },
    )
}

/// Shows (docs/protocol.md): JSON as JavaScript reads it.
#[test]
fn json_is_read_as_node_reads_it() {
    let mut runner = TestRunner::default();
    let mut made_up = |strategy: BoxedStrategy<String>, count: usize| -> Vec<String> {
        (0..count).map(|_| strategy.new_tree(&mut runner).expect("a text").current()).collect()
    };
    let all = [made_up(texts().boxed(), 3_000), made_up(broken().boxed(), 3_000)].concat();
    let process = Command::new("node").args(["-e", ORACLE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut process = match process {
        Err(error) if error.kind() == ErrorKind::NotFound => return eprintln!("there is no Node to compare with"),
        process => process.expect("a process"),
    };
    let mut stdin = process.stdin.take().expect("its input");
    let lines: String = all.iter().map(|text| format!("{}\n", json!(text))).collect();
    let writing = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = process.wait_with_output().expect("its end");
    writing.join().expect("the writer").expect("its input is taken");
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let said: Vec<&str> = said.split_terminator('\n').collect();
    assert_eq!(said.len(), all.len());
    let valid = said.iter().filter(|line| **line != "no JSON").count();
    assert!((3_000..6_000).contains(&valid), "{valid}");
    for (text, said) in all.iter().zip(said) {
        let shown = read(text).map_or("no JSON".to_owned(), |value| show(&value));
        assert_eq!(shown, said, "{text}");
    }
}

/// Sends a body as it stands.
async fn post(person: &Person, path: &str, body: String) -> crate::client::Answer {
    person.client.post_raw(path, Some("application/json"), body).await
}

/// Shows (docs/protocol.md): JSON as JavaScript reads it.
#[tokio::test]
async fn halves_of_pairs_and_numbers_beyond_a_double_are_taken_in_every_field() {
    let server = Server::start().await;
    let (alice, bob, thread) = crate::client::two_people(&server).await;
    // In a field that is looked at: a name that was cut between UTF-16 units, of exactly 30 of them.
    let cut = format!(r#"{{"newNickname":"{}\ud83d"}}"#, "x".repeat(29));
    assert_eq!(post(&alice, "/changenickname", cut).await.verdict(), "200 ok");
    let named = alice.client.get("/me").await.json()["accObj"]["nickname"].as_str().unwrap().to_owned();
    assert_eq!(named, format!("{}\u{FFFD}", "x".repeat(29)));
    let long = format!(r#"{{"newNickname":"{}\ud83d"}}"#, "x".repeat(30));
    assert_eq!(post(&alice, "/changenickname", long).await.verdict(), "400 INVALIDNICKNAME");

    // In fields that are kept, in others, and in names.
    let letter = |text: &str, more: &str| {
        format!(
            r#"{{"threadID":"{thread}","sender":"{}","receiver":"{}","messageType":"text","type":"user","text":"{text}",{more}}}"#,
            alice.id, bob.id
        )
    };
    for (at, (text, more, iv)) in [
        (r"a\ud83d", r#""iv":"i""#, "i"),
        ("b", r#""iv":1e400,"\udc00":[{"x":"\ud83d"}]"#, "Infinity"),
        ("c", r#""iv":"\ude00\ud83d","huge":-1e999,"nested":{"n":18446744073709551616}"#, "\u{FFFD}\u{FFFD}"),
        ("d", r#""iv":18446744073709551615"#, "18446744073709552000"),
        ("e", &format!(r#""iv":"i","deep":{}{}"#, "[".repeat(5_000), "]".repeat(5_000)), "i"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = post(&alice, "/writemessage", letter(text, more)).await;
        assert_eq!(answer.verdict(), "200 ok", "{text} {more}");
        let message = bob.messages(&thread).await.pop().unwrap();
        assert_eq!(message["iv"], json!(iv), "{at}");
        assert_eq!(message["text"], json!(text.replace(r"\ud83d", "\u{FFFD}")));
    }
    let group = |most: &str| format!(r#"{{"nickname":"G","groupType":"public","maxMembers":{most}}}"#);
    for most in ["1e400", "-1e400", "1e300"] {
        assert_eq!(post(&alice, "/groupcreate", group(most)).await.verdict(), "200 ok", "{most}");
    }
    let started = post(&alice, "/startconversation", r#"{"receiverID":1e400}"#.to_owned()).await;
    assert_eq!(started.verdict(), "400 ACCNOTEXISTS");
    let key = post(&alice, "/getkey", r#"{"accID":"\ud83d"}"#.to_owned()).await;
    assert_ne!((key.status, key.verdict().as_str()), (200, "200 ok"));
}

#[tokio::test]
async fn a_compressed_body_is_refused_by_name() {
    let server = Server::start().await;
    let body = r#"{"nickname":"Ann","password":"p"}"#;
    for (encoding, expected) in [
        ("gzip", 415),
        ("GZIP", 415),
        ("br, identity", 415),
        ("x-made-up", 415),
        ("identity", 200),
        ("Identity", 200),
        ("", 200),
    ] {
        let client = server.client();
        let request = client.request(reqwest::Method::POST, "/newacc").header("content-type", "application/json");
        let answer = client.send(request.header("content-encoding", encoding).body(body)).await;
        assert_eq!(answer.status, expected, "{encoding}");
        if expected == 415 {
            assert_eq!(answer.verdict(), "415 UNSUPPORTEDENCODING");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
    }
    // On routes of our own, too; and a request without a body has nothing that is compressed.
    let request = server.client().request(reqwest::Method::GET, "/healthz").header("content-encoding", "gzip");
    assert_eq!(server.client().send(request).await.status, 200);
}
