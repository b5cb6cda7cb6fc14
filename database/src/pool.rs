//! The pool of connections for reading: each statement is bounded, and a connection that does not answer is not kept.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};

use crate::address::place;
use crate::connector::Connector;
use crate::deadline::{is_timeout, timed_out, with_deadline};
use crate::error::{ConnectError, leaves_connection, reason};

/// How long an idle connection is taken to be alive.
const TRUSTED: Duration = Duration::from_millis(500);
/// How long a connection may take to show that it is alive, and a pool to have one.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: each is a process of PostgreSQL, and a session of a pooler that others may wait for.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection may take to show that it can be used again.
const RETURN: Duration = Duration::from_secs(5);

/// Connections for statements that are short. Statements run on `&Pool`, as on a pool of sqlx.
#[derive(Debug, Clone)]
pub struct Pool {
    pool: PgPool,
    /// How long a statement may take.
    limit: Duration,
    /// Where its connections come from.
    connector: Connector,
    /// Which of the hosts it connects to.
    host: Arc<AtomicUsize>,
}

impl Connector {
    /// A pool for short statements: none takes longer than `limit`.
    pub fn pool(&self, connections: u32, limit: Duration) -> Pool {
        // On PostgreSQL's side a little earlier, so that only what it cannot end itself is given up on this side.
        let milliseconds = (limit * 9 / 10).as_millis().min(2_000_000_000).to_string();
        let preparing = self.with([("statement_timeout", milliseconds.as_str())]);
        let (shared, host) = (self.shared().clone(), self.shared().current());
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(IDLE)
            // A connection in steady use needs no test, which would cost a round trip; one that lay idle may have died with
            // the database. One to a host that was left is not used any more.
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                let current = shared.is_of_current(meta.age);
                Box::pin(async move {
                    let lives = current
                        && (meta.idle_for < TRUSTED || with_deadline(ACQUIRE / 2, connection.ping()).await.is_ok());
                    Ok(lives)
                })
            })
            .after_connect(move |connection, _| {
                let preparing = preparing.clone();
                Box::pin(async move {
                    let prepared = async {
                        let seen = preparing.prepare(connection).await?;
                        // A primary that takes no writes for now can be read; a standby may lag behind what was acknowledged.
                        if preparing.has_to_write() && seen.standby {
                            return Err(ConnectError::ReadOnly(place(
                                &preparing.shared().options(preparing.shared().current()),
                            )));
                        }
                        Ok(())
                    };
                    // sqlx says it in its own words, and would add lines of PostgreSQL's source.
                    with_deadline(preparing.connect_timeout(), prepared)
                        .await
                        .map_err(|error| sqlx::Error::Protocol(reason(&error).to_string()))
                })
            })
            .connect_lazy_with(self.shared().options(host));
        Pool::new(pool, limit, self, host)
    }
}

impl Pool {
    pub(crate) fn new(pool: PgPool, limit: Duration, connector: &Connector, host: usize) -> Self {
        Self { pool, limit, connector: connector.clone(), host: Arc::new(AtomicUsize::new(host)) }
    }

    /// A connection, for several statements. They are not bounded one by one: see [`Held::with_deadline`].
    ///
    /// # Errors
    /// When none can be had in time.
    pub async fn acquire(&self) -> Result<Held, sqlx::Error> {
        let shared = self.connector.shared();
        let current = shared.current();
        if self.host.swap(current, Ordering::Relaxed) != current {
            self.pool.set_connect_options(shared.options(current));
        }
        Ok(Held { connection: Some(self.pool.acquire().await?), limit: self.limit, broken: false })
    }

    /// Whether PostgreSQL does not answer writes, as far as is known: who would only have to wait need not try.
    pub fn is_stalled(&self) -> bool {
        self.connector.is_stalled()
    }

    /// Notes whether PostgreSQL answers writes.
    pub fn set_stalled(&self, stalled: bool) {
        self.connector.set_stalled(stalled);
    }

