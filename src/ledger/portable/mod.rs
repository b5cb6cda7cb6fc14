//! The portable file: the whole log as lines of JSON, with a checksum (`docs/export-format.md`).

mod export;
mod import;

use be8_events::{Hash32, KeyId, Position, Timestamp};
use serde::{Deserialize, Serialize};

use super::LogError;

pub use export::export;
pub use import::import;

/// The format that is written and read.
const FORMAT: &str = "be8-export/1";

/// What was written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many events.
    pub events: i64,
    /// The SHA-256 of the hashes of all events, one after the other.
    pub digest: Hash32,
    /// Whether the vault is in it.
    pub vault: bool,
}

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PortableError {
    /// The database.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The file.
    #[error("the file cannot be written or read: {0}")]
    File(#[from] std::io::Error),
    /// A line that is not as it must be.
    #[error("line {line}: {what}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// The database is in use.
    #[error("the database has a log already: an import needs an empty one")]
    NotEmpty,
}

impl From<be8_database::ConnectError> for PortableError {
    fn from(error: be8_database::ConnectError) -> Self {
        Self::Log(error.into())
    }
}

impl From<sqlx::Error> for PortableError {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Line {
    /// The first one.
    Log(Header),
    Event(EventLine),
    Master(MasterLine),
    Key(KeyLine),
    Checkpoint(CheckpointLine),
    /// The last one.
    End(End),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    position: Position,
    time: Timestamp,
    accounts: i64,
    groups: i64,
    keys: i64,
    vault: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine {
    position: Position,
    stream: String,
    version: i64,
    kind: String,
    schema: u16,
    time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<i64>,
    salt: Hash32,
    /// The exact bytes, which are UTF-8.
    payload: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commitment: Option<Hash32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<SealedLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedLine {
    keys: Vec<KeyId>,
    nonce: Base64,
    bytes: Base64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MasterLine {
    generation: i32,
    check: Base64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyLine {
    id: KeyId,
    subject: String,
    /// None: a tombstone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrapped: Option<Base64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master: Option<i32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointLine {
    process: String,
    reached: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    events: i64,
    digest: Hash32,
    /// Of all bytes before this line.
    sha256: Hash32,
}

/// Bytes as base64 text.
#[derive(Debug)]
struct Base64(Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        to.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let text = String::deserialize(from)?;
        base64::engine::general_purpose::STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}
