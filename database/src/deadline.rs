//! Bounds on how long the database may take.

use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Either, Execute, Executor, PgConnection, Postgres, SqlStr};
use tokio::time::{Instant, timeout_at};

/// Waits for what the database does, but no longer than `limit`. The connection that did not answer in time must not be used
/// again: nobody knows where in the protocol it stands.
///
/// # Errors
/// What `work` answers, or [`sqlx::Error::Io`] of the kind [`io::ErrorKind::TimedOut`].
pub async fn with_deadline<T, E: From<sqlx::Error>>(
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

/// A connection for one statement, which has a deadline. After an error of the kind [`io::ErrorKind::TimedOut`] the connection must
/// not be used again.
#[derive(Debug)]
pub struct Deadline<'c> {
    connection: &'c mut PgConnection,
    limit: Duration,
}

impl<'c> Deadline<'c> {
    /// A statement on this connection may take so long.
    pub const fn new(connection: &'c mut PgConnection, limit: Duration) -> Self {
        Self { connection, limit }
    }
}

impl<'c> Executor<'c> for Deadline<'c> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (limit, end) = (self.limit, Instant::now() + self.limit);
        let rows = self.connection.fetch_many(query);
        Box::pin(stream::unfold(Some(rows), move |rows| async move {
            let mut rows = rows?;
            match timeout_at(end, rows.next()).await {
                Ok(row) => row.map(|row| (row, Some(rows))),
                Err(_) => Some((Err(timed_out(limit)), None)),
            }
        }))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(with_deadline(self.limit, self.connection.fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(with_deadline(self.limit, self.connection.prepare_with(sql, parameters)))
    }
}
