//! Changing the rotating key while servers run, in steps that can be cut off anywhere.
//!
//! 1. The next key is put into the file, beside the present one.
//! 2. Every server that is connected has read it ([`super::watch()`]): else nothing goes on.
//! 3. The vault gets its generation, which wraps what is new from then on.
//! 4. All live data keys are wrapped under it, and the older generations are ended.
//! 5. After a time of grace the older keys are removed from the file and overwritten. From then on every copy of what was
//!    erased before step 3 opens nothing: older versions of rows, the write-ahead log, replicas, backups without that file.
//!
//! At every moment the file holds the keys of all generations that the vault has. What changes the vault's generations is
//! written through the connection that holds the lock, so that nobody does it who has lost the lock.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use be8_database::{Connector, Deadline, Pool, with_deadline};
use be8_events::{KeyId, Timestamp};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection, PgConnection};

use super::epochs::{Epoch, EpochFile};
use super::wrap::WrappingKey;
use super::{Files, MasterRow, Vault, VaultError, master_rows};

/// How long one step wraps keys before it returns.
const STEP: Duration = Duration::from_millis(250);

/// How long a statement may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The times of two servers agree as far.
const AGREEMENT: TimeDelta = TimeDelta::minutes(1);

/// The first half of the advisory locks of the vault: `be8v`.
pub(super) const LOCKS: i32 = 0x6265_3876;

/// The second half of the lock that each server shares, of the one that a rotation holds, and the least one of a key.
pub(super) const SERVER: i32 = 0;
const ROTATION: i32 = 1;
const LEAST_KEY: i32 = 16;

/// The right to change the rotating key. It goes with the connection.
#[derive(Debug)]
pub struct RotationLock {
    connection: PgConnection,
    /// Up to where the keys are wrapped in this pass.
    wrapped_to: KeyId,
}

impl RotationLock {
    /// Takes the lock; none if somebody else has it.
    async fn take(connect: &Connector) -> Result<Option<Self>, VaultError> {
        let mut connection = connect.connect().await?;
        let taken: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
            .bind(LOCKS)
            .bind(ROTATION)
            .fetch_one(Deadline::new(&mut connection, LIMIT))
            .await?;
        if taken {
            return Ok(Some(Self { connection, wrapped_to: KeyId::MIN }));
        }
        with_deadline(LIMIT, connection.close()).await?;
        Ok(None)
    }

