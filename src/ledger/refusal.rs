//! What it means that PostgreSQL refused an append.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// What an error of the append statement means.
pub(super) enum ErrorKind {
    /// PostgreSQL rolled it back for a reason that passes.
    Transient,
    /// The partition of the day is missing.
    NoPartition,
    /// A table is not there.
    NoTable,
    /// PostgreSQL rolled it back and would do so again.
    Refused,
    /// Nobody knows whether it was committed.
    Unknown,
}

pub(super) fn kind_of(error: &sqlx::Error) -> ErrorKind {
    let sqlx::Error::Database(error) = error else {
        return if matches!(error, sqlx::Error::Encode(_)) { ErrorKind::Refused } else { ErrorKind::Unknown };
    };
    let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else { return ErrorKind::Unknown };
    if error.severity() != PgSeverity::Error {
        return ErrorKind::Unknown;
    }
    match error.code() {
        // check_violation: of a constraint, which is named then, or of the partitions of a table. Not by
        // its text, which is in the language of the server.
        "23514" if error.table() == Some("sealed_message") && error.constraint().is_none() => ErrorKind::NoPartition,
        // undefined_table, invalid_schema_name
        "42P01" | "3F000" => ErrorKind::NoTable,
        // statement_completion_unknown, and what poolers say of a connection that they lost.
        code if code == "40003" || code.starts_with("08") => ErrorKind::Unknown,
        code if be8_database::is_passing(code) => ErrorKind::Transient,
        _ => ErrorKind::Refused,
    }
}
