//! The OpenAPI document: that the committed one is the server's, and that it leaves out nothing that its readers need.

use std::collections::BTreeSet;
use std::path::Path;

use be8::audit::key_file;
use be8::audit::notes::Role;
use be8::http::wire::codes::{Code, Shape};
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::cluster::fresh_database;
use crate::patience::eventually;
use crate::server::Setup;
use crate::story::{ENDS, LATER, LOG, OPERATOR, STORY, sample};

/// Where the published document lies.
const COMMITTED: &str = "openapi/be8.openapi.json";
/// Where the answers lie that it shows as examples.
const ANSWERS: &str = "openapi/answers.json";
/// The variable that has them recorded again.
const RECORD: &str = "BE8_RECORD_ANSWERS";

#[test]
fn the_committed_document_is_the_servers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(COMMITTED);
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let own = format!("{}\n", be8::cli::openapi::text());
    let differs = own.lines().zip(committed.lines()).enumerate().find(|(_, (own, committed))| own != committed);
    assert!(
        own == committed,
        "{COMMITTED} is not what the server says (first difference: {differs:?}).\n\
         Renew it with: cargo run -- openapi > {COMMITTED}"
    );
}

/// Presses "Execute" on every operation, as Swagger UI would.
///
/// Shows (docs/protocol.md): A session of the web client.
#[tokio::test]
async fn every_example_works_and_is_answered_as_the_document_says() {
    let document = be8::http::openapi();
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), OPERATOR).expect("the operator's token");
    let tokens = "[[token]]\ntoken = '12345678901234567890123456789012'\ntype = 'endless'";
    let setup = Setup::on(&fresh_database().await)
        .with("operator-token-file", token.path().display())
        .with_file("tokens-file", tokens)
        .with("checkpoint-interval", 1)
        .with("witness-logs", LOG.trim_end());
    let witness = setup.file("witness-key");
    for (path, role, name) in [
        (&setup.audit_key(), Role::Log, "be8.example/audit/log"),
        (&witness, Role::Witness, "be8.example/audit/witness"),
    ] {
        key_file::load_or_create(path, role, name).expect("a key");
    }
    let server = setup.with("witness-key", witness.display()).start().await;
    let mut answers = Map::new();
    let mut people = Vec::new();
    // The first account's answer is the example; the others' come too late for it.
    for _ in 0..2 {
        let answer = execute(&document, &server.client(), "createAccount").await;
        people.push(server.client().with_cookie(answer.header("set-cookie").expect("a session")));
        answers.insert("createAccount".to_owned(), answer.json());
    }
    let (first, second) = (&people[0].clone(), &people[1].clone());
    let mut streams = [first.events().await, second.events().await];
    for (id, as_first) in STORY {
        if *id == "getGroupProof" {
            // What is new is covered by the next checkpoint.
            eventually("the group is covered", async || second.get("/audit/groups/g10001/proof").await.status == 200)
                .await;
        }
        if *id == "getLogTile" {
            for n in 0..256 {
                second.post("/userstatusset", &json!({ "userStatus": n.to_string() })).await;
            }
            eventually("a tile is full", async || second.get("/audit/log/tile/0/000").await.status == 200).await;
        }
        let answer = execute(&document, if *as_first { first } else { second }, id).await;
        let recorded = match *id {
            "getMetrics" => {
                assert!(answer.text.contains("be8_http_requests_total"));
                continue;
            }
            "getGroupBundle" => {
                assert!(answer.text.starts_with("be8.live/audit-bundle@v2\n"));
                continue;
            }
            "getLogTile" | "getLogTilePart" => continue,
            "getGroupProof" => {
                let mut recorded = timeless(answer.json());
                recorded["proof"] = json!(sampled(id, text(&recorded["proof"])));
                recorded
            }
            _ if sample(id).is_some() => json!(sampled(id, &answer.text)),
            _ => timeless(answer.json()),
        };
        answers.insert((*id).to_owned(), recorded);
    }
    for id in LATER {
        let answer = ask(&document, second, id).await;
        assert_eq!(answer.verdict(), "404 NOTFOUND", "{id}");
    }
    let covered = STORY.iter().map(|(id, _)| *id).chain(ENDS.iter().map(|(id, _)| *id)).chain(LATER);
    let covered: BTreeSet<&str> = covered.chain(["createAccount", "streamEvents"]).collect();
    let all: BTreeSet<&str> = operations(&document).map(|(_, _, operation)| text(&operation["operationId"])).collect();
    assert_eq!(covered, all, "the story covers every operation");

    // The last thing that both receive.
    let mut wrong = Vec::new();
    for stream in &mut streams {
        loop {
            let change = stream.event().await.data;
            let schema = json!({ "$ref": "#/components/schemas/Change" });
            wrong.extend(mismatch(&document, &schema, &change, "streamEvents"));
            if change["action"] == "groupMemberRemove" && change["leavingMember"] == "10001" {
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    for _ in 2..5 {
        let answer = execute(&document, &server.client(), "createAccount").await;
        people.push(server.client().with_cookie(answer.header("set-cookie").expect("a session")));
    }
    for (id, who) in ENDS {
        let answer = execute(&document, &people[*who], id).await;
        answers.insert((*id).to_owned(), timeless(answer.json()));
    }

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(ANSWERS);
    if std::env::var_os(RECORD).is_some() {
        let text = serde_json::to_string_pretty(&answers).expect("JSON");
        std::fs::write(&path, text + "\n").expect("the recorded answers");
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    let recorded: Value = serde_json::from_str(&recorded).unwrap_or_default();
    assert!(
        recorded == Value::Object(answers.clone()),
        "{ANSWERS} is not what the server answers: {answers:#?}\n\
         Renew it, then the document, with: {RECORD}=1 cargo test --test it every_example; \
         cargo run -- openapi > {COMMITTED}"
    );
}

/// The sample in the place of an answer, which is to look like it.
fn sampled(id: &str, answer: &str) -> &'static str {
    let sample = sample(id).expect("a sample");
    let words = |line: &str| line.split(' ').map(str::len).collect::<Vec<_>>();
    // Between them is what has many lengths: the number of events, a proof.
    let shape = |text: &str| [text.lines().next(), text.lines().last()].map(|line| line.map(words));
    assert_eq!(shape(answer), shape(sample), "{id}: {answer}");
    sample
}

/// An operation of the document: its path, its method and the rest.
fn operation<'a>(document: &'a Value, id: &str) -> (&'a str, &'a str, &'a Value) {
    let found = operations(document).find(|(_, _, operation)| operation["operationId"] == id);
    found.unwrap_or_else(|| panic!("no operation {id}"))
}

/// Sends the example of an operation.
async fn ask(document: &Value, client: &Client, id: &str) -> crate::client::Answer {
    let (path, method, operation) = operation(document, id);
    let mut path = path.to_owned();
    for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "path") {
        let name = format!("{{{}}}", text(&parameter["name"]));
        path = path.replace(&name, &in_path(&parameter["schema"]["example"]));
    }
    let mut request = client.request(method.to_ascii_uppercase().parse().expect("a method"), &path);
    if let Some((_, body)) = operation["requestBody"]["content"].as_object().and_then(|content| content.iter().next()) {
        request = match &resolve(document, &body["schema"])["example"] {
            Value::String(text) => request.header("content-type", "text/plain").body(text.clone()),
            object => request.json(object),
        };
    }
    let ways = operation["security"].as_array().cloned().unwrap_or_default();
    if !ways.is_empty() && ways.iter().all(|way| !way["operator"].is_null()) {
        request = request.header(reqwest::header::AUTHORIZATION, format!("Bearer {OPERATOR}"));
    }
    client.send(request).await
}

