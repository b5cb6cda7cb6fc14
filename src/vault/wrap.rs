//! Wrapping data keys for the database, and the generations of the master key that wrap them.

use std::sync::Arc;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use be8_events::{KeyId, put_field};
use zeroize::Zeroizing;

use super::key::{DataKey, KeyBytes, derive};
use super::master::MasterKey;
use super::seal::{NONCE, TAG, random_nonce};
use super::{MasterRow, VaultError};

/// The length of a data key, in bytes.
const KEY: usize = 32;

/// What a check value hides.
const CHECK: &[u8; KEY] = b"be8: this master key is the one.";

/// AES-256-GCM under the key that HKDF-SHA-256 derives from a master key.
pub(super) struct WrappingKey {
    cipher: Aes256Gcm,
    name: [u8; 8],
    rotating: bool,
}

impl WrappingKey {
    pub(super) fn new(master: &MasterKey) -> Self {
        Self::derived(master.bytes(), b"be8/wrap/1", false)
    }

    /// The key that the master key and a rotating key make together: without either, nothing opens.
    pub(super) fn rotating(master: &MasterKey, rotating: &KeyBytes) -> Self {
        let mut both = Zeroizing::new([0; 64]);
        both[..32].copy_from_slice(master.bytes());
        both[32..].copy_from_slice(rotating.as_slice());
        Self::derived(both.as_slice(), b"be8/wrap/2", true)
    }

    fn derived(secret: &[u8], label: &[u8], rotating: bool) -> Self {
        let named = derive(secret, b"be8/wrap-name/1", &[]);
        let mut name = [0; 8];
        name.copy_from_slice(&named[..8]);
        Self { cipher: Aes256Gcm::new((&*derive(secret, label, &[])).into()), name, rotating }
    }

    /// Whether a rotating key has a part in it.
    pub(super) const fn is_rotating(&self) -> bool {
        self.rotating
    }

    /// What distinguishes keys without revealing anything about them.
    pub(super) const fn name(&self) -> [u8; 8] {
        self.name
    }

    /// The data key as `vault.key` has it, bound to its id and subject.
    pub(super) fn wrap(&self, key: &DataKey, subject: &str) -> Vec<u8> {
        self.close(random_nonce(), &key_data(key.id(), subject), key.bytes())
    }

    /// The data key that [`Self::wrap`] wrapped for the same id and subject.
    pub(super) fn unwrap(&self, id: KeyId, subject: &str, wrapped: &[u8]) -> Result<DataKey, VaultError> {
        let mut opened = false;
        let key = DataKey::filled(id, |bytes| {
            opened = self.open(&key_data(id, subject), wrapped, bytes);
        });
        opened.then_some(key).ok_or(VaultError::Unwrap(id))
    }

    /// What shows later whether a master key is the one of this generation.
    pub(super) fn check_value(&self, generation: i32) -> Vec<u8> {
        self.close(random_nonce(), &check_data(generation), CHECK)
    }

    /// Whether this key made the check value.
    pub(super) fn opens(&self, row: &MasterRow) -> bool {
        let mut text = [0; KEY];
        self.open(&check_data(row.generation), &row.check_value, &mut text) && text == *CHECK
    }

    /// Nonce, ciphertext and tag, one after the other.
    pub(super) fn close(&self, nonce: [u8; NONCE], data: &[u8], plain: &[u8; KEY]) -> Vec<u8> {
        let mut out = Vec::with_capacity(NONCE + KEY + TAG);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce.into(), data, (&mut out[NONCE..]).into())
            .expect("32 bytes are less than GCM's 64 GiB");
        out.extend_from_slice(&tag);
        out
    }

    /// Writes to `plain` what [`Self::close`] closed over; false if it was not this.
    fn open(&self, data: &[u8], closed: &[u8], plain: &mut [u8; KEY]) -> bool {
        let Some((nonce, rest)) = closed.split_first_chunk::<NONCE>() else { return false };
        let Some((sealed, tag)) = rest.split_first_chunk::<KEY>() else { return false };
        let Ok(tag) = <[u8; TAG]>::try_from(tag) else { return false };
        *plain = *sealed;
        self.cipher.decrypt_inout_detached(&(*nonce).into(), data, plain.as_mut_slice().into(), &tag.into()).is_ok()
    }
}

