//! The head row: the newest position, the counters, and the fence.

use be8_events::{Position, Timestamp};
use be8_projections::Generation;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

/// The head row as this node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) position: Position,
    pub(crate) time: Timestamp,
    pub(crate) generation: Generation,
    pub(crate) fence: i64,
    pub(crate) accounts: i64,
    pub(crate) groups: i64,
    pub(crate) streams: i64,
    pub(crate) keys: i64,
}

const COLUMNS: &str = "position, time, generation, fence, accounts, groups, streams, keys";

impl Head {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            position: Position(row.try_get("position")?),
            time: row.try_get::<DateTime<Utc>, _>("time")?.into(),
            generation: Generation(row.try_get("generation")?),
            fence: row.try_get("fence")?,
            accounts: row.try_get("accounts")?,
            groups: row.try_get("groups")?,
            streams: row.try_get("streams")?,
            keys: row.try_get("keys")?,
        })
    }

    async fn query(connection: &mut PgConnection, sql: String) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(connection).await?;
        Self::from_row(&row)
    }

    pub(crate) async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        Self::query(connection, format!("select {COLUMNS} from log_head")).await
    }

    /// Waits for the row's lock; the caller has begun a transaction.
    pub(crate) async fn lock(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        Self::query(connection, format!("select {COLUMNS} from log_head for update")).await
    }

    /// Moves the fence. An append that is still in flight is waited for; one that comes later
    /// finds another fence than it demands, and writes nothing.
    pub(crate) async fn move_fence(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        Self::query(connection, format!("update log_head set fence = fence + 1 returning {COLUMNS}")).await
    }
}
