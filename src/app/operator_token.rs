//! The operator's token, and the file that it is in.

use std::fmt;
use std::path::Path;

use be8_events::Hash32;
use subtle::ConstantTimeEq;

use crate::support::secret_file::{self, Refused};

/// The fewest bytes of a token.
const LEAST: usize = 32;
/// The longest file of a token.
const LONGEST: u64 = 64 * 1024;

/// The operator's token, as its hash: what is compared has one length, whatever was sent.
#[derive(Clone)]
pub struct OperatorToken(Hash32);

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadOperatorToken {
    /// The file is refused: it cannot be read, others may read it, it is empty, or no file.
    #[error("operator token file {0}")]
    Refused(Refused),
    /// The token is too short to be unguessable.
    #[error("operator token file {0}: fewer than {LEAST} bytes")]
    Short(String),
}

impl OperatorToken {
    /// Reads the token of a file; white space around it does not count.
    ///
    /// # Errors
    /// [`BadOperatorToken`]
    pub fn load(path: &Path) -> Result<Self, BadOperatorToken> {
        let text = secret_file::read(path, LONGEST).map_err(BadOperatorToken::Refused)?;
        let token = text.trim_ascii();
        if token.len() < LEAST {
            return Err(BadOperatorToken::Short(path.display().to_string()));
        }
        Ok(Self(Hash32::sha256(token)))
    }

    /// Whether this is the token, in constant time.
    pub fn is(&self, token: &[u8]) -> bool {
        self.0.0.ct_eq(&Hash32::sha256(token).0).into()
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
