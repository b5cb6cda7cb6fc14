//! The vault: the data keys under which personal data is sealed, and the master key that wraps
//! them.
//!
//! Every [`Subject`] has one data key in its life. It lies in the database wrapped by the master
//! key, which lies in a file; erasing it there erases forever all that it sealed. Keys are born
//! and die in appends to the log, so this room writes no key by itself: the ledger inserts what
//! [`Vault::fresh_key`] returns, and reports what was committed by [`Vault::remember`] and
//! [`Vault::forget`].
//!
//! What is cached is only ever used for keys that a statement named live: sealing takes keys from
//! [`Vault::find`], reading passes the keys that its own statement found live to
//! [`Vault::opener`].

mod block;
mod cache;
mod epochs;
mod error;
#[cfg(test)]
mod fixtures;
mod key;
mod master;
mod opener;
mod rotate;
mod rotation;
mod seal;
#[cfg(test)]
mod vectors;
mod watch;
mod wrap;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

use be8_database::Pool;
use be8_events::erasure::DeletedKey;
use be8_events::{KeyId, Sealed, SealedContext, Subject};
use sqlx::PgExecutor;

pub use block::BlockCipher;
pub use error::VaultError;
pub use key::DataKey;
pub use master::MasterKey;
pub use opener::Opener;
pub use rotation::{Begin, RotationLock, RotationState, RotationStep, holds_only, rotation_state};
pub use seal::KeySet;
pub use watch::watch;

use cache::{Cache, Moment};
use epochs::{Epoch, EpochFile};
use wrap::{Ring, WrappingKey};

/// The keys of one log, opened with the master key.
pub struct Vault {
    pool: Pool,
    ring: RwLock<Arc<Ring>>,
    cache: Cache,
    /// The files that the keys come from, for a vault that was opened by them.
    files: Option<Files>,
}

/// Where the keys of a vault lie.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    /// The master key.
    pub master: PathBuf,
    /// The rotating keys, which change on a schedule.
    pub rotating: PathBuf,
    /// Whether a new vault gets a rotating key.
    pub rotate: bool,
}

/// The master key with the file of rotating keys.
struct Files {
    names: KeyFiles,
    master: MasterKey,
    epochs: EpochFile,
}

impl Files {
    /// The rotating keys that are there now.
    fn epochs(&self) -> Result<Vec<Epoch>, VaultError> {
        Ok(self.epochs.read()?.unwrap_or_default())
    }

    /// Every key that may wrap data keys: the rotating ones, and the master key alone, which did so before there were any.
    fn keys(&self) -> Result<Vec<Arc<WrappingKey>>, VaultError> {
        let rotating = self.epochs()?.into_iter().map(|epoch| self.wrapping(&epoch));
        Ok(rotating.chain([WrappingKey::new(&self.master)]).map(Arc::new).collect())
    }

    /// What the master key and a rotating key make together.
    fn wrapping(&self, epoch: &Epoch) -> WrappingKey {
        WrappingKey::rotating(&self.master, &epoch.key)
    }

    /// Names the files in the error that no key opens a generation.
    fn named(&self, error: VaultError) -> VaultError {
        match error {
            VaultError::WrongMaster { generation } => VaultError::WrongFiles {
                generation,
                master: self.names.master.clone(),
                rotating: self.names.rotating.clone(),
            },
            other => other,
        }
    }
}

/// A new data key, of use once its row is committed.
#[derive(Clone, Debug)]
pub struct FreshKey {
    /// The key.
    pub key: DataKey,
    /// What the append inserts into `vault.key`.
    pub row: KeyRow,
}

/// A row of `vault.key` whose key lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The number of the key.
    pub id: KeyId,
    /// The text form of its subject.
    pub subject: String,
    /// Nonce, ciphertext and tag: 60 bytes.
    pub wrapped: Vec<u8>,
    /// The generation of the master key that wraps it.
    pub master: i32,
}

/// What the vault has for a subject.
#[derive(Clone, Debug)]
pub enum Found {
    /// Its key.
    Live(DataKey),
    /// The tombstone of its key: nothing can ever be sealed for it again.
    Erased(KeyId),
}

/// A row of `vault.master`.
struct MasterRow {
    generation: i32,
    check_value: Vec<u8>,
}

impl Vault {
    /// Opens the vault. An empty one takes `master` as its master key; of nodes that do this at
    /// once one wins, and the others must have the same key.
    ///
    /// # Errors
    /// [`VaultError::WrongMaster`] for a key that does not open all of the vault: a node must not
    /// start with it. While a rotation is under way that takes [`Self::open_rotating`].
    pub async fn open(pool: impl Into<Pool>, master: MasterKey) -> Result<Arc<Self>, VaultError> {
        Self::open_with(pool.into(), &[master]).await
    }

