//! The OpenAPI document: what poem-openapi says of the routes, put right where its output is known
//! to be wrong.

use poem_openapi::{OpenApiService, Tags};
use serde_json::{Map, Value, json};

/// The tags of the document; each has its file of routes.
#[derive(Tags)]
pub enum Tag {
    /// Making an account, and looking at one's own.
    Accounts,
    /// The public keys of accounts.
    Keys,
    /// Conversations of two, and the list of threads.
    Conversations,
    /// Writing and reading messages.
    Messages,
    /// Groups and who is in them.
    Groups,
    /// The versions of a group's key, and the wrapped keys of its members.
    #[oai(rename = "Group keys")]
    GroupKeys,
    /// Changes as server-sent events.
    Events,
    /// For those who run the server.
    Operations,
}

/// The document of a service, as it is served and committed.
pub fn document<T: poem_openapi::OpenApi, W: poem_openapi::Webhook>(service: &OpenApiService<T, W>) -> Value {
    let mut document: Value = serde_json::from_str(&service.spec()).unwrap_or_default();
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for operation in paths.into_iter().flat_map(operations) {
        // Without it, tools take an operation to inherit a requirement.
        operation.entry("security").or_insert_with(|| json!([]));
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
        for response in responses.into_iter().flat_map(Map::values_mut) {
            one_event(response);
        }
    }
    document
}

/// All operations of all paths.
fn operations(paths: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut).filter_map(Value::as_object_mut)
}

/// An event stream's schema is the schema of what one event holds, not an array.
fn one_event(response: &mut Value) {
    let Some(schema) = response.pointer_mut("/content/text~1event-stream/schema") else { return };
    if let Some(items) = schema.get_mut("items").map(Value::take) {
        *schema = items;
    }
}