/// The associated data of a wrapped key: id (8 bytes, big-endian) and subject, length-prefixed.
pub(super) fn key_data(id: KeyId, subject: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_field(&mut out, &id.to_be_bytes());
    put_field(&mut out, subject.as_bytes());
    out
}

/// The associated data of a check value: a label, as no id is long, and the generation (4 bytes,
/// big-endian), length-prefixed.
pub(super) fn check_data(generation: i32) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    put_field(&mut out, b"be8/check/1");
    put_field(&mut out, &generation.to_be_bytes());
    out
}

/// The generations of the vault that this node can open, and the keys at hand for those to come.
#[derive(Clone)]
pub(super) struct Ring {
    newest: Generation,
    older: Vec<Generation>,
    /// The keys of all these, and spare ones.
    keys: Vec<Arc<WrappingKey>>,
}

/// A generation of the master key.
#[derive(Clone)]
struct Generation {
    number: i32,
    key: Arc<WrappingKey>,
}

impl Ring {
    /// Finds a key for each generation of the vault.
    ///
    /// # Errors
    /// [`VaultError::WrongMaster`] if none of `keys` opens one of the generations, or if there is
    /// no generation at all.
    pub(super) fn new(rows: &[MasterRow], keys: Vec<Arc<WrappingKey>>) -> Result<Self, VaultError> {
        let mut older = Vec::with_capacity(rows.len());
        for row in rows {
            let key = keys.iter().find(|key| key.opens(row));
            let key = key.ok_or(VaultError::WrongMaster { generation: row.generation })?.clone();
            older.push(Generation { number: row.generation, key });
        }
        older.sort_by_key(|generation| generation.number);
        let newest = older.pop().ok_or(VaultError::WrongMaster { generation: 1 })?;
        Ok(Self { newest, older, keys })
    }

    /// The same with one more key at hand.
    pub(super) fn with_spare(&self, key: Arc<WrappingKey>) -> Self {
        let mut ring = self.clone();
        ring.keys.push(key);
        ring
    }

    /// The same with what the vault has now. Generations that are gone stay: an answer of the
    /// database that is on its way may still name them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn renewed(&self, rows: &[MasterRow]) -> Result<Self, VaultError> {
        let mut ring = Self::new(rows, self.keys.clone())?;
        for generation in self.older.iter().chain([&self.newest]) {
            if ring.generation(generation.number).is_err() {
                ring.older.push(generation.clone());
            }
        }
        Ok(ring)
    }

    /// The same with the keys that are at hand now. Of the generations that are gone the last one stays, whose name an
    /// answer on its way may bear; older ones go with their keys.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn with_keys(&self, rows: &[MasterRow], keys: Vec<Arc<WrappingKey>>) -> Result<Self, VaultError> {
        let mut ring = Self::new(rows, keys)?;
        for generation in self.older.iter().chain([&self.newest]) {
            if ring.generation(generation.number).is_err() && generation.number + 1 >= ring.newest.number {
                ring.older.push(generation.clone());
            }
        }
        Ok(ring)
    }

    /// Whether a rotating key has a part in what wraps new keys.
    pub(super) fn is_rotating(&self) -> bool {
        self.newest.key.is_rotating()
    }

    /// The key of a generation, to be kept.
    ///
    /// # Errors
    /// [`VaultError::UnknownGeneration`].
    pub(super) fn wrapping(&self, number: i32) -> Result<Arc<WrappingKey>, VaultError> {
        let mut all = self.older.iter().chain([&self.newest]);
        let found = all.find(|generation| generation.number == number).map(|generation| generation.key.clone());
        found.ok_or(VaultError::UnknownGeneration { generation: number })
    }

    /// The generation that wraps new keys.
    pub(super) fn newest(&self) -> i32 {
        self.newest.number
    }

    /// Wraps a data key under the newest generation.
    pub(super) fn wrap(&self, key: &DataKey, subject: &str) -> Vec<u8> {
        self.newest.key.wrap(key, subject)
    }

    /// The key of a generation.
    ///
    /// # Errors
    /// [`VaultError::UnknownGeneration`].
    pub(super) fn generation(&self, number: i32) -> Result<&WrappingKey, VaultError> {
        self.older
            .iter()
            .chain([&self.newest])
            .find(|generation| generation.number == number)
            .map(|generation| &*generation.key)
            .ok_or(VaultError::UnknownGeneration { generation: number })
    }
}
