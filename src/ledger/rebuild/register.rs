//! The register of generations: which there are and how far each has come. What a step of a rebuild does and how far it has come
//! is one transaction.

use be8_events::{Position, Timestamp};
use be8_projections::{Changes, Generation, shapes};
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgQueryResult, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use super::RebuildError;

/// Where a generation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The log is being replayed into it, without indexes.
    Replay,
    /// Its indexes are being made.
    Index,
    /// It follows the log; what is left is the comparison and the switch.
    CatchUp,
    /// It is the one that is read and written.
    Live,
    /// It was live, up to a position, and can be again.
    Old,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Replay, Self::Index, Self::CatchUp, Self::Live, Self::Old];

    /// Its name in the register.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Index => "index",
            Self::CatchUp => "catch-up",
            Self::Live => "live",
            Self::Old => "old",
        }
    }

    /// Whether a rebuild is to go on with it.
    pub const fn is_being_built(self) -> bool {
        matches!(self, Self::Replay | Self::Index | Self::CatchUp)
    }
}

/// A generation as the register has it.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Which.
    pub generation: Generation,
    /// The shapes of its read models.
    pub models: Vec<String>,
    /// The version of be8 that made it.
    pub build: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// The read models that are replayed; the others were taken over from the live generation.
    pub rebuilt: Vec<String>,
    /// The position at which they were.
    pub taken_at: Option<Position>,
    /// Up to where the log is in it; of no meaning while it is live.
    pub reached: Position,
    /// The statements that make what is missing of its indexes.
    pub indexes: Vec<String>,
    /// It is to be removed.
    pub aborted: bool,
    /// When it was begun.
    pub begun: Timestamp,
    /// When it went live.
    pub ended: Option<Timestamp>,
}

impl Registered {
    /// Whether this build can read and write it.
    pub fn is_ours(&self) -> bool {
        self.models == shapes()
    }

    pub(super) fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let phase: &str = row.try_get("phase")?;
        let known = Phase::ALL.into_iter().find(|known| known.name() == phase);
        let ended: Option<DateTime<Utc>> = row.try_get("ended")?;
        Ok(Self {
            generation: Generation(row.try_get("generation")?),
            models: row.try_get("models")?,
            build: row.try_get("build")?,
            phase: known.ok_or_else(|| sqlx::Error::Decode(format!("unknown phase {phase}").into()))?,
            rebuilt: row.try_get("rebuilt")?,
            taken_at: row.try_get::<Option<i64>, _>("taken_at")?.map(Position),
            reached: Position(row.try_get("reached")?),
            indexes: row.try_get("indexes")?,
            aborted: row.try_get("aborted")?,
            begun: row.try_get::<DateTime<Utc>, _>("begun")?.into(),
            ended: ended.map(Into::into),
        })
    }

    /// All generations, the oldest first.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn all(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        let rows = sqlx::query("select * from read_generations order by generation").fetch_all(connection).await?;
        rows.iter().map(Self::from_row).collect()
    }
}

