//! `be8 openapi`: prints the document.

/// Prints the OpenAPI document, as `openapi/be8.openapi.json` holds it.
pub fn run() {
    super::print(&format!("{}\n", text()));
}

/// The document as text, without the newline at its end.
pub fn text() -> String {
    serde_json::to_string_pretty(&crate::http::openapi()).expect("a JSON tree has string keys only")
}
