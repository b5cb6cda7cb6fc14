//! A session of work on generations: the lock, and the order of a rebuild's phases.

use std::sync::Arc;
use std::time::Duration;

use be8_database::{Connector, Pool, reason};
use be8_events::Position;
use be8_projections::{Generation, MODELS, shapes};
use sqlx::{Connection, PgConnection};
use tokio::sync::{Mutex, MutexGuard};

use super::{Phase, Progress, ProgressCallback, Rebuild, RebuildError, Rebuilt, Registered, Removal};
use super::{models, register, tables};
use crate::ledger::head::Head;
use crate::ledger::pages::Pages;

/// How long a rebuild that was just killed may hold its lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the lock is tried.
const RETRY: Duration = Duration::from_millis(100);

/// The only one who works on generations, and the means to read the log.
pub struct RebuildSession {
    /// Holds the lock, and writes: shared with the task that writes a page.
    pub(super) lock_connection: Arc<Mutex<PgConnection>>,
    pub(super) pool: Pool,
    pub(super) pages: Pages,
}

/// Takes the lock, if it is free. It goes with the connection.
pub(super) async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_lock(hashtext('be8 rebuild'))").fetch_one(connection).await
}

impl RebuildSession {
    /// Takes the lock. With `wait` for as long as another session has it.
    ///
    /// # Errors
    /// [`RebuildError::Running`]
    pub async fn open(connect: &Connector, wait: bool) -> Result<Self, RebuildError> {
        let connect = connect.with([
            // A page that is lost is replayed again; the switch itself is durable.
            ("synchronous_commit", "off"),
            ("maintenance_work_mem", "256MB"),
            // One that is killed lets go of the lock soon.
            ("client_connection_check_interval", "500ms"),
        ]);
        let mut lock_connection = connect.connect().await?;
        let begun = tokio::time::Instant::now();
        while !try_lock(&mut lock_connection).await? {
            if !wait && begun.elapsed() > PATIENCE {
                return Err(RebuildError::Running);
            }
            tokio::time::sleep(RETRY).await;
        }
        // Its statements read whole pages of the log, or count tables; a rebuild watches the database.
        let pool = connect.pool(3, Duration::from_secs(24 * 60 * 60));
        Ok(Self { lock_connection: Arc::new(Mutex::new(lock_connection)), pages: Pages::new(pool.clone()), pool })
    }

    /// Releases the lock.
    pub async fn close(self) {
        // The lock goes with the connection, however that ends; before that, so that the next session
        // need not wait for PostgreSQL to notice.
        let _ = sqlx::query("select pg_advisory_unlock_all()").execute(&mut *self.connection().await).await;
        if let Some(connection) = Arc::into_inner(self.lock_connection) {
            let _ = connection.into_inner().close().await;
        }
        self.pool.close().await;
    }

