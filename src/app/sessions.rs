//! The open sessions of an account, for its operator.

use be8_events::{AccId, Hash32, Position, Timestamp};
use be8_projections::{ReadError, ReadModels};

/// An open session.
#[derive(Debug)]
pub struct OpenSession {
    /// The SHA-256 of its token.
    pub hash: Hash32,
    /// When it was opened.
    pub opened: Timestamp,
    /// Where that stands in the log.
    pub position: Position,
}

/// The open sessions of an account, in the order in which they were opened.
///
/// # Errors
/// [`ReadError`]
pub async fn open_sessions(read: &ReadModels, account: AccId) -> Result<Vec<OpenSession>, ReadError> {
    let sessions = read.open_sessions(account).await?.found.into_iter();
    let open = sessions.map(|s| OpenSession { hash: s.hash, opened: s.opened.time, position: s.opened.position });
    Ok(open.collect())
}
