//! The rebuild: replays the log into a fresh generation of the read models while the live one
//! serves, compares the two at one position, and makes the fresh one live.
//!
//! One at a time: whoever rebuilds holds an advisory lock on the connection that it writes
//! through. Every step is a transaction of its own (`be8_projections::registry`), so a rebuild that
//! was killed goes on where it stood.

use std::time::Duration;

use be8_database::{ConnectError, Connector, Pool, reason};
use be8_events::Position;
use be8_projections::compare::{Tally, tally};
use be8_projections::registry::{self, Entry, Phase};
use be8_projections::{Changes, Generation};
use be8_projections::{MODELS, Model, shapes, with_needed};
use futures_util::{StreamExt, TryStreamExt};
use sqlx::{Connection, PgConnection};

use super::LogError;
use super::head::Head;
use super::pages::Pages;

/// How many events are written at once unless told otherwise.
pub const EVENTS_AT_ONCE: i64 = 200_000;
/// With so few events behind the head, the rebuild asks appends to wait and switches.
const NEAR: i64 = 1000;
/// How often it comes near before it asks appends to wait whatever is left.
const APPROACHES: u32 = 20;
/// How long a rebuild that was just killed may hold its lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the lock is tried.
const RETRY: Duration = Duration::from_millis(100);
/// Takes the lock of whoever works on generations, if it is free.
const TRY_LOCK: &str = "select pg_try_advisory_lock(hashtext('be8 rebuild'))";

/// What a rebuild is to do.
#[derive(Debug, Clone)]
pub struct Rebuild {
    /// The read models to replay, by name; none: all of them.
    pub models: Vec<String>,
    /// Switch whatever the comparison says.
    pub force: bool,
    /// How many events are written at once.
    pub events_at_once: i64,
}

impl Default for Rebuild {
    fn default() -> Self {
        Self { models: Vec::new(), force: false, events_at_once: EVENTS_AT_ONCE }
    }
}

/// What a rebuild is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It begins, or goes on with what an earlier one left.
    Begun {
        /// The generation that is built.
        generation: Generation,
        /// It was begun earlier.
        resumed: bool,
    },
    /// The log up to `reached` is in the fresh tables.
    Replayed {
        /// Up to here.
        reached: Position,
        /// Of this.
        target: Position,
    },
    /// The indexes are being made: so many are left.
    Indexing(usize),
    /// Live and fresh tables are being compared, as they are at this position.
    Comparing(Position),
}

/// The read models of these names, and those that they need.
fn models(names: &[String]) -> Result<Vec<&'static Model>, RebuildError> {
    let all = || MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ");
    with_needed(names).map_err(|name| RebuildError::Unknown { name, all: all() })
}

/// Who hears of the steps.
pub type Told<'a> = &'a (dyn Fn(Step) + Send + Sync);

/// How a rebuild ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The generation that is live now.
    pub generation: Generation,
    /// The one that was.
    pub instead_of: Generation,
    /// The position of the switch.
    pub position: Position,
    /// The tables as they were compared, with what differed if the switch was forced.
    pub tables: Vec<Tally>,
    /// What differed.
    pub differences: Vec<Discrepancy>,
}

/// A table of which the live and the rebuilt one differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discrepancy {
    /// The live one.
    pub live: Tally,
    /// The rebuilt one.
    pub rebuilt: Tally,
}

/// Why there was no switch.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log could not be read, or the tables not written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is one already.
    #[error("a rebuild is running already (be8 rebuild --status)")]
    Running,
    /// Somebody else asked it to stop.
    #[error("the rebuild was aborted")]
    Aborted,
    /// No read model has this name.
    #[error("there is no read model {name:?}; there are {all}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        all: String,
    },
    /// What is to be taken over from the live generation is not what this build makes.
    #[error("the live read models are of another version: rebuild all of them")]
    OtherShape,
    /// The one that was begun is of other read models.
    #[error("a rebuild of {0} was begun: finish that, or be8 rebuild --abort")]
    Begun(String),
    /// The comparison failed.
    #[error("live and rebuilt tables differ in {}: not switched. The log is right: be8 check tells the rows, be8 rebuild --force switches", names(.0))]
    Differ(Vec<Discrepancy>),
    /// There is no generation to go back to.
    #[error("no earlier generation is kept that this build can read")]
    NothingKept,
}

