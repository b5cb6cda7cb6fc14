//! What a read model is: its tables, its fold and its write.

use std::fmt::Debug;

use be8_events::{Hash32, Recorded};

use crate::derived::Derived;
use crate::{Statement, copy};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
