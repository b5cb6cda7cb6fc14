//! How an attempt to append a batch ends.

use super::LogError;
use super::batch::Draft;

/// Why one attempt to append came to nothing.
pub(super) enum Failure {
    /// Nothing was written; the database is away or refuses for now.
    NotWritten(LogError),
    /// The connection died after the statement was sent.
    Unknown(sqlx::Error, Box<Draft>),
    /// PostgreSQL refused the statement itself: something in the batch is not as it must be.
    Refused(sqlx::Error),
}

impl<E: Into<LogError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::NotWritten(error.into())
    }
}

/// How an attempt ended.
pub(super) enum Outcome {
    Committed(Box<Draft>),
    /// Another node was faster: decide again.
    Lost,
}
