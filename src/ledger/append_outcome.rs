//! How an attempt to append a batch ends.

use super::LogError;
use super::batch::Draft;

/// Why one attempt to append came to nothing.
pub(super) enum Failure {
    /// Nothing was written, for a reason that may pass: the database is away or refuses for now.
    NotWritten(LogError),
    /// The connection died after the statement was sent.
    Unknown(sqlx::Error, Box<Draft>),
    /// Nothing was written, and trying again would not help: PostgreSQL refused the statement
    /// itself, or something that a command of the batch needs is stored wrongly.
    Refused(LogError),
}

impl<E: Into<LogError>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        if error.is_damage() { Self::Refused(error) } else { Self::NotWritten(error) }
    }
}

/// How an attempt ended.
pub(super) enum Outcome {
    Committed(Box<Draft>),
    /// Another node was faster: decide again.
    Lost,
}
