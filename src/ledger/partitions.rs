//! The partitions of `sealed_message`: one a UTC day, made a week ahead, dropped when its key is deleted.

use be8_events::{Day, Timestamp};
use chrono::NaiveDate;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// How many days ahead partitions are made.
const DAYS_AHEAD: i64 = 7;

/// Makes the missing partitions of a day and the week after it.
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

/// The days that have a partition, or a table that was one and is not dropped yet; ascending.
///
/// # Errors
/// What PostgreSQL answers.
pub(crate) async fn all(connection: &mut PgConnection) -> Result<Vec<Day>, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relkind = 'r' and relnamespace = current_schema()::regnamespace
         and relname ~ '^sealed_message_[0-9]{8}$' order by relname",
    )
    .fetch_all(connection)
    .await?;
    let day = |name: &String| NaiveDate::parse_from_str(name.strip_prefix(PREFIX)?, "%Y%m%d").ok().map(Day);
    Ok(names.iter().filter_map(day).collect())
}

/// Drops the partition of a day, without blocking readers and writers of the others: it is detached
/// first. A drop that was interrupted is finished.
///
/// # Errors
/// What PostgreSQL answers; a lock that is not to be had in time is an error too.
pub(crate) async fn remove(connection: &mut PgConnection, day: Day) -> Result<(), sqlx::Error> {
    let name = name(day);
    // None: detached. True: in the middle of it.
    let pending: Option<bool> = sqlx::query_scalar(
        "select i.inhdetachpending from pg_inherits i
         where i.inhparent = 'sealed_message'::regclass and i.inhrelid = to_regclass($1)",
    )
    .bind(&name)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(pending) = pending {
        // Not in a transaction: PostgreSQL waits there for all that may still use the partition.
        let how = if pending { "finalize" } else { "concurrently" };
        let detach = format!("alter table sealed_message detach partition {name} {how}");
        sqlx::raw_sql(AssertSqlSafe(detach)).execute(&mut *connection).await?;
    }
    sqlx::raw_sql(AssertSqlSafe(format!("drop table if exists {name}"))).execute(connection).await?;
    Ok(())
}

/// How the names of partitions begin.
const PREFIX: &str = "sealed_message_";

/// The name of a day's partition.
fn name(day: Day) -> String {
    format!("{PREFIX}{}", day.0.format("%Y%m%d"))
}
