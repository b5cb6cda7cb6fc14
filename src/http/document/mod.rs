//! The OpenAPI document: what poem-openapi says of the routes, put right where its output is known
//! to be wrong, and completed by what follows from the code.

pub mod operation;
pub mod tag;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use poem_openapi::OpenApiService;
use serde_json::{Map, Value, json};

use self::operation::{ErrorStyle, Operation};
use crate::http::request::session::SCHEME;
use crate::http::wire::codes::{Code, Shape};
use crate::http::wire::error::answer_of;
use crate::http::wire::problem::{PROBLEM, problem, problem_schema};

/// An accepted answer of each operation, as a test recorded it from the running server.
const ANSWERS: &str = include_str!("../../../openapi/answers.json");
/// How references to schemas begin.
const SCHEMAS: &str = "#/components/schemas/";

/// Finds the declaration of an operation by its id.
pub type Declared = fn(&str) -> Option<&'static Operation>;

/// Whether an operation of the document is for who shows a session.
pub(in crate::http) fn uses_session(operation: &Value) -> bool {
    let any = operation["security"].as_array().into_iter().flatten();
    any.filter_map(Value::as_object).any(|scheme| scheme.contains_key(SCHEME))
}

/// The declaration of an operation of the document.
pub(in crate::http) fn declaration(operation: &Value, declared: Declared) -> Option<&'static Operation> {
    declared(operation["operationId"].as_str()?)
}

/// The document of a service, as it is served and committed.
pub fn document<T: poem_openapi::OpenApi, W: poem_openapi::Webhook>(
    service: &OpenApiService<T, W>,
    declared: Declared,
) -> Value {
    // What poem-openapi writes is JSON.
    let mut document: Value = serde_json::from_str(&service.spec()).unwrap_or_default();
    for part in ["paths", "components"] {
        document.get_mut(part).into_iter().for_each(tidy);
    }
    if let Some(tags) = document.get_mut("tags").and_then(Value::as_array_mut) {
        let rank = |tag: &Value| tag::ORDER.iter().position(|name| tag["name"] == *name);
        tags.sort_by_key(rank);
    }
    // The test that records them sees to it that they are JSON.
    let answers: Map<String, Value> = serde_json::from_str(ANSWERS).unwrap_or_default();
    let mut uses = Uses::default();
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let mut nullable = Vec::new();
    for operations in paths.into_iter().flat_map(Map::values_mut) {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            // A test sees to it that each has one.
            let Some(declared) = declaration(operation, declared) else { continue };
            let answer = answers.get(declared.id);
            let guarded = declared.is_guarded(method, uses_session(operation));
            nullable.extend(declared.nullable);
            operation.as_object_mut().into_iter().for_each(|operation| complete(operation, declared, guarded, answer));
            references(&operation["requestBody"], &mut uses.asked);
            references(&operation["responses"], &mut uses.answered);
        }
    }
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        flatten_unions(schemas);
        // poem-openapi drops what it thinks unused.
        schemas.insert("Problem".to_owned(), problem_schema());
        schemas.get_mut("Code").into_iter().for_each(explain_codes);
        for (name, member) in nullable {
            let Some(schema) = schemas.get_mut(name) else { continue };
            schema["properties"][member]["nullable"] = json!(true);
            schema["required"].as_array_mut().into_iter().for_each(|required| required.push(json!(member)));
        }
        uses.close(schemas);
        for (name, schema) in schemas {
            // Closed, so that it can be distinguished from the others of its union. What a client sends
            // stays open: the server ignores what it does not know.
            if uses.answered.contains(name) && !uses.asked.contains(name) && schema["type"] == "object" {
                schema["additionalProperties"] = json!(false);
            }
        }
    }
    order_unions(&mut document);
    document
}

/// Orders the parts of the unions of answers: those with the most required members first, refusals first among equals. Some
/// generators do not look at the value of `valid` and take the first part whose required members are all there, so a part
/// must not stand before another one that has all of these and more.
fn order_unions(document: &mut Value) {
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    let rank = |schema: &Value| {
        let refused = schema["properties"]["valid"]["enum"] == json!([false]);
        (Reverse(schema["required"].as_array().map_or(0, Vec::len)), !refused)
    };
    let ranks: BTreeMap<String, _> = schemas.map(|(name, schema)| (format!("{SCHEMAS}{name}"), rank(schema))).collect();
    let operations = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let operations = operations.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    for operation in operations {
        let union = operation.pointer_mut("/responses/200/content/application~1json/schema/oneOf");
        if let Some(parts) = union.and_then(Value::as_array_mut) {
            parts.sort_by_key(|part| part["$ref"].as_str().and_then(|name| ranks.get(name).copied()));
        }
    }
}

