//! Sealing and unsealing: AES-256-GCM (NIST SP 800-38D) under keys derived from data keys.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use be8_events::{KeyId, Sealed, SealedContext};
use zeroize::Zeroizing;

use super::VaultError;
use super::key::{DataKey, derive};

/// The length of the tag after a ciphertext, in bytes.
pub(super) const TAG: usize = 16;

/// The length of a nonce, in bytes.
pub(super) const NONCE: usize = 12;

/// 96 random bits, which are safe for 2^32 uses of one key (NIST SP 800-38D, section 8.3). That is far
/// more than there are payloads of one subject, or of one stay on one day, and than keys that one
/// master key wraps.
pub(super) fn random_nonce() -> [u8; NONCE] {
    rand::random()
}

/// The data keys under which one payload is sealed.
#[derive(Clone, Debug)]
pub enum KeySet {
    /// The key of one subject.
    Lasting(DataKey),
    /// The three keys of a message; erasing any one of them erases it.
    Message {
        /// Of the author.
        account: DataKey,
        /// Of the author's stay in the thread.
        stay: DataKey,
        /// Of the UTC day of the event.
        day: DataKey,
    },
}

impl KeySet {
    /// One key, or the three of a message in the order account, stay, day: the order of
    /// `Sealing::subjects` and `Sealed::keys`.
    ///
    /// # Errors
    /// [`VaultError::KeyCount`] for any other number of keys.
    pub fn from_keys(keys: Vec<DataKey>) -> Result<Self, VaultError> {
        let count = keys.len();
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next(), keys.next(), count) {
            (Some(key), None, None, 1) => Ok(Self::Lasting(key)),
            (Some(account), Some(stay), Some(day), 3) => Ok(Self::Message { account, stay, day }),
            _ => Err(VaultError::KeyCount(count)),
        }
    }

    /// The ids of the keys, in the order of [`Self::from_keys`].
    pub(super) const fn ids(&self) -> KeyIds {
        match self {
            Self::Lasting(key) => KeyIds::One(key.id()),
            Self::Message { account, stay, day } => KeyIds::Message([account.id(), stay.id(), day.id()]),
        }
    }

    /// The keys, in the order of [`Self::from_keys`].
    pub(super) fn keys(&self) -> Vec<&DataKey> {
        match self {
            Self::Lasting(key) => vec![key],
            Self::Message { account, stay, day } => vec![account, stay, day],
        }
    }

    /// The key that seals, derived under a label that names the use and the data keys.
    pub(super) fn payload_key(&self) -> Zeroizing<[u8; 32]> {
        let ids = self.ids();
        match self {
            Self::Lasting(key) => derive(key.bytes(), b"be8/lasting/1", ids.as_slice()),
            Self::Message { account, stay, day } => {
                let mut secret = Zeroizing::new([0; 96]);
                secret[..32].copy_from_slice(account.bytes());
                secret[32..64].copy_from_slice(stay.bytes());
                secret[64..].copy_from_slice(day.bytes());
                derive(secret.as_slice(), b"be8/message/1", ids.as_slice())
            }
        }
    }

    /// The cipher under [`Self::payload_key`], its key schedule computed.
    pub(super) fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&*self.payload_key()).into())
    }
}

/// The ids of a [`KeySet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum KeyIds {
    /// Of a lasting payload.
    One(KeyId),
    /// Of a message: account, stay, day.
    Message([KeyId; 3]),
}

impl KeyIds {
    /// As `Sealed::keys` has them.
    pub(super) fn from_slice(ids: &[KeyId]) -> Result<Self, VaultError> {
        match *ids {
            [id] => Ok(Self::One(id)),
            [account, stay, day] => Ok(Self::Message([account, stay, day])),
            _ => Err(VaultError::KeyCount(ids.len())),
        }
    }

    /// As `Sealed::keys` has them.
    pub(super) const fn as_slice(&self) -> &[KeyId] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Message(ids) => ids,
        }
    }
}

/// Seals `plain` for the event that `context` describes. A nonce serves once under one key.
pub(super) fn seal(
    cipher: &Aes256Gcm,
    ids: KeyIds,
    nonce: [u8; NONCE],
    context: SealedContext<'_>,
    plain: &[u8],
) -> Sealed {
    let keys = ids.as_slice().to_vec();
    let mut bytes = Vec::with_capacity(plain.len() + TAG);
    bytes.extend_from_slice(plain);
    cipher
        .encrypt_in_place(&nonce.into(), &Sealed::associated_data(&keys, context), &mut bytes)
        .expect("a payload is shorter than GCM's 64 GiB");
    Sealed { keys, nonce, bytes }
}

