//! Reading the log: one stream both ways, or everything from a position.

use be8_events::{AccId, Event, Hash32, Position, Recorded, StreamName, Timestamp};
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt, TryStreamExt};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::LogError;

/// The columns of an event with the name of its stream, from `events e join streams s`.
pub(super) const COLUMNS: &str =
    "e.position, s.name, e.version, e.kind, e.schema, e.time, e.actor, e.salt, e.payload, e.sealed";

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
    pool: PgPool,
}

impl Log {
    /// Reads through this pool.
    pub const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    pub(super) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// At most `count` events of a stream, beginning with the version `from`, both ways.
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
            Direction::Forwards => {
                "select e.position, s.name, e.version, e.kind, e.schema, e.time, e.actor, e.salt, e.payload, e.sealed
                 from streams s join events e on e.stream = s.id
                 where s.name = $1 and e.version >= $2 order by e.version limit $3"
            }
            Direction::Backwards => {
                "select e.position, s.name, e.version, e.kind, e.schema, e.time, e.actor, e.salt, e.payload, e.sealed
                 from streams s join events e on e.stream = s.id
                 where s.name = $1 and e.version <= $2 order by e.version desc limit $3"
            }
        };
        let rows =
            sqlx::query(sql).bind(stream.to_string()).bind(from).bind(i64::from(count)).fetch_all(&self.pool).await?;
        rows.iter().map(recorded).collect()
    }

    /// At most `count` events of the whole log behind the position `after`. Positions are gapless
    /// and visible in their order, so the last one returned is where to go on.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn read_all(&self, after: Position, count: u32) -> Result<Vec<Recorded>, LogError> {
        let rows = sqlx::query(READ_ALL).bind(after.0).bind(i64::from(count)).fetch_all(&self.pool).await?;
        rows.iter().map(recorded).collect()
    }

    /// All events behind `after` up to the newest at the time of the call, as one stream.
    pub fn stream_all(&self, after: Position) -> impl Stream<Item = Result<Recorded, LogError>> + '_ {
        sqlx::query(READ_ALL)
            .bind(after.0)
            .bind(i64::MAX)
            .fetch(&self.pool)
            .map_err(LogError::from)
            .map(|row| row.and_then(|row| recorded(&row)))
    }

    /// The first `count` events of some streams behind the position `after` and not behind
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
        let rows = sqlx::query(READ_STREAMS)
            .bind(names(streams))
            .bind(after.0)
            .bind(until.0)
            .bind(i64::from(count))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(recorded).collect()
    }

    /// The last `count` events of some streams behind the position `after` and not behind `until`,
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
        let rows = sqlx::query(READ_STREAMS_BACKWARDS)
            .bind(names(streams))
            .bind(after.0)
            .bind(until.0)
            .bind(i64::from(count))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().rev().map(recorded).collect()
    }

    /// How many events a stream has behind the position `after` and not behind `until`.
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

    /// All events of some kinds in a stream in front of the position `before`.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn read_kinds(
        &self,
        stream: StreamName,
        kinds: &[&str],
        before: Position,
    ) -> Result<Vec<Recorded>, LogError> {
        let rows =
            sqlx::query(READ_KINDS).bind(stream.to_string()).bind(kinds).bind(before.0).fetch_all(&self.pool).await?;
        rows.iter().map(recorded).collect()
    }

    /// The newest event of each of some streams, if it stands behind `after` and not behind
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
        let rows = sqlx::query(NEWEST_OF_STREAMS)
            .bind(names(streams))
            .bind(after.0)
            .bind(until.0)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(recorded).collect()
    }

    /// The first `count` events behind `after` and not behind `until`, of one kind if it is named.
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
        let rows = sqlx::query(READ_RANGE)
            .bind(after.0)
            .bind(until.0)
            .bind(kind)
            .bind(i64::from(count))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(recorded).collect()
    }

    /// The position of the newest event.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn newest(&self) -> Result<Position, LogError> {
        Ok(Position(sqlx::query_scalar("select position from log_head").fetch_one(&self.pool).await?))
    }
}

const READ_STREAMS: &str =
    "select e.position, s.name, e.version, e.kind, e.schema, e.time, e.actor, e.salt, e.payload, e.sealed
    from unnest($1::text[]) u(name) join streams s on s.name = u.name
    join lateral (
        select * from events e where e.stream = s.id and e.version >= stream_version_after(s.id, $2)
            and e.position <= $3
        order by e.version limit $4) e on true
    order by e.position limit $4";

const READ_STREAMS_BACKWARDS: &str =
    "select e.position, s.name, e.version, e.kind, e.schema, e.time, e.actor, e.salt, e.payload, e.sealed
    from unnest($1::text[]) u(name) join streams s on s.name = u.name
    join lateral (
        select * from events e where e.stream = s.id and e.version < stream_version_after(s.id, $3)
            and e.position > $2
        order by e.version desc limit $4) e on true
    order by e.position desc limit $4";

const READ_KINDS: &str =
    "select e.position, s.name, e.version, e.kind, e.schema, e.time, e.actor, e.salt, e.payload, e.sealed
    from streams s join events e on e.stream = s.id
    where s.name = $1 and e.kind = any ($2) and e.position < $3 order by e.version";

const NEWEST_OF_STREAMS: &str =
    "select e.position, s.name, e.version, e.kind, e.schema, e.time, e.actor, e.salt, e.payload, e.sealed
    from unnest($1::text[]) u(name) join streams s on s.name = u.name
    join lateral (select * from events e where e.stream = s.id order by e.version desc limit 1) e on true
    where e.position > $2 and e.position <= $3
    order by e.position";

fn names(streams: &[StreamName]) -> Vec<String> {
    streams.iter().map(StreamName::to_string).collect()
}

const READ_ALL: &str =
    "select e.position, s.name, e.version, e.kind, e.schema, e.time, e.actor, e.salt, e.payload, e.sealed
    from events e join streams s on s.id = e.stream
    where e.position > $1 order by e.position limit $2";

const READ_RANGE: &str =
    "select e.position, s.name, e.version, e.kind, e.schema, e.time, e.actor, e.salt, e.payload, e.sealed
    from events e join streams s on s.id = e.stream
    where e.position > $1 and e.position <= $2 and ($3::text is null or e.kind = $3) order by e.position limit $4";

/// An event from its row.
pub(super) fn recorded(row: &PgRow) -> Result<Recorded, LogError> {
    let position: i64 = row.try_get("position")?;
    let damaged = |what| LogError::Damaged { position, what };
    let hash = |bytes: &[u8]| bytes.try_into().map(Hash32).map_err(|_| damaged("a hash is not 32 bytes long"));
    let schema = u16::try_from(row.try_get::<i16, _>("schema")?).map_err(|_| damaged("negative schema version"))?;
    let payload: Vec<u8> = row.try_get("payload")?;
    let event = Event::decode(row.try_get("kind")?, schema, &payload)
        .map_err(|cause| LogError::Undecodable { position, cause })?;
    let actor = match row.try_get::<Option<i64>, _>("actor")? {
        None => None,
        Some(number) => Some(AccId::new(number).ok_or(damaged("the actor is no account"))?),
    };
    Ok(Recorded {
        position: Position(position),
        stream: row.try_get::<&str, _>("name")?.parse().map_err(|_| damaged("unknown stream name"))?,
        version: row.try_get("version")?,
        time: row.try_get::<DateTime<Utc>, _>("time")?.into(),
        actor,
        salt: hash(row.try_get("salt")?)?,
        schema,
        payload,
        sealed: row.try_get::<Option<&[u8]>, _>("sealed")?.map(hash).transpose()?,
        event,
    })
}