impl From<sqlx::Error> for RebuildError {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

impl From<ConnectError> for RebuildError {
    fn from(error: ConnectError) -> Self {
        Self::Log(error.into())
    }
}

fn names(differences: &[Discrepancy]) -> String {
    let name = |d: &Discrepancy| format!("{} ({} rows live, {} rebuilt)", d.live.table, d.live.rows, d.rebuilt.rows);
    differences.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Whoever works on generations: the lock, and the means to read the log.
pub struct Workshop {
    /// Holds the lock and writes; none while a page is being written.
    hand: Option<PgConnection>,
    pool: Pool,
    pages: Pages,
}

impl Workshop {
    /// Takes the lock. With `wait` for as long as another one has it.
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
        let mut hand = connect.connect().await?;
        let begun = tokio::time::Instant::now();
        while !sqlx::query_scalar(TRY_LOCK).fetch_one(&mut hand).await? {
            if !wait && begun.elapsed() > PATIENCE {
                return Err(RebuildError::Running);
            }
            tokio::time::sleep(RETRY).await;
        }
        // Its statements read whole pages of the log, or count tables; a rebuild watches the database.
        let pool = connect.pool(3, Duration::from_secs(24 * 60 * 60));
        Ok(Self { hand: Some(hand), pages: Pages::new(pool.clone()), pool })
    }

    /// Lets go of the lock.
    pub async fn close(mut self) {
        if let Some(mut hand) = self.hand.take() {
            // The lock goes with the connection, however that ends; before that, so that whoever comes
            // next need not wait for PostgreSQL to notice.
            let _ = sqlx::query("select pg_advisory_unlock_all()").execute(&mut hand).await;
            let _ = hand.close().await;
        }
        self.pool.close().await;
    }

    fn hand(&mut self) -> Result<&mut PgConnection, RebuildError> {
        self.hand.as_mut().ok_or_else(|| sqlx::Error::PoolClosed.into())
    }

    /// All generations, the oldest first.
    ///
    /// # Errors
    /// [`RebuildError::Log`]
    pub async fn generations(&mut self) -> Result<Vec<Entry>, RebuildError> {
        Ok(Entry::all(self.hand()?).await?)
    }

    /// Builds a generation from the log and makes it live.
    ///
    /// # Errors
    /// [`RebuildError`]
    pub async fn rebuild(&mut self, what: &Rebuild, build: &str, told: Told<'_>) -> Result<Rebuilt, RebuildError> {
        let entry = self.begin(what, build, told).await?;
        let generation = entry.generation;
        let wanted = models(&entry.rebuilt)?;
        if entry.phase == Phase::Replay {
            // What was taken over stands at one position: the rest comes up to that, and then all go on.
            let until = match entry.taken_at {
                Some(position) => position,
                None => Head::read(self.hand()?).await?.position,
            };
            self.replay(generation, entry.reached, until, &wanted, what.events_at_once, told).await?;
            self.entered(generation, Phase::Index).await?;
        }
        if entry.phase != Phase::CatchUp {
            let mut left = entry.indexes.len();
            for statement in &entry.indexes {
                told(Step::Indexing(left));
                if !registry::make_index(self.hand()?, generation, statement).await? {
                    return Err(RebuildError::Aborted);
                }
                left -= 1;
            }
            registry::analyze(self.hand()?, generation).await?;
            self.entered(generation, Phase::CatchUp).await?;
        }
        let (tables, differences) = self.compare(generation, what, told).await?;
        if !differences.is_empty() && !what.force {
            return Err(RebuildError::Differ(differences));
        }
        let (instead_of, position) = self.switch(generation, told).await?;
        // The switch has happened: what cannot be removed now, behind a reader that takes its time, the
        // next one removes.
        for old in self.generations().await?.iter().filter(|old| old.phase == Phase::Old) {
            if old.generation != instead_of
                && let Err(error) = registry::remove(self.hand()?, old.generation).await
            {
                tracing::warn!(error = %reason(&error), generation = old.generation.0, "an earlier generation was not removed");
            }
        }
        Ok(Rebuilt { generation, instead_of, position, tables, differences })
    }

    /// The generation to build: the one that was begun, or a new one.
    async fn begin(&mut self, what: &Rebuild, build: &str, told: Told<'_>) -> Result<Entry, RebuildError> {
        let wanted = if what.models.is_empty() { MODELS.iter().collect() } else { models(&what.models)? };
        for begun in self.generations().await?.into_iter().filter(|entry| entry.phase.is_being_built()) {
            if begun.aborted || !begun.is_ours() {
                registry::remove(self.hand()?, begun.generation).await?;
            } else if wanted.iter().map(|model| model.name).ne(begun.rebuilt.iter()) {
                return Err(RebuildError::Begun(begun.rebuilt.join(", ")));
            } else {
                told(Step::Begun { generation: begun.generation, resumed: true });
                return Ok(begun);
            }
        }
        let live = Head::read(self.hand()?).await?.generation;
        if wanted.len() < MODELS.len() && !registry::is_ours(live, &mut *self.hand()?).await? {
            return Err(RebuildError::OtherShape);
        }
        let entry = registry::prepare(self.hand()?, build, &wanted).await?;
        told(Step::Begun { generation: entry.generation, resumed: false });
        Ok(entry)
    }

    async fn entered(&mut self, generation: Generation, phase: Phase) -> Result<(), RebuildError> {
        if registry::enter(self.hand()?, generation, phase).await? { Ok(()) } else { Err(RebuildError::Aborted) }
    }

    /// Replays what is behind `after` up to `until`. A page is written while the next one is read and folded.
    async fn replay(
        &mut self,
        generation: Generation,
        after: Position,
        until: Position,
        models: &[&'static Model],
        events_at_once: i64,
        told: Told<'_>,
    ) -> Result<(), RebuildError> {
        let mut pages = std::pin::pin!(self.pages.decoded(after, until));
        let mut writing = None;
        let mut changes = Changes::default();
        let (mut reached, mut written) = (after, after);
        told(Step::Replayed { reached, target: until });
        while let Some(page) = pages.try_next().await? {
            for event in &page {
                changes.apply(event);
                reached = event.position;
                if reached.0 - written.0 < events_at_once {
                    continue;
                }
                written = reached;
                self.written(writing.take()).await?;
                let mut page = std::mem::take(&mut changes);
                page.keep(models);
                writing = Some(self.write(generation, page, reached)?);
                told(Step::Replayed { reached, target: until });
            }
        }
        self.written(writing).await?;
        if reached > written {
            changes.keep(models);
            let last = self.write(generation, changes, reached)?;
            self.written(Some(last)).await?;
        }
        told(Step::Replayed { reached, target: until });
        Ok(())
    }

    /// Begins to write a page, with the hand.
    fn write(&mut self, to: Generation, changes: Changes, reached: Position) -> Result<Writing, RebuildError> {
        let mut hand = self.hand.take().ok_or(sqlx::Error::PoolClosed)?;
        Ok(tokio::spawn(async move {
            let written = registry::write(&mut hand, to, changes, reached).await?;
            Ok((hand, written))
        }))
    }

    /// Waits until a page is written, and has the hand back.
    async fn written(&mut self, writing: Option<Writing>) -> Result<(), RebuildError> {
        let Some(writing) = writing else { return Ok(()) };
        let (hand, written) = writing.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
        self.hand = Some(hand);
        if written { Ok(()) } else { Err(RebuildError::Aborted) }
    }

    /// Brings a generation from where it stands up to a position.
    async fn catch_up(&mut self, generation: Generation, until: Position, told: Told<'_>) -> Result<(), RebuildError> {
        let entries = self.generations().await?;
        let entry = entries.iter().find(|entry| entry.generation == generation).ok_or(RebuildError::Aborted)?;
        if entry.reached >= until {
            return Ok(());
        }
        let all: Vec<&Model> = MODELS.iter().collect();
        self.replay(generation, entry.reached, until, &all, EVENTS_AT_ONCE, told).await
    }

    /// Compares the live tables with the fresh ones as they are at one position; those whose shape is the same.
    async fn compare(
        &mut self,
        generation: Generation,
        what: &Rebuild,
        told: Told<'_>,
    ) -> Result<(Vec<Tally>, Vec<Discrepancy>), RebuildError> {
        // Not to hold a snapshot for as long as it takes to come near.
        let head = Head::read(self.hand()?).await?;
        self.catch_up(generation, head.position, told).await?;
        let mut held = self.pool.acquire().await?;
        let mut seen = held.begin_with("begin isolation level repeatable read read only").await?;
        let head = Head::read(&mut seen).await?;
        self.catch_up(generation, head.position, told).await?;
        told(Step::Comparing(head.position));
        let entries = Entry::all(&mut seen).await?;
        let live = entries.iter().find(|entry| entry.generation == head.generation);
        let mut models: Vec<&Model> = MODELS.iter().collect();
        models.retain(|model| live.is_some_and(|live| live.models.contains(&model.shape())));
        let (live, rebuilt) = tokio::try_join!(
            tally(&mut seen, head.generation, &models),
            tally(self.hand.as_mut().ok_or(sqlx::Error::PoolClosed)?, generation, &models),
        )?;
        seen.commit().await?;
        let pairs = live.into_iter().zip(rebuilt.clone()).filter(|(live, rebuilt)| live != rebuilt);
        let differences: Vec<_> = pairs.map(|(live, rebuilt)| Discrepancy { live, rebuilt }).collect();
        if what.force && !differences.is_empty() {
            tracing::warn!(
                differences = names(&differences),
                "switching to read models that differ from the live ones"
            );
        }
        Ok((rebuilt, differences))
    }

    /// Makes a generation live: catches up until little is left, then has appends wait for the rest.
    async fn switch(&mut self, generation: Generation, told: Told<'_>) -> Result<(Generation, Position), RebuildError> {
        let mut approaches = 0;
        loop {
            let near = Head::read(self.hand()?).await?.position;
            self.catch_up(generation, near, told).await?;
            let pages = self.pages.clone();
            let mut tx = self.hand()?.begin().await?;
            sqlx::query("set local synchronous_commit = on").execute(&mut *tx).await?;
            let head = Head::lock(&mut tx).await?;
            approaches += 1;
            if head.position.0 - near.0 > NEAR && approaches < APPROACHES {
                tx.rollback().await?;
                continue;
            }
            let mut rest = std::pin::pin!(pages.decoded(near, head.position));
            let mut changes = Changes::default();
            while let Some(page) = rest.next().await {
                page?.iter().for_each(|event| changes.apply(event));
            }
            changes.write(&mut tx, generation).await?;
            if !registry::go_live(&mut tx, generation, head.generation, head.position).await? {
                return Err(RebuildError::Aborted);
            }
            tx.commit().await?;
            return Ok((head.generation, head.position));
        }
    }

    /// Goes back to the generation that was live before: brings it up to the head and switches.
    ///
    /// # Errors
    /// [`RebuildError::NothingKept`]
    pub async fn roll_back(&mut self, told: Told<'_>) -> Result<(Generation, Generation), RebuildError> {
        let entries = self.generations().await?;
        let old = entries.iter().rfind(|entry| entry.phase == Phase::Old && entry.is_ours());
        let old = old.ok_or(RebuildError::NothingKept)?.generation;
        told(Step::Begun { generation: old, resumed: true });
        let (instead_of, _) = self.switch(old, told).await?;
        Ok((old, instead_of))
    }

    /// Removes what is neither live nor being built. Answers which.
    ///
    /// # Errors
    /// [`RebuildError::Log`]
    pub async fn drop_old(&mut self) -> Result<Vec<Generation>, RebuildError> {
        let mut dropped = Vec::new();
        for old in self.generations().await?.iter().filter(|entry| entry.phase == Phase::Old) {
            if registry::remove(self.hand()?, old.generation).await? {
                dropped.push(old.generation);
            }
        }
        Ok(dropped)
    }

    /// Makes the read models those of this build: makes the tables of an empty log, and rebuilds those of an older build.
    ///
    /// # Errors
    /// [`RebuildError`]
    pub async fn make_current(&mut self, build: &str, told: Told<'_>) -> Result<(), RebuildError> {
        let head = Head::read(self.hand()?).await?;
        let entries = self.generations().await?;
        match entries.iter().find(|entry| entry.generation == head.generation) {
            Some(live) if live.models == shapes() => Ok(()),
            None if head.position == Position::START => {
                Ok(registry::create_first(self.hand()?, head.generation, build).await?)
            }
            None => {
                registry::adopt(self.hand()?, head.generation).await?;
                self.rebuild(&Rebuild::default(), build, told).await.map(drop)
            }
            Some(_) => self.rebuild(&Rebuild::default(), build, told).await.map(drop),
        }
    }
}

type Writing = tokio::task::JoinHandle<Result<(PgConnection, bool), sqlx::Error>>;

/// Asks the rebuild that is under way to stop and removes what it has made. Answers which generation that was.
///
/// # Errors
/// [`RebuildError`]
pub async fn abort(connect: &Connector) -> Result<Option<Generation>, RebuildError> {
    let mut connection = connect.connect().await?;
    let aborted = registry::abort(&mut connection).await?;
    connection.close().await?;
    if let Some(generation) = aborted {
        // Whoever builds it stops at its next step.
        let mut workshop = Workshop::open(connect, true).await?;
        registry::remove(workshop.hand()?, generation).await?;
        workshop.close().await;
    }
    Ok(aborted)
}

/// All generations, and whether somebody is at work on them.
///
/// # Errors
/// [`RebuildError::Log`]
pub async fn status(connect: &Connector) -> Result<(Vec<Entry>, Position, bool), RebuildError> {
    let mut connection = connect.connect().await?;
    let entries = Entry::all(&mut connection).await?;
    let head = Head::read(&mut connection).await?;
    let free: bool = sqlx::query_scalar(TRY_LOCK).fetch_one(&mut connection).await?;
    // The lock goes with the connection.
    connection.close().await?;
    Ok((entries, head.position, !free))
}