/// Opens what [`seal`] made for the same event.
pub(super) fn unseal(cipher: &Aes256Gcm, sealed: &Sealed, context: SealedContext<'_>) -> Result<Vec<u8>, VaultError> {
    let mut bytes = sealed.bytes.clone();
    cipher
        .decrypt_in_place(&sealed.nonce.into(), &Sealed::associated_data(&sealed.keys, context), &mut bytes)
        .map_err(|_| VaultError::Unseal(sealed.keys.clone()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use be8_events::Hash32;
    use proptest::prelude::*;

    use super::*;

    const SALT: Hash32 = Hash32([9; 32]);
    const CONTEXT: SealedContext<'static> = SealedContext { kind: "MessageWritten", schema: 1, salt: &SALT };

    fn message_keys() -> KeySet {
        let keys = [11, 12, 13].map(DataKey::random);
        KeySet::from_keys(keys.to_vec()).unwrap()
    }

    #[test]
    fn a_payload_has_one_key_or_three() {
        for count in [0, 2, 4, 5] {
            let ids: Vec<KeyId> = (1..).take(count).collect();
            let keys = ids.iter().copied().map(DataKey::random).collect();
            let error = KeySet::from_keys(keys).unwrap_err();
            assert!(matches!(error, VaultError::KeyCount(n) if n == count));
            assert!(KeyIds::from_slice(&ids).is_err());
        }
        for ids in [vec![7], vec![7, 8, 9]] {
            let keys = ids.iter().copied().map(DataKey::random).collect();
            assert_eq!(KeySet::from_keys(keys).unwrap().ids().as_slice(), ids);
            assert_eq!(KeyIds::from_slice(&ids).unwrap().as_slice(), ids);
        }
    }

    #[test]
    fn each_data_key_and_its_place_matters() {
        let KeySet::Message { account, stay, day } = message_keys() else {
            panic!("three keys are a message's");
        };
        let derived = |account: &DataKey, stay: &DataKey, day: &DataKey| {
            let (account, stay, day) = (account.clone(), stay.clone(), day.clone());
            KeySet::Message { account, stay, day }.payload_key()
        };
        let key = derived(&account, &stay, &day);
        for other in [
            derived(&DataKey::random(11), &stay, &day),
            derived(&account, &DataKey::random(12), &day),
            derived(&account, &stay, &DataKey::random(13)),
            derived(&stay, &account, &day),
            derived(&account, &day, &stay),
        ] {
            assert_ne!(*key, *other);
        }
    }

    #[test]
    fn a_payload_opens_for_its_event_only() {
        let keys = message_keys();
        let cipher = keys.cipher();
        let sealed = seal(&cipher, keys.ids(), [1; 12], CONTEXT, b"hello");
        assert_eq!(unseal(&cipher, &sealed, CONTEXT).unwrap(), b"hello");

        let salt = Hash32([8; 32]);
        for context in [
            SealedContext { kind: "MessageWritte", ..CONTEXT },
            SealedContext { schema: 2, ..CONTEXT },
            SealedContext { salt: &salt, ..CONTEXT },
        ] {
            assert!(unseal(&cipher, &sealed, context).is_err());
        }
        let renamed = Sealed { keys: vec![11, 12, 14], ..sealed.clone() };
        assert!(unseal(&cipher, &renamed, CONTEXT).is_err());
        let other = message_keys().cipher();
        let error = unseal(&other, &sealed, CONTEXT).unwrap_err();
        assert_eq!(error.to_string(), "a sealed payload under the keys [11, 12, 13] fails its authentication");
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_unsealed(plain: Vec<u8>, nonce: [u8; 12], lasting: bool) {
            let keys = if lasting { KeySet::Lasting(DataKey::random(1)) } else { message_keys() };
            let cipher = keys.cipher();
            let sealed = seal(&cipher, keys.ids(), nonce, CONTEXT, &plain);
            prop_assert_eq!(sealed.bytes.len(), plain.len() + TAG);
            prop_assert_eq!(unseal(&keys.cipher(), &sealed, CONTEXT).unwrap(), plain);
        }

        #[test]
        fn a_flipped_bit_is_seen(plain: Vec<u8>, at: prop::sample::Index, bit in 0..8u8, in_nonce: bool) {
            let keys = message_keys();
            let cipher = keys.cipher();
            let mut sealed = seal(&cipher, keys.ids(), [1; 12], CONTEXT, &plain);
            let bytes = if in_nonce { &mut sealed.nonce[..] } else { &mut sealed.bytes[..] };
            bytes[at.index(bytes.len())] ^= 1 << bit;
            prop_assert!(unseal(&cipher, &sealed, CONTEXT).is_err());
        }

        #[test]
        fn a_shortened_payload_is_seen(plain: Vec<u8>, at: prop::sample::Index) {
            let keys = message_keys();
            let cipher = keys.cipher();
            let mut sealed = seal(&cipher, keys.ids(), [1; 12], CONTEXT, &plain);
            sealed.bytes.truncate(at.index(sealed.bytes.len()));
            prop_assert!(unseal(&cipher, &sealed, CONTEXT).is_err());
        }
    }
}