    /// Where its connections come from: for one that is kept, or work that takes long.
    pub const fn connector(&self) -> &Connector {
        &self.connector
    }

    /// How long a statement may take.
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// Writes something that is not part of the log. While PostgreSQL does not answer writes it is not tried: each attempt would
    /// leave a process of PostgreSQL that waits.
    ///
    /// # Errors
    /// What `work` answers, and [`sqlx::Error::Io`] when it takes too long.
    pub async fn write<T, W>(&self, work: W) -> Result<T, sqlx::Error>
    where
        W: for<'a> FnOnce(&'a mut PgConnection) -> BoxFuture<'a, Result<T, sqlx::Error>>,
    {
        if self.is_stalled() {
            return Err(timed_out(self.limit));
        }
        let written = self.acquire().await?.with_deadline(work).await;
        if is_timeout(&written) {
            self.set_stalled(true);
        }
        written
    }

    /// Closes all connections.
    pub async fn close(&self) {
        // One that does not answer is not waited for.
        let _ = tokio::time::timeout(RETURN, self.pool.close()).await;
    }
}

impl From<PgPool> for Pool {
    /// A pool of other making, with a bound that is meant for no one in particular.
    fn from(pool: PgPool) -> Self {
        let connector = Connector::from((*pool.connect_options()).clone());
        Self::new(pool, Duration::from_secs(30), &connector, 0)
    }
}

/// A connection of a [`Pool`], which goes back to it.
pub struct Held {
    /// There until it is dropped.
    connection: Option<PoolConnection<Postgres>>,
    limit: Duration,
    broken: bool,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl std::ops::Deref for Held {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("it is there until it is dropped")
    }
}

impl std::ops::DerefMut for Held {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is there until it is dropped")
    }
}

impl Held {
    /// Does something with the connection, bounded as a statement of the pool is. A connection that does not answer, or that
    /// PostgreSQL ended or cannot use for now, is closed instead of being used again.
    ///
    /// # Errors
    /// What `work` answers, and [`sqlx::Error::Io`] when it takes too long.
    pub async fn with_deadline<'a, T, W>(&'a mut self, work: W) -> Result<T, sqlx::Error>
    where
        W: FnOnce(&'a mut PgConnection) -> BoxFuture<'a, Result<T, sqlx::Error>>,
    {
        let Self { connection, limit, broken } = self;
        let connection = connection.as_mut().expect("it is there until it is dropped");
        let result = match tokio::time::timeout(*limit, work(connection)).await {
            Ok(result) => result,
            Err(_) => {
                *broken = true;
                return Err(timed_out(*limit));
            }
        };
        *broken |= result.as_ref().err().is_some_and(|error| !leaves_connection(error));
        result
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        match tokio::runtime::Handle::try_current() {
            // sqlx would wait for the connection to show that it lives, however long that takes.
            Ok(runtime) if !self.broken => {
                runtime.spawn(tokio::time::timeout(RETURN, connection.return_to_pool()));
            }
            // Closes the socket at once, and makes room for another.
            _ => drop(connection.detach()),
        }
    }
}

impl<'p> Executor<'p> for &'_ Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let all = async move {
            let mut held = pool.acquire().await?;
            held.with_deadline(|connection| Box::pin(connection.fetch_many(query).try_collect::<Vec<_>>())).await
        };
        stream::once(all)
            .flat_map(|all| match all {
                Ok(all) => stream::iter(all.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(error) => stream::iter(vec![Err(error)]),
            })
            .boxed()
    }

    fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Vec<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.with_deadline(|connection| connection.fetch_all(query)).await })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(
            async move { pool.acquire().await?.with_deadline(|connection| connection.fetch_optional(query)).await },
        )
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move {
            pool.acquire().await?.with_deadline(|connection| connection.prepare_with(sql, parameters)).await
        })
    }
}
