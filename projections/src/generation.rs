//! Generations of the read models: each is a schema of its own, and the head row of the log names
//! the live one.

use std::fmt;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{account, device, ends, group, insight, keyholder, media, message, read_mark, session, thread, token};

/// A generation of the read models. Its tables live in the schema `read_N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub i32);

impl Generation {
    /// The generation that a new log begins with.
    pub const FIRST: Self = Self(1);

    /// Creates the empty tables of this generation; does nothing where they exist.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn create(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut ddl = format!("create schema if not exists {self};\n");
        for table in [
            account::TABLE,
            session::TABLE,
            thread::TABLE,
            message::TABLE,
            media::TABLE,
            read_mark::TABLE,
            group::TABLE,
            device::TABLE,
            keyholder::TABLE,
            ends::TABLE,
            insight::TABLE,
            token::TABLE,
        ] {
            ddl.push_str(&table.replace("{schema}", &self.to_string()));
        }
        sqlx::raw_sql(AssertSqlSafe(ddl)).execute(connection).await?;
        Ok(())
    }
}

impl fmt::Display for Generation {
    /// The name of the schema.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read_{}", self.0)
    }
}
