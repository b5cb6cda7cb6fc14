//! What an error of the database means, and how it is shown: without the lines of PostgreSQL's own source code that sqlx adds.

use std::time::Duration;
use std::{fmt, io};

use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// The text of an error of the database, as people need it.
#[derive(Debug, Clone, Copy)]
pub struct Reason<'a>(&'a (dyn std::error::Error + 'static));

/// The text of an error of the database: what PostgreSQL says and the SQLSTATE, not where in its source it said so.
pub fn reason<'a>(error: &'a (dyn std::error::Error + 'static)) -> Reason<'a> {
    Reason(error)
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sqlx::Error::Database(error)) = self.0.downcast_ref() {
            return match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => write!(f, "{} (SQLSTATE {})", error.message(), error.code()),
                None => f.write_str(error.message()),
            };
        }
        match self.0.downcast_ref() {
            Some(MigrateError::Execute(error)) => return Reason(error).fmt(f),
            Some(MigrateError::ExecuteMigration(error, version)) => {
                return write!(f, "migration {version}: {}", Reason(error));
            }
            _ => {}
        }
        match self.0.downcast_ref() {
            // That sqlx expected more bytes says less.
            Some(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the connection was closed by the other side")
            }
            // Its own text says no more than that there was an error.
            Some(sqlx::Error::Io(error)) => write!(f, "{error}"),
            Some(sqlx::Error::Tls(error)) => {
                write!(f, "TLS: {error}")?;
                error.source().map_or(Ok(()), |source| write!(f, ": {source}"))
            }
            Some(sqlx::Error::Protocol(text)) => f.write_str(text),
            Some(sqlx::Error::PoolTimedOut) => f.write_str("no connection could be had in time"),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The database does not answer, or refuses.
    #[error("{}", reason(.0))]
    Database(sqlx::Error),
    /// No host can be used.
    #[error("none of the hosts can be used: {what}")]
    Hosts {
        /// What is wrong with each.
        what: String,
        /// None of them answered at all.
        silent: bool,
    },
    /// PostgreSQL went silent during something that takes long.
    #[error("PostgreSQL has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// No standby confirms a commit.
    #[error(
        "a commit has waited for a synchronous standby for {} s: bring the standby back, or change \
         synchronous_standby_names",
        .0.as_secs()
    )]
    Waiting(Duration),
    /// Writing is not possible there.
    #[error("{0} is a standby or is set to read-only, and this has to write")]
    ReadOnly(String),
    /// A standby was asked for.
    #[error("{0} is no standby, which target_session_attrs asks for")]
    NotStandby(String),
    /// A setting that keeps data safe does not hold.
    #[error("{0}")]
    Unsafe(String),
    /// A pooler that gives each transaction another session.
    #[error(
        "between be8 and PostgreSQL there is a pooler in transaction mode (or statement mode): be8 needs sessions of its own, \
         for settings, prepared statements, advisory locks and notifications. Use session mode (pool_mode = session) or \
         connect to PostgreSQL itself"
    )]
    TransactionMode,
}

impl ConnectError {
    /// Whether PostgreSQL did not answer at all, not even by a refusal.
    pub(crate) const fn is_silence(&self) -> bool {
        match self {
            Self::Database(error) => !matches!(error, sqlx::Error::Database(_)),
            Self::Hosts { silent, .. } => *silent,
            Self::Silent(_) => true,
            Self::ReadOnly(_) | Self::NotStandby(_) | Self::Unsafe(_) | Self::TransactionMode | Self::Waiting(_) => {
                false
            }
        }
    }
}

impl From<sqlx::Error> for ConnectError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<ConnectError> for sqlx::Error {
    /// For code that knows of no other errors; those of the database stay what they are.
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Database(error) => error,
            other => Self::Protocol(other.to_string()),
        }
    }
}

/// Whether PostgreSQL refused a statement, wrote nothing, and may do it another time or on another connection: it was rolled
/// back, lacks resources, is shutting down, starting or recovering, waits too long for a lock, or is read-only for now.
///
/// Classes of SQLSTATE (PostgreSQL, appendix A): 08 connection, 25006 read-only transaction, 40 transaction rollback,
/// 53 insufficient resources, 55 object not in prerequisite state (a lock time-out among them), 57 operator intervention,
/// 58030 an error of input or output; 26000 and 42P05: a pooler gave the connection another session, which does not know a
/// prepared statement or knows another one by its name.
pub fn is_passing(code: &str) -> bool {
    matches!(code, "25006" | "58030" | "26000" | "42P05")
        || ["08", "40", "53", "55", "57"].iter().any(|class| code.starts_with(class))
}

/// The SQLSTATE with which PostgreSQL refused a statement but not the whole connection.
pub(crate) fn refused(error: &sqlx::Error) -> Option<&str> {
    let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    (error.severity() == PgSeverity::Error).then(|| error.code())
}

/// Whether a connection can go on after this error: PostgreSQL refused the statement for what it is.
pub(crate) fn leaves_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => refused(error).is_some_and(|code| !is_passing(code) || code.starts_with("40")),
        sqlx::Error::RowNotFound
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::TypeNotFound { .. } => true,
        _ => false,
    }
}
