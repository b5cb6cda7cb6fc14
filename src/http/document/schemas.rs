//! The schemas of the document: which of them requests and answers use, and what each code means.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::SCHEMAS;
use crate::http::wire::codes::Code;

/// Says of each code what it means, for readers and for generators.
pub(super) fn explain_codes(schema: &mut Value) {
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
pub(super) struct Uses {
    pub(super) asked: BTreeSet<String>,
    pub(super) answered: BTreeSet<String>,
}

impl Uses {
    /// Follows the references of schemas to others.
    pub(super) fn close(&mut self, schemas: &Map<String, Value>) {
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
pub(super) fn references(value: &Value, into: &mut BTreeSet<String>) {
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