    /// The connection, for one statement.
    const fn deadline(&mut self) -> Deadline<'_> {
        Deadline::new(&mut self.connection, LIMIT)
    }

    /// How many servers there are, and how many of them have read this key.
    async fn readers(&mut self, key: &WrappingKey) -> Result<(i64, i64), VaultError> {
        let counted = sqlx::query_as(
            "select count(distinct pid) filter (where objid = $2::bigint::oid),
                 count(distinct pid) filter (where objid = $3::bigint::oid)
             from pg_locks where locktype = 'advisory' and objsubid = 2 and granted and classid = $1::bigint::oid
                 and database = (select oid from pg_database where datname = current_database())",
        )
        .bind(i64::from(LOCKS))
        .bind(i64::from(SERVER))
        .bind(i64::from(lock_of(key)))
        .fetch_one(self.deadline())
        .await?;
        Ok(counted)
    }

    /// Ends all generations before this one, and notes when; false if one of them still wraps a key.
    async fn end_older(&mut self, generation: i32, now: Timestamp) -> Result<bool, VaultError> {
        with_deadline(LIMIT, self.end_older_now(generation, now)).await
    }

    async fn end_older_now(&mut self, generation: i32, now: Timestamp) -> Result<bool, VaultError> {
        let mut end = self.connection.begin().await?;
        let ended =
            sqlx::query("delete from vault.master where generation < $1").bind(generation).execute(&mut *end).await;
        match ended {
            Ok(_) => {}
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => {
                end.rollback().await?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        // From the statement above on, no append can write a key that is wrapped under an older one.
        sqlx::query(
            "update vault.master
             set wrapped_at = $2, alone_until = coalesce(alone_until, (select position from log_head))
             where generation = $1",
        )
        .bind(generation)
        .bind(now.to_utc())
        .execute(&mut *end)
        .await?;
        end.commit().await?;
        Ok(true)
    }

    /// Whether the keys before this generation have been kept for as long as they should be.
    async fn is_grace_over(&mut self, generation: i32, begin: Begin) -> Result<bool, VaultError> {
        let now = begin.trusted.to_utc();
        let (wrapped_at, made_at): (Option<DateTime<Utc>>, DateTime<Utc>) =
            sqlx::query_as("select wrapped_at, made_at from vault.master where generation = $1")
                .bind(generation)
                .fetch_one(self.deadline())
                .await?;
        let from = wrapped_at.unwrap_or(made_at);
        if from > now + AGREEMENT {
            // It was noted by a clock that was ahead, which must not keep the keys for as long as it was.
            sqlx::query("update vault.master set wrapped_at = $2 where generation = $1")
                .bind(generation)
                .bind(now)
                .execute(self.deadline())
                .await?;
            return Ok(begin.grace <= TimeDelta::zero());
        }
        Ok(begin.grace <= TimeDelta::zero() || now >= from + begin.grace)
    }

    /// Gives the lock back.
    pub async fn release(self) {
        // It goes with the connection, however that ends.
        let _ = with_deadline(LIMIT, self.connection.close()).await;
    }
}

/// The second half of the lock by which a server says that it has read a key.
pub(super) fn lock_of(key: &WrappingKey) -> i32 {
    let [a, b, c, d, ..] = key.name();
    (i32::from_be_bytes([a, b, c, d]) & i32::MAX).max(LEAST_KEY)
}

/// Where the vault stands between two rotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationState {
    /// The generation that wraps new keys.
    pub generation: i32,
    /// What was erased up to here was never wrapped under it.
    pub position: i64,
    /// Up to this position data keys may have been wrapped under the master key alone, which is never destroyed; none: they
    /// still are, or that is not known.
    pub alone_until: Option<i64>,
    /// When it began.
    pub made_at: DateTime<Utc>,
    /// When everything was wrapped under it; none: that is under way, or it was so from the beginning.
    pub wrapped_at: Option<DateTime<Utc>>,
    /// Whether data keys are still wrapped under an older one.
    pub under_way: bool,
    /// When the oldest generation under which there are data keys began.
    pub oldest_made_at: DateTime<Utc>,
    /// What was erased up to here was never wrapped under that one.
    pub oldest_position: i64,
}

/// Where the vault stands; none if there is no vault.
///
/// # Errors
/// If the database fails.
pub async fn rotation_state(pool: &Pool) -> Result<Option<RotationState>, VaultError> {
    type Row = (i32, i64, Option<i64>, DateTime<Utc>, Option<DateTime<Utc>>, i32, DateTime<Utc>, i64);
    let row: Option<Row> = sqlx::query_as(
        "select m.generation, m.position, m.alone_until, m.made_at, m.wrapped_at, o.generation, o.made_at, o.position
         from (select * from vault.master order by generation desc limit 1) m,
             (select * from vault.master order by generation limit 1) o",
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|(generation, position, alone_until, made_at, wrapped_at, oldest, oldest_made_at, oldest_position)| {
        RotationState {
            generation,
            position,
            alone_until,
            made_at,
            wrapped_at,
            under_way: oldest < generation,
            oldest_made_at,
            oldest_position,
        }
    }))
}

/// Whether a file holds the rotating key of this generation and no other, and nothing is left of one that was replaced.
///
/// # Errors
/// If the file cannot be read.
pub fn holds_only(rotating: &Path, generation: i32) -> Result<bool, VaultError> {
    let file = EpochFile(rotating.to_owned());
    let epochs = file.read()?.unwrap_or_default();
    let only = !epochs.is_empty() && epochs.iter().all(|epoch| epoch.generation == generation);
    Ok(only && !file.has_left())
}

