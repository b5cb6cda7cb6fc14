//! The loop's connection, and finding out what became of an append whose answer never came.

use std::time::Duration;

use be8_database::{is_timeout, with_deadline};
use sqlx::PgConnection;
use tokio::time::{Instant, timeout_at};

use super::{RETRY, Writer};
use crate::ledger::LogError;
use crate::ledger::batch::Draft;
use crate::ledger::head::Head;

/// The least time for finding an outcome out, when the append itself took all of it; or less, if the setting is less.
const LEAST: Duration = Duration::from_secs(5);

impl Writer {
    /// The loop's connection, another one if need be. What takes it gives it back while it is whole.
    pub(super) async fn connection(&mut self) -> Result<PgConnection, LogError> {
        // Whether PostgreSQL answers writes again is proved by one.
        let prove = self.unsettled || self.connect.is_stalled();
        if let Some(connection) = self.connection.take().filter(|_| !prove) {
            return Ok(connection);
        }
        let mut connection = self.connect.connect().await?;
        let head = if prove {
            self.move_fence(&mut connection).await?
        } else {
            with_deadline(self.settings.patience, Head::read(&mut connection)).await?
        };
        with_deadline(self.settings.patience, self.catch_up(&mut connection, head)).await?;
        self.unsettled = false;
        self.connect.set_stalled(false);
        Ok(connection)
    }

    /// Finds out whether a draft was written: moves the fence, so that a statement which is still
    /// in flight has ended or will find nothing, and looks for the draft's salt. None if the
    /// database stays away too long after the attempt `begun`.
    pub(super) async fn resolve_unknown_outcome(&mut self, draft: &Draft, begun: std::time::Instant) -> Option<bool> {
        self.unsettled = true;
        let patience = self.settings.outcome_patience;
        let end = (Instant::from_std(begun) + patience).max(Instant::now() + patience.min(LEAST));
        let mut last = None;
        loop {
            let error = match timeout_at(end, self.look_for(draft)).await {
                Ok(Ok(found)) => return Some(found),
                // What was acknowledged before is lost: of this one nobody can know.
                Ok(Err(_)) if self.ended.is_some() => return None,
                Ok(Err(error)) => error,
                // What kept it the last time says more.
                Err(_) => last.unwrap_or(LogError::Database(sqlx::Error::PoolTimedOut)),
            };
            self.connect.set_stalled(true);
            if Instant::now() >= end {
                tracing::error!(%error, "the outcome of an append stays unknown");
                return None;
            }
            tracing::debug!(%error, "the database is away");
            last = Some(error);
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn look_for(&mut self, draft: &Draft) -> Result<bool, LogError> {
        let mut connection = self.connect.connect().await?;
        let head = self.move_fence(&mut connection).await?;
        let salt = with_deadline(self.settings.patience, async {
            self.check(&mut connection, &head).await?;
            Ok::<_, LogError>(Head::salt_at(&mut connection, self.head.position.next()).await?)
        })
        .await?;
        self.answers.note();
        let ours = draft.events.first().map(|event| event.salt);
        // What came after it, and the fence, are taken over when the next connection is made.
        self.connection = None;
        self.unsettled = false;
        self.connect.set_stalled(false);
        Ok(salt.is_some() && salt == ours)
    }

    /// Moves the fence. While another transaction holds the head, PostgreSQL ends the wait; a commit that is not answered
    /// leaves one process of PostgreSQL that holds the head, so that later attempts leave none.
    async fn move_fence(&self, connection: &mut PgConnection) -> Result<Head, LogError> {
        let moved = with_deadline(self.settings.patience, Head::move_fence(connection)).await;
        if is_timeout(&moved) {
            self.connect.set_stalled(true);
        }
        Ok(moved?)
    }
}
