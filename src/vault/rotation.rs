//! Changing the rotating key while servers run, in steps that can be cut off anywhere.
//!
//! 1. The next key is put into the file, beside the present one.
//! 2. Every server that is connected has read it ([`super::watch()`]): else nothing goes on.
//! 3. The vault gets its generation, which wraps what is new from then on.
//! 4. All live data keys are wrapped under it, and the older generations are ended.
//! 5. After a time of grace the older keys are removed from the file and overwritten. From then on every copy of what was
//!    erased before step 3 opens nothing: older versions of rows, the write-ahead log, replicas, backups without that file.
//!
//! At every moment the file holds the keys of all generations that the vault has.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use be8_events::{KeyId, Timestamp};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};

use super::epochs::{Epoch, EpochFile};
use super::wrap::WrappingKey;
use super::{Files, MasterRow, Vault, VaultError, master_rows};

/// How long one step wraps keys before it returns.
const STEP: Duration = Duration::from_millis(250);

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
    async fn take(connect: &PgConnectOptions) -> Result<Option<Self>, VaultError> {
        let mut connection = PgConnection::connect_with(connect).await?;
        let taken: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
            .bind(LOCKS)
            .bind(ROTATION)
            .fetch_one(&mut connection)
            .await?;
        if taken {
            return Ok(Some(Self { connection, wrapped_to: KeyId::MIN }));
        }
        connection.close().await?;
        Ok(None)
    }

    /// How many servers there are, and how many of them have read this key.
    async fn readers(&mut self, key: &WrappingKey) -> Result<(i64, i64), VaultError> {
        let counted = sqlx::query_as(
            "select count(distinct pid) filter (where objid = $2::bigint::oid), count(distinct pid) filter (where objid = $3::bigint::oid)
             from pg_locks where locktype = 'advisory' and objsubid = 2 and granted and classid = $1::bigint::oid
                 and database = (select oid from pg_database where datname = current_database())",
        )
        .bind(i64::from(LOCKS))
        .bind(i64::from(SERVER))
        .bind(i64::from(lock_of(key)))
        .fetch_one(&mut self.connection)
        .await?;
        Ok(counted)
    }

    /// Gives the lock back.
    pub async fn release(self) {
        // It goes with the connection, however that ends.
        let _ = self.connection.close().await;
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
    /// When it began.
    pub made_at: DateTime<Utc>,
    /// When everything was wrapped under it; none: that is under way, or it was so from the beginning.
    pub wrapped_at: Option<DateTime<Utc>>,
    /// Whether data keys are still wrapped under an older one.
    pub under_way: bool,
}

/// Where the vault stands; none if there is no vault.
///
/// # Errors
/// If the database fails.
pub async fn rotation_state(pool: &PgPool) -> Result<Option<RotationState>, VaultError> {
    type Row = (i32, i64, DateTime<Utc>, Option<DateTime<Utc>>, i64);
    let row: Option<Row> = sqlx::query_as(
        "select generation, position, made_at, wrapped_at, (select count(*) from vault.master)
         from vault.master order by generation desc limit 1",
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|(generation, position, made_at, wrapped_at, generations)| RotationState {
        generation,
        position,
        made_at,
        wrapped_at,
        under_way: generations > 1,
    }))
}

/// The generations of the rotating keys in a file; none if there is no file.
///
/// # Errors
/// If the file cannot be read.
pub fn rotating_generations(rotating: &Path) -> Result<Vec<i32>, VaultError> {
    let epochs = EpochFile(rotating.to_owned()).read()?.unwrap_or_default();
    Ok(epochs.iter().map(|epoch| epoch.generation).collect())
}