/// A value as it stands in a path.
pub fn in_path(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Sends the example of an operation, and checks the answer against the document: accepted, of a documented status and
/// shape.
async fn execute(document: &Value, client: &Client, id: &str) -> crate::client::Answer {
    let answer = ask(document, client, id).await;
    let (_, _, operation) = operation(document, id);
    let accepted =
        object(&operation["responses"]).keys().find(|status| status.starts_with('2')).expect("an acceptance");
    assert_eq!(answer.status.to_string(), *accepted, "{id}: {}", answer.text);
    let schema = &operation["responses"][accepted]["content"]["application/json"]["schema"];
    if !schema.is_null() {
        let body = answer.json();
        let wrong = mismatch(document, schema, &body, id);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_ne!(body["valid"], json!(false), "{id}: {body}");
    }
    let kind = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let content = object(&operation["responses"][accepted]["content"]);
    assert!(content.contains_key(kind), "{id}: {kind} is not documented");
    answer
}

/// An answer with all its times replaced by one, and what is random in events left out.
fn timeless(mut value: Value) -> Value {
    match &mut value {
        // The canonical bytes of an event: the version, and the position with its length.
        Value::String(text) if text.starts_with("AQAAAAgA") => json!(format!("{}...", &text[..16])),
        Value::String(text) if text.ends_with("GMT+0000 (Coordinated Universal Time)") => {
            json!("Wed Jun 22 2022 11:08:35 GMT+0000 (Coordinated Universal Time)")
        }
        // A time of the log, with its microseconds.
        Value::String(text) if text.len() == 27 && text.get(10..11) == Some("T") && text.ends_with('Z') => {
            json!("2022-06-22T11:08:35.123456Z")
        }
        Value::Array(items) => items.drain(..).map(timeless).collect(),
        Value::Object(members) => {
            // The name of a session or of a device is random.
            for name in ["session", "device"] {
                members.entry(name).and_modify(|session| *session = json!("ab".repeat(32)));
            }
            members.entry("seen").and_modify(|day| *day = json!("2022-06-22"));
            Value::Object(std::mem::take(members).into_iter().map(|(name, value)| (name, timeless(value))).collect())
        }
        _ => value,
    }
}

/// Path, method and operation of all.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    object(&document["paths"]).iter().flat_map(|(path, operations)| {
        object(operations).iter().map(move |(method, operation)| (&**path, &**method, operation))
    })
}

