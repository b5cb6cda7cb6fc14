//! An open session, as the operator sees it.

use poem_openapi::Object;
use serde::Serialize;

use crate::app::OpenSession;

/// An open session.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "SessionEntry", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct SessionEntry {
    /// The SHA-256 of its token, in hexadecimal: names the session and opens nothing.
    pub session: String,
    /// When it was opened (RFC 3339).
    pub opened: String,
    /// Where that stands in the log.
    #[oai(validator(minimum(value = "1")))]
    pub position: i64,
}

impl From<&OpenSession> for SessionEntry {
    fn from(session: &OpenSession) -> Self {
        Self { session: session.hash.to_string(), opened: session.opened.to_string(), position: session.position.0 }
    }
}
