//! The authorisation matrix: every operation of the server's own document, asked by everybody who may ask. What each is
//! answered stands in `expected.txt`; an operation that is missing there fails the test.

mod bodies;
mod scene;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::patience::within;
use scene::{Actor, House, Scene};

/// The answers, as a table to be read beside the contract.
const EXPECTED: &str = include_str!("expected.txt");

/// Those who ask, in the order in which they do: what the admin does ends some groups.
const ACTORS: [&str; 10] =
    ["nobody", "junk", "destroyed", "expired", "operator", "stranger", "former", "member", "elsewhere", "admin"];

/// A row: which operation, of which variant of it, with a cell for each actor.
struct Row {
    method: Method,
    path: &'static str,
    variant: &'static str,
    cells: Vec<&'static str>,
}

impl Row {
    fn read(line: &'static str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(words.len() >= 2 + ACTORS.len(), "a cell is missing: {line}");
        let (name, cells) = words.split_at(words.len() - ACTORS.len());
        let variant = line.split_once('(').map_or("", |(_, rest)| rest.split_once(')').expect("a parenthesis").0);
        let (method, path) = (name[0].parse().expect("a method"), name[1]);
        Self { method, path, variant, cells: cells.to_vec() }
    }

    fn name(&self) -> String {
        let Self { method, path, variant, .. } = self;
        if variant.is_empty() { format!("{method} {path}") } else { format!("{method} {path} ({variant})") }
    }

    /// The operation as the document names it.
    fn operation(&self) -> (String, String) {
        (self.method.to_string(), self.path.to_owned())
    }
}

/// The rows of the table.
fn table() -> Vec<Row> {
    let mut lines = EXPECTED.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let heads: Vec<&str> = lines.next().expect("a head line").split_whitespace().collect();
    assert_eq!(heads, ACTORS, "the columns");
    lines.map(Row::read).collect()
}

/// The operations of the document that a server hands out.
async fn operations(house: &House) -> BTreeSet<(String, String)> {
    let document = house.one.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    let mut operations = BTreeSet::new();
    for (path, item) in paths {
        // A path's item has other members, too, such as its parameters.
        let methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
        let methods = item.as_object().expect("operations").keys().filter(|key| methods.contains(&key.as_str()));
        operations.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
    }
    operations
}

/// What somebody is answered, in the words of the table.
async fn answer(row: &Row, scene: &Scene<'_>, actor: &Actor<'_>, body: Option<&Value>) -> String {
    let path = row.path.replace("{groupID}", &scene.group).replace("{accID}", &scene.other.id);
    let path = path.replace("{level}", "0").replace("{thousands}", "001").replace("{number}", "000");
    let path = path.replace("{width}", "5").replace("{session}", "current").replace("{device}", "current");
    loop {
        let mut request = actor.client.request(row.method.clone(), &path);
        request = match body {
            None => request,
            Some(Value::String(text)) => request.body(text.clone()),
            Some(body) => request.json(body),
        };
        let response = within("an answer", request.send()).await.expect("an answer");
        let status = response.status().as_u16();
        let kind = response.headers()["content-type"].to_str().expect("ASCII").to_owned();
        // A stream goes on until somebody closes it.
        if status == 200 && !kind.starts_with("application/json") {
            return "served".to_owned();
        }
        if kind == "text/x.tlog.size" {
            return status.to_string();
        }
        let said: Value = within("a body", response.json()).await.expect("JSON");
        if said["error"] == "NOTCOVEREDYET" {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        }
        let error = |code: &str| match kind.as_str() {
            "application/problem+json" => said["code"] == code && said["error"] == code,
            _ => said == json!({ "error": code }),
        };
        let code = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
        return match (status, &said["valid"]) {
            (200, Value::Bool(true)) => "ok".to_owned(),
            (201, Value::Bool(true)) => "created".to_owned(),
            (200, Value::Null) => "served".to_owned(),
            (200, Value::Bool(false)) if said.get("reason").is_some() => format!("R:{}", code("reason")),
            (200, Value::Bool(false)) if said.get("contentID").is_some() => "none".to_owned(),
            (400, Value::Null) => format!("E:{}", code("error")),
            (401, _) if error("NOTAUTH") => "-".to_owned(),
            (404, _) if error("NOTFOUND") => "404".to_owned(),
            _ => format!("{status}:{said}"),
        };
    }
}

/// Asks a row's operation for every actor in turn; answers what is not as expected.
async fn ask(house: &House, row: &Row) -> Vec<String> {
    let access = if row.variant == "private" { "private" } else { "public" };
    let scene = Scene::new(house, access).await;
    let mut wrong = Vec::new();
    for (name, expected) in ACTORS.iter().zip(&row.cells) {
        let actor = scene.actor(name);
        let body = bodies::body(row, &scene, &actor).await;
        let before = house.events_of(&actor.me.id).await;
        let found = answer(row, &scene, &actor, body.as_ref()).await;
        if found != *expected {
            wrong.push(format!("{} as {name}: {expected} is expected, {found} was answered", row.name()));
        }
        if *expected == "-" {
            // No answer says what else is wrong, and no cookie authenticates the request.
            let cookies: &[&str] = if *name == "junk" { &["invalid", "be8=x"] } else { &[] };
            let clients = cookies.iter().map(|cookie| actor.client.with_cookie(cookie));
            for client in clients.chain([actor.client.clone()]) {
                let actor = Actor { client, me: actor.me };
                for body in [json!({}), json!([])] {
                    let found = answer(row, &scene, &actor, Some(&body)).await;
                    if found != *expected {
                        wrong.push(format!("{} as {name} with {body}: {found} was answered", row.name()));
                    }
                }
            }
        }
        // Who is refused leaves no trace.
        if !["ok", "created", "served"].contains(&found.as_str()) && house.events_of(&actor.me.id).await != before {
            wrong.push(format!("{} as {name}: {found}, and yet something happened", row.name()));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_answered_as_the_table_says() {
    let house = House::new().await;
    let rows = table();
    let mut names = BTreeMap::new();
    rows.iter().for_each(|row| *names.entry(row.name()).or_insert(0) += 1);
    assert!(names.values().all(|count| *count == 1), "a row stands twice: {names:?}");
    let listed: BTreeSet<_> = rows.iter().map(Row::operation).collect();
    let served = operations(&house).await;
    assert!(served.len() > 40, "{served:?}");
    assert_eq!(served.difference(&listed).collect::<Vec<_>>(), [] as [&(String, String); 0], "without a row");
    assert_eq!(listed.difference(&served).collect::<Vec<_>>(), [] as [&(String, String); 0], "rows of nothing");

    let wrong: Vec<Vec<String>> =
        futures_util::stream::iter(&rows).map(|row| ask(&house, row)).buffer_unordered(6).collect().await;
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "{} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
    house.nobody_was_removed_at_its_time().await;
}
