//! Reading the log in large pages, several at a time: what replaying takes. The rows come by
//! `COPY` in its binary format, which is the fastest way out of PostgreSQL.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use be8_database::Pool;
use be8_events::{AccId, Event, Hash32, Position, Recorded, StreamName, Timestamp};
use futures_util::{Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use sqlx::{PgConnection, PgExecutor};

use super::LogError;

/// How many events are read at once.
pub(super) const PAGE: i64 = 20_000;
/// How many pages are read at a time.
const AT_A_TIME: usize = 2;
/// How many names of streams are remembered, and some more.
const REMEMBERED: usize = 500_000;
/// What is before the first row: signature, flags and the length of the extension.
const HEADER: usize = 19;
/// Between the epochs of PostgreSQL (2000-01-01) and Unix, in microseconds.
const EPOCH: i64 = 946_684_800_000_000;

/// An event as it is stored, of which nothing is believed yet.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) position: i64,
    pub(super) stream: i64,
    pub(super) version: i64,
    pub(super) kind: String,
    pub(super) schema: i16,
    /// Microseconds since 1970.
    pub(super) time: i64,
    pub(super) actor: Option<i64>,
    pub(super) salt: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) sealed: Option<Vec<u8>>,
}

impl Raw {
    /// The event, if it is one.
    pub(super) fn decode(self, stream: Option<StreamName>) -> Result<Recorded, LogError> {
        let position = self.position;
        let damaged = |what| LogError::Damaged { position, what };
        let hash = |bytes: &[u8]| bytes.try_into().map(Hash32).map_err(|_| damaged("a hash is not 32 bytes long"));
        let schema = u16::try_from(self.schema).map_err(|_| damaged("negative schema version"))?;
        let event = Event::decode(&self.kind, schema, &self.payload)
            .map_err(|cause| LogError::Undecodable { position, cause })?;
        let actor = match self.actor {
            None => None,
            Some(number) => Some(AccId::new(number).ok_or(damaged("the actor is no account"))?),
        };
        Ok(Recorded {
            position: Position(position),
            stream: stream.ok_or(damaged("unknown stream name"))?,
            version: self.version,
            time: Timestamp::from_micros(self.time),
            actor,
            salt: hash(&self.salt)?,
            schema,
            payload: self.payload,
            sealed: self.sealed.as_deref().map(hash).transpose()?,
            event,
        })
    }
}

/// The names of streams by their numbers, as far as they were seen recently. A name that cannot be read
/// is none.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(HashMap<i64, Option<StreamName>>);

impl Names {
    /// The stream with this number, if its name was seen and can be read.
    pub(super) fn get(&self, id: i64) -> Option<StreamName> {
        self.0.get(&id).copied().flatten()
    }

    /// Learns the names of the streams of these rows, as this connection sees them.
    pub(super) async fn learn(&mut self, connection: &mut PgConnection, rows: &[Raw]) -> Result<(), LogError> {
        let found = found(connection, self.missing(rows)).await?;
        self.take_in(found, rows);
        Ok(())
    }

    fn missing(&self, rows: &[Raw]) -> Vec<i64> {
        let missing: HashSet<i64> = rows.iter().map(|row| row.stream).filter(|id| !self.0.contains_key(id)).collect();
        missing.into_iter().collect()
    }

    fn take_in(&mut self, found: Vec<(i64, String)>, rows: &[Raw]) {
        if self.0.len() > REMEMBERED {
            let wanted: HashSet<i64> = rows.iter().map(|row| row.stream).collect();
            self.0.retain(|id, _| wanted.contains(id));
        }
        self.0.extend(found.into_iter().map(|(id, name)| (id, name.parse().ok())));
    }
}

async fn found(from: impl PgExecutor<'_>, ids: Vec<i64>) -> Result<Vec<(i64, String)>, sqlx::Error> {
    sqlx::query_as("select id, name from streams where id = any ($1)").bind(ids).fetch_all(from).await
}

/// A reader of pages.
#[derive(Debug, Clone)]
pub(super) struct Pages {
    pool: Pool,
    names: Arc<Mutex<Arc<Names>>>,
}

impl Pages {
    pub(super) fn new(pool: Pool) -> Self {
        Self { pool, names: Arc::default() }
    }

