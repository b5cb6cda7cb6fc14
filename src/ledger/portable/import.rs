//! Reading the file into an empty database: one transaction, so that a file that is cut off or
//! changed leaves nothing behind.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Read as _};

use be8_database::Connector;
use be8_events::{AccId, Day, Event, Hash32, Position, Recorded, Sealed, StreamName, Timestamp};
use be8_projections::Changes;
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection};

use super::super::head::Head;
use super::super::{LogError, partitions};
use super::{CheckpointLine, End, EventLine, FORMAT, Header, KeyLine, Line, MasterLine, PortableError, Summary};
use crate::domain::count_numbers;

/// How many events are written at once.
const BATCH: usize = 5000;
/// How many bytes of lines are written at once, or some more: PostgreSQL takes no statement of 1 GiB.
const BATCH_BYTES: usize = 32 << 20;
/// The longest line. One holds one event, which came in one request.
const LINE_BYTES: u64 = 256 << 20;

/// Reads a file into the database, whose schema is there and whose log is empty. `progress` is called with
/// the position reached and the last one.
///
/// # Errors
/// [`PortableError`]; nothing was written then.
pub async fn import(
    connect: &Connector,
    from: &mut (dyn BufRead + Send),
    progress: &(dyn Fn(Position, Position) + Send + Sync),
) -> Result<Summary, PortableError> {
    let mut connection = connect.connect().await?;
    let mut tx = connection.begin().await?;
    let head = Head::lock(&mut tx).await?;
    let vault: bool = sqlx::query_scalar("select exists (select from vault.key)").fetch_one(&mut *tx).await?;
    if head.position != Position::START || vault {
        return Err(PortableError::NotEmpty);
    }
    if !head.generation.is_ours(&mut *tx).await? {
        return Err(LogError::Foreign.into());
    }
    let mut reader = Reader::new(from, LINE_BYTES);
    let Line::Log(header) = reader.next()?.0 else { return Err(reader.wrong("is not the head of an export")) };
    if header.format != FORMAT {
        return Err(reader.wrong(format!("format {:?}; this version reads {FORMAT}", header.format)));
    }
    let mut into = Target::new(head);
    let mut batch = Vec::with_capacity(BATCH);
    let mut batched = 0;
    progress(Position::START, header.position);
    let end = loop {
        let (line, before, length) = reader.next()?;
        match line {
            Line::Log(_) => return Err(reader.wrong("is a second head")),
            Line::Event(line) => {
                let checked = into.check(line).map_err(|what| reader.wrong(what))?;
                batch.push(checked);
                batched += length;
                if batch.len() >= BATCH || batched >= BATCH_BYTES {
                    into.write(&mut tx, std::mem::take(&mut batch)).await?;
                    batched = 0;
                    progress(into.position, header.position);
                }
            }
            Line::Master(_) | Line::Key(_) if !header.vault => {
                return Err(reader.wrong("is of a vault, which the head does not promise"));
            }
            Line::Master(line) => write_master(&mut tx, line).await?,
            Line::Key(line) => write_key(&mut tx, line).await?,
            Line::Checkpoint(line) => write_checkpoint(&mut tx, line).await?,
            Line::End(end) => {
                if before != end.sha256 {
                    return Err(reader.wrong("the checksum is not that of the lines before: the file was changed"));
                }
                break end;
            }
        }
    };
    into.write(&mut tx, batch).await?;
    into.end(&mut tx, &header, &end).await.map_err(|error| match error {
        EndError::Wrong(what) => reader.wrong(what),
        EndError::Database(error) => error.into(),
    })?;
    progress(into.position, header.position);
    tx.commit().await?;
    sqlx::query("analyze").execute(&mut connection).await?;
    connection.close().await?;
    Ok(Summary { events: end.events, digest: end.digest, vault: header.vault })
}

/// Lines on their way in, and the hash over them.
struct Reader<'a> {
    from: &'a mut (dyn BufRead + Send),
    hash: Sha256,
    line: u64,
    /// Lines are shorter than this many bytes.
    limit: u64,
}

impl<'a> Reader<'a> {
    fn new(from: &'a mut (dyn BufRead + Send), limit: u64) -> Self {
        Self { from, hash: Sha256::new(), line: 0, limit }
    }

    fn wrong(&self, what: impl Into<String>) -> PortableError {
        PortableError::Line { line: self.line, what: what.into() }
    }

    /// The next line, with the hash of all before it and its length.
    fn next(&mut self) -> Result<(Line, Hash32, usize), PortableError> {
        let before = Hash32(self.hash.clone().finalize().into());
        let mut text = Vec::new();
        (&mut *self.from).take(self.limit).read_until(b'\n', &mut text)?;
        self.line += 1;
        if text.len() as u64 == self.limit {
            return Err(self.wrong("is longer than any line of an export"));
        }
        if text.last() != Some(&b'\n') {
            return Err(self.wrong("the file is cut off here"));
        }
        self.hash.update(&text);
        // The text of what is wrong may hold what is in the line: the place is enough.
        let line = serde_json::from_slice(&text)
            .map_err(|error| self.wrong(format!("is no line of an export (column {})", error.column())))?;
        Ok((line, before, text.len()))
    }
}