/// What a rotation notes of its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Begin {
    /// The newest position of the log.
    pub position: i64,
    /// The time.
    pub now: Timestamp,
    /// A time that does not follow a clock that jumps: the time of grace is measured by it.
    pub trusted: Timestamp,
    /// Whether to begin one, if none is under way.
    pub wanted: bool,
    /// How long older keys are kept after it.
    pub grace: TimeDelta,
    /// Whether a server does it, which counts itself among those that must have read the next key.
    pub serving: bool,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStep {
    /// There is nothing to do.
    Idle,
    /// Something was done, and something follows.
    Working,
    /// Not all servers have read the new key.
    Waiting {
        /// How many servers there are.
        servers: i64,
        /// How many of them have read it.
        ready: i64,
    },
    /// All data keys are wrapped under this generation.
    Wrapped(i32),
    /// The older keys are destroyed.
    Destroyed,
}

impl Files {
    /// Puts the key of the next generation into the file. A vault that had no rotating key gets the file with it.
    fn add_next(&self, mut epochs: Vec<Epoch>, generation: i32) -> Result<(), VaultError> {
        if epochs.is_empty() {
            return self.epochs.create(generation, &self.names.master);
        }
        epochs.push(Epoch::random(generation));
        self.epochs.replace(&epochs)
    }
}

