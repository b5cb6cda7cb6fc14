//! Reading the live generation: every statement names the generation that it saw, so that a
//! switch between two statements is noticed and the statement asked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use be8_database::{Pool, reason};
use be8_events::DecodeError;
use parking_lot::RwLock;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, Row, error::BoxDynError};

use crate::Generation;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database did not answer, or refused.
    #[error("the database did not answer a reader: {}", reason(.0))]
    Database(#[from] sqlx::Error),
    /// A stored event that this build cannot read.
    #[error(transparent)]
    Event(#[from] DecodeError),
    /// A stored value that cannot be what it should be.
    #[error("invalid {0} in the database")]
    Damaged(&'static str),
    /// Another version of be8 has made its own read models live.
    #[error("the read models are those of another version of be8")]
    Foreign,
}

/// What PostgreSQL says of a statement that was made for tables of another shape: undefined table, column or function,
/// and another type of a column.
const UNDEFINED: [&str; 4] = ["42P01", "42703", "42883", "42804"];

/// A reading statement: a function of the generation that it reads, whose text is kept as long as that stays the same.
#[derive(Debug)]
pub(crate) struct Query {
    write: fn(Generation) -> String,
    text: RwLock<Option<(Generation, Arc<str>)>>,
}

impl Query {
    /// A statement that is written by this function. It has a column `generation`, that of the head, and always answers with
    /// at least one row.
    pub(crate) const fn new(write: fn(Generation) -> String) -> Self {
        Self { write, text: RwLock::new(None) }
    }

    /// Its text for a generation.
    fn text(&self, generation: Generation) -> Arc<str> {
        let known = self.text.read().clone();
        if let Some((_, text)) = known.filter(|(of, _)| *of == generation) {
            return text;
        }
        let text: Arc<str> = (self.write)(generation).into();
        *self.text.write() = Some((generation, text.clone()));
        text
    }
}

/// The read models of the live generation.
#[derive(Debug)]
pub struct ReadModels {
    pool: Pool,
    /// The shapes of the read models of this build.
    shapes: Vec<String>,
    generation: AtomicI32,
}

impl ReadModels {
    /// Reads through this pool what is made of read models of these shapes.
    pub(crate) fn of(pool: Pool, shapes: Vec<String>) -> Self {
        Self { pool, shapes, generation: AtomicI32::new(Generation::FIRST.0) }
    }

    /// The text of a statement, for the generation that was live when it was last asked.
    pub(crate) fn text(&self, query: &Query) -> Arc<str> {
        query.text(self.generation())
    }

    fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Relaxed))
    }

    /// Runs a statement of the live generation.
    pub(crate) async fn fetch(
        &self,
        query: &Query,
        bind: impl Fn(&mut PgArguments) -> Result<(), BoxDynError>,
    ) -> Result<Vec<PgRow>, ReadError> {
        loop {
            let generation = self.generation();
            let mut arguments = PgArguments::default();
            bind(&mut arguments).map_err(sqlx::Error::Encode)?;
            let answer = sqlx::query_with(AssertSqlSafe(query.text(generation)), arguments).fetch_all(&self.pool).await;
            let live = match answer {
                Ok(rows) => {
                    let row = rows.first().ok_or(ReadError::Damaged("head row"))?;
                    let live = Generation(row.try_get("generation")?);
                    if live == generation {
                        return Ok(rows);
                    }
                    live
                }
                Err(error) => {
                    // Undefined: the table, of an older generation that is already dropped, or what a table has not
                    // that was made by a build of another shape.
                    let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default();
                    if !UNDEFINED.contains(&&*code) {
                        return Err(error.into());
                    }
                    let live: i32 = sqlx::query_scalar("select generation from log_head").fetch_one(&self.pool).await?;
                    if Generation(live) == generation {
                        return Err(error.into());
                    }
                    Generation(live)
                }
            };
            if !live.has(&self.shapes, &self.pool).await? {
                return Err(ReadError::Foreign);
            }
            self.generation.store(live.0, Ordering::Relaxed);
        }
    }
}
