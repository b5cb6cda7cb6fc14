//! What a read model is, and the list of all of them.

use std::fmt::Debug;

use be8_events::{Hash32, Recorded};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::derived::{Derived, Numbering};
use crate::{Generation, Statement, copy};

/// A table of a read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The statements that create it, and its indexes, in the schema `{schema}` where they are not there.
    pub ddl: &'static str,
    /// Rows are only ever added to it: it is loaded without any index.
    pub only_added: bool,
}

impl Table {
    /// A table whose rows are changed or deleted, too.
    pub(crate) const fn new(name: &'static str, ddl: &'static str) -> Self {
        Self { name, ddl, only_added: false }
    }
}

/// What is known of a read model without any event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub name: &'static str,
    /// The version of its fold: raised whenever the same tables are to hold something else.
    pub version: u32,
    /// Its tables.
    pub tables: &'static [Table],
    /// Those whose tables its own writing reads: they are only rebuilt together.
    pub(crate) needs: &'static [&'static str],
}

impl Model {
    /// What distinguishes this read model from another of its name: version and tables.
    pub fn shape(&self) -> String {
        let lines = self.tables.iter().flat_map(|table| table.ddl.lines());
        let words: Vec<&str> =
            lines.flat_map(|line| line.split("--").next().unwrap_or_default().split_whitespace()).collect();
        let hash = Hash32::sha256(words.join(" ").as_bytes()).to_string();
        format!("{}@{}:{}", self.name, self.version, &hash[..16])
    }

    /// The names of its tables.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> {
        self.tables.iter().map(|table| table.name)
    }
}

/// A read model: a fold over events, a batch of them at a time. The value holds what a batch changes, as at most one final row
/// or difference for each key, since the parts of a statement do not see each other's rows.
pub(crate) trait ReadModel: Debug + Default {
    /// Its name, version and tables.
    const MODEL: Model;

    /// Folds one event in. Events come in the order of their positions.
    fn apply(&mut self, recorded: &Recorded, derived: &Derived);

    /// Adds what the batch changes to a statement, as CTEs that do nothing if the CTE `head` has no row.
    fn write(&self, to: &mut Statement);

    /// Takes out rows that depend on no others, to be loaded by `COPY`.
    fn take_rows(&mut self) -> Option<copy::Rows> {
        None
    }
}

/// Declares the read models.
macro_rules! read_models {
    ($($model:ident::$type:ident,)+) => {
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
    account::Accounts,
    session::Sessions,
    thread::Threads,
    message::Messages,
    image::Media,
    read_mark::ReadMarks,
    group::Groups,
    keyholder::Keyholders,
    ends::Ends,
    insight::Insights,
    token::Tokens,
    device::Devices,
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

    #[test]
    fn a_shape_is_the_version_and_the_tables_but_not_the_comments() {
        let model = |version, ddl: &'static str| {
            let tables = Box::leak(Box::new([Table::new("x", ddl)]));
            Model { name: "m", version, tables, needs: &[] }.shape()
        };
        let one = model(1, "create table x (\n  a bigint -- the first\n);");
        assert_eq!(one, model(1, "create table x ( a bigint );"));
        assert_ne!(one, model(2, "create table x ( a bigint );"));
        assert_ne!(one, model(1, "create table x ( a integer );"));
    }

    /// A read model that is written by an earlier build is served as it stands: these change with a new version alone.
    #[test]
    fn the_shapes_are_those_of_the_first_build() {
        let first = [
            "accounts@1:fe464501d835adfb",
            "sessions@1:d9fddf0189df4394",
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
        assert_eq!(shapes(), first);
    }
}
