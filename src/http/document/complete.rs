//! What the document says of an operation beyond its types.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::answers::Answers;
use super::operation::Operation;
use crate::http::request::idempotency_key::HEADER;
use crate::http::wire::codes::Code;

/// Completes an operation: its checks, whether it needs a session, and its answers. The codes are those of its declaration,
/// of an idempotency key, and the guard's.
pub(super) fn complete(
    operation: &mut Map<String, Value>,
    declared: &Operation,
    guarded: bool,
    answer: Option<&Value>,
) {
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
    if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
        Answers { declared, codes: named, session, body, json_body, answer }.complete(responses, &summary);
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
    let key = parameters.into_iter().flatten().find(|parameter| parameter["name"] == HEADER);
    key.map(|key| {
        key["description"] = json!(
            "A text of 1 to 255 characters, new for each request that is meant to happen, such as a UUID. Its scope \
             is the account."
        );
    })
    .is_some()
}
