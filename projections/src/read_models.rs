//! The list of all read models, and what follows from it: folding a batch, writing it, the tables of a generation.

use std::sync::Arc;

use be8_database::Pool;
use be8_events::Recorded;
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor};

use crate::derived::{Derived, Numbering};
use crate::model::{Model, ReadModel};
use crate::{Generation, ReadModels, Statement, account, message, thread};

/// Declares the read models.
macro_rules! read_models {
    ($(crate::$model:ident::$type:ident,)+) => {
        /// All read models.
        pub const MODELS: &[Model] = &[$(<crate::$model::$type as ReadModel>::MODEL),+];

        /// What a batch of events changes in the read models.
        #[derive(Debug, Default)]
        pub struct Changes {
            numbering: Numbering,
            $($model: crate::$model::$type,)+
        }

        impl Changes {
            /// Folds one event in. Events come in the order of their positions.
            pub fn apply(&mut self, recorded: &Recorded) {
                let derived = Derived::of(recorded, &mut self.numbering);
                $(self.$model.apply(recorded, &derived);)+
            }

            /// Leaves only what changes in these read models.
            pub fn keep(&mut self, models: &[&'static Model]) {
                $(if !models.contains(&&<crate::$model::$type as ReadModel>::MODEL) {
                    self.$model = crate::$model::$type::default();
                })+
            }

            /// Adds the data-modifying CTEs that write the batch to a statement, only for tables in which it changes
            /// something. They follow a CTE `head` that has one row if the append may happen and none if not.
            pub fn add_to(&self, statement: &mut Statement) {
                $(self.$model.write(statement);)+
            }

            /// Writes a page of a rebuild: what the append writes, without an append, and what is only added the fastest way.
            ///
            /// # Errors
            /// What PostgreSQL answers.
            pub async fn write(mut self, connection: &mut PgConnection, to: Generation) -> Result<(), sqlx::Error> {
                $(if let Some(rows) = self.$model.take_rows() {
                    rows.write(connection, to).await?;
                })+
                let mut statement = Statement::new(to);
                self.add_to(&mut statement);
                if statement.is_empty() {
                    return Ok(());
                }
                let (text, arguments) = statement.finish()?;
                let text = AssertSqlSafe(format!("with head as (select 1){text} select from head"));
                sqlx::query_with(text, arguments).persistent(false).execute(connection).await?;
                Ok(())
            }
        }
    };
}

read_models! {
    crate::account::Accounts,
    crate::session::Sessions,
    crate::thread::Threads,
    crate::message::Messages,
    crate::image::Media,
    crate::read_mark::ReadMarks,
    crate::group::Groups,
    crate::keyholder::Keyholders,
    crate::ends::Ends,
    crate::insight::Insights,
    crate::token::Tokens,
    crate::device::Devices,
}

/// The shapes of all read models of this build.
pub fn shapes() -> Vec<String> {
    MODELS.iter().map(Model::shape).collect()
}

/// These read models and those that they need, in the order of [`MODELS`].
///
/// ```
/// use be8_projections::with_needed;
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

impl Generation {
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
        self.has(&shapes(), database).await
    }
}

impl ReadModels {
    /// Reads through this pool.
    pub fn new(pool: impl Into<Pool>) -> Self {
        Self::of(pool.into(), shapes())
    }

    /// The statements that an answer needs, by name: what a benchmark measures as the floor.
    pub fn statements(&self) -> Vec<(&'static str, Arc<str>)> {
        let named = [
            ("account", &account::ACCOUNT),
            ("public_keys", &account::PUBLIC_KEYS),
            ("threads", &thread::THREADS),
            ("messages", &message::MESSAGES),
        ];
        named.map(|(name, query)| (name, self.text(query))).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;

    #[test]
    fn a_read_model_comes_with_what_it_needs() {
        let names = |of: &[&str]| {
            let of: Vec<String> = of.iter().map(|name| (*name).to_owned()).collect();
            with_needed(&of).map(|models| models.iter().map(|model| model.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["messages"]).unwrap(), ["threads", "messages"]);
        assert_eq!(names(&["groups", "accounts"]).unwrap(), ["accounts", "groups"]);
        assert_eq!(names(&["thread"]).unwrap_err(), "thread");
        for model in MODELS {
            assert!(model.needs.iter().all(|needed| names(&[needed]).is_ok()), "{}", model.name);
        }
    }

    #[test]
    fn every_table_is_in_one_read_model_and_creates_itself() {
        let tables: Vec<Table> = MODELS.iter().flat_map(|model| model.tables).copied().collect();
        for (nth, Table { name, ddl, .. }) in tables.iter().enumerate() {
            assert!(tables[..nth].iter().all(|other| other.name != *name), "{name} is there twice");
            assert!(ddl.contains(&format!("create table if not exists {{schema}}.{name} (")), "{name}");
            assert_eq!(ddl.matches("create table").count(), 1, "{name}");
        }
    }

    /// A read model that is written by an earlier build is served as it stands: these change with a new version alone.
    #[test]
    fn the_shapes_are_known() {
        let known = [
            "accounts@2:8f3a38516c423e25",
            "sessions@2:77dbab25cd2bceb3",
            "threads@1:46a2960565f1c84e",
            "messages@1:3978bec059699b8d",
            "media@1:4ff0d71310b95b0d",
            "read-marks@1:5f6762a4ac8c3755",
            "groups@1:8f08650af14477c4",
            "keyholders@1:0377dcb436f1798f",
            "ends@1:f643cd65ad78b197",
            "insights@1:8a18fc62ea2656a2",
            "tokens@1:44748ddcb3189865",
            "devices@1:faca3f841c7e2bc1",
        ];
        assert_eq!(shapes(), known);
    }
}
