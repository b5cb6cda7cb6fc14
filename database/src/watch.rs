//! Work that may take hours, and ends all the same when PostgreSQL does not answer any more: a bound on its statements would be
//! too short for a large log or too long for people who wait, so PostgreSQL is asked beside it whether it still answers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sqlx::PgConnection;

use crate::connector::Connector;
use crate::deadline::with_deadline;
use crate::error::ConnectError;

/// How often PostgreSQL is asked.
const PAUSE: Duration = Duration::from_secs(5);
/// How long it may be silent, and a commit wait for a standby.
const PATIENCE: Duration = Duration::from_secs(30);

/// The commits of this role that wait for a synchronous standby. Only members of `pg_monitor` see those of others.
const WAITING: &str = "select pid, query_start::text from pg_stat_activity
    where wait_event = 'SyncRep' and datname = current_database() and usename = current_user and query_start is not null";

/// A commit that waits: its process, and when its statement began.
type Waiting = (i32, String);

impl Connector {
    /// Does something for as long as that takes, but not longer than PostgreSQL answers others. What writes is given up, too,
    /// when a commit waits for a synchronous standby for too long.
    ///
    /// # Errors
    /// What `work` answers, [`ConnectError::Silent`] or [`ConnectError::Waiting`].
    pub async fn watched<T, E: From<ConnectError>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        tokio::select! {
            done = work => done,
            error = self.silence() => Err(error.into()),
        }
    }

    /// Ends when PostgreSQL has not answered for too long.
    async fn silence(&self) -> ConnectError {
        let mut connection = None;
        let mut silent_since: Option<Instant> = None;
        let mut waiting: HashMap<Waiting, Instant> = HashMap::new();
        loop {
            tokio::time::sleep(PAUSE).await;
            match self.waiting(&mut connection).await {
                Ok(commits) => {
                    silent_since = None;
                    let now = Instant::now();
                    let since = |commit: Waiting| {
                        let since = waiting.get(&commit).copied().unwrap_or(now);
                        (commit, since)
                    };
                    waiting = commits.into_iter().map(since).collect();
                }
                // It refuses, so it is there; what the work waits for ends by itself.
                Err(error) if !error.is_silence() => silent_since = None,
                // Not since the question: the work, which runs beside this, may have kept it from being sent.
                Err(_) => {
                    silent_since.get_or_insert_with(Instant::now);
                }
            }
            if silent_since.is_some_and(|since| since.elapsed() > PATIENCE) {
                return ConnectError::Silent(PATIENCE);
            }
            if self.has_to_write() && waiting.values().any(|since| since.elapsed() > PATIENCE) {
                return ConnectError::Waiting(PATIENCE);
            }
        }
    }

    async fn waiting(&self, kept: &mut Option<PgConnection>) -> Result<Vec<Waiting>, ConnectError> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let waiting = with_deadline(self.connect_timeout(), sqlx::query_as(WAITING).fetch_all(&mut connection)).await?;
        *kept = Some(connection);
        Ok(waiting)
    }
}
