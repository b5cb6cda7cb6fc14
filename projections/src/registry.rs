//! The register of generations: which there are, how far a rebuild has come, and the steps from an
//! empty generation to the live one. Each step is a transaction, so that a rebuild can be killed
//! anywhere and goes on from its last one.

use be8_events::{Position, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::model::{MODELS, Model, shapes};
use crate::{Changes, Generation};

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
pub struct Entry {
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
    /// Somebody wants it gone.
    pub aborted: bool,
    /// When it was begun.
    pub begun: Timestamp,
    /// When it went live.
    pub ended: Option<Timestamp>,
}

impl Entry {
    /// Whether this build can read and write it.
    pub fn is_ours(&self) -> bool {
        self.models == shapes()
    }

    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
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

/// Whether this build can read and write a generation.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn is_ours<'c>(generation: Generation, database: impl sqlx::PgExecutor<'c>) -> Result<bool, sqlx::Error> {
    let models: Option<Vec<String>> = sqlx::query_scalar("select models from read_generations where generation = $1")
        .bind(generation.0)
        .fetch_optional(database)
        .await?;
    Ok(models == Some(shapes()))
}

/// Makes the tables of the generation that an empty log begins with.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn create_first(connection: &mut PgConnection, live: Generation, build: &str) -> Result<(), sqlx::Error> {
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
pub async fn adopt(connection: &mut PgConnection, live: Generation) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into read_generations (generation, models, build, phase, rebuilt, reached, indexes)
         values ($1, '{}', '0.0.0', 'live', '{}', 0, '{}') on conflict do nothing",
    )
    .bind(live.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// Prepares a generation beside the others: its tables, without the indexes that replaying does
/// not need. With `rebuilt` not all of [`MODELS`], the others are taken over from the live one.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn prepare(
    connection: &mut PgConnection,
    build: &str,
    rebuilt: &[&'static Model],
) -> Result<Entry, sqlx::Error> {
    let mut tx = connection.begin().await?;
    // What is taken over is of one position.
    sqlx::query("set transaction isolation level repeatable read").execute(&mut *tx).await?;
    let (live, position): (i32, i64) =
        sqlx::query_as("select generation, position from log_head").fetch_one(&mut *tx).await?;
    let newest: Option<i32> =
        sqlx::query_scalar("select max(generation) from read_generations").fetch_one(&mut *tx).await?;
    let generation = Generation(newest.unwrap_or(0).max(live) + 1);
    drop_tables(&mut tx, generation).await?;
    generation.create(&mut tx).await?;
    let taken: Vec<_> = MODELS.iter().filter(|model| !rebuilt.contains(model)).collect();
    for table in taken.iter().flat_map(|model| model.tables()) {
        let sql = format!("insert into {generation}.{table} table {}.{table}", Generation(live));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    let indexes = drop_indexes(&mut tx, generation, rebuilt).await?;
    let row = sqlx::query(
        "insert into read_generations (generation, models, build, phase, rebuilt, taken_at, reached, indexes)
         values ($1, $2, $3, 'replay', $4, $5, 0, $6) returning *",
    )
    .bind(generation.0)
    .bind(shapes())
    .bind(build)
    .bind(rebuilt.iter().map(|model| model.name).collect::<Vec<_>>())
    .bind((!taken.is_empty()).then_some(position))
    .bind(indexes)
    .fetch_one(&mut *tx)
    .await?;
    let entry = Entry::from_row(&row)?;
    tx.commit().await?;
    Ok(entry)
}

/// Drops the indexes that replaying does not need; answers what makes them again. The fold looks
/// up by primary key, except where it only adds.
async fn drop_indexes(
    connection: &mut PgConnection,
    generation: Generation,
    rebuilt: &[&'static Model],
) -> Result<Vec<String>, sqlx::Error> {
    type Index = (String, String, bool, String, Option<String>, Option<String>);
    let indexes: Vec<Index> = sqlx::query_as(
        "select t.relname::text, i.relname::text, x.indisunique, pg_get_indexdef(i.oid),
             c.conname::text, pg_get_constraintdef(c.oid)
         from pg_index x join pg_class t on t.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
         left join pg_constraint c on c.conindid = i.oid and c.contype in ('p', 'u', 'x')
         where t.relnamespace = $1::regnamespace order by 1, 2",
    )
    .bind(generation.to_string())
    .fetch_all(&mut *connection)
    .await?;
    let mut missing = Vec::new();
    for (table, index, unique, definition, constraint, constraint_definition) in indexes {
        let mut tables = rebuilt.iter().flat_map(|model| model.tables);
        let Some(known) = tables.find(|known| known.name == table) else { continue };
        if unique && !known.only_added {
            continue;
        }
        let drop = match (&constraint, constraint_definition) {
            (Some(name), Some(definition)) => {
                missing.push(format!("alter table {generation}.{table} add constraint {name} {definition}"));
                format!("alter table {generation}.{table} drop constraint {name}")
            }
            _ => {
                missing.push(definition);
                format!("drop index {generation}.{index}")
            }
        };
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await?;
    }
    Ok(missing)
}

/// Writes a page of the log into a generation that is not live. `false`: somebody aborted it, and
/// nothing was written.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn write(
    connection: &mut PgConnection,
    generation: Generation,
    changes: Changes,
    reached: Position,
) -> Result<bool, sqlx::Error> {
    let mut tx = connection.begin().await?;
    let moved = "update read_generations set reached = $2 where generation = $1 and reached <= $2 and not aborted";
    let moved = sqlx::query(moved).bind(generation.0).bind(reached.0).execute(&mut *tx).await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    changes.write(&mut tx, generation).await?;
    tx.commit().await?;
    Ok(true)
}

/// Goes on to the next phase. `false`: somebody aborted it.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn enter(connection: &mut PgConnection, generation: Generation, phase: Phase) -> Result<bool, sqlx::Error> {
    let entered = sqlx::query("update read_generations set phase = $2 where generation = $1 and not aborted")
        .bind(generation.0)
        .bind(phase.name())
        .execute(connection)
        .await?;
    Ok(entered.rows_affected() == 1)
}

/// Makes one of the missing indexes. `false`: somebody aborted the rebuild.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn make_index(
    connection: &mut PgConnection,
    generation: Generation,
    statement: &str,
) -> Result<bool, sqlx::Error> {
    let mut tx = connection.begin().await?;
    let sql = "update read_generations set indexes = array_remove(indexes, $2) where generation = $1 and not aborted";
    if sqlx::query(sql).bind(generation.0).bind(statement).execute(&mut *tx).await?.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// Collects the statistics of a generation's tables.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn analyze(connection: &mut PgConnection, generation: Generation) -> Result<(), sqlx::Error> {
    for table in MODELS.iter().flat_map(|model| model.tables()) {
        sqlx::raw_sql(AssertSqlSafe(format!("analyze {generation}.{table}"))).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Makes a generation the live one, in the transaction that holds the head row. Its tables are at
/// the position of the head; the one that was live keeps it.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn go_live(
    tx: &mut PgConnection,
    generation: Generation,
    instead_of: Generation,
    position: Position,
) -> Result<bool, sqlx::Error> {
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
    Ok(live.rows_affected() == 1)
}

/// Marks the generation that is being built: whoever builds it stops at the next page. Answers
/// which it is.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn abort(connection: &mut PgConnection) -> Result<Option<Generation>, sqlx::Error> {
    let aborted: Option<i32> = sqlx::query_scalar(
        "update read_generations set aborted = true where phase in ('replay', 'index', 'catch-up') returning generation",
    )
    .fetch_optional(connection)
    .await?;
    Ok(aborted.map(Generation))
}

/// Removes a generation. `false`: it is the live one, and stays.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn remove(connection: &mut PgConnection, generation: Generation) -> Result<bool, sqlx::Error> {
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
        return Ok(false);
    }
    drop_tables(&mut tx, generation).await?;
    tx.commit().await?;
    Ok(true)
}

async fn drop_tables(connection: &mut PgConnection, generation: Generation) -> Result<(), sqlx::Error> {
    let sql = format!("drop schema if exists {generation} cascade");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}
