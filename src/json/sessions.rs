//! An open session, as the operator sees it.

use be8_projections::SessionRow;
use poem_openapi::Object;
use serde::Serialize;

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

impl From<&SessionRow> for SessionEntry {
    fn from(session: &SessionRow) -> Self {
        let SessionRow { hash, opened, .. } = session;
        Self { session: hash.to_string(), opened: opened.time.to_string(), position: opened.position.0 }
    }
}
