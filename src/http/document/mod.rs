//! The OpenAPI document: what poem-openapi says of the routes, put right where its output is known
//! to be wrong, and completed by what follows from the code.

mod answers;
mod complete;
pub mod operation;
mod schemas;
pub mod tag;
mod tidy;
mod unions;

use poem_openapi::OpenApiService;
use serde_json::{Map, Value, json};

use self::complete::complete;
use self::operation::Operation;
use self::schemas::{Uses, explain_codes, references};
use self::tidy::tidy;
use self::unions::{flatten_unions, order_unions};
use crate::http::request::session::SCHEME;
use crate::http::wire::problem::problem_schema;

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