    /// Opens the vault with two master keys, around a rotation: one under way, or one to come
    /// while this node serves. Which of them is the older one does not matter, unless the vault
    /// is empty: then it takes `master`.
    ///
    /// # Errors
    /// [`VaultError::WrongMaster`] if a part of the vault opens with neither.
    pub async fn open_rotating(
        pool: impl Into<Pool>,
        master: MasterKey,
        other: MasterKey,
    ) -> Result<Arc<Self>, VaultError> {
        Self::open_with(pool.into(), &[master, other]).await
    }

    async fn open_with(pool: Pool, masters: &[MasterKey]) -> Result<Arc<Self>, VaultError> {
        let keys: Vec<_> = masters.iter().map(|master| Arc::new(WrappingKey::new(master))).collect();
        let ring = Self::first_ring(&pool, keys).await?;
        Ok(Arc::new(Self { pool, ring: RwLock::new(Arc::new(ring)), cache: Cache::default(), files: None }))
    }

    /// Opens the vault with the keys of files, which are made where they are missing and the vault is empty.
    ///
    /// # Errors
    /// A file that cannot be used; [`VaultError::WrongFiles`] for keys that do not open all of the vault.
    pub async fn open_files(pool: Pool, names: &KeyFiles) -> Result<Arc<Self>, VaultError> {
        let master = MasterKey::load_or_create(&names.master)?;
        let files = Files { names: names.clone(), master, epochs: EpochFile(names.rotating.clone()) };
        if names.rotate && master_rows(&pool).await?.is_empty() {
            files.epochs.create(1, &names.master)?;
        }
        let mut ring = Self::first_ring(&pool, files.keys()?).await;
        if matches!(ring, Err(VaultError::WrongMaster { .. })) {
            // A rotation may have come to its end between the look at the file and the one at the database.
            ring = Self::first_ring(&pool, files.keys()?).await;
        }
        let ring = RwLock::new(Arc::new(ring.map_err(|error| files.named(error))?));
        Ok(Arc::new(Self { pool, ring, cache: Cache::default(), files: Some(files) }))
    }

    /// What opens the vault; an empty one takes the first of these keys.
    async fn first_ring(pool: &Pool, keys: Vec<Arc<WrappingKey>>) -> Result<Ring, VaultError> {
        let mut rows = master_rows(pool).await?;
        if let ([], Some(first)) = (&rows[..], keys.first()) {
            // With a rotating key from the beginning, the master key alone never wraps anything.
            let alone_until = first.is_rotating().then_some(0);
            add_generation(pool, 1, first, alone_until).await?;
            rows = master_rows(pool).await?;
        }
        Ring::new(&rows, keys)
    }

    /// A new random key with the row that makes it durable. If the append that inserts it fails
    /// as [`Self::is_outdated`] detects, [`Self::refresh`] and the same again succeeds.
    pub fn fresh_key(&self, id: KeyId, subject: Subject) -> FreshKey {
        let ring = self.ring();
        let key = DataKey::random(id);
        let subject = subject.to_string();
        let wrapped = ring.wrap(&key, &subject);
        FreshKey { key, row: KeyRow { id, subject, wrapped, master: ring.newest() } }
    }

    /// The keys of these subjects as the vault has them now. A subject that never had one is
    /// absent.
    ///
    /// # Errors
    /// If the database fails, or a key does not open.
    pub async fn find(&self, subjects: &[Subject]) -> Result<HashMap<Subject, Found>, VaultError> {
        type Row = (i32, Option<KeyId>, Option<String>, Option<Vec<u8>>, Option<i32>);
        if subjects.is_empty() {
            return Ok(HashMap::new());
        }
        let names: Vec<String> = subjects.iter().map(Subject::to_string).collect();
        let moment = self.cache.moment();
        let rows: Vec<Row> = sqlx::query_as(
            "select m.generation, k.id, k.subject, k.wrapped, k.master
             from (select max(generation) as generation from vault.master) m
             left join vault.key k on k.subject = any($1)",
        )
        .bind(names)
        .fetch_all(&self.pool)
        .await?;

        if rows.first().is_some_and(|row| row.0 != self.ring().newest()) {
            self.renew_ring().await?;
        }
        let mut found = HashMap::with_capacity(rows.len());
        let mut live = Vec::with_capacity(rows.len());
        for row in rows {
            match row {
                (_, Some(id), Some(subject), Some(wrapped), Some(master)) => {
                    live.push(KeyRow { id, subject, wrapped, master });
                }
                (_, Some(id), Some(subject), ..) => {
                    found.insert(subject.parse()?, Found::Erased(id));
                }
                // Not one of the subjects has a row.
                _ => {}
            }
        }
        let keys = self.unwrap_keys(moment, &live).await?;
        for (row, key) in live.iter().zip(keys) {
            found.insert(row.subject.parse()?, Found::Live(key));
        }
        Ok(found)
    }