/// What a rotation notes of its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Begin {
    /// The newest position of the log.
    pub position: i64,
    /// The time.
    pub now: Timestamp,
    /// Whether to begin one, if none is under way.
    pub wanted: bool,
    /// How long older keys are kept after it.
    pub grace: TimeDelta,
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
        self.files.as_ref().is_some_and(|files| self.ring().newest_is(&WrappingKey::new(&files.master)))
    }

    /// Whether a rotation is under way, or older keys wait to be destroyed.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn has_rotation_to_do(&self, state: &RotationState) -> Result<bool, VaultError> {
        let epochs = self.files.as_ref().map(Files::epochs).transpose()?.unwrap_or_default();
        Ok(state.under_way || epochs.iter().any(|epoch| epoch.generation != state.generation))
    }

    /// Takes the right to change the rotating key; none if somebody else has it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn take_rotation_lock(&self) -> Result<Option<RotationLock>, VaultError> {
        RotationLock::take(&self.pool.connect_options()).await
    }

    /// Does the next bit of a rotation: what is under way, or the begin of one that is wanted.
    ///
    /// # Errors
    /// [`VaultError`]: what was begun is gone on with by the next call.
    pub async fn rotation_step(&self, lock: &mut RotationLock, begin: Begin) -> Result<RotationStep, VaultError> {
        let files = self.files.as_ref().ok_or(VaultError::NoRotatingFile)?;
        let rows = master_rows(&self.pool).await?;
        let newest = rows.last().ok_or(VaultError::WrongMaster { generation: 1 })?;
        if rows.len() > 1 {
            return self.wrap_on(lock, newest.generation, begin.now).await;
        }
        let mut epochs = files.epochs()?;
        if let Some(next) = epochs.iter().find(|epoch| epoch.generation > newest.generation) {
            let key = WrappingKey::rotating(&files.master, &next.key);
            let (servers, ready) = lock.readers(&key).await?;
            if ready < servers {
                return Ok(RotationStep::Waiting { servers, ready });
            }
            self.add_rotated(next.generation, &key, begin).await?;
            lock.wrapped_to = KeyId::MIN;
            self.renew_ring().await?;
            return Ok(RotationStep::Working);
        }
        if epochs.iter().any(|epoch| epoch.generation < newest.generation) {
            let ended = rotation_state(&self.pool).await?.and_then(|state| state.wrapped_at.or(Some(state.made_at)));
            if ended.is_none_or(|ended| begin.now.to_utc() >= ended + begin.grace) {
                self.destroy_older(files, newest, &epochs).await?;
                return Ok(RotationStep::Destroyed);
            }
        }
        if !begin.wanted {
            return Ok(RotationStep::Idle);
        }
        if epochs.is_empty() {
            // A vault of before: the file is made with a key for its next generation.
            files.epochs.create(newest.generation + 1)?;
        } else if epochs.iter().all(|epoch| epoch.generation <= newest.generation) {
            epochs.push(Epoch::random(newest.generation + 1));
            files.epochs.replace(&epochs)?;
        }
        Ok(RotationStep::Working)
    }

    /// Wraps keys for a while, and ends the older generations when none is left.
    async fn wrap_on(
        &self,
        lock: &mut RotationLock,
        generation: i32,
        now: Timestamp,
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
        let mut end = self.pool.begin().await?;
        sqlx::query("update vault.master set wrapped_at = $2 where generation = $1")
            .bind(generation)
            .bind(now.to_utc())
            .execute(&mut *end)
            .await?;
        let ended =
            sqlx::query("delete from vault.master where generation < $1").bind(generation).execute(&mut *end).await;
        match ended {
            Ok(_) => {
                end.commit().await?;
                Ok(RotationStep::Wrapped(generation))
            }
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => Ok(RotationStep::Working),
            Err(error) => Err(error.into()),
        }
    }

    async fn add_rotated(&self, generation: i32, key: &WrappingKey, begin: Begin) -> Result<(), VaultError> {
        sqlx::query("insert into vault.master (generation, check_value, position, made_at) values ($1, $2, $3, $4)")
            .bind(generation)
            .bind(key.check_value(generation))
            .bind(begin.position)
            .bind(begin.now.to_utc())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Removes the older keys from the file, having made sure that the one that stays opens the vault.
    async fn destroy_older(&self, files: &Files, newest: &MasterRow, epochs: &[Epoch]) -> Result<(), VaultError> {
        let kept: Vec<Epoch> = epochs.iter().filter(|epoch| epoch.generation >= newest.generation).cloned().collect();
        if !kept.iter().any(|epoch| WrappingKey::rotating(&files.master, &epoch.key).opens(newest)) {
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
        let mut connection = PgConnection::connect_with(&self.pool.connect_options()).await?;
        // It must not wait for ever for whoever holds the table, but may take its time with a large one.
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
    pub(super) fn connect_options(&self) -> Arc<PgConnectOptions> {
        self.pool.connect_options()
    }

    /// Whether its keys come from files.
    pub(super) fn has_files(&self) -> bool {
        self.files.is_some()
    }
}
