//! Attempts at the lock codes of accounts: a small table outside of the log.

use be8_events::{AccId, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::{PgPool, Row};

use super::LogError;
use crate::domain::throttle::Attempts;

/// Counts attempts at lock codes, over all nodes and restarts.
#[derive(Debug, Clone)]
pub struct CodeAttempts(PgPool);

impl CodeAttempts {
    /// Counts through this pool.
    pub const fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// Counts an attempt; whether it is allowed. One that is too early does not count.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn admit(&self, account: AccId, now: Timestamp) -> Result<bool, LogError> {
        let mut tx = self.0.begin().await?;
        // The row first, then its lock: attempts that come at once are counted one by one.
        sqlx::query("insert into code_attempts values ($1, 0, 'epoch') on conflict do nothing")
            .bind(account.number())
            .execute(&mut *tx)
            .await?;
        let row = sqlx::query("select count, next from code_attempts where account = $1 for update")
            .bind(account.number())
            .fetch_optional(&mut *tx)
            .await?;
        // Forgotten in between: somebody succeeded.
        let before = match row {
            None => Attempts::NONE,
            Some(row) => Attempts {
                count: row.try_get::<i32, _>("count")?.cast_unsigned(),
                next: row.try_get::<DateTime<Utc>, _>("next")?.into(),
            },
        };
        let Ok(after) = before.admit(now) else {
            tx.commit().await?;
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
    }

    /// An attempt succeeded, or the account is gone.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn forget(&self, account: AccId) -> Result<(), LogError> {
        sqlx::query("delete from code_attempts where account = $1").bind(account.number()).execute(&self.0).await?;
        Ok(())
    }
}
