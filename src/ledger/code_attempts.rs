//! Attempts at the lock codes of accounts: a small table outside of the log.

use be8_database::Pool;
use be8_events::{AccId, Subject, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, Postgres, Row, Transaction};

use super::LogError;
use crate::domain::throttle::Attempts;

/// Counts attempts at lock codes, over all nodes and restarts.
#[derive(Debug, Clone)]
pub struct CodeAttempts(Pool);

impl CodeAttempts {
    /// Counts through this pool.
    pub(super) const fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// Counts an attempt; whether it is allowed. One that is too early does not count, nor does one at
    /// the codes of a removed account: nothing would ever forget it.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn admit(&self, account: AccId, now: Timestamp) -> Result<bool, LogError> {
        let write = self.0.write(|connection| {
            Box::pin(async move {
                let mut tx = turn(connection, account).await?;
                // The data key of an account ends with it, in one append.
                let row = sqlx::query(
                    "select a.count, a.next from vault.key k left join code_attempts a on a.account = $1
                 where k.subject = $2 and k.wrapped is not null",
                )
                .bind(account.number())
                .bind(Subject::Account(account).to_string())
                .fetch_optional(&mut *tx)
                .await?;
                let Some(row) = row else {
                    tx.rollback().await?;
                    return Ok(false);
                };
                let before = match row.try_get::<Option<i32>, _>("count")? {
                    None => Attempts::NONE,
                    Some(count) => {
                        let next = row.try_get::<DateTime<Utc>, _>("next")?.into();
                        Attempts { count: count.cast_unsigned(), next }
                    }
                };
                let Ok(after) = before.admit(now) else {
                    tx.rollback().await?;
                    return Ok(false);
                };
                sqlx::query(
                    "insert into code_attempts values ($1, $2, $3)
                 on conflict (account) do update set count = excluded.count, next = excluded.next",
                )
                .bind(account.number())
                .bind(after.count.cast_signed())
                .bind(after.next.to_utc())
                .execute(&mut *tx)
                .await?;
                tx.commit().await?;
                Ok(true)
            })
        });
        Ok(write.await?)
    }

    /// An attempt succeeded, or the account was removed.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn forget(&self, account: AccId) -> Result<(), LogError> {
        let write = self.0.write(|connection| {
            Box::pin(async move {
                let mut tx = turn(connection, account).await?;
                sqlx::query("delete from code_attempts where account = $1")
                    .bind(account.number())
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await
            })
        });
        Ok(write.await?)
    }
}

/// A transaction that has an account's attempts to itself, there being a row of it or not: attempts
/// that come at once are counted one by one, and the one that forgets those of a removed account
/// waits for the one that still found it alive.
async fn turn(connection: &mut PgConnection, account: AccId) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    let mut tx = connection.begin().await?;
    sqlx::query("select pg_advisory_xact_lock(hashtext('be8 code attempts'), hashint8($1))")
        .bind(account.number())
        .execute(&mut *tx)
        .await?;
    Ok(tx)
}