/// Corrects what poem-openapi writes differently from what is meant, wherever it stands.
fn tidy(value: &mut Value) {
    let object = match value {
        Value::Array(items) => return items.iter_mut().for_each(tidy),
        Value::Object(object) => object,
        _ => return,
    };
    // What says nothing: defaults, and titles that repeat the name. `readOnly` would make
    // generators write each type twice, while here a type is asked or answered, never both.
    object.retain(|name, value| match name.as_str() {
        "title" => !value.is_string(),
        "readOnly" => !value.is_boolean(),
        "deprecated" => *value != json!(false),
        "explode" => *value != json!(true),
        _ => true,
    });
    // OpenAPI 3.0 describes a reference by wrapping it in `allOf`; the description stands beside it.
    if let Some(parts) = object.get_mut("allOf").and_then(Value::as_array_mut)
        && parts.first().is_some_and(|first| first.get("$ref").is_some())
    {
        parts.truncate(1);
    }
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind == "array" {
        rename(object, [("minLength", "minItems"), ("maxLength", "maxItems")]);
    } else if kind == "integer" && object["format"].as_str().is_some_and(|format| format.starts_with('u')) {
        object.entry("minimum").or_insert(json!(0));
    }
    if let Some(content) = object.get_mut("content").and_then(Value::as_object_mut) {
        // Some generators know a media type only without its parameters.
        rename(
            content,
            [("application/json; charset=utf-8", "application/json"), ("text/plain; charset=utf-8", "text/plain")],
        );
        // A stream's schema is the schema of what one event holds, not an array.
        if let Some(schema) = content.get_mut("text/event-stream").and_then(|media| media.get_mut("schema"))
            && let Some(items) = schema.get_mut("items").map(Value::take)
        {
            *schema = items;
        }
    }
    let nested = object.iter_mut().filter(|(name, _)| !["example", "examples", "enum"].contains(&name.as_str()));
    nested.for_each(|(_, value)| tidy(value));
}

/// Gives members other names.
fn rename<const N: usize>(object: &mut Map<String, Value>, names: [(&str, &str); N]) {
    for (from, to) in names {
        if let Some(value) = object.remove(from) {
            object.insert(to.to_owned(), value);
        }
    }
}

