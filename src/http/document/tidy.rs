//! What poem-openapi writes differently from what is meant, corrected.

use serde_json::{Map, Value, json};

/// Corrects what poem-openapi writes differently from what is meant, wherever it stands.
pub(super) fn tidy(value: &mut Value) {
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