/// What is wrong with the document, each finding with its place.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn check(&mut self, holds: bool, place: &str, what: &str) {
        if !holds {
            self.0.push(format!("{place}: {what}"));
        }
    }
}

#[test]
fn the_document_has_all_that_readers_and_generators_need() {
    let document = be8::http::openapi();
    let mut findings = Findings::default();
    for member in ["title", "version", "description", "contact", "license"] {
        findings.check(!document["info"][member].is_null(), "info", &format!("no {member}"));
    }
    findings.check(document["servers"].as_array().is_some_and(|all| !all.is_empty()), "servers", "none");
    let tags: Vec<&str> = document["tags"].as_array().unwrap().iter().map(|tag| text(&tag["name"])).collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let place = format!("{} {path}", method.to_ascii_uppercase());
        findings.check(ids.insert(text(&operation["operationId"])), &place, "its operationId is taken");
        let known = operation["tags"].as_array().is_some_and(|own| own.len() == 1 && tags.contains(&text(&own[0])));
        findings.check(known, &place, "not exactly one declared tag");
        check_operation(&document, operation, &place, &mut findings);
    }
    check_schemas(&document, &mut findings);
    assert!(findings.0.is_empty(), "{}", findings.0.join("\n"));
}

fn check_operation(document: &Value, operation: &Value, place: &str, findings: &mut Findings) {
    let id = text(&operation["operationId"]);
    let method_name = id.starts_with(|c: char| c.is_ascii_lowercase()) && id.chars().all(|c| c.is_ascii_alphanumeric());
    findings.check(method_name, place, "the operationId is no name of a method");
    findings.check(!text(&operation["summary"]).is_empty(), place, "no summary");
    let description = text(&operation["description"]);
    findings.check(!description.is_empty(), place, "no description");
    let security = operation["security"].as_array();
    findings.check(security.is_some(), place, "does not say whether it needs a session");

    let codes: Vec<Code> = description.split('`').skip(1).step_by(2).filter_map(code).collect();
    if security.is_some_and(|any| !any.is_empty()) {
        findings.check(codes.contains(&Code::NotAuth), place, "the description does not name NOTAUTH");
    }
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        findings.check(!text(&parameter["description"]).is_empty(), place, "a parameter has no description");
        let example = parameter["in"] != "path" || !parameter["schema"]["example"].is_null();
        findings.check(example, place, "a parameter of the path has no example");
    }

    if let Some((_, body)) = operation["requestBody"]["content"].as_object().and_then(|content| content.iter().next()) {
        let schema = resolve(document, &body["schema"]);
        let example = body.get("example").or_else(|| schema.get("example"));
        match example {
            None => findings.check(false, place, "no example of the body"),
            Some(example) => findings.0.extend(mismatch(document, schema, example, &format!("{place}: example"))),
        }
    }

    let responses = object(&operation["responses"]);
    for class in ["2", "4", "5"] {
        let some = responses.keys().any(|status| status.starts_with(class));
        findings.check(some, place, &format!("no answer with a status {class}xx"));
    }
    for (status, response) in responses {
        let place = format!("{place}: {status}");
        findings.check(!text(&response["description"]).is_empty(), &place, "no description");
        let content = object(&response["content"]);
        findings.check(content.values().next().is_some_and(|media| !media["schema"].is_null()), &place, "no schema");
        let is_text = |kind: &str| !status.starts_with('2') && kind.starts_with("text/");
        for (_, media) in content.iter().filter(|(kind, _)| is_text(kind)) {
            let shown = media["schema"]["type"] == "string" && media["schema"]["example"].is_string();
            findings.check(shown, &place, "a refusal in words of its own without an example");
        }
        let schema = content.iter().find(|(kind, _)| !is_text(kind)).map(|(_, media)| &media["schema"]);
        if !status.starts_with('2') && schema.is_some() {
            let name = if content.contains_key("application/problem+json") { "Problem" } else { "ErrorBody" };
            let shared = schema.is_some_and(|schema| schema["$ref"] == format!("#/components/schemas/{name}"));
            findings.check(shared, &place, "an error with a schema of its own");
        }
        if let Some(json) = content.get("application/json").or_else(|| content.get("application/problem+json")) {
            let examples = json["examples"].as_object().into_iter().flatten();
            let wrong = examples.clone().flat_map(|(name, example)| {
                mismatch(document, &json["schema"], &example["value"], &format!("{place}: example {name}"))
            });
            findings.0.extend(wrong);
            let some = examples.clone().any(|(name, _)| !status.starts_with('2') || name == "Accepted");
            findings.check(some, &place, &format!("no example (record it as {ANSWERS} says in its test)"));
        }
    }
    let accepted =
        responses.iter().find(|(status, _)| status.starts_with('2')).map_or(&Value::Null, |(_, answer)| answer);
    let answer = &accepted["content"]["application/json"]["schema"];
    let one_of: Vec<&str> = answer["oneOf"].as_array().into_iter().flatten().map(|part| text(&part["$ref"])).collect();
    for (name, shape) in [("Refused", Shape::Reason), ("RefusedWithWarning", Shape::Warning)] {
        let documented = one_of.contains(&format!("#/components/schemas/{name}").as_str());
        let named = codes.iter().any(|code| code.shape() == shape);
        findings.check(documented == named, place, &format!("{name} and the codes of the description disagree"));
    }
}

