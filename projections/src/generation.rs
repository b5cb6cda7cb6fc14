//! Generations: complete sets of the read models' tables, of which one is live.

use std::fmt;

use sqlx::{AssertSqlSafe, PgConnection, PgExecutor};

use crate::model::{MODELS, shapes};

/// A generation of the read models. Its tables live in the schema `read_N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub i32);

impl Generation {
    /// The generation that a new log begins with.
    pub const FIRST: Self = Self(1);

    /// One that only a single connection sees, and that goes with it: for checks.
    pub const SCRATCH: Self = Self(0);

    /// Creates the empty tables of this generation; does nothing where they exist.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn create(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut ddl = String::new();
        if self != Self::SCRATCH {
            ddl = format!("create schema if not exists {self};\n");
        }
        for table in MODELS.iter().flat_map(|model| model.tables) {
            ddl.push_str(&table.ddl.replace("{schema}", &self.to_string()));
        }
        sqlx::raw_sql(AssertSqlSafe(ddl)).execute(connection).await?;
        Ok(())
    }

    /// Whether its tables are those of this build, which can then read and write them.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn is_ours(self, database: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
        let models: Option<Vec<String>> =
            sqlx::query_scalar("select models from read_generations where generation = $1")
                .bind(self.0)
                .fetch_optional(database)
                .await?;
        Ok(models == Some(shapes()))
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
