//! What can go wrong in the vault. No message carries key material or plain text.

use std::io;
use std::path::PathBuf;

use be8_events::{KeyId, ParseError};

/// A failure of the vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The master key file cannot be read, or not be made.
    #[error("master key file {path}: {cause}", path = path.display())]
    MasterFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Others than its owner have rights on the master key file.
    #[error(
        "master key file {path} is open to others (mode {mode:04o}): make it private with chmod 600",
        path = path.display()
    )]
    MasterFileMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The master key file is not a regular file of 64 hexadecimal digits and a line end.
    #[error("master key file {path} does not hold 64 hexadecimal digits", path = path.display())]
    MasterFileContent {
        /// The file.
        path: PathBuf,
    },
    /// No master key at hand opens this generation of the vault: it is another installation's
    /// key, or a rotation has gone past it.
    #[error("no master key given opens the vault (generation {generation})")]
    WrongMaster {
        /// The generation that stays closed.
        generation: i32,
    },
    /// A key is wrapped by a generation that the vault does not have.
    #[error("a data key is wrapped by generation {generation} of the master key, which is unknown")]
    UnknownGeneration {
        /// The generation.
        generation: i32,
    },
    /// Another rotation, to another master key, has not come to its end.
    #[error("a rotation to another master key (generation {generation}) is under way")]
    RotationUnderWay {
        /// The generation that it leads to.
        generation: i32,
    },
    /// A wrapped key does not open although its master key is the right one: its row was altered.
    #[error("data key {0} cannot be unwrapped: its row was altered")]
    Unwrap(KeyId),
    /// Keys that were live a moment ago have no row, not even a tombstone.
    #[error("the data keys {0:?} are missing in the vault")]
    Missing(Vec<KeyId>),
    /// A sealed payload is not what was sealed for this event.
    #[error("a sealed payload under the keys {0:?} fails its authentication")]
    Unseal(Vec<KeyId>),
    /// A sealed payload names neither one key nor the three of a message.
    #[error("a sealed payload names {0} keys")]
    KeyCount(usize),
    /// The vault holds a subject that this build cannot read.
    #[error(transparent)]
    Subject(#[from] ParseError),
    /// The database failed.
    #[error("the vault's database: {}", be8_database::reason(.0))]
    Database(#[from] sqlx::Error),
}

impl VaultError {
    /// Whether a row of the vault, or a sealed payload, is not as it must be.
    pub(crate) const fn is_damage(&self) -> bool {
        match self {
            Self::UnknownGeneration { .. }
            | Self::Unwrap(_)
            | Self::Missing(_)
            | Self::Unseal(_)
            | Self::KeyCount(_)
            | Self::Subject(_) => true,
            Self::MasterFile { .. }
            | Self::MasterFileMode { .. }
            | Self::MasterFileContent { .. }
            | Self::WrongMaster { .. }
            | Self::RotationUnderWay { .. }
            | Self::Database(_) => false,
        }
    }
}