/// The log that is being filled.
struct Target {
    head: Head,
    position: Position,
    time: Timestamp,
    streams: HashMap<StreamName, (i64, i64)>,
    new_streams: Vec<(i64, StreamName)>,
    days: HashSet<Day>,
    accounts: i64,
    groups: i64,
    keys: i64,
    digest: Sha256,
}

enum EndError {
    Wrong(String),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for EndError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// An event that may be written: with the number of its stream.
type Checked = (Recorded, i64, Option<Sealed>);

impl Target {
    fn new(head: Head) -> Self {
        Self {
            head,
            position: Position::START,
            time: Timestamp::from_micros(i64::MIN),
            streams: HashMap::new(),
            new_streams: Vec::new(),
            days: HashSet::new(),
            accounts: 0,
            groups: 0,
            keys: 0,
            digest: Sha256::new(),
        }
    }

    /// Whether the event can follow those before it.
    fn check(&mut self, line: EventLine) -> Result<Checked, String> {
        let payload = line.payload.into_bytes();
        let event = Event::decode(&line.kind, line.schema, &payload).map_err(|error| error.to_string())?;
        let stream: StreamName = line.stream.parse().map_err(|_| "unknown stream name".to_owned())?;
        if line.position != self.position.next() {
            return Err(format!("position {} after {}", line.position, self.position));
        }
        if line.time < self.time {
            return Err("its time is before that of the event before".to_owned());
        }
        let next = self.streams.len() as i64 + 1;
        let (id, version) = self.streams.entry(stream).or_insert_with(|| {
            self.new_streams.push((next, stream));
            (next, 0)
        });
        if line.version != *version + 1 {
            return Err(format!("version {} of {stream} after version {version}", line.version));
        }
        *version = line.version;
        let id = *id;
        let actor = match line.actor {
            None => None,
            Some(number) => Some(AccId::new(number).ok_or_else(|| "the actor is no account".to_owned())?),
        };
        let sealed = match line.sealed {
            None => None,
            Some(sealed) => Some(Sealed {
                keys: sealed.keys,
                nonce: sealed.nonce.0.try_into().map_err(|_| "a nonce has 12 bytes".to_owned())?,
                bytes: sealed.bytes.0,
            }),
        };
        if sealed.as_ref().is_some_and(|sealed| Some(sealed.commitment()) != line.commitment) {
            return Err("what is sealed is not what the event commits to".to_owned());
        }
        if sealed.as_ref().is_some_and(|sealed| ![1, 3].contains(&sealed.keys.len())) {
            return Err("something is sealed under one key, or three".to_owned());
        }
        (self.position, self.time) = (line.position, line.time);
        count_numbers(&event, &mut self.accounts, &mut self.groups);
        self.keys = sealed.iter().flat_map(|sealed| &sealed.keys).copied().max().unwrap_or(0).max(self.keys);
        let recorded = Recorded {
            position: line.position,
            stream,
            version: line.version,
            time: line.time,
            actor,
            salt: line.salt,
            schema: line.schema,
            payload,
            sealed: line.commitment,
            event,
        };
        self.digest.update(recorded.hash().0);
        Ok((recorded, id, sealed))
    }

    /// Writes a batch and what follows from it.
    async fn write(&mut self, tx: &mut PgConnection, batch: Vec<Checked>) -> Result<(), sqlx::Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let new = std::mem::take(&mut self.new_streams);
        sqlx::query("insert into streams (id, name) select * from unnest($1::bigint[], $2::text[])")
            .bind(new.iter().map(|(id, _)| *id).collect::<Vec<_>>())
            .bind(new.iter().map(|(_, name)| name.to_string()).collect::<Vec<_>>())
            .execute(&mut *tx)
            .await?;
        let events = || batch.iter().map(|(event, ..)| event);
        sqlx::query(
            "insert into events (position, stream, version, kind, schema, time, actor, salt, payload, sealed)
             select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::smallint[],
                 $6::timestamptz[], $7::bigint[], $8::bytea[], $9::bytea[], $10::bytea[])",
        )
        .bind(events().map(|event| event.position.0).collect::<Vec<_>>())
        .bind(batch.iter().map(|(_, id, _)| *id).collect::<Vec<_>>())
        .bind(events().map(|event| event.version).collect::<Vec<_>>())
        .bind(events().map(|event| event.event.kind()).collect::<Vec<_>>())
        .bind(events().map(|event| event.schema.cast_signed()).collect::<Vec<_>>())
        .bind(events().map(|event| event.time.to_utc()).collect::<Vec<_>>())
        .bind(events().map(|event| event.actor.map(AccId::number)).collect::<Vec<_>>())
        .bind(events().map(|event| &event.salt.0[..]).collect::<Vec<_>>())
        .bind(events().map(|event| &event.payload[..]).collect::<Vec<_>>())
        .bind(events().map(|event| event.sealed.as_ref().map(|hash| &hash.0[..])).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
        self.write_sealed(tx, &batch).await?;
        let mut changes = Changes::default();
        events().for_each(|event| changes.apply(event));
        changes.write(tx, self.head.generation).await
    }

