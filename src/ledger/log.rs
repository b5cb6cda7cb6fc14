//! Reading the log: one stream forwards or backwards, or everything from a position.

use be8_database::Pool;
use be8_events::{Position, Recorded, StreamName, Timestamp};
use chrono::{DateTime, Utc};
use futures_util::Stream;
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{PgConnection, Row};

use super::LogError;
use super::pages::Raw;

/// How many events of a stream are read at once when all of it is read.
const PAGE: u32 = 2000;

/// A statement that selects events with the names of their streams, from `events e` and `streams s`.
macro_rules! select {
    ($(with $columns:literal,)? $from:literal) => {
        concat!(
            "select e.position, e.stream, s.name, e.version, e.kind, e.schema, e.time, e.actor, e.salt, e.payload, e.sealed",
            $(", ", $columns,)?
            " ", $from
        )
    };
}
pub(super) use select;

/// Which way a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the given version upwards.
    Forwards,
    /// From the given version downwards.
    Backwards,
}

/// The log, for reading.
#[derive(Debug, Clone)]
pub struct Log {
    pool: Pool,
}

impl Log {
    /// Reads through this pool.
    pub fn new(pool: impl Into<Pool>) -> Self {
        Self { pool: pool.into() }
    }

    pub(super) const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// At most `count` events of a stream, from version `from`, forwards or backwards.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn read_stream(
        &self,
        stream: StreamName,
        from: i64,
        direction: Direction,
        count: u32,
    ) -> Result<Vec<Recorded>, LogError> {
        let sql = match direction {
            Direction::Forwards => READ_STREAM,
            Direction::Backwards => READ_STREAM_BACKWARDS,
        };
        self.events(sqlx::query(sql).bind(stream.to_string()).bind(from).bind(i64::from(count))).await
    }

    /// All events of a stream, page by page.
    pub fn whole_stream(&self, stream: StreamName) -> impl Stream<Item = Result<Vec<Recorded>, LogError>> + Send + '_ {
        futures_util::stream::try_unfold(Some(1), move |from| async move {
            let Some(from) = from else { return Ok(None) };
            let page = self.read_stream(stream, from, Direction::Forwards, PAGE).await?;
            let next = page.last().filter(|_| page.len() == PAGE as usize).map(|last| last.version + 1);
            Ok((!page.is_empty()).then_some((page, next)))
        })
    }

    /// The events that a statement selects, in its order.
    async fn events(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<Recorded>, LogError> {
        query.fetch_all(&self.pool).await?.iter().map(recorded).collect()
    }

    /// At most `count` events of the whole log after the position `after`. Positions are gapless
    /// and visible in their order, so the last one returned is where to go on.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn read_all(&self, after: Position, count: u32) -> Result<Vec<Recorded>, LogError> {
        self.events(sqlx::query(READ_ALL).bind(after.0).bind(i64::from(count))).await
    }

    /// As [`Log::read_all`], on a connection whose head was read: pages of one connection are of one database.
    pub(super) async fn read_all_on(
        connection: &mut PgConnection,
        after: Position,
        count: u32,
    ) -> Result<Vec<Recorded>, LogError> {
        let query = sqlx::query(READ_ALL).bind(after.0).bind(i64::from(count));
        query.fetch_all(connection).await?.iter().map(recorded).collect()
    }

    /// The first `count` events of some streams after the position `after` and not after
    /// `until`, in the order of the log.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn read_streams(
        &self,
        streams: &[StreamName],
        after: Position,
        until: Position,
        count: u32,
    ) -> Result<Vec<Recorded>, LogError> {
        self.of_streams(READ_STREAMS, streams, after, until, count).await
    }

    /// The last `count` events of some streams after the position `after` and not after `until`,
    /// in the order of the log.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn read_streams_backwards(
        &self,
        streams: &[StreamName],
        after: Position,
        until: Position,
        count: u32,
    ) -> Result<Vec<Recorded>, LogError> {
        let mut events = self.of_streams(READ_STREAMS_BACKWARDS, streams, after, until, count).await?;
        events.reverse();
        Ok(events)
    }

    async fn of_streams(
        &self,
        sql: &'static str,
        streams: &[StreamName],
        after: Position,
        until: Position,
        count: u32,
    ) -> Result<Vec<Recorded>, LogError> {
        let query = sqlx::query(sql).bind(names(streams)).bind(after.0).bind(until.0).bind(i64::from(count));
        self.events(query).await
    }

    /// How many events a stream has after the position `after` and not after `until`.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn count(&self, stream: StreamName, after: Position, until: Position) -> Result<i64, LogError> {
        let count = sqlx::query_scalar(
            "select stream_version_after(id, $3) - stream_version_after(id, $2) from streams where name = $1",
        )
        .bind(stream.to_string())
        .bind(after.0)
        .bind(until.0)
        .fetch_optional(&self.pool)
        .await?;
        Ok(count.unwrap_or(0))
    }

    /// The newest position that is not later than a time; the start if there is none.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn position_at(&self, time: Timestamp) -> Result<Position, LogError> {
        Ok(Position(sqlx::query_scalar("select position_at($1)").bind(time.to_utc()).fetch_one(&self.pool).await?))
    }

    /// All events of some kinds in a stream before the position `before`.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn read_kinds(
        &self,
        stream: StreamName,
        kinds: &[&str],
        before: Position,
    ) -> Result<Vec<Recorded>, LogError> {
        self.events(sqlx::query(READ_KINDS).bind(stream.to_string()).bind(kinds).bind(before.0)).await
    }

    /// The newest event of each of some streams, if it is after `after` and not after
    /// `until`, in the order of the log.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn newest_of_streams(
        &self,
        streams: &[StreamName],
        after: Position,
        until: Position,
    ) -> Result<Vec<Recorded>, LogError> {
        self.events(sqlx::query(NEWEST_OF_STREAMS).bind(names(streams)).bind(after.0).bind(until.0)).await
    }

    /// The first `count` events after `after` and not after `until`, of one kind if it is named.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn read_range(
        &self,
        after: Position,
        until: Position,
        kind: Option<&str>,
        count: u32,
    ) -> Result<Vec<Recorded>, LogError> {
        self.events(sqlx::query(READ_RANGE).bind(after.0).bind(until.0).bind(kind).bind(i64::from(count))).await
    }

    /// Whether the database of this log is there and takes writes.
    pub(super) async fn is_writable(&self) -> Result<bool, LogError> {
        let sql = "select not pg_is_in_recovery() and not current_setting('transaction_read_only')::bool from log_head";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    /// The position of the newest event.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn newest(&self) -> Result<Position, LogError> {
        Ok(Position(sqlx::query_scalar("select position from log_head").fetch_one(&self.pool).await?))
    }
}

