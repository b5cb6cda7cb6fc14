//! What the transparency log keeps in PostgreSQL: its tiles, every head that was signed, and what was cosigned of
//! others. Tables beside the log of events, of which they are made; only the holder of a [`Lead`]
//! writes the own ones.

use std::collections::BTreeMap;
use std::time::Duration;

use be8_database::{Pool, with_deadline};
use be8_events::{Hash32, Position};
use sqlx::postgres::PgRow;
use sqlx::{Connection, Row};

use super::{Lead, Log, LogError};

/// A tile: its level, and its number in the level.
pub type TileId = (u8, u64);

/// The bytes of some tiles: hashes of 32 bytes, at most 256.
pub type Tiles = BTreeMap<TileId, Vec<u8>>;

/// A head of the log that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// How many entries it covers.
    pub size: u64,
    /// Their root.
    pub root: Hash32,
    /// The checkpoint as it was signed.
    pub note: String,
    /// The lines of the witnesses.
    pub cosignatures: String,
    /// Up to where the map of histories goes that its last entry commits to; none of a head that an older build signed.
    pub histories: Option<u64>,
}

impl SignedHead {
    /// The checkpoint with all signatures.
    pub fn checkpoint(&self) -> String {
        format!("{}{}", self.note, self.cosignatures)
    }
}

/// What was last cosigned of a foreign log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// How many entries.
    pub size: u64,
    /// Their root.
    pub root: Hash32,
}

/// The tables of the transparency log, for reading.
#[derive(Debug, Clone)]
pub struct TransparencyTables {
    pub(super) pool: Pool,
}

impl TransparencyTables {
    /// Those beside this log.
    pub fn of(log: &Log) -> Self {
        Self { pool: log.pool().clone() }
    }