    async fn write_sealed(&mut self, tx: &mut PgConnection, batch: &[Checked]) -> Result<(), sqlx::Error> {
        let all = || batch.iter().filter_map(|(event, _, sealed)| sealed.as_ref().map(|sealed| (event, sealed)));
        let lasting: Vec<_> = all().filter(|(_, sealed)| !sealed.is_message()).collect();
        sqlx::query(
            "insert into sealed (position, key, nonce, bytes)
             select * from unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[])",
        )
        .bind(lasting.iter().map(|(event, _)| event.position.0).collect::<Vec<_>>())
        .bind(lasting.iter().map(|(_, sealed)| sealed.keys[0]).collect::<Vec<_>>())
        .bind(lasting.iter().map(|(_, sealed)| &sealed.nonce[..]).collect::<Vec<_>>())
        .bind(lasting.iter().map(|(_, sealed)| &sealed.bytes[..]).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
        let messages: Vec<_> = all().filter(|(_, sealed)| sealed.is_message()).collect();
        for (event, _) in &messages {
            if self.days.insert(event.time.day()) {
                partitions::make(tx, event.time.day()).await?;
            }
        }
        let key = |nth: usize| messages.iter().map(|(_, sealed)| sealed.keys[nth]).collect::<Vec<_>>();
        sqlx::query(
            "insert into sealed_message (day, position, account_key, stay_key, day_key, nonce, bytes)
             select * from unnest($1::date[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                 $6::bytea[], $7::bytea[])",
        )
        .bind(messages.iter().map(|(event, _)| event.time.day().0).collect::<Vec<_>>())
        .bind(messages.iter().map(|(event, _)| event.position.0).collect::<Vec<_>>())
        .bind(key(0))
        .bind(key(1))
        .bind(key(2))
        .bind(messages.iter().map(|(_, sealed)| &sealed.nonce[..]).collect::<Vec<_>>())
        .bind(messages.iter().map(|(_, sealed)| &sealed.bytes[..]).collect::<Vec<_>>())
        .execute(tx)
        .await?;
        Ok(())
    }

    /// Moves the head, if all that was promised is there.
    async fn end(&self, tx: &mut PgConnection, header: &Header, end: &End) -> Result<(), EndError> {
        let wrong = |what: &str| Err(EndError::Wrong(what.to_owned()));
        if end.events != self.position.0 || header.position != self.position {
            return wrong("there are not as many events as the file says");
        }
        if end.digest != Hash32(self.digest.clone().finalize().into()) {
            return wrong("the events are not those that were written");
        }
        if self.position > Position::START && header.time != self.time {
            return wrong("the head's time is not that of the newest event");
        }
        let largest: i64 = sqlx::query_scalar("select coalesce(max(id), 0) from vault.key").fetch_one(&mut *tx).await?;
        if header.accounts < self.accounts || header.groups < self.groups || header.keys < self.keys.max(largest) {
            return wrong("the head counts fewer accounts, groups or keys than there are");
        }
        sqlx::query(
            "update log_head set position = $1, time = $2, accounts = $3, groups = $4, streams = $5, keys = $6",
        )
        .bind(self.position.0)
        .bind(header.time.to_utc())
        .bind(header.accounts)
        .bind(header.groups)
        .bind(self.streams.len() as i64)
        .bind(header.keys)
        .execute(tx)
        .await?;
        Ok(())
    }
}

async fn write_master(tx: &mut PgConnection, line: MasterLine) -> Result<(), sqlx::Error> {
    sqlx::query("insert into vault.master (generation, check_value) values ($1, $2)")
        .bind(line.generation)
        .bind(line.check.0)
        .execute(tx)
        .await?;
    Ok(())
}

async fn write_key(tx: &mut PgConnection, line: KeyLine) -> Result<(), sqlx::Error> {
    sqlx::query("insert into vault.key (id, subject, wrapped, master) values ($1, $2, $3, $4)")
        .bind(line.id)
        .bind(line.subject)
        .bind(line.wrapped.map(|wrapped| wrapped.0))
        .bind(line.master)
        .execute(tx)
        .await?;
    Ok(())
}

async fn write_checkpoint(tx: &mut PgConnection, line: CheckpointLine) -> Result<(), sqlx::Error> {
    sqlx::query("insert into checkpoints (process, reached) values ($1, $2)")
        .bind(line.process)
        .bind(line.reached)
        .execute(tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_is_not_read_for_ever() {
        let mut endless = std::io::BufReader::new(std::io::repeat(b'a'));
        let error = Reader::new(&mut endless, 1000).next().unwrap_err();
        assert_eq!(error.to_string(), "line 1: is longer than any line of an export");
    }
}