const READ_STREAM: &str = select!(
    "from streams s join events e on e.stream = s.id
    where s.name = $1 and e.version >= $2 order by e.version limit $3"
);

const READ_STREAM_BACKWARDS: &str = select!(
    "from streams s join events e on e.stream = s.id
    where s.name = $1 and e.version <= $2 order by e.version desc limit $3"
);

const READ_STREAMS: &str = select!(
    "from unnest($1::text[]) u(name) join streams s on s.name = u.name
    join lateral (
        select * from events e where e.stream = s.id and e.version >= stream_version_after(s.id, $2)
            and e.position <= $3
        order by e.version limit $4) e on true
    order by e.position limit $4"
);

const READ_STREAMS_BACKWARDS: &str = select!(
    "from unnest($1::text[]) u(name) join streams s on s.name = u.name
    join lateral (
        select * from events e where e.stream = s.id and e.version < stream_version_after(s.id, $3)
            and e.position > $2
        order by e.version desc limit $4) e on true
    order by e.position desc limit $4"
);

const READ_KINDS: &str = select!(
    "from streams s join events e on e.stream = s.id
    where s.name = $1 and e.kind = any ($2) and e.position < $3 order by e.version"
);

const NEWEST_OF_STREAMS: &str = select!(
    "from unnest($1::text[]) u(name) join streams s on s.name = u.name
    join lateral (select * from events e where e.stream = s.id order by e.version desc limit 1) e on true
    where e.position > $2 and e.position <= $3
    order by e.position"
);

const READ_ALL: &str = select!(
    "from events e join streams s on s.id = e.stream
    where e.position > $1 order by e.position limit $2"
);

const READ_RANGE: &str = select!(
    "from events e join streams s on s.id = e.stream
    where e.position > $1 and e.position <= $2 and ($3::text is null or e.kind = $3) order by e.position limit $4"
);

fn names(streams: &[StreamName]) -> Vec<String> {
    streams.iter().map(StreamName::to_string).collect()
}

/// An event from its row, of a statement that [`select`] begins.
pub(super) fn recorded(row: &PgRow) -> Result<Recorded, LogError> {
    let raw = Raw {
        position: row.try_get("position")?,
        stream: row.try_get("stream")?,
        version: row.try_get("version")?,
        kind: row.try_get("kind")?,
        schema: row.try_get("schema")?,
        time: row.try_get::<DateTime<Utc>, _>("time")?.timestamp_micros(),
        actor: row.try_get("actor")?,
        salt: row.try_get("salt")?,
        payload: row.try_get("payload")?,
        sealed: row.try_get("sealed")?,
    };
    raw.decode(row.try_get::<&str, _>("name")?.parse().ok())
}