    /// The connection that holds the lock, once no page is being written.
    pub(super) async fn connection(&self) -> MutexGuard<'_, PgConnection> {
        self.lock_connection.lock().await
    }

    pub(super) async fn head(&self) -> Result<Head, RebuildError> {
        Ok(Head::read(&mut *self.connection().await).await?)
    }

    /// All generations, the oldest first.
    ///
    /// # Errors
    /// [`RebuildError::Log`]
    pub async fn generations(&self) -> Result<Vec<Registered>, RebuildError> {
        Ok(Registered::all(&mut *self.connection().await).await?)
    }

    /// Builds a generation from the log and makes it live.
    ///
    /// # Errors
    /// [`RebuildError`]
    pub async fn rebuild(
        &self,
        what: &Rebuild,
        build: &str,
        progress: ProgressCallback<'_>,
    ) -> Result<Rebuilt, RebuildError> {
        let begun = self.begin(what, build, progress).await?;
        let generation = begun.generation;
        if begun.phase == Phase::Replay {
            // What was taken over stands at one position: the rest comes up to that, and then all go on.
            let until = match begun.taken_at {
                Some(position) => position,
                None => self.head().await?.position,
            };
            let wanted = models(&begun.rebuilt)?;
            self.replay(generation, begun.reached, until, &wanted, what.events_at_once, progress).await?;
            register::enter(&mut *self.connection().await, generation, Phase::Index).await?;
        }
        if begun.phase != Phase::CatchUp {
            for (nth, statement) in begun.indexes.iter().enumerate() {
                progress(Progress::Indexing(begun.indexes.len() - nth));
                register::make_index(&mut *self.connection().await, generation, statement).await?;
            }
            tables::analyze(&mut *self.connection().await, generation).await?;
            register::enter(&mut *self.connection().await, generation, Phase::CatchUp).await?;
        }
        let (tables, differences) = self.compare(generation, what, progress).await?;
        if !differences.is_empty() && !what.force {
            return Err(RebuildError::Differ(differences));
        }
        let (instead_of, position) = self.switch(generation, progress).await?;
        // The switch has happened: what cannot be removed now, because a reader takes its time, the next
        // rebuild removes.
        for old in self.generations().await?.iter().filter(|old| old.phase == Phase::Old) {
            if old.generation != instead_of
                && let Err(error) = register::remove(&mut *self.connection().await, old.generation).await
            {
                tracing::warn!(error = %reason(&error), generation = old.generation.0, "an earlier generation was not removed");
            }
        }
        Ok(Rebuilt { generation, instead_of, position, tables, differences })
    }

    /// The generation to build: the one that was begun, or a new one.
    async fn begin(
        &self,
        what: &Rebuild,
        build: &str,
        progress: ProgressCallback<'_>,
    ) -> Result<Registered, RebuildError> {
        let wanted = if what.models.is_empty() { MODELS.iter().collect() } else { models(&what.models)? };
        for begun in self.generations().await?.into_iter().filter(|known| known.phase.is_being_built()) {
            if begun.aborted || !begun.is_ours() {
                self.remove(begun.generation).await?;
            } else if wanted.iter().map(|model| model.name).ne(begun.rebuilt.iter()) {
                return Err(RebuildError::Begun(begun.rebuilt.join(", ")));
            } else {
                progress(Progress::Begun { generation: begun.generation, resumed: true });
                return Ok(begun);
            }
        }
        let live = self.head().await?.generation;
        if wanted.len() < MODELS.len() && !live.is_ours(&mut *self.connection().await).await? {
            return Err(RebuildError::OtherShape);
        }
        let begun = tables::prepare(&mut *self.connection().await, build, &wanted).await?;
        progress(Progress::Begun { generation: begun.generation, resumed: false });
        Ok(begun)
    }

    /// Goes back to the generation that was live before: brings it up to the head and switches.
    ///
    /// # Errors
    /// [`RebuildError::NothingKept`]
    pub async fn roll_back(&self, progress: ProgressCallback<'_>) -> Result<(Generation, Generation), RebuildError> {
        let generations = self.generations().await?;
        let old = generations.iter().rfind(|known| known.phase == Phase::Old && known.is_ours());
        let old = old.ok_or(RebuildError::NothingKept)?.generation;
        progress(Progress::Begun { generation: old, resumed: true });
        let (instead_of, _) = self.switch(old, progress).await?;
        Ok((old, instead_of))
    }

    /// Removes a generation unless it is the live one.
    ///
    /// # Errors
    /// [`RebuildError::Log`]
    pub async fn remove(&self, generation: Generation) -> Result<Removal, RebuildError> {
        Ok(register::remove(&mut *self.connection().await, generation).await?)
    }

    /// Removes what is neither live nor being built. Returns which.
    ///
    /// # Errors
    /// [`RebuildError::Log`]
    pub async fn drop_old(&self) -> Result<Vec<Generation>, RebuildError> {
        let mut dropped = Vec::new();
        for old in self.generations().await?.iter().filter(|known| known.phase == Phase::Old) {
            if self.remove(old.generation).await? == Removal::Removed {
                dropped.push(old.generation);
            }
        }
        Ok(dropped)
    }

    /// Makes the read models those of this build: makes the tables of an empty log, and rebuilds those of an older build.
    ///
    /// # Errors
    /// [`RebuildError`]
    pub async fn make_current(&self, build: &str, progress: ProgressCallback<'_>) -> Result<(), RebuildError> {
        let head = self.head().await?;
        let generations = self.generations().await?;
        match generations.iter().find(|known| known.generation == head.generation) {
            Some(live) if live.models == shapes() => return Ok(()),
            None if head.position == Position::START => {
                return Ok(register::create_first(&mut *self.connection().await, head.generation, build).await?);
            }
            None => register::adopt(&mut *self.connection().await, head.generation).await?,
            Some(_) => {}
        }
        self.rebuild(&Rebuild::default(), build, progress).await.map(drop)
    }
}
