//! Unions in the document: the order of their parts, and variants that validators can close.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::SCHEMAS;

/// Orders the parts of the unions of answers: those with the most required members first, refusals first among equals. Some
/// generators do not look at the value of `valid` and take the first part whose required members are all there, so a part
/// must not stand before another one that has all of these and more.
pub(super) fn order_unions(document: &mut Value) {
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

/// Makes the variants of each union that is discriminated by a name plain closed objects: a variant
/// comes as `allOf` of that name and of the object, which no validator can close.
pub(super) fn flatten_unions(schemas: &mut Map<String, Value>) {
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
