//! Unsealing what a read statement returned.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use be8_events::{KeyId, Sealed, SealedContext, Secret};

use super::key::DataKey;
use super::seal::{KeyIds, KeySet, unseal};
use super::{KeyRow, Vault, VaultError};

/// Opens the sealed payloads of one answer of the database, and only under the keys that this
/// answer named live.
pub struct Opener {
    vault: Arc<Vault>,
    keys: HashMap<KeyId, DataKey>,
}

impl Vault {
    /// Makes ready to open what is sealed under these keys, which the statement that read it
    /// found live. One query, if some of them were not used of late. A key that was erased since
    /// counts as erased.
    ///
    /// # Errors
    /// [`VaultError::Missing`] for keys without a row; if the database fails, or a key does not
    /// open.
    pub async fn opener(self: &Arc<Self>, live: &[KeyId]) -> Result<Opener, VaultError> {
        let moment = self.cache.moment();
        let mut keys = HashMap::with_capacity(live.len());
        let mut missing = Vec::new();
        for &id in live {
            match self.cache.key(id) {
                Some(key) => {
                    keys.insert(id, key);
                }
                None => missing.push(id),
            }
        }
        if !missing.is_empty() {
            missing.sort_unstable();
            missing.dedup();
            type Row = (KeyId, String, Option<Vec<u8>>, Option<i32>);
            let rows: Vec<Row> =
                sqlx::query_as("select id, subject, wrapped, master from vault.key where id = any($1)")
                    .bind(&missing)
                    .fetch_all(&self.pool)
                    .await?;
            if rows.len() < missing.len() {
                let found: HashSet<KeyId> = rows.iter().map(|row| row.0).collect();
                missing.retain(|id| !found.contains(id));
                return Err(VaultError::Missing(missing));
            }
            let live =
                |(id, subject, wrapped, master)| Some(KeyRow { id, subject, wrapped: wrapped?, master: master? });
            let rows: Vec<KeyRow> = rows.into_iter().filter_map(live).collect();
            let found = self.unwrap_keys(moment, &rows).await?;
            keys.extend(found.into_iter().map(|key| (key.id(), key)));
        }
        Ok(Opener { vault: self.clone(), keys })
    }
}

impl Opener {
    /// Whether all keys live that sealed this.
    pub fn has_keys_of(&self, sealed: &Sealed) -> bool {
        sealed.keys.iter().all(|id| self.keys.contains_key(id))
    }

    /// The plain text of a payload that was sealed for the event of `context`; none if a key of
    /// it is erased.
    ///
    /// # Errors
    /// [`VaultError::Unseal`] if the payload is not the one that was sealed for this event;
    /// [`VaultError::KeyCount`] if it names an impossible number of keys.
    pub fn open(&self, sealed: &Sealed, context: SealedContext<'_>) -> Result<Option<Secret<Vec<u8>>>, VaultError> {
        let ids = KeyIds::from_slice(&sealed.keys)?;
        if !ids.as_slice().iter().all(|id| self.keys.contains_key(id)) {
            return Ok(None);
        }
        let cipher = match self.vault.cache.known_cipher(ids) {
            Some(cipher) => cipher,
            None => {
                let keys = ids.as_slice().iter().filter_map(|id| self.keys.get(id).cloned()).collect();
                self.vault.cache.cipher(&KeySet::from_keys(keys)?)
            }
        };
        unseal(&cipher, sealed, context).map(|plain| Some(Secret::new(plain)))
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opener").field(&self.keys.keys()).finish()
    }
}
