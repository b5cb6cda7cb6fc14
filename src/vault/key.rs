//! Data keys, and the keys derived from them by HKDF-SHA-256 (RFC 5869).

use std::fmt;
use std::sync::Arc;

use be8_events::{Hash32, KeyId, field_length};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// 256 bits of key, wiped when they go out of use.
pub(super) type KeyBytes = Zeroizing<[u8; 32]>;

/// The key of one subject. It seals nothing itself: what seals and what authenticates is derived
/// from it, each under its own label. A clone shares the bytes, which are wiped with the last one.
#[derive(Clone)]
pub struct DataKey {
    id: KeyId,
    secret: Arc<KeyBytes>,
}

impl DataKey {
    /// A new random key.
    pub(crate) fn random(id: KeyId) -> Self {
        Self::filled(id, |bytes| rand::rng().fill_bytes(bytes))
    }

    /// The key whose bytes `fill` writes, at the only place where they will lie.
    pub(super) fn filled(id: KeyId, fill: impl FnOnce(&mut [u8; 32])) -> Self {
        let mut secret = Arc::new(KeyBytes::default());
        fill(Arc::get_mut(&mut secret).expect("nobody else has it yet"));
        Self { id, secret }
    }

    /// The number of the key.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Whether it is the same key, and not only one of the same number.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let equal = || bool::from(self.secret.as_slice().ct_eq(other.secret.as_slice()));
        self.id == other.id && (Arc::ptr_eq(&self.secret, &other.secret) || equal())
    }

    /// The key itself.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.secret
    }

    /// A keyed fingerprint of `bytes`, which erasing this key makes meaningless: HMAC-SHA-256
    /// (RFC 2104) under a key derived from this one, over `purpose` and `bytes`, each prefixed by
    /// its length. The purpose keeps fingerprints of different things apart.
    pub fn mac(&self, purpose: &str, bytes: &[u8]) -> Hash32 {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.mac_key().as_slice()).expect("HMAC takes keys of any length");
        for field in [purpose.as_bytes(), bytes] {
            mac.update(&field_length(field));
            mac.update(field);
        }
        Hash32(mac.finalize().into_bytes().into())
    }

    /// The key of [`Self::mac`].
    pub(super) fn mac_key(&self) -> KeyBytes {
        derive(self.bytes(), b"be8/mac/1", &[self.id])
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({}, ***)", self.id)
    }
}

/// HKDF-SHA-256 without salt; the info is the label and the key ids, 8 bytes each, big-endian.
pub(super) fn derive(secret: &[u8], label: &[u8], ids: &[KeyId]) -> KeyBytes {
    let mut info = Vec::with_capacity(label.len() + 8 * ids.len());
    info.extend_from_slice(label);
    ids.iter().for_each(|id| info.extend_from_slice(&id.to_be_bytes()));
    let mut key = KeyBytes::default();
    Hkdf::<Sha256>::new(None, secret).expand(&info, key.as_mut_slice()).expect("HKDF-SHA-256 gives up to 8,160 bytes");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let key = DataKey::filled(7, |bytes| bytes.fill(0xab));
        assert_eq!(format!("{key:?}"), "DataKey(7, ***)");
    }

    #[test]
    fn fingerprints_differ_by_key_purpose_and_bytes() {
        let (one, other) = (DataKey::random(1), DataKey::random(1));
        let mac = one.mac("token", b"abc");
        assert_eq!(mac, one.clone().mac("token", b"abc"));
        assert_ne!(mac, other.mac("token", b"abc"));
        // Fields are length-prefixed: a byte cannot move from one to the other.
        assert_ne!(mac, one.mac("tokena", b"bc"));
        assert_ne!(mac, one.mac("token", b"abcd"));
        // The same bytes under another id are another key.
        let renamed = DataKey::filled(2, |bytes| *bytes = *one.bytes());
        assert_ne!(mac, renamed.mac("token", b"abc"));
    }
}