    /// Tiles at their stored width; those that do not exist are left out.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn tiles(&self, ids: impl IntoIterator<Item = TileId>) -> Result<Tiles, LogError> {
        let (levels, numbers): (Vec<i16>, Vec<i64>) =
            ids.into_iter().map(|(level, number)| (i16::from(level), signed(number))).unzip();
        if levels.is_empty() {
            return Ok(Tiles::new());
        }
        let rows = sqlx::query(
            "select t.level, t.number, t.hashes from unnest($1::smallint[], $2::bigint[]) u(level, number)
             join audit_tiles t on t.level = u.level and t.number = u.number",
        )
        .bind(levels)
        .bind(numbers)
        .fetch_all(&self.pool)
        .await?;
        let tile = |row: &PgRow| {
            let (level, number): (i16, i64) = (row.try_get("level")?, row.try_get("number")?);
            Ok(((u8::try_from(level).unwrap_or(u8::MAX), number.unsigned_abs()), row.try_get("hashes")?))
        };
        rows.iter().map(tile).collect()
    }

    /// How many entries the tiles hold.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn size(&self) -> Result<u64, LogError> {
        let last: Option<(i64, i32)> = sqlx::query_as(
            "select number, length(hashes) from audit_tiles where level = 0 order by number desc limit 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(last.map_or(0, |(number, bytes)| number.unsigned_abs() * 256 + u64::from(bytes.unsigned_abs()) / 32))
    }

    /// The public key of the log, and its number among those that this database had; none before
    /// the first start.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn log_key(&self) -> Result<Option<(i32, String)>, LogError> {
        let newest = sqlx::query_as("select id, key from audit_logs order by id desc limit 1");
        Ok(newest.fetch_optional(&self.pool).await?)
    }

    /// Names the key of a log that has none yet. Somebody else may have been faster: look again.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn name_key(&self, key: &str) -> Result<(), LogError> {
        sqlx::query("insert into audit_logs (id, key) values (1, $1) on conflict (id) do nothing")
            .bind(key)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The newest head.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn newest_head(&self) -> Result<Option<SignedHead>, LogError> {
        let row = sqlx::query(
            "select size, root, note, cosignatures, histories from audit_heads
             where log = (select max(id) from audit_logs) order by size desc limit 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(head).transpose()
    }

    /// The newest head that covers this many entries: one that witnesses have signed if there is such.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn head_covering(&self, size: u64) -> Result<Option<SignedHead>, LogError> {
        let row = sqlx::query(
            "select * from (
                 (select size, root, note, cosignatures, histories, 1 as rank from audit_heads
                  where log = (select max(id) from audit_logs) and cosignatures <> '' and size >= $1 order by size desc limit 1)
                 union all
                 (select size, root, note, cosignatures, histories, 2 from audit_heads
                  where log = (select max(id) from audit_logs) and size >= $1 order by size desc limit 1)) h
             order by rank limit 1",
        )
        .bind(signed(size))
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(head).transpose()
    }

    /// Requests a head that covers this many entries; answers how long none is signed on request.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn want_head(&self, size: u64) -> Result<Duration, LogError> {
        sqlx::query("update audit_wanted set size = $1 where size < $1").bind(signed(size)).execute(&self.pool).await?;
        let wait: Option<f64> =
            sqlx::query_scalar("select extract(epoch from next - clock_timestamp())::float8 from audit_wanted")
                .fetch_one(&self.pool)
                .await?;
        Ok(Duration::try_from_secs_f64(wait.unwrap_or_default()).unwrap_or_default())
    }

    /// How many entries a head was requested for, if one may be signed on request now. None is signed for `pause` after the
    /// last one; a longer wait comes of a clock of PostgreSQL that was wrong for a while.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn wanted_head(&self, pause: Duration) -> Result<Option<u64>, LogError> {
        let wanted: Option<i64> = sqlx::query_scalar(
            "select size from audit_wanted where next is null
                 or next not between clock_timestamp() and clock_timestamp() + make_interval(secs => $1)",
        )
        .bind(pause.as_secs_f64())
        .fetch_optional(&self.pool)
        .await?;
        Ok(wanted.map(i64::unsigned_abs))
    }

    /// What was last cosigned of a foreign log.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn witnessed(&self, origin: &str) -> Result<Option<Witnessed>, LogError> {
        let row = sqlx::query("select size, root from audit_witnessed where origin = $1")
            .bind(origin)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| Ok(Witnessed { size: row.try_get::<i64, _>("size")?.unsigned_abs(), root: root(&row)? }))
            .transpose()
    }

    /// Notes what is about to be cosigned of a foreign log, if what was last noted is still `old`:
    /// of two requests at once only one succeeds.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn witness(
        &self,
        origin: &str,
        old: Option<&Witnessed>,
        new: &Witnessed,
        note: &str,
    ) -> Result<bool, LogError> {
        let query = match old {
            None => sqlx::query(
                "insert into audit_witnessed (origin, size, root, note) values ($1, $2, $3, $4)
                 on conflict (origin) do nothing",
            ),
            Some(_) => sqlx::query(
                "update audit_witnessed set size = $2, root = $3, note = $4
                 where origin = $1 and size = $5 and root = $6",
            ),
        };
        let query = query.bind(origin).bind(signed(new.size)).bind(&new.root.0[..]).bind(note);
        let query = match old {
            None => query,
            Some(old) => query.bind(signed(old.size)).bind(&old.root.0[..]),
        };
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }
}