/// Completes an operation: its checks, whether it needs a session, which statuses it can have, which codes each
/// of them says, and an example of each. The codes are those of its declaration, of an idempotency key, and the guard's.
fn complete(operation: &mut Map<String, Value>, declared: &Operation, guarded: bool, answer: Option<&Value>) {
    let errors = declared.errors;
    // Without it, tools take an operation to inherit a requirement.
    let session =
        operation.entry("security").or_insert_with(|| json!([])).as_array().is_some_and(|any| !any.is_empty());
    let body = operation.contains_key("requestBody");
    let json_body =
        operation.get("requestBody").is_some_and(|body| body.pointer("/content/application~1json").is_some());
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        // Of two names that many languages write alike, such as a header's and its stand-in in the
        // query, the first; the description mentions the other.
        let mut seen = BTreeSet::new();
        parameters.retain(|parameter| {
            let name = parameter["name"].as_str().unwrap_or_default();
            seen.insert(name.to_ascii_lowercase().replace(['-', '_'], ""))
        });
    }
    let mut named = declared.codes();
    let text = operation.get("description").and_then(Value::as_str).map(str::to_owned);
    let mut text: Vec<String> = text.into_iter().chain(declared.checks()).collect();
    if explain_key(operation) {
        text.push(SENT_AGAIN.to_owned());
        named.extend([Code::InFlight, Code::IdempotencyKeyReused]);
        named.extend(Some(Code::InvalidInput).filter(|code| !named.contains(code)));
    }
    if !text.is_empty() {
        operation.insert("description".to_owned(), json!(text.join("\n\n")));
    }
    if guarded && !named.contains(&Code::Forbidden) {
        named.push(Code::Forbidden);
    }
    let summary = operation.get("summary").cloned().unwrap_or_default();
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };

    let of = |status| !with_shape(&named, |shape| shape == Shape::Error(status)).is_empty();
    responses.retain(|status, _| match status.as_str() {
        "400" => body || of(400),
        "401" => session || of(401),
        "408" | "413" | "415" => body || of(413),
        "429" => of(429),
        _ => true,
    });
    let said = named.iter().filter_map(|code| match code.shape() {
        Shape::Error(status) => Some(status),
        Shape::Reason | Shape::Warning => None,
    });
    for status in said
        .chain((errors != ErrorStyle::Contract).then_some(405))
        .chain(declared.is_limited().then_some(429))
        .chain([500])
        .collect::<BTreeSet<_>>()
    {
        let answer = serde_json::to_value(answer_of(status)).unwrap_or_default();
        responses.entry(status.to_string()).or_insert_with(|| {
            let mut answer = answer;
            tidy(&mut answer);
            answer
        });
    }
    for (status, response) in responses {
        let status: u16 = status.parse().unwrap_or_default();
        let json = response.pointer("/content/application~1json").is_some();
        let codes: Vec<Code> = match status {
            // A refusal in words of its own.
            400.. if !json => Vec::new(),
            200 => with_shape(&named, |shape| !matches!(shape, Shape::Error(_))),
            400 => {
                let mut codes = with_shape(&named, |shape| shape == Shape::Error(400));
                codes.extend(json_body.then_some(Code::InvalidJson));
                codes
            }
            403 => with_shape(&named, |shape| shape == Shape::Error(403)),
            503 => {
                let mut codes = with_shape(Code::ALL, |shape| shape == Shape::Error(503));
                codes.retain(|code| match code {
                    Code::Unavailable => true,
                    // What changes nothing of the log has no outcome.
                    Code::OutcomeUnknown => json_body,
                    other => named.contains(other),
                });
                codes
            }
            // Those of other statuses are few, and most come from outside of the operation.
            _ => with_shape(Code::ALL, |shape| shape == Shape::Error(status)),
        };
        if response["description"] == "" {
            response["description"] = summary.clone();
        }
        let as_problem = errors == ErrorStyle::Own && status >= 400;
        if as_problem
            && json
            && let Some(content) = response["content"].as_object_mut()
        {
            content.remove("application/json");
            content.insert(PROBLEM.to_owned(), json!({ "schema": { "$ref": format!("{SCHEMAS}Problem") } }));
        }
        if let Some(text) = answer.filter(|answer| (200..300).contains(&status) && answer.is_string()) {
            response["content"]["text/plain"]["example"] = text.clone();
        }
        let media = response.get_mut("content").and_then(Value::as_object_mut).and_then(|content| {
            let name = if as_problem { PROBLEM } else { "application/json" };
            content.get_mut(name)?.as_object_mut()
        });
        if let (Some(media), Some(examples)) = (media, examples(status, &codes, answer, as_problem)) {
            media.insert("examples".to_owned(), examples);
        }
        if !codes.is_empty() {
            let list: Vec<String> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
            let said = response["description"].as_str().unwrap_or_default().trim_end_matches('.').to_owned();
            response["description"] = json!(format!("{said}: {}.", list.join(", ")));
        }
        if status == 200 && declared.sets_cookie {
            response["headers"]["Set-Cookie"] = json!({
                "description": "The session. Sent only with success.",
                "schema": { "type": "string" },
                "example": "be8=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8; Path=/; HttpOnly; SameSite=Strict",
            });
        }
    }
}

/// What an operation that takes an idempotency key says of it.
const SENT_AGAIN: &str = "It can be sent again under an `Idempotency-Key`: what was accepted happens once and is \
                          answered the same for 24 hours. While the first request still runs, others under its key \
                          get `INFLIGHT`; another operation or body under it gets `IDEMPOTENCYKEYREUSED`; what can \
                          be no key `INVALIDINPUT`.";

/// Describes the parameter of an operation that takes an idempotency key; answers whether it does.
fn explain_key(operation: &mut Map<String, Value>) -> bool {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    let key = parameters
        .into_iter()
        .flatten()
        .find(|parameter| parameter["name"] == crate::http::request::idempotency_key::HEADER);
    key.map(|key| {
        key["description"] = json!(
            "A text of 1 to 255 characters, new for each request that is meant to happen, such as a UUID. Its scope \
             is the account."
        );
    })
    .is_some()
}

