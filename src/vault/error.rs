//! What can go wrong in the vault. No message carries key material or plain text.

use std::io;
use std::path::PathBuf;

use be8_events::{KeyId, ParseError};

use crate::support::secret_file::Refused;

/// A failure of the vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A key file cannot be read, made or replaced.
    #[error("key file {path}: {cause}", path = path.display())]
    MasterFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A key file is refused as it is: others may read it, it is empty, or no file.
    #[error("key file {0}")]
    File(Refused),
    /// The master key file does not hold 64 hexadecimal digits and a line end.
    #[error("master key file {path} does not hold 64 hexadecimal digits, but {what}", path = path.display())]
    MasterFileContent {
        /// The file.
        path: PathBuf,
        /// What it seems to hold.
        what: &'static str,
    },
    /// The file of rotating keys holds something else than lines of a generation and 64 hexadecimal digits.
    #[error("rotating key file {path}: line {line} is no generation with a key of 64 hexadecimal digits", path = path.display())]
    RotatingFileContent {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// The key files do not open the vault.
    #[error(
        "no master key given opens the vault (generation {generation}): {master} and {rotating} are not, or no longer, those \
         that it was wrapped under; all servers on one database need the same two files, and a restored database those that \
         were saved with it",
        master = master.display(), rotating = rotating.display()
    )]
    WrongFiles {
        /// The generation that stays closed.
        generation: i32,
        /// The file of the master key.
        master: PathBuf,
        /// The file of rotating keys.
        rotating: PathBuf,
    },
    /// The rotation of a vault without a file of rotating keys was asked for.
    #[error("the vault has no file of rotating keys: --vault-rotation-hours is off")]
    NoRotatingFile,
    /// Another process changes the rotating key just now.
    #[error("another process rotates the key of the vault; try again")]
    RotationBusy,
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
            | Self::File(_)
            | Self::MasterFileContent { .. }
            | Self::RotatingFileContent { .. }
            | Self::WrongFiles { .. }
            | Self::NoRotatingFile
            | Self::RotationBusy
            | Self::WrongMaster { .. }
            | Self::RotationUnderWay { .. }
            | Self::Database(_) => false,
        }
    }
}

impl From<be8_database::ConnectError> for VaultError {
    fn from(error: be8_database::ConnectError) -> Self {
        Self::Database(error.into())
    }
}
