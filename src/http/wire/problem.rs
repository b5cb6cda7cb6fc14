//! Errors as problem details (RFC 9457): those of the routes that are not of the contract.

use poem::Response;
use poem::http::{HeaderValue, header};
use serde_json::{Value, json};

use super::codes::{Code, Shape};

/// An error of ours as problem details (RFC 9457); any other answer as it is.
pub fn as_problem(mut answer: Response) -> Response {
    let code = answer.extensions().get::<Code>().copied();
    let Some(code) = code.filter(|code| matches!(code.shape(), Shape::Error(_))) else { return answer };
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    answer.set_body(problem(code).to_string());
    answer
}

/// The problem details of a code.
pub(in crate::http) fn problem(code: Code) -> Value {
    let (status, word) = (code.status(), code.as_str());
    json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": code.meaning(),
        "code": word,
        "error": word,
    })
}

/// How the OpenAPI document describes what [`problem`] makes.
pub(in crate::http) fn problem_schema() -> Value {
    let text = |what: &str| json!({ "type": "string", "description": what });
    let code = |what: &str| json!({ "allOf": [{ "$ref": "#/components/schemas/Code" }], "description": what });
    json!({
        "type": "object",
        "description": "The body of every error of the routes of our own: problem details (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "error"],
        "properties": {
            "type": text("Always `about:blank`: the code says all."),
            "title": text("What the status means."),
            "status": { "type": "integer", "format": "int32", "minimum": 400, "maximum": 599, "description": "The HTTP status." },
            "detail": text("What the code means, for a person."),
            "code": code("What went wrong."),
            "error": code("The code again, where the other routes say it."),
        },
    })
}

/// The media type of errors of our own routes (RFC 9457, section 3).
pub(in crate::http) const PROBLEM: &str = "application/problem+json";
