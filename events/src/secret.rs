//! Values that must not be seen: `Secret<T>` in memory, `Sealed` in the log.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::field::{field_length, put_field};
use crate::{Hash32, KeyId, Sealing};

/// A value that never reaches a log line, an error text or an event in the clear: `Debug` prints
/// `***`, and there is no `Serialize`.
///
/// ```
/// let word = be8_events::Secret::new("hunter2".to_owned());
/// assert_eq!(format!("{word:?}"), "***");
/// assert_eq!(word.expose(), "hunter2");
/// ```
/// A struct that holds one cannot be serialised:
/// ```compile_fail
/// #[derive(serde::Serialize)]
/// struct Leak { password: be8_events::Secret<String> }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value; every call of this is a place to review.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value, unwrapped.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The one secret part of an event before the ledger seals it.
///
/// ```
/// use be8_events::{AccId, Sealing, Secret, SecretPayload, Subject, account::NicknameSecret};
///
/// let sealing = Sealing::Lasting(Subject::Account(AccId::new(10_001).unwrap()));
/// let secret = Secret::new(NicknameSecret { nickname: "Zoe".to_owned() });
/// let payload = SecretPayload::new(sealing, &secret);
/// assert_eq!(payload.plain.expose(), br#"{"nickname":"Zoe"}"#);
/// let read: Secret<NicknameSecret> = SecretPayload::read(payload.plain.expose()).unwrap();
/// assert_eq!(read.expose().nickname, "Zoe");
/// assert_eq!(format!("{payload:?}").matches("Zoe").count(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct SecretPayload {
    /// Under which keys.
    pub sealing: Sealing,
    /// The JSON text.
    pub plain: Secret<Vec<u8>>,
}

impl SecretPayload {
    /// Takes the secret struct of an event.
    pub fn new<T: Serialize>(sealing: Sealing, secret: &Secret<T>) -> Self {
        let plain =
            serde_json::to_vec(secret.expose()).expect("secret structs hold strings and numbers under string names");
        Self { sealing, plain: Secret::new(plain) }
    }

    /// Reads a secret struct back from unsealed bytes.
    pub fn read<T: DeserializeOwned>(plain: &[u8]) -> Result<Secret<T>, serde_json::Error> {
        serde_json::from_slice(plain).map(Secret::new)
    }
}

/// What a sealed payload is bound to besides its keys.
#[derive(Clone, Copy, Debug)]
pub struct SealedContext<'a> {
    /// The kind of the event.
    pub kind: &'a str,
    /// The schema version of the event.
    pub schema: u16,
    /// The salt of the event.
    pub salt: &'a Hash32,
}

/// A sealed payload: AES-256-GCM (NIST SP 800-38D) under the named data keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// One key, or the three of a message: account, stay, day.
    pub keys: Vec<KeyId>,
    /// 96 random bits.
    pub nonce: [u8; 12],
    /// The ciphertext followed by the 128-bit tag.
    pub bytes: Vec<u8>,
}

impl Sealed {
    /// Whether it is what somebody wrote in a thread, sealed under three keys.
    pub const fn is_message(&self) -> bool {
        self.keys.len() == 3
    }

    /// The associated data that binds a sealed payload to its event: format version, kind, schema
    /// version, key ids and salt, each field length-prefixed (`docs/log-format.md`).
    pub fn associated_data(keys: &[KeyId], context: SealedContext<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.push(crate::CANONICAL_VERSION);
        put_field(&mut out, context.kind.as_bytes());
        put_field(&mut out, &context.schema.to_be_bytes());
        put_field(&mut out, &key_id_bytes(keys));
        put_field(&mut out, &context.salt.0);
        out
    }

    /// What the event commits to: SHA-256 over the key ids, the nonce and the bytes, each
    /// length-prefixed.
    pub fn commitment(&self) -> Hash32 {
        let mut head = Vec::with_capacity(64);
        put_field(&mut head, &key_id_bytes(&self.keys));
        put_field(&mut head, &self.nonce);
        head.extend_from_slice(&field_length(&self.bytes));
        let mut hash = Sha256::new();
        hash.update(&head);
        hash.update(&self.bytes);
        Hash32(hash.finalize().into())
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes under {:?})", self.bytes.len(), self.keys)
    }
}

/// Key ids as they are hashed and authenticated: 8 bytes each, big-endian.
fn key_id_bytes(keys: &[KeyId]) -> Vec<u8> {
    keys.iter().flat_map(|id| id.to_be_bytes()).collect()
}
