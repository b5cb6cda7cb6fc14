//! What reading statements have in common: the session that asks, and values of columns.

use be8_events::{AccId, Hash32, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row, error::BoxDynError};

use crate::{Generation, ReadError};

/// The living account of a session: `$1` the hash of the token, `$2` the time. Binds [`session_arguments`].
pub(crate) fn session_account(generation: Generation) -> String {
    format!(
        "
    select a.* from {generation}.session s join {generation}.account a on a.id = s.account
    where s.hash = $1 and a.until > $2"
    )
}

/// `$1` and `$2` of [`session_account`].
pub(crate) fn session_arguments(to: &mut PgArguments, session: Hash32, now: Timestamp) -> Result<(), BoxDynError> {
    to.add(&session.0[..])?;
    to.add(now.to_utc())
}

/// Whether a column is null.
pub(crate) fn is_null(row: &PgRow, column: &str) -> bool {
    matches!(row.try_get_raw(column), Ok(value) if sqlx::ValueRef::is_null(&value))
}

/// The account with a number that the database holds.
pub(crate) fn account(number: i64) -> Result<AccId, ReadError> {
    AccId::new(number).ok_or(ReadError::Damaged("account id"))
}

/// A column that is the number of an account.
pub(crate) fn account_id(row: &PgRow, column: &str) -> Result<AccId, ReadError> {
    account(row.try_get(column)?)
}

/// A column that is a time.
pub(crate) fn time(row: &PgRow, column: &str) -> Result<Timestamp, ReadError> {
    Ok(row.try_get::<DateTime<Utc>, _>(column)?.into())
}

/// A column that is an array or, where nothing was found, null.
pub(crate) fn array<T>(row: &PgRow, column: &str) -> Result<Vec<T>, ReadError>
where
    Option<Vec<T>>: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    Ok(row.try_get::<Option<Vec<T>>, _>(column)?.unwrap_or_default())
}