    /// Whether an append failed because a rotation had ended the generation of the master key
    /// that wraps its fresh keys. Nothing was written.
    pub fn is_outdated(error: &sqlx::Error) -> bool {
        error.as_database_error().and_then(|error| error.constraint()) == Some("key_has_a_master")
    }

    /// Learns which generation of the master key wraps new keys; [`Self::find`] does so too.
    ///
    /// # Errors
    /// [`VaultError::WrongMaster`] if this node lacks that master key; if the database fails.
    pub async fn refresh(&self) -> Result<(), VaultError> {
        self.renew_ring().await.map(drop)
    }

    /// Takes in keys whose rows are committed.
    pub fn remember(&self, keys: &[DataKey]) {
        self.cache.remember(keys);
    }

    /// Whether a key is in memory. Not knowing a key says nothing about it.
    pub fn knows(&self, id: KeyId) -> bool {
        self.cache.key(id).is_some()
    }

    /// Drops keys whose erasure is committed, with all that is prepared of them.
    pub fn forget(&self, ids: &[KeyId]) {
        self.cache.forget(ids);
    }

    /// Seals the secret part of an event.
    pub fn seal(&self, keys: &KeySet, context: SealedContext<'_>, plain: &[u8]) -> Sealed {
        seal::seal(&self.cache.cipher(keys), keys.ids(), seal::random_nonce(), context, plain)
    }

    /// Makes sure, before a node serves from a vault that may be an older copy, that these keys
    /// are erased: empties the rows that are not, and adds the tombstones that are missing.
    /// Returns how many rows that took.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn apply_deletions(&self, deleted: &[DeletedKey]) -> Result<u64, VaultError> {
        let ids: Vec<KeyId> = deleted.iter().map(|key| key.id).collect();
        let subjects: Vec<String> = deleted.iter().map(|key| key.subject.to_string()).collect();
        let done = sqlx::query(
            "insert into vault.key as k (id, subject)
             select distinct d.id, d.subject from unnest($1::bigint[], $2::text[]) as d (id, subject) order by d.id
             on conflict (id) do update set wrapped = null, master = null where k.wrapped is not null",
        )
        .bind(&ids)
        .bind(subjects)
        .execute(&self.pool)
        .await?;
        self.forget(&ids);
        Ok(done.rows_affected())
    }

    /// The data keys of live rows, in their order, from the cache as far as they are there.
    async fn unwrap_keys(&self, moment: Moment, rows: &[KeyRow]) -> Result<Vec<DataKey>, VaultError> {
        let mut ring = self.ring();
        if rows.iter().any(|row| ring.generation(row.master).is_err()) {
            ring = self.renew_ring().await?;
        }
        let mut new = Vec::new();
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            keys.push(match self.cache.key(row.id) {
                Some(key) => key,
                None => {
                    let key = ring.generation(row.master)?.unwrap(row.id, &row.subject, &row.wrapped)?;
                    new.push(key.clone());
                    key
                }
            });
        }
        if !new.is_empty() {
            self.cache.admit(moment, &new);
        }
        Ok(keys)
    }

    fn ring(&self) -> Arc<Ring> {
        self.ring.read().clone()
    }

    /// Learns which generations the vault has now.
    async fn renew_ring(&self) -> Result<Arc<Ring>, VaultError> {
        // In this order: what the database names, the file holds.
        let rows = master_rows(&self.pool).await?;
        let keys = self.files.as_ref().map(Files::keys).transpose()?;
        let mut ring = self.ring.write();
        let renewed = match keys {
            None => ring.renewed(&rows),
            Some(keys) => ring.with_keys(&rows, keys),
        };
        let renewed = renewed.map_err(|error| match &self.files {
            Some(files) => files.named(error),
            None => error,
        });
        *ring = Arc::new(renewed?);
        Ok(ring.clone())
    }

    /// Holds one more key ready for a generation to come.
    fn hold(&self, key: Arc<WrappingKey>) {
        let mut ring = self.ring.write();
        *ring = Arc::new(ring.with_spare(key));
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(***)")
    }
}

/// The generations of the master key, the oldest first.
async fn master_rows(database: impl PgExecutor<'_>) -> Result<Vec<MasterRow>, VaultError> {
    let rows = sqlx::query_as("select generation, check_value from vault.master order by generation");
    let rows: Vec<(i32, Vec<u8>)> = rows.fetch_all(database).await?;
    Ok(rows.into_iter().map(|(generation, check_value)| MasterRow { generation, check_value }).collect())
}

/// Makes `key` the one of a generation, unless one exists; the caller re-reads the winner.
async fn add_generation(
    pool: &Pool,
    generation: i32,
    key: &WrappingKey,
    alone_until: Option<i64>,
) -> Result<(), VaultError> {
    sqlx::query(
        "insert into vault.master (generation, check_value, alone_until) values ($1, $2, $3) on conflict do nothing",
    )
    .bind(generation)
    .bind(key.check_value(generation))
    .bind(alone_until)
    .execute(pool)
    .await?;
    Ok(())
}
