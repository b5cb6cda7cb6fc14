//! A bound on how long the database may take.

use std::io;
use std::time::Duration;

/// Waits for what the database does, but no longer than `limit`. The connection that did not answer in time must not be used
/// again: nobody knows where in the protocol it stands.
///
/// # Errors
/// What `work` answers, or [`sqlx::Error::Io`] of the kind [`io::ErrorKind::TimedOut`].
pub async fn bounded<T, E: From<sqlx::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(limit).into()),
    }
}

/// The error of a database that did not answer in time.
pub(crate) fn timed_out(limit: Duration) -> sqlx::Error {
    let what = format!("the database did not answer within {} s", limit.as_secs_f32());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, what))
}

/// Whether something took too long.
pub fn is_timeout<T>(result: &Result<T, sqlx::Error>) -> bool {
    matches!(result, Err(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::TimedOut)
}
