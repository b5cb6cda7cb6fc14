//! Values that must not be seen: `Secret<T>` in memory, `Sealed` in the log, and the subjects
//! whose data keys seal them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::hash::put_field;
use crate::{AccId, Day, GroupId, Hash32, IdError, StayNo, ThreadId};

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

/// Whose data key seals something. A subject has one key in its life; deleting the key erases
/// all that was sealed under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The server itself: HMACs of tokens and idempotency bodies. Never erased.
    Server,
    /// An account's nickname, status, password hash, lock codes and devices.
    Account(AccId),
    /// An account's public key, which may outlive the account.
    PublicKey(AccId),
    /// A group's name.
    GroupName(GroupId),
    /// The wrapped keys of a group.
    GroupKeys(GroupId),
    /// What `author` wrote during its n-th stay in a thread.
    Stay {
        /// The thread; a dialog by the direction in which it was started.
        thread: ThreadId,
        /// Who wrote.
        author: AccId,
        /// Which of the author's stays.
        stay: StayNo,
    },
    /// All messages of a UTC day.
    Day(Day),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Account(account) => write!(f, "account/{account}"),
            Self::PublicKey(account) => write!(f, "public-key/{account}"),
            Self::GroupName(group) => write!(f, "group-name/{group}"),
            Self::GroupKeys(group) => write!(f, "group-keys/{group}"),
            Self::Stay { thread, author, stay } => write!(f, "stay/{thread}/{author}/{stay}"),
            Self::Day(day) => write!(f, "day/{day}"),
        }
    }
}

impl FromStr for Subject {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || IdError::new("a subject of a data key", text);
        let parts: Vec<&str> = text.split('/').collect();
        Ok(match parts[..] {
            ["server"] => Self::Server,
            ["account", account] => Self::Account(account.parse()?),
            ["public-key", account] => Self::PublicKey(account.parse()?),
            ["group-name", group] => Self::GroupName(group.parse()?),
            ["group-keys", group] => Self::GroupKeys(group.parse()?),
            ["stay", thread, author, stay] => {
                Self::Stay { thread: thread.parse()?, author: author.parse()?, stay: stay.parse().map_err(|_| bad())? }
            }
            ["day", day] => Self::Day(day.parse()?),
            _ => return Err(bad()),
        })
    }
}

impl TryFrom<String> for Subject {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.to_string()
    }
}

/// The number of a data key, given once in the life of a log.
pub type KeyId = i64;

/// Under which key or keys a secret payload is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// Under the key of one subject; kept until that is erased.
    Lasting(Subject),
    /// Under a key derived from three: the author's account, the stay, and the day of the event.
    Message {
        /// Who wrote.
        author: AccId,
        /// The thread.
        thread: ThreadId,
        /// Which of the author's stays in it.
        stay: StayNo,
    },
}

impl Sealing {
    /// The subjects whose keys are needed, in the order in which [`Sealed::keys`] names them.
    pub fn subjects(self, day: Day) -> Vec<Subject> {
        match self {
            Self::Lasting(subject) => vec![subject],
            Self::Message { author, thread, stay } => {
                vec![Subject::Account(author), Subject::Stay { thread, author, stay }, Subject::Day(day)]
            }
        }
    }
}

/// The one secret part of an event before the ledger seals it.
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
    /// The ciphertext and, behind it, the 128-bit tag.
    pub bytes: Vec<u8>,
}

impl Sealed {
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
        head.extend_from_slice(&u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_as_written() {
        let acc = |n| AccId::new(n).unwrap();
        let thread = ThreadId::Dialog { initiator: acc(10002), receiver: acc(10001) };
        for subject in [
            Subject::Server,
            Subject::Account(acc(10001)),
            Subject::PublicKey(acc(10001)),
            Subject::GroupName(GroupId::new(10001).unwrap()),
            Subject::GroupKeys(GroupId::new(10001).unwrap()),
            Subject::Stay { thread, author: acc(10001), stay: 1 },
            Subject::Day("2026-11-23".parse().unwrap()),
        ] {
            assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
        }
        assert!("stay/10001/1".parse::<Subject>().is_err());
        assert!("day/2026-1-2".parse::<Subject>().is_err());
    }
}
