//! Building the statement that writes a batch: its text, and the values of its parameters, at once.

use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, Encode, Postgres, Type, error::BoxDynError};

use crate::Generation;

/// A statement under construction. What it binds is numbered as it comes, so that no list is kept in the order of another one.
///
/// ```
/// use be8_projections::{Generation, Statement};
///
/// let mut statement = Statement::new(Generation::FIRST);
/// let position = statement.bind(7_i64);
/// statement.push(&format!("with head as (update log_head set position = {position} returning position)"));
/// let rows = statement.rows().column("id", [1_i64, 2]).column("name", ["a".to_owned(), "b".to_owned()]);
/// rows.insert("named", "{schema}.named", "");
/// statement.rows().column("id", [0_i64; 0]).insert("nothing", "{schema}.named", "");
/// assert_eq!(
///     statement.finish().unwrap().0,
///     "with head as (update log_head set position = $1 returning position)\n\
///      , named as (insert into read_1.named (id, name) select u.* from head, unnest($2::INT8[], $3::TEXT[]) u)",
/// );
/// ```
#[derive(Debug)]
pub struct Statement {
    generation: Generation,
    text: String,
    arguments: PgArguments,
    error: Option<BoxDynError>,
}

impl Statement {
    /// An empty one, for the tables of a generation.
    pub fn new(generation: Generation) -> Self {
        Self { generation, text: String::new(), arguments: PgArguments::default(), error: None }
    }

    /// Adds text. `{schema}` in it is the schema of the generation.
    pub fn push(&mut self, text: &str) {
        self.text += &text.replace("{schema}", &self.generation.to_string());
    }

    /// Binds a value and returns its parameter, such as `$3`, for the text.
    pub fn bind<'q, T: Encode<'q, Postgres> + Type<Postgres> + 'q>(&mut self, value: T) -> String {
        if let Err(error) = self.arguments.add(value) {
            self.error.get_or_insert(error);
        }
        format!("${}", self.arguments.len())
    }

    /// Begins rows, which are given by column.
    pub const fn rows(&mut self) -> Rows<'_> {
        Rows { statement: self, count: None, names: Vec::new(), arrays: Vec::new() }
    }

    /// Whether there is any text.
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text and the values.
    ///
    /// # Errors
    /// A value that the driver could not encode.
    pub fn finish(self) -> Result<(String, PgArguments), sqlx::Error> {
        self.error.map_or(Ok((self.text, self.arguments)), |error| Err(sqlx::Error::Encode(error)))
    }
}

/// Rows of a statement, as an array for each column. Without any, they add nothing to it: PostgreSQL prepares for all tables
/// that a statement names.
#[derive(Debug)]
#[must_use = "rows are written by `insert` or `write`"]
pub struct Rows<'s> {
    statement: &'s mut Statement,
    count: Option<usize>,
    names: Vec<&'static str>,
    arrays: Vec<String>,
}

impl Rows<'_> {
    /// Adds a column: its name and the value of each row.
    pub fn column<'q, T>(mut self, name: &'static str, values: impl IntoIterator<Item = T>) -> Self
    where
        Vec<T>: Encode<'q, Postgres> + Type<Postgres> + 'q,
    {
        let values: Vec<T> = values.into_iter().collect();
        let count = *self.count.get_or_insert(values.len());
        debug_assert_eq!(count, values.len(), "all columns have a value of each row: {name}");
        if count > 0 {
            let kind = <Vec<T> as Type<Postgres>>::type_info();
            let parameter = self.statement.bind(values);
            self.names.push(name);
            self.arrays.push(format!("{parameter}::{kind}"));
        }
        self
    }

    /// Inserts the rows into a table, in a CTE of this name that follows one named `head` and does nothing if that has no row.
    /// What `then` says stands at its end.
    pub fn insert(self, name: &str, table: &str, then: &str) {
        self.write(name, &format!("insert into {table} ({{columns}}) select u.* from head, {{rows}} u{then}"));
    }

    /// Writes by this text, in a CTE of this name: `{rows}` in it are the rows, `{columns}` the names of their columns.
    pub fn write(self, name: &str, text: &str) {
        if self.names.is_empty() {
            return;
        }
        let rows = format!("unnest({})", self.arrays.join(", "));
        let text = text.replace("{rows}", &rows).replace("{columns}", &self.names.join(", "));
        self.statement.push(&format!("\n, {name} as ({text})"));
    }
}