impl Lead {
    /// Stores tiles that are new or grew, all or none: only in a database whose log has their newest event, by its position and
    /// salt. False if it has not: that database lost events, or is another one, and this node has not noticed it yet.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn store_tiles(&mut self, tiles: Tiles, (newest, salt): (Position, Hash32)) -> Result<bool, LogError> {
        let (mut levels, mut numbers, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for ((level, number), bytes) in tiles {
            levels.push(i16::from(level));
            numbers.push(signed(number));
            hashes.push(bytes);
        }
        let wanted = levels.len();
        // What was there before must be the beginning of what is there then.
        let write = async {
            let mut transaction = self.transactions().begin().await?;
            let (has_newest, written): (bool, i64) = sqlx::query_as(
                "with newest as (select from events where position = $4 and salt = $5)
                 , written as (
                     insert into audit_tiles as t (level, number, hashes)
                     select u.* from newest, unnest($1::smallint[], $2::bigint[], $3::bytea[]) u
                     on conflict (level, number) do update set hashes = excluded.hashes
                     where substring(excluded.hashes for length(t.hashes)) = t.hashes
                     returning 1)
                 select exists (select from newest), (select count(*) from written)",
            )
            .bind(levels)
            .bind(numbers)
            .bind(hashes)
            .bind(newest.0)
            .bind(&salt.0[..])
            .fetch_one(&mut *transaction)
            .await?;
            if has_newest && usize::try_from(written) != Ok(wanted) {
                return Err(LogError::Stored(REWRITTEN));
            }
            transaction.commit().await?;
            Ok(has_newest)
        };
        with_deadline(LIMIT, write).await
    }

    /// Begins another log under another key, over the same events. The heads of the one before stay.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn begin_log(&mut self, key: &str) -> Result<(), LogError> {
        let begin = async {
            let mut transaction = self.transactions().begin().await?;
            // Made again from the events, whatever they were.
            sqlx::query("delete from audit_tiles").execute(&mut *transaction).await?;
            sqlx::query("delete from audit_map_nodes").execute(&mut *transaction).await?;
            sqlx::query("update audit_map set until = 0, oldest = 0").execute(&mut *transaction).await?;
            sqlx::query("insert into audit_logs (id, key) select coalesce(max(id), 0) + 1, $1 from audit_logs")
                .bind(key)
                .execute(&mut *transaction)
                .await?;
            Ok(transaction.commit().await?)
        };
        with_deadline(LIMIT, begin).await
    }

    /// Publishes a head that was signed. Heads only grow.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn store_head(&mut self, head: &SignedHead) -> Result<(), LogError> {
        let done = sqlx::query(
            "insert into audit_heads (log, size, root, note, cosignatures, histories)
             select l.id, $1, $2, $3, $4, $5 from (select max(id) as id from audit_logs) l
             where not exists (select from audit_heads h where h.log = l.id and h.size >= $1)",
        )
        .bind(signed(head.size))
        .bind(&head.root.0[..])
        .bind(&head.note)
        .bind(&head.cosignatures)
        .bind(head.histories.map(signed))
        .execute(self.connection())
        .await?;
        let what = "a head of the transparency log that is no newer than the last one";
        if done.rows_affected() == 1 { Ok(()) } else { Err(LogError::Stored(what)) }
    }

    /// Lets no head be signed on request for this time.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn no_head_on_request_for(&mut self, time: Duration) -> Result<(), LogError> {
        sqlx::query("update audit_wanted set next = clock_timestamp() + make_interval(secs => $1)")
            .bind(time.as_secs_f64())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Adds what witnesses said of a head.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn add_cosignature(&mut self, size: u64, line: &str) -> Result<(), LogError> {
        sqlx::query(
            "update audit_heads set cosignatures = cosignatures || $2 where log = (select max(id) from audit_logs) and size = $1",
        )
        .bind(signed(size))
        .bind(line)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

/// How long a transaction that writes tiles may take; one that begins another log deletes those of all events.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

const REWRITTEN: &str = "a tile of the transparency log that does not begin as the stored one";

/// Sizes and numbers of tiles count events, which PostgreSQL counts in 63 bits too.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn head(row: &PgRow) -> Result<SignedHead, LogError> {
    Ok(SignedHead {
        size: row.try_get::<i64, _>("size")?.unsigned_abs(),
        root: root(row)?,
        note: row.try_get("note")?,
        cosignatures: row.try_get("cosignatures")?,
        histories: row.try_get::<Option<i64>, _>("histories")?.map(i64::unsigned_abs),
    })
}

pub(super) fn root(row: &PgRow) -> Result<Hash32, LogError> {
    let bytes: &[u8] = row.try_get("root")?;
    let what = "the root of a checkpoint is not 32 bytes long";
    bytes.try_into().map(Hash32).map_err(|_| LogError::Stored(what))
}
