//! The head row: the newest position, the counters, and the fence.

use be8_events::{Hash32, Position, Timestamp};
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
    /// The salt of the newest event, which distinguishes this log from every other one; none while there is no event.
    pub(crate) salt: Option<Hash32>,
}

const COLUMNS: &str = "position, time, generation, fence, accounts, groups, streams, keys,
    (select e.salt from events e where e.position = log_head.position) as salt";

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
            salt: row.try_get::<Option<&[u8]>, _>("salt")?.map(salt).transpose()?,
        })
    }

    async fn query(connection: &mut PgConnection, sql: String) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(connection).await?;
        Self::from_row(&row)
    }

    /// The salt of the event at a position, if the log has one there.
    pub(super) async fn salt_at(
        connection: &mut PgConnection,
        position: Position,
    ) -> Result<Option<Hash32>, sqlx::Error> {
        let query = sqlx::query_scalar::<_, Vec<u8>>("select salt from events where position = $1").bind(position.0);
        query.fetch_optional(connection).await?.as_deref().map(salt).transpose()
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

/// A salt as it is stored.
fn salt(bytes: &[u8]) -> Result<Hash32, sqlx::Error> {
    bytes.try_into().map(Hash32).map_err(|_| sqlx::Error::Decode("a salt has 32 bytes".into()))
}
