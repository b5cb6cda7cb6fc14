//! The wire protocol: the test that `docs/conformance.md` is what the tests show, tests that run over every operation of the OpenAPI
//! document, the expectations that are easy to miss, and the weaknesses of the older server, each attacked.

mod attacks;
mod bodies;
mod expectations;
mod page;

use std::fmt;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::document::in_path;

/// An operation of the OpenAPI document.
pub struct Operation {
    /// How.
    pub method: Method,
    /// Where, with its parameters filled in.
    pub path: String,
    security: Value,
    body: Value,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Operation {
    /// Whether it needs a session, or something that stands for one.
    pub fn takes_session(&self) -> bool {
        let ways = self.security.as_array().into_iter().flatten();
        ways.clone().any(|way| !way["session"].is_null())
    }

    /// Whether it takes a body.
    pub fn takes_body(&self) -> bool {
        !self.body.is_null()
    }

    /// The example of its body.
    pub fn example(&self) -> Value {
        if self.takes_body() { self.body["example"].clone() } else { json!({}) }
    }

    /// The names of the fields of its body.
    pub fn fields(&self) -> Vec<String> {
        self.body["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    /// Whether it is one of our own and not of the contract: its refusals then say more than their code.
    pub fn is_own(&self) -> bool {
        self.path.matches('/').count() > 1
            || ["/login", "/logout", "/healthz", "/readyz", "/metrics"].contains(&self.path.as_str())
    }

    /// Expects a refusal with this status and code, and in the contract's routes nothing else.
    pub fn is_refused(&self, status: u16, body: &Value, expected: (u16, &str), what: &str) {
        assert_eq!((status, body["error"].as_str()), (expected.0, Some(expected.1)), "{self} {what}: {body}");
        assert!(self.is_own() || body.as_object().is_some_and(|fields| fields.len() == 1), "{self} {what}: {body}");
    }

    /// The same of an answer.
    pub fn refuses(&self, answer: &Answer, expected: (u16, &str), what: &str) {
        self.is_refused(answer.status, &answer.json(), expected, what);
    }

    /// A request without a body.
    pub fn request(&self, client: &Client) -> RequestBuilder {
        client.request(self.method.clone(), &self.path)
    }
}

/// All operations of the server.
pub fn operations() -> Vec<Operation> {
    let document = be8::http::openapi();
    let mut found = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let mut path = path.clone();
            for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "path")
            {
                let name = format!("{{{}}}", parameter["name"].as_str().expect("a name"));
                path = path.replace(&name, &in_path(&parameter["schema"]["example"]));
            }
            let mut body = operation["requestBody"]["content"]["application/json"]["schema"].clone();
            if let Some(reference) = body["$ref"].as_str() {
                body = document.pointer(reference.trim_start_matches('#')).expect("a schema").clone();
            }
            let method = method.to_ascii_uppercase().parse().expect("a method");
            found.push(Operation { method, path, security: operation["security"].clone(), body });
        }
    }
    found
}