/// Makes the tables of the generation that an empty log begins with.
///
/// # Errors
/// What PostgreSQL answers.
pub(super) async fn create_first(
    connection: &mut PgConnection,
    live: Generation,
    build: &str,
) -> Result<(), sqlx::Error> {
    let mut tx = connection.begin().await?;
    drop_tables(&mut tx, live).await?;
    live.create(&mut tx).await?;
    sqlx::query(
        "insert into read_generations (generation, models, build, phase, rebuilt, reached, indexes, ended)
         values ($1, $2, $3, 'live', '{}', 0, '{}', clock_timestamp())",
    )
    .bind(live.0)
    .bind(shapes())
    .bind(build)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Registers the live generation of a database that is older than the register, so that it is kept
/// and dropped like any other. What it holds is not known.
///
/// # Errors
/// What PostgreSQL answers.
pub(super) async fn adopt(connection: &mut PgConnection, live: Generation) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into read_generations (generation, models, build, phase, rebuilt, reached, indexes)
         values ($1, '{}', '0.0.0', 'live', '{}', 0, '{}') on conflict do nothing",
    )
    .bind(live.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes a page of the log into a generation that is not live.
///
/// # Errors
/// [`RebuildError::Aborted`]: nothing was written.
pub(super) async fn write_page(
    connection: &mut PgConnection,
    generation: Generation,
    changes: Changes,
    reached: Position,
) -> Result<(), RebuildError> {
    let mut tx = connection.begin().await?;
    let moved = "update read_generations set reached = $2 where generation = $1 and reached <= $2 and not aborted";
    unless_aborted(sqlx::query(moved).bind(generation.0).bind(reached.0).execute(&mut *tx).await?)?;
    changes.write(&mut tx, generation).await?;
    Ok(tx.commit().await?)
}

/// Goes on to the next phase.
///
/// # Errors
/// [`RebuildError::Aborted`]
pub(super) async fn enter(
    connection: &mut PgConnection,
    generation: Generation,
    phase: Phase,
) -> Result<(), RebuildError> {
    let entered = "update read_generations set phase = $2 where generation = $1 and not aborted";
    unless_aborted(sqlx::query(entered).bind(generation.0).bind(phase.name()).execute(connection).await?)
}

/// Makes one of the missing indexes.
///
/// # Errors
/// [`RebuildError::Aborted`]
pub(super) async fn make_index(
    connection: &mut PgConnection,
    generation: Generation,
    statement: &str,
) -> Result<(), RebuildError> {
    let mut tx = connection.begin().await?;
    let made = "update read_generations set indexes = array_remove(indexes, $2) where generation = $1 and not aborted";
    unless_aborted(sqlx::query(made).bind(generation.0).bind(statement).execute(&mut *tx).await?)?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

/// Makes a generation the live one, in the transaction that holds the head row. Its tables are at
/// the position of the head; the one that was live keeps it.
///
/// # Errors
/// [`RebuildError::Aborted`]
pub(super) async fn go_live(
    tx: &mut PgConnection,
    generation: Generation,
    instead_of: Generation,
    position: Position,
) -> Result<(), RebuildError> {
    sqlx::query("update log_head set generation = $1").bind(generation.0).execute(&mut *tx).await?;
    sqlx::query("update read_generations set phase = 'old', reached = $2 where generation = $1")
        .bind(instead_of.0)
        .bind(position.0)
        .execute(&mut *tx)
        .await?;
    let live = sqlx::query(
        "update read_generations set phase = 'live', reached = $2, ended = clock_timestamp()
         where generation = $1 and not aborted",
    )
    .bind(generation.0)
    .bind(position.0)
    .execute(tx)
    .await?;
    unless_aborted(live)
}

/// An abort has marked the row, so that a step does not find it.
fn unless_aborted(step: PgQueryResult) -> Result<(), RebuildError> {
    if step.rows_affected() == 0 { Err(RebuildError::Aborted) } else { Ok(()) }
}

/// Marks the generation that is being built: its rebuild stops at its next step. Returns
/// which it is.
///
/// # Errors
/// What PostgreSQL answers.
pub(super) async fn abort(connection: &mut PgConnection) -> Result<Option<Generation>, sqlx::Error> {
    let aborted: Option<i32> = sqlx::query_scalar(
        "update read_generations set aborted = true where phase in ('replay', 'index', 'catch-up') returning generation",
    )
    .fetch_optional(connection)
    .await?;
    Ok(aborted.map(Generation))
}

/// What became of a generation that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It was removed.
    Removed,
    /// It is the live one, and stays.
    Live,
}

/// Removes a generation unless it is the live one.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn remove(connection: &mut PgConnection, generation: Generation) -> Result<Removal, sqlx::Error> {
    let mut tx = connection.begin().await?;
    // A reader that still looks into it is waited for, but nobody waits behind us for long.
    sqlx::query("set local lock_timeout = '5s'").execute(&mut *tx).await?;
    sqlx::query("delete from read_generations where generation = $1 and phase <> 'live'")
        .bind(generation.0)
        .execute(&mut *tx)
        .await?;
    // A switch to it that was under way has been waited for by now, and one to come finds no row.
    let live = "select exists (select from log_head where generation = $1)";
    if sqlx::query_scalar(live).bind(generation.0).fetch_one(&mut *tx).await? {
        return Ok(Removal::Live);
    }
    drop_tables(&mut tx, generation).await?;
    tx.commit().await?;
    Ok(Removal::Removed)
}

/// Drops a generation's tables.
///
/// # Errors
/// What PostgreSQL answers.
pub(super) async fn drop_tables(connection: &mut PgConnection, generation: Generation) -> Result<(), sqlx::Error> {
    let sql = format!("drop schema if exists {generation} cascade");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}