/// The examples of an answer: what was recorded, and one refusal for each code. Readers are shown
/// the first by name.
fn examples(status: u16, codes: &[Code], answer: Option<&Value>, as_problem: bool) -> Option<Value> {
    let accepted =
        answer.filter(|_| (200..300).contains(&status)).map(|answer| ("Accepted".to_owned(), answer.clone()));
    let refused = codes.iter().map(|code| {
        let word = code.as_str();
        let body = match code.shape() {
            Shape::Error(_) if as_problem => problem(*code),
            Shape::Error(_) => json!({ "error": word }),
            Shape::Reason => json!({ "valid": false, "reason": word }),
            Shape::Warning => json!({ "valid": false, "warning": word }),
        };
        (word.to_owned(), body)
    });
    let all: Map<String, Value> =
        accepted.into_iter().chain(refused).map(|(name, value)| (name, json!({ "value": value }))).collect();
    (!all.is_empty()).then_some(Value::Object(all))
}

/// Those of some codes that are said in a certain way.
fn with_shape(codes: &[Code], is: impl Fn(Shape) -> bool) -> Vec<Code> {
    codes.iter().copied().filter(|code| is(code.shape())).collect()
}

/// Makes the variants of each union that is discriminated by a name plain closed objects: a variant
/// comes as `allOf` of that name and of the object, which no validator can close.
fn flatten_unions(schemas: &mut Map<String, Value>) {
    let unions: Vec<String> = schemas
        .iter()
        .filter(|(_, schema)| schema.get("discriminator").is_some())
        .map(|(name, _)| name.clone())
        .collect();
    for union in unions {
        let Some(mut schema) = schemas.remove(&union) else { continue };
        let mapping: BTreeMap<String, String> =
            serde_json::from_value(schema["discriminator"]["mapping"].clone()).unwrap_or_default();
        let mut flat = Map::new();
        for (word, reference) in &mapping {
            let variant = schemas.remove(reference.trim_start_matches(SCHEMAS)).unwrap_or_default();
            let inner = variant["allOf"][1]["$ref"].as_str().unwrap_or_default();
            if let Some(object) = schemas.get_mut(inner.trim_start_matches(SCHEMAS)) {
                let name = schema["discriminator"]["propertyName"].as_str().unwrap_or_default();
                let what = format!("Always `{word}`.");
                object["properties"][name] = json!({ "type": "string", "enum": [word], "description": what });
                object["required"].as_array_mut().into_iter().for_each(|required| required.insert(0, json!(name)));
                flat.insert(word.clone(), json!(inner));
            }
        }
        let variants: Vec<Value> = flat.values().map(|reference| json!({ "$ref": reference })).collect();
        schema["oneOf"] = json!(variants);
        schema["discriminator"]["mapping"] = Value::Object(flat);
        schema.as_object_mut().into_iter().for_each(|schema| {
            schema.remove("anyOf");
            schema.remove("type");
        });
        schemas.insert(union, schema);
    }
}

/// Says of each code what it means, for readers and for generators.
fn explain_codes(schema: &mut Value) {
    let mut text = "A stable code of the interface. All codes of all operations, so that a client knows those of \
                    tomorrow too; which of them an operation says stands in its description.\n"
        .to_owned();
    for code in Code::ALL {
        text.push_str(&format!("\n- `{}`: {}", code.as_str(), code.meaning()));
    }
    schema["description"] = json!(text);
    let meanings: Vec<&str> = Code::ALL.iter().map(|code| code.meaning()).collect();
    schema["x-enum-descriptions"] = json!(meanings);
}

/// The schemas that requests and answers use.
#[derive(Default)]
struct Uses {
    asked: BTreeSet<String>,
    answered: BTreeSet<String>,
}

impl Uses {
    /// Follows the references of schemas to others.
    fn close(&mut self, schemas: &Map<String, Value>) {
        for names in [&mut self.asked, &mut self.answered] {
            let mut open: Vec<String> = names.iter().cloned().collect();
            while let Some(name) = open.pop() {
                let mut next = BTreeSet::new();
                schemas.get(&name).into_iter().for_each(|schema| references(schema, &mut next));
                open.extend(next.difference(names).cloned());
                names.append(&mut next);
            }
        }
    }
}

/// The names of all schemas that a part of the document refers to.
fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        Value::Object(object) => {
            let name = object.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix(SCHEMAS));
            into.extend(name.map(str::to_owned));
            object.values().for_each(|value| references(value, into));
        }
        _ => {}
    }
}
