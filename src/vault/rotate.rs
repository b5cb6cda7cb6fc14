//! Rotation: wrapping all data keys under a new master key. The data keys stay the same.

use std::sync::Arc;
use std::time::Duration;

use be8_events::KeyId;
use sqlx::Connection as _;

use super::wrap::WrappingKey;
use super::{MasterKey, Vault, VaultError, add_generation, master_rows};

/// How many keys one transaction rewraps: it holds their rows for some milliseconds, and an
/// append that erases one of them waits for that time.
const STEP: i64 = 500;

/// How long rows that others held are left to them before the next pass.
const PAUSE: Duration = Duration::from_millis(50);

impl Vault {
    /// Makes `new` the master key: wraps every live data key under it in small steps, while nodes
    /// may serve, and then ends the older generations. Once it returns, no older master key opens
    /// anything of the vault; destroying them makes every older copy of the vault unreadable.
    /// Returns how many keys were rewrapped.
    ///
    /// Stopped anywhere, it is resumed by the same call on a vault opened with both master keys;
    /// until it has come to its end nodes need both ([`Vault::open_rotating`]). Neither master
    /// key is ever written to the database, not even wrapped by the other: a copy taken meanwhile
    /// would keep the older one alive.
    ///
    /// # Errors
    /// [`VaultError::RotationUnderWay`] if one to another master key has not come to its end; if
    /// the database fails or a key does not open.
    pub async fn rotate(&self, new: MasterKey) -> Result<u64, VaultError> {
        let key = Arc::new(WrappingKey::new(&new));
        let generation = self.begin_rotation(&key).await?;
        let mut wrapped = 0;
        loop {
            wrapped += self.wrap_all(generation, &key).await?;
            if self.end_older(generation).await? {
                return Ok(wrapped);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The generation of the new key, which it has already when the rotation is resumed.
    async fn begin_rotation(&self, key: &Arc<WrappingKey>) -> Result<i32, VaultError> {
        // Before the generation exists: code that reads it here must find its key.
        self.hold(key.clone());
        let rows = master_rows(&self.pool).await?;
        if let [only] = &rows[..]
            && !key.opens(only)
        {
            add_generation(&self.pool, only.generation + 1, key, None).await?;
        }
        let rows = master_rows(&self.pool).await?;
        let newest = rows.last().ok_or(VaultError::WrongMaster { generation: 1 })?;
        if !key.opens(newest) {
            return Err(VaultError::RotationUnderWay { generation: newest.generation });
        }
        self.renew_ring().await?;
        Ok(newest.generation)
    }

    /// One pass over all keys.
    async fn wrap_all(&self, generation: i32, key: &WrappingKey) -> Result<u64, VaultError> {
        let mut wrapped = 0;
        let mut after = KeyId::MIN;
        while let Some((last, count)) = self.wrap_step(generation, key, after).await? {
            wrapped += count;
            after = last;
        }
        Ok(wrapped)
    }

    /// Rewraps the next keys; the last one's id and how many they were, none at the end.
    pub(super) async fn wrap_step(
        &self,
        generation: i32,
        key: &WrappingKey,
        after: KeyId,
    ) -> Result<Option<(KeyId, u64)>, VaultError> {
        // A connection that does not answer is not kept: it does not show that it lives when it is given back.
        be8_database::with_deadline(self.pool.limit(), self.wrap_next(generation, key, after)).await
    }

    async fn wrap_next(
        &self,
        generation: i32,
        key: &WrappingKey,
        after: KeyId,
    ) -> Result<Option<(KeyId, u64)>, VaultError> {
        let ring = self.ring();
        let mut held = self.pool.acquire().await?;
        let mut step = held.begin().await?;
        // An append locks rows in its own order. Waiting for one while holding others could be a
        // deadlock, so rows that somebody holds are left to the next pass.
        let rows: Vec<(KeyId, String, Vec<u8>, i32)> = sqlx::query_as(
            "select id, subject, wrapped, master from vault.key
             where id > $1 and master <> $2 order by id limit $3
             for no key update skip locked",
        )
        .bind(after)
        .bind(generation)
        .bind(STEP)
        .fetch_all(&mut *step)
        .await?;
        let Some(last) = rows.last().map(|row| row.0) else { return Ok(None) };

        let mut ids = Vec::with_capacity(rows.len());
        let mut wrapped = Vec::with_capacity(rows.len());
        for (id, subject, old, master) in &rows {
            let data_key = ring.generation(*master)?.unwrap(*id, subject, old)?;
            ids.push(*id);
            wrapped.push(key.wrap(&data_key, subject));
        }
        let done = sqlx::query(
            "update vault.key k set wrapped = n.wrapped, master = $3
             from unnest($1::bigint[], $2::bytea[]) as n (id, wrapped) where k.id = n.id",
        )
        .bind(ids)
        .bind(wrapped)
        .bind(generation)
        .execute(&mut *step)
        .await?;
        step.commit().await?;
        Ok(Some((last, done.rows_affected())))
    }

    /// Ends all older generations; false if one of them still wraps a key.
    async fn end_older(&self, generation: i32) -> Result<bool, VaultError> {
        let ended =
            sqlx::query("delete from vault.master where generation < $1").bind(generation).execute(&self.pool).await;
        match ended {
            Ok(_) => Ok(true),
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
