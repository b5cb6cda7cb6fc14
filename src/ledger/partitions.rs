//! The partitions of `sealed_message`: one a UTC day, made a week ahead.

use be8_events::{Day, Timestamp};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// How many days ahead partitions are made.
const DAYS_AHEAD: i64 = 7;

/// Makes the partitions of a day and the week behind it, as far as they lack.
///
/// A table is created and then attached, which blocks neither readers nor writers of the parent;
/// two nodes at once are kept apart by an advisory lock.
///
/// # Errors
/// What PostgreSQL answers; a lock that is not to be had in time is an error too.
pub(crate) async fn ensure(connection: &mut PgConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    let mut tx = connection.begin().await?;
    sqlx::query("set local lock_timeout = '2s'").execute(&mut *tx).await?;
    sqlx::query("select pg_advisory_xact_lock(hashtext('be8 partitions'))").execute(&mut *tx).await?;
    for ahead in 0..=DAYS_AHEAD {
        make(&mut tx, now.day().plus(ahead)).await?;
    }
    tx.commit().await
}

/// Makes the partition of a day, unless it is there.
///
/// # Errors
/// What PostgreSQL answers.
pub(crate) async fn make(connection: &mut PgConnection, day: Day) -> Result<(), sqlx::Error> {
    let name = name(day);
    let known: bool =
        sqlx::query_scalar("select to_regclass($1) is not null").bind(&name).fetch_one(&mut *connection).await?;
    if known {
        return Ok(());
    }
    // The statement triggers of the parent do not fire for statements on a partition.
    sqlx::raw_sql(AssertSqlSafe(format!(
        "create table {name} (like sealed_message including all);
         create trigger append_only before update or truncate on {name}
             for each statement execute function log_is_append_only();
         alter table {name} add constraint day check (day = '{day}');
         alter table sealed_message attach partition {name} for values in ('{day}');"
    )))
    .execute(connection)
    .await?;
    Ok(())
}

/// The name of a day's partition.
fn name(day: Day) -> String {
    format!("sealed_message_{}", day.0.format("%Y%m%d"))
}
