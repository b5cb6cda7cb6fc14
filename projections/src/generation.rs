//! Generations of the read models: each is a schema of its own, and the head row of the log names
//! the live one.

use std::fmt;

use be8_events::Hash32;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::{account, device, ends, group, image, insight, keyholder, message, read_mark, session, thread, token};

/// A read model: its tables are created, rebuilt, checked and compared by this entry alone.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// Its name on the command line.
    pub name: &'static str,
    /// Raised when the fold writes other rows for the same events. The tables themselves count
    /// without that: see [`Model::shape`].
    pub version: u32,
    /// What makes its tables and their indexes, with `{schema}` for the generation.
    tables: &'static str,
    /// Read models whose tables the fold of this one reads: they are only rebuilt together.
    needs: &'static [&'static str],
    /// Tables whose rows are only ever added: they are loaded without any index.
    only_added: &'static [&'static str],
}

impl Model {
    const fn new(name: &'static str, version: u32, tables: &'static str) -> Self {
        Self { name, version, tables, needs: &[], only_added: &[] }
    }

    /// What tells this read model from another of its name: version and tables.
    pub fn shape(&self) -> String {
        let lines = self.tables.lines().map(|line| line.split("--").next().unwrap_or_default());
        let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        let hash = Hash32::sha256(words.join(" ").as_bytes()).to_string();
        format!("{}@{}:{}", self.name, self.version, &hash[..16])
    }

    /// The names of its tables.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> {
        let parts = self.tables.split("create table if not exists {schema}.").skip(1);
        parts.map(|part| part.split([' ', '(']).next().unwrap_or_default())
    }

    /// Whether the rows of this table are only ever added.
    pub(crate) fn only_adds(&self, table: &str) -> bool {
        self.only_added.contains(&table)
    }
}

/// All read models.
pub const MODELS: &[Model] = &[
    Model::new("accounts", 1, account::TABLE),
    Model::new("sessions", 1, session::TABLE),
    Model::new("threads", 1, thread::TABLE),
    // A message of a system thread gets its number from the thread.
    Model { needs: &["threads"], only_added: &["message"], ..Model::new("messages", 1, message::TABLE) },
    Model { only_added: &["media"], ..Model::new("media", 1, image::TABLE) },
    Model::new("read-marks", 1, read_mark::TABLE),
    Model::new("groups", 1, group::TABLE),
    Model::new("keyholders", 1, keyholder::TABLE),
    Model::new("ends", 1, ends::TABLE),
    Model::new("insights", 1, insight::TABLE),
    Model::new("tokens", 1, token::TABLE),
    Model::new("devices", 1, device::TABLE),
];

/// The shapes of all read models of this build.
pub fn shapes() -> Vec<String> {
    MODELS.iter().map(Model::shape).collect()
}

/// These read models and those that they need, in the order of [`MODELS`].
///
/// ```
/// use be8_projections::generation::with_needed;
///
/// let models = with_needed(&["messages".to_owned()]).unwrap();
/// assert_eq!(models.iter().map(|model| model.name).collect::<Vec<_>>(), ["threads", "messages"]);
/// assert_eq!(with_needed(&["thread".to_owned()]).unwrap_err(), "thread");
/// ```
///
/// # Errors
/// The first name that is none.
pub fn with_needed(names: &[String]) -> Result<Vec<&'static Model>, String> {
    let mut wanted: Vec<&str> = Vec::new();
    let mut open: Vec<&str> = names.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        let model = MODELS.iter().find(|model| model.name == name).ok_or_else(|| name.to_owned())?;
        if !wanted.contains(&model.name) {
            wanted.push(model.name);
            open.extend(model.needs);
        }
    }
    Ok(MODELS.iter().filter(|model| wanted.contains(&model.name)).collect())
}

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
        for model in MODELS {
            ddl.push_str(&model.tables.replace("{schema}", &self.to_string()));
        }
        sqlx::raw_sql(AssertSqlSafe(ddl)).execute(connection).await?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_model_comes_with_what_it_needs() {
        let names = |of: &[&str]| {
            let of: Vec<String> = of.iter().map(|name| (*name).to_owned()).collect();
            with_needed(&of).map(|models| models.iter().map(|model| model.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["messages"]).unwrap(), ["threads", "messages"]);
        assert_eq!(names(&["groups", "accounts"]).unwrap(), ["accounts", "groups"]);
        assert_eq!(names(&["thread"]).unwrap_err(), "thread");
    }

    #[test]
    fn every_table_is_in_one_read_model() {
        let tables: Vec<&str> = MODELS.iter().flat_map(Model::tables).collect();
        assert!(["account", "thread", "thread_member", "message", "group_stay"].iter().all(|t| tables.contains(t)));
        for (nth, table) in tables.iter().enumerate() {
            assert!(!tables[..nth].contains(table), "{table} is there twice");
        }
        for model in MODELS {
            let known = |table: &&str| model.tables().any(|its| its == *table);
            assert!(model.only_added.iter().all(known), "{}", model.name);
            assert!(model.tables().all(|table| table.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
        }
    }

    #[test]
    fn a_shape_is_the_version_and_the_tables_but_not_the_comments() {
        let model = |version, tables| Model::new("m", version, tables).shape();
        let one = model(1, "create table x (\n  a bigint -- the first\n);");
        assert_eq!(one, model(1, "create table x ( a bigint );"));
        assert_ne!(one, model(2, "create table x ( a bigint );"));
        assert_ne!(one, model(1, "create table x ( a integer );"));
    }
}