    /// The events after `after` up to `until`, in pages.
    pub(super) fn decoded(
        &self,
        after: Position,
        until: Position,
    ) -> impl Stream<Item = Result<Vec<Recorded>, LogError>> + Send + use<> {
        let this = self.clone();
        ranges(after, until)
            .map(move |(after, until)| {
                let this = this.clone();
                async move {
                    let rows = this.rows(after, until).await?;
                    let names = this.names_of(&rows).await?;
                    let decode = move || {
                        let row = |raw: Raw| {
                            let stream = names.get(raw.stream);
                            raw.decode(stream)
                        };
                        rows.into_iter().map(row).collect::<Result<Vec<_>, _>>()
                    };
                    let page = tokio::task::spawn_blocking(decode).await.map_err(|_| sqlx::Error::WorkerCrashed)??;
                    if page.len() as i64 != until - after {
                        return Err(LogError::Damaged { position: until, what: "a position before it is missing" });
                    }
                    Ok(page)
                }
            })
            .buffered(AT_A_TIME)
    }

    async fn rows(&self, after: i64, until: i64) -> Result<Vec<Raw>, LogError> {
        let mut connection = self.pool.acquire().await?;
        Ok(connection.with_deadline(|connection| Box::pin(rows(connection, after, until))).await?)
    }

    /// The names of the streams of these rows.
    pub(super) async fn names_of(&self, rows: &[Raw]) -> Result<Arc<Names>, LogError> {
        let known = self.names.lock().clone();
        let missing = known.missing(rows);
        if missing.is_empty() {
            return Ok(known);
        }
        let found = found(&self.pool, missing).await?;
        let mut names = self.names.lock();
        // Copied only if another page is just using it.
        drop(known);
        Arc::make_mut(&mut names).take_in(found, rows);
        Ok(names.clone())
    }
}

/// The ranges of the pages.
fn ranges(after: Position, until: Position) -> impl Stream<Item = (i64, i64)> {
    let starts = (after.0..until.0).step_by(PAGE as usize);
    futures_util::stream::iter(starts.map(move |start| (start, until.0.min(start + PAGE))))
}

/// The rows after `after` up to `until`, as this connection sees them.
pub(super) async fn rows(connection: &mut PgConnection, after: i64, until: i64) -> Result<Vec<Raw>, sqlx::Error> {
    let sql = format!(
        "copy (select position, stream, version, kind, schema, time, actor, salt, payload, sealed from events
               where position > {after} and position <= {until} order by position) to stdout (format binary)"
    );
    let mut bytes: Vec<u8> = Vec::with_capacity(1 << 20);
    let mut chunks = connection.copy_out_raw(&sql).await?;
    while let Some(chunk) = chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    drop(chunks);
    tokio::task::spawn_blocking(move || parse(&bytes).ok_or_else(garbled))
        .await
        .map_err(|_| sqlx::Error::WorkerCrashed)?
}

fn garbled() -> sqlx::Error {
    sqlx::Error::Protocol("COPY gave something else than rows of events".to_owned())
}

/// Bytes that are taken from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    /// A field; none inside where it is null.
    fn field(&mut self) -> Option<Option<&'a [u8]>> {
        let length = self.take(4)?.try_into().ok().map(i32::from_be_bytes)?;
        if length < 0 { Some(None) } else { self.take(length.cast_unsigned() as usize).map(Some) }
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        self.field()?
    }

    fn int8(&mut self) -> Option<i64> {
        self.bytes()?.try_into().ok().map(i64::from_be_bytes)
    }
}

fn parse(bytes: &[u8]) -> Option<Vec<Raw>> {
    let mut at = Cursor(bytes);
    at.take(HEADER)?;
    let mut rows = Vec::new();
    while at.i16()? != -1 {
        rows.push(Raw {
            position: at.int8()?,
            stream: at.int8()?,
            version: at.int8()?,
            kind: String::from_utf8(at.bytes()?.to_vec()).ok()?,
            schema: at.bytes()?.try_into().ok().map(i16::from_be_bytes)?,
            time: at.int8()?.saturating_add(EPOCH),
            actor: match at.field()? {
                None => None,
                Some(bytes) => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
            },
            salt: at.bytes()?.to_vec(),
            payload: at.bytes()?.to_vec(),
            sealed: at.field()?.map(<[u8]>::to_vec),
        });
    }
    Some(rows)
}
