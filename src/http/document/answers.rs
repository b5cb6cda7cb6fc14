//! The answers of an operation in the document: which statuses it can have, which codes each of them says, and an
//! example of each.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::SCHEMAS;
use super::operation::{ErrorStyle, Operation};
use super::tidy::tidy;
use crate::http::wire::codes::{Code, Shape};
use crate::http::wire::error::answer_of;
use crate::http::wire::problem::{PROBLEM, problem};

/// What the answers of an operation follow from.
pub(super) struct Answers<'a> {
    pub(super) declared: &'a Operation,
    /// The codes that it says.
    pub(super) codes: Vec<Code>,
    /// It is for who shows a session.
    pub(super) session: bool,
    pub(super) body: bool,
    pub(super) json_body: bool,
    /// One that was accepted, as it was recorded.
    pub(super) answer: Option<&'a Value>,
}

impl Answers<'_> {
    /// Completes them. `summary` describes those that poem-openapi leaves undescribed.
    pub(super) fn complete(&self, responses: &mut Map<String, Value>, summary: &Value) {
        self.set_statuses(responses);
        for (status, response) in responses {
            if response["description"] == "" {
                response["description"] = summary.clone();
            }
            self.complete_one(status.parse().unwrap_or_default(), response);
        }
    }

    /// Takes out the statuses that it cannot have, and adds those that poem-openapi does not know.
    fn set_statuses(&self, responses: &mut Map<String, Value>) {
        let of = |status| !with_shape(&self.codes, |shape| shape == Shape::Error(status)).is_empty();
        responses.retain(|status, _| match status.as_str() {
            "400" => self.body || of(400),
            "401" => self.session || of(401),
            "408" | "413" | "415" => self.body || of(413),
            "429" => of(429),
            _ => true,
        });
        let said = self.codes.iter().filter_map(|code| match code.shape() {
            Shape::Error(status) => Some(status),
            Shape::Reason | Shape::Warning => None,
        });
        for status in said
            .chain((self.declared.errors != ErrorStyle::Contract).then_some(405))
            .chain(self.declared.is_limited().then_some(429))
            .chain([500])
            .collect::<BTreeSet<_>>()
        {
            responses.entry(status.to_string()).or_insert_with(|| {
                let mut answer = serde_json::to_value(answer_of(status)).unwrap_or_default();
                tidy(&mut answer);
                answer
            });
        }
    }

    /// The codes that an answer with this status, in JSON or not, says.
    fn codes(&self, status: u16, json: bool) -> Vec<Code> {
        match status {
            // A refusal in words of its own.
            400.. if !json => Vec::new(),
            200 => with_shape(&self.codes, |shape| !matches!(shape, Shape::Error(_))),
            400 => {
                let mut codes = with_shape(&self.codes, |shape| shape == Shape::Error(400));
                codes.extend(self.json_body.then_some(Code::InvalidJson));
                codes
            }
            403 => with_shape(&self.codes, |shape| shape == Shape::Error(403)),
            503 => {
                let mut codes = with_shape(Code::ALL, |shape| shape == Shape::Error(503));
                codes.retain(|code| match code {
                    Code::Unavailable => true,
                    // What changes nothing of the log has no outcome.
                    Code::OutcomeUnknown => self.json_body,
                    other => self.codes.contains(other),
                });
                codes
            }
            // Those of other statuses are few, and most come from outside of the operation.
            _ => with_shape(Code::ALL, |shape| shape == Shape::Error(status)),
        }
    }

    /// Completes one of them: its content, its codes, its examples, its cookie.
    fn complete_one(&self, status: u16, response: &mut Value) {
        let json = response.pointer("/content/application~1json").is_some();
        let codes = self.codes(status, json);
        let as_problem = self.declared.errors == ErrorStyle::Own && status >= 400;
        if as_problem
            && json
            && let Some(content) = response["content"].as_object_mut()
        {
            content.remove("application/json");
            content.insert(PROBLEM.to_owned(), json!({ "schema": { "$ref": format!("{SCHEMAS}Problem") } }));
        }
        if let Some(text) = self.answer.filter(|answer| (200..300).contains(&status) && answer.is_string()) {
            response["content"]["text/plain"]["example"] = text.clone();
        }
        let media = response.get_mut("content").and_then(Value::as_object_mut).and_then(|content| {
            let name = if as_problem { PROBLEM } else { "application/json" };
            content.get_mut(name)?.as_object_mut()
        });
        if let (Some(media), Some(examples)) = (media, examples(status, &codes, self.answer, as_problem)) {
            media.insert("examples".to_owned(), examples);
        }
        if !codes.is_empty() {
            let list: Vec<String> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
            let said = response["description"].as_str().unwrap_or_default().trim_end_matches('.').to_owned();
            response["description"] = json!(format!("{said}: {}.", list.join(", ")));
        }
        if status == 200 && self.declared.sets_cookie {
            response["headers"]["Set-Cookie"] = json!({
                "description": "The session. Sent only with success.",
                "schema": { "type": "string" },
                "example": "be8=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8; Path=/; HttpOnly; SameSite=Strict",
            });
        }
    }
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
