//! The last day on which each session was used: a small table outside of the log.

use std::collections::HashMap;

use be8_database::Pool;
use be8_events::{Day, Hash32};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::LogError;

/// The days of sessions. What is written of a session that has ended is swept by a process.
#[derive(Debug, Clone)]
pub struct SessionDays(Pool);

impl SessionDays {
    pub(super) const fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// Writes when sessions were last used; an earlier day than the one that is written changes nothing.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn write(&self, days: &HashMap<Hash32, Day>) -> Result<(), LogError> {
        sqlx::query(
            "insert into session_days as s select * from unnest($1::bytea[], $2::date[])
             on conflict (session) do update set day = excluded.day where s.day < excluded.day",
        )
        .bind(days.keys().map(|session| &session.0[..]).collect::<Vec<_>>())
        .bind(days.values().map(|day| day.0).collect::<Vec<_>>())
        .execute(&self.0)
        .await?;
        Ok(())
    }

    /// When these sessions were last used, as far as that is written.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn of(&self, sessions: &[Hash32]) -> Result<HashMap<Hash32, Day>, LogError> {
        let rows = sqlx::query("select session, day from session_days where session = any ($1)")
            .bind(sessions.iter().map(|session| &session.0[..]).collect::<Vec<_>>())
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(|row| Ok((session(row)?, Day(row.try_get("day")?)))).collect()
    }

    /// Sessions of which a day is written, in order, after this one.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn page(&self, after: Option<Hash32>, most: u32) -> Result<Vec<Hash32>, LogError> {
        let rows = sqlx::query("select session from session_days where session > $1 order by session limit $2")
            .bind(after.as_ref().map_or(&[][..], |session| &session.0[..]))
            .bind(i64::from(most))
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(session).collect()
    }

    /// Forgets the days of these sessions.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn forget(&self, sessions: &[Hash32]) -> Result<(), LogError> {
        sqlx::query("delete from session_days where session = any ($1)")
            .bind(sessions.iter().map(|session| &session.0[..]).collect::<Vec<_>>())
            .execute(&self.0)
            .await?;
        Ok(())
    }
}

/// The session of a row.
fn session(row: &PgRow) -> Result<Hash32, LogError> {
    let hash: &[u8] = row.try_get("session")?;
    hash.try_into().map(Hash32).map_err(|_| LogError::Stored("malformed hash of a session"))
}
