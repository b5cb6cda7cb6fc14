//! The names of the document's schemas: none of them is one that the code of a generated client cannot use.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Names that mean something else in a language of clients, or in what generators write.
const TAKEN: &str = include_str!("../../openapi/tools/names.txt");
/// What generators put before or after the name of a schema or an operation to name something else: constructors and
/// nullable types in Go; parameters, bodies and answers of operations in TypeScript, Rust, Java and Go; classes of routes.
const BEFORE: [&str; 2] = ["new", "nullable"];
const BEHIND: [&str; 13] = [
    "",
    "request",
    "requestbody",
    "body",
    "response",
    "responses",
    "params",
    "parameters",
    "data",
    "error",
    "errors",
    "result",
    "withdefaults",
];

/// What is wrong with the names of a document's schemas.
fn wrong_names(document: &Value) -> Vec<String> {
    let taken: BTreeMap<String, &str> = TAKEN
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(|name| (name.to_lowercase(), name))
        .collect();
    let schemas: Vec<&String> = document["components"]["schemas"].as_object().expect("schemas").keys().collect();
    let operations = document["paths"].as_object().expect("paths").values().filter_map(Value::as_object);
    let operations: Vec<&str> =
        operations.flat_map(|path| path.values()).filter_map(|one| one["operationId"].as_str()).collect();

    // What generators call what they make of the schemas and of the operations.
    let mut made: BTreeMap<String, String> = BTreeMap::new();
    for name in &schemas {
        for before in BEFORE {
            made.insert(format!("{before}{}", name.to_lowercase()), format!("{before} {name}"));
        }
        made.insert(format!("{}withdefaults", name.to_lowercase()), format!("{name} with defaults"));
    }
    for id in operations {
        for behind in BEHIND {
            made.insert(format!("{}{behind}", id.to_lowercase()), format!("the operation {id} {behind}"));
        }
    }
    let (mut wrong, mut own) = (Vec::new(), BTreeSet::new());
    for name in &schemas {
        let lower = name.to_lowercase();
        if let Some(other) = taken.get(&lower) {
            wrong.push(format!("{name}: a language or a generator has {other}"));
        }
        if let Some(other) = made.get(&lower) {
            wrong.push(format!("{name}: generators use it for {other}"));
        }
        if lower.ends_with("api") {
            wrong.push(format!("{name}: generators end the names of classes of routes so"));
        }
        if !name.starts_with(|c: char| c.is_ascii_uppercase()) || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            wrong.push(format!("{name}: not a name of a class in all languages"));
        }
        if !own.insert(lower) {
            wrong.push(format!("{name}: another one differs in capitals only"));
        }
    }
    wrong
}

/// The required members of a part of a union.
fn required<'a>(document: &'a Value, part: &'a Value) -> (&'a str, BTreeSet<&'a str>) {
    let name = part["$ref"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let members = document["components"]["schemas"][name]["required"].as_array();
    (name, members.into_iter().flatten().filter_map(Value::as_str).collect())
}

/// Unions in which a part hides another one from generators that look only at which required members are there: those of
/// TypeScript (`typescript-fetch` of openapi-generator) in the order of the names, those of Python (`openapi-python-client`)
/// in the order of the document. Of what was taken for the wrong part, members are lost.
fn hidden_parts(document: &Value, value: &Value, place: &str, into: &mut Vec<String>) {
    let mut look_into = |name: &str, value: &Value| hidden_parts(document, value, &format!("{place}/{name}"), into);
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(nth, item)| look_into(&nth.to_string(), item)),
        Value::Object(members) => members.iter().for_each(|(name, member)| look_into(name, member)),
        _ => {}
    }
    if !value["discriminator"].is_null() {
        return;
    }
    let parts = value["oneOf"].as_array().into_iter().flatten().filter(|part| !part["$ref"].is_null());
    let parts: Vec<_> = parts.map(|part| required(document, part)).collect();
    for (at, (narrow, more)) in parts.iter().enumerate() {
        for (other_at, (wide, less)) in parts.iter().enumerate() {
            if at != other_at && less.is_subset(more) && (wide < narrow || other_at < at) {
                into.push(format!("{place}: {wide} comes before {narrow}, whose required members it has, too"));
            }
        }
    }
}

#[test]
fn no_name_of_a_schema_collides_in_a_generated_client() {
    let wrong = wrong_names(&be8::http::openapi());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_part_of_a_union_hides_another() {
    let document = be8::http::openapi();
    let mut hidden = Vec::new();
    hidden_parts(&document, &document, "", &mut hidden);
    assert!(hidden.is_empty(), "{}", hidden.join("\n"));
}

#[test]
fn names_that_collide_are_found() {
    let names = [
        "Error",
        "date",
        "Account",
        "NewAccount",
        "ACCOUNT",
        "NullableAccount",
        "GetKey",
        "GetKeyResponse",
        "KeysApi",
        "a b",
        "Apierror",
        "Fine",
    ];
    let schemas: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
    let document = json!({
        "components": { "schemas": schemas },
        "paths": { "/getkey": { "post": { "operationId": "getKey" } } },
    });
    let wrong = wrong_names(&document);
    for name in names.iter().filter(|name| !["Account", "ACCOUNT", "Fine"].contains(name)) {
        assert!(wrong.iter().any(|line| line.starts_with(&format!("{name}: "))), "{name} of {wrong:?}");
    }
    assert!(wrong.iter().any(|line| line.contains("capitals")), "{wrong:?}");
    assert!(!wrong.iter().any(|line| line.starts_with("Fine")), "{wrong:?}");
}

#[test]
fn parts_that_hide_others_are_found() {
    let schema = |members: &[&str]| json!({ "type": "object", "required": members });
    let union = |names: [&str; 2]| {
        let parts: Vec<Value> =
            names.iter().map(|name| json!({ "$ref": format!("#/components/schemas/{name}") })).collect();
        json!({ "oneOf": parts })
    };
    let mut document = json!({ "components": { "schemas": {
        "Accepted": schema(&["valid"]), "Refused": schema(&["valid", "reason"]), "Success": schema(&["valid"]),
        "Found": schema(&["valid", "key"]),
    } } });
    for (parts, found) in [
        (["Refused", "Accepted"], 1),
        (["Refused", "Success"], 0),
        (["Success", "Refused"], 1),
        (["Found", "Refused"], 0),
        (["Refused", "Found"], 0),
    ] {
        document["union"] = union(parts);
        let mut hidden = Vec::new();
        hidden_parts(&document, &document, "", &mut hidden);
        assert_eq!(hidden.len(), found, "{parts:?}: {hidden:?}");
    }
}