fn check_schemas(document: &Value, findings: &mut Findings) {
    let schemas = object(&document["components"]["schemas"]);
    let mut used = BTreeSet::new();
    references(document, &mut used);
    for (name, schema) in schemas {
        let place = format!("schema {name}");
        findings.check(used.contains(format!("#/components/schemas/{name}").as_str()), &place, "nothing uses it");
        findings.check(!text(&schema["description"]).is_empty(), &place, "no description");
        for (property, schema) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}: {property}");
            findings.check(!text(&schema["description"]).is_empty(), &place, "no description");
            let number = schema["type"] == "integer" || schema["type"] == "number";
            findings.check(!number || schema["minimum"].is_number(), &place, "a number without a least value");
            findings.check(schema.get("readOnly").is_none(), &place, "readOnly");
        }
    }
    for reference in used {
        let found = document.pointer(reference.trim_start_matches('#')).is_some();
        findings.check(found, reference, "leads nowhere");
    }
}

/// Where a value is not what a schema says: as far as the schemas of this document go.
pub fn mismatch(document: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let schema = resolve(document, schema);
    if let Some(variants) = schema["oneOf"].as_array() {
        let fitting = variants.iter().filter(|variant| mismatch(document, variant, value, place).is_empty()).count();
        return if fitting == 1 { vec![] } else { vec![format!("{place}: fits {fitting} of {schema}: {value}")] };
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return parts.iter().flat_map(|part| mismatch(document, part, value, place)).collect();
    }
    if value.is_null() && schema["nullable"] == true {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if schema["type"] != kind {
        wrong.push(format!("{place}: {kind} instead of {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        wrong.push(format!("{place}: {value} is none of {}", schema["enum"]));
    }
    for item in value.as_array().into_iter().flatten() {
        wrong.extend(mismatch(document, &schema["items"], item, &format!("{place}[]")));
    }
    if let Some(members) = value.as_object() {
        for required in schema["required"].as_array().into_iter().flatten() {
            if !members.contains_key(text(required)) {
                wrong.push(format!("{place}: {required} is missing"));
            }
        }
        for (name, member) in members {
            let place = format!("{place}.{name}");
            match schema["properties"].get(name) {
                Some(schema) => wrong.extend(mismatch(document, schema, member, &place)),
                None => wrong.push(format!("{place} is not documented")),
            }
        }
    }
    wrong
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null),
        None => schema,
    }
}

fn references<'a>(value: &'a Value, into: &mut BTreeSet<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        Value::Object(members) => {
            into.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, into));
        }
        _ => {}
    }
}

/// The code of this text, if it is one; and it had better be one if it looks like one.
fn code(word: &str) -> Option<Code> {
    let found = Code::ALL.iter().copied().find(|code| code.as_str() == word);
    let shouted = word.len() > 4 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    assert!(found.is_some() || !shouted, "there is no code {word}");
    found
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("an object and not {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
