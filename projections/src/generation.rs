//! Generations: complete sets of the read models' tables, of which one is live.

use std::fmt;

use sqlx::PgExecutor;

/// A generation of the read models. Its tables live in the schema `read_N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub i32);

impl Generation {
    /// The generation that a new log begins with.
    pub const FIRST: Self = Self(1);

    /// One that only a single connection sees, and that goes with it: for checks.
    pub const SCRATCH: Self = Self(0);

    /// Whether it is made of read models of these shapes.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub(crate) async fn has(self, shapes: &[String], database: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
        let models: Option<Vec<String>> =
            sqlx::query_scalar("select models from read_generations where generation = $1")
                .bind(self.0)
                .fetch_optional(database)
                .await?;
        Ok(models.as_deref() == Some(shapes))
    }
}

impl fmt::Display for Generation {
    /// The name of the schema.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SCRATCH => f.write_str("pg_temp"),
            Self(number) => write!(f, "read_{number}"),
        }
    }
}
