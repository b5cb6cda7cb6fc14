//! The open sessions of an account, for its operator.

use be8_events::{AccId, Hash32, Position, StreamName, Timestamp};
use be8_projections::{ReadError, ReadModels};

use crate::ledger::{Log, LogError};

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

/// Why the sessions cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    /// The read models do not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The open sessions of an account, in the order in which they were opened.
///
/// # Errors
/// [`SessionsError`]
pub async fn open_sessions(log: &Log, read: &ReadModels, account: AccId) -> Result<Vec<OpenSession>, SessionsError> {
    let streams: Vec<StreamName> = read.sessions(account).await?.into_iter().map(StreamName::Session).collect();
    // The one event of an open session is its beginning.
    let opened = log.newest_of_streams(&streams, Position::START, log.newest().await?).await?;
    let sessions = opened.iter().filter_map(|opened| {
        let StreamName::Session(hash) = opened.stream else { return None };
        Some(OpenSession { hash, opened: opened.time, position: opened.position })
    });
    Ok(sessions.collect())
}