impl Vault {
    /// Where the vault stands.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn rotation_state(&self) -> Result<Option<RotationState>, VaultError> {
        rotation_state(&self.pool).await
    }

    /// Whether data keys are wrapped under the master key alone, as they were before there were rotating keys.
    pub fn is_without_rotating_key(&self) -> bool {
        self.has_files() && !self.ring().is_rotating()
    }

    /// Whether a rotation is under way, or older keys wait to be destroyed.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn has_rotation_to_do(&self, state: &RotationState) -> Result<bool, VaultError> {
        let Some(files) = &self.files else { return Ok(false) };
        let others = files.epochs()?.iter().any(|epoch| epoch.generation != state.generation);
        Ok(state.under_way || others || files.epochs.has_left())
    }

    /// Whether the file still holds a key that is older than the one in use, or something is left of one that was replaced.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn keeps_older(&self, state: &RotationState) -> Result<bool, VaultError> {
        let Some(files) = &self.files else { return Ok(false) };
        let older = files.epochs()?.iter().any(|epoch| epoch.generation < state.generation);
        Ok(older || files.epochs.has_left())
    }

    /// Takes the right to change the rotating key; none if somebody else has it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn take_rotation_lock(&self) -> Result<Option<RotationLock>, VaultError> {
        RotationLock::take(self.pool.connector()).await
    }

    /// Does the next bit of a rotation: what is under way, or the begin of one that is wanted.
    ///
    /// # Errors
    /// [`VaultError`]: what was begun is continued by the next call.
    pub async fn rotation_step(&self, lock: &mut RotationLock, begin: Begin) -> Result<RotationStep, VaultError> {
        let files = self.files.as_ref().ok_or(VaultError::NoRotatingFile)?;
        let rows = master_rows(lock.deadline()).await?;
        let newest = rows.last().ok_or(VaultError::WrongMaster { generation: 1 })?;
        files.epochs.overwrite_left()?;
        if rows.len() > 1 {
            return self.wrap_on(lock, newest.generation, begin).await;
        }
        let epochs = files.epochs()?;
        let opens = |epoch: &Epoch| files.wrapping(epoch).opens(newest);
        // A file that was lost must not be made again with another key: the next start would open nothing.
        if !epochs.iter().any(opens) && !WrappingKey::new(&files.master).opens(newest) {
            return Err(files.named(VaultError::WrongMaster { generation: newest.generation }));
        }
        if let Some(next) = epochs.iter().find(|epoch| epoch.generation > newest.generation) {
            return self.begin_generation(lock, next.generation, &files.wrapping(next), begin).await;
        }
        let older = epochs.iter().any(|epoch| epoch.generation < newest.generation);
        if older && lock.is_grace_over(newest.generation, begin).await? {
            self.destroy_older(files, newest, &epochs).await?;
            return Ok(RotationStep::Destroyed);
        }
        if !begin.wanted {
            return Ok(RotationStep::Idle);
        }
        files.add_next(epochs, newest.generation + 1)?;
        Ok(RotationStep::Working)
    }

    /// Gives the vault a generation whose key the file holds, once all servers have read it.
    async fn begin_generation(
        &self,
        lock: &mut RotationLock,
        generation: i32,
        key: &WrappingKey,
        begin: Begin,
    ) -> Result<RotationStep, VaultError> {
        let (servers, ready) = lock.readers(key).await?;
        if ready < servers || (begin.serving && servers == 0) {
            return Ok(RotationStep::Waiting { servers, ready });
        }
        sqlx::query(
            "insert into vault.master (generation, check_value, position, made_at, alone_until)
             select $1, $2, $3, $4, alone_until from vault.master order by generation desc limit 1",
        )
        .bind(generation)
        .bind(key.check_value(generation))
        .bind(begin.position)
        .bind(begin.now.to_utc())
        .execute(lock.deadline())
        .await?;
        lock.wrapped_to = KeyId::MIN;
        self.renew_ring().await?;
        Ok(RotationStep::Working)
    }

    /// Wraps keys for a while, and ends the older generations when none is left.
    async fn wrap_on(
        &self,
        lock: &mut RotationLock,
        generation: i32,
        begin: Begin,
    ) -> Result<RotationStep, VaultError> {
        let ring = self.renew_ring().await?;
        let key = ring.wrapping(generation)?;
        let began = Instant::now();
        while let Some((last, _)) = self.wrap_step(generation, &key, lock.wrapped_to).await? {
            lock.wrapped_to = last;
            if began.elapsed() > STEP {
                return Ok(RotationStep::Working);
            }
        }
        // Rows that others held were left out: the next pass looks for them.
        lock.wrapped_to = KeyId::MIN;
        match lock.end_older(generation, begin.trusted).await? {
            true => Ok(RotationStep::Wrapped(generation)),
            false => Ok(RotationStep::Working),
        }
    }

    /// Removes the older keys from the file, having made sure that the one that stays opens the vault.
    async fn destroy_older(&self, files: &Files, newest: &MasterRow, epochs: &[Epoch]) -> Result<(), VaultError> {
        let kept: Vec<Epoch> = epochs.iter().filter(|epoch| epoch.generation >= newest.generation).cloned().collect();
        if !kept.iter().any(|epoch| files.wrapping(epoch).opens(newest)) {
            return Err(files.named(VaultError::WrongMaster { generation: newest.generation }));
        }
        files.epochs.replace(&kept)?;
        self.renew_ring().await.map(drop)
    }

    /// Has PostgreSQL reuse the space of row versions that hold erased keys; whether none of them is left, since a
    /// transaction that began before an erasure keeps them.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vacuum(&self) -> Result<bool, VaultError> {
        let connector = self.pool.connector();
        let vacuum = async {
            let mut connection = connector.connect().await?;
            // It must not wait forever for the holder of a lock, but may take its time with a large one.
            for statement in
                ["set statement_timeout = '10min'", "set lock_timeout = '10s'", "vacuum (index_cleanup on) vault.key"]
            {
                sqlx::raw_sql(statement).execute(&mut connection).await?;
            }
            let left: Option<i64> =
                sqlx::query_scalar("select n_dead_tup from pg_stat_all_tables where relid = 'vault.key'::regclass")
                    .fetch_optional(&mut connection)
                    .await?;
            connection.close().await?;
            Ok::<_, VaultError>(left)
        };
        let left = connector.watched(vacuum).await?;
        Ok(left == Some(0))
    }

    /// The keys that are at hand, each by the lock that says so.
    pub(super) async fn locks_of_keys(&self) -> Result<Vec<i32>, VaultError> {
        self.renew_ring().await?;
        let files = self.files.as_ref().ok_or(VaultError::NoRotatingFile)?;
        let keys = files.keys()?;
        Ok(keys.iter().map(Arc::as_ref).map(lock_of).collect())
    }

    /// How this vault's database is connected to.
    pub(super) const fn connector(&self) -> &Connector {
        self.pool.connector()
    }

    /// Whether its keys come from files.
    pub(super) fn has_files(&self) -> bool {
        self.files.is_some()
    }
}
