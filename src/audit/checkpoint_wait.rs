//! Checkpoints on request: a client that wants an event proved need not wait until the next one is due.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::AuditError;
use super::transparency::{Transparency, TransparencyError};
use crate::ledger::{LogError, SignedHead};

/// How long a requested checkpoint is waited for: the signing node looks for requests once a second.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two looks for it.
const LOOK: Duration = Duration::from_millis(200);

/// How many wait on this node at a time; more are asked to come back.
static WAITING: Semaphore = Semaphore::const_new(16);

/// Why something cannot be proved.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// No checkpoint covers it yet; it is worth asking again after this time.
    #[error("not covered by a checkpoint yet")]
    NotCovered(Duration),
    /// There is no such event of the group, or it is not for the asker.
    #[error("no such event")]
    NoEvent,
    /// The history cannot be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The transparency log cannot be read.
    #[error(transparent)]
    Transparency(#[from] TransparencyError),
}

impl From<LogError> for ProofError {
    fn from(error: LogError) -> Self {
        Self::Audit(error.into())
    }
}

/// What a checkpoint must cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Covers {
    /// The entries of the log.
    Entry,
    /// The histories of groups, by a map that is kept.
    Histories,
}

impl Covers {
    async fn head(self, transparency: &Transparency, size: u64) -> Result<Option<SignedHead>, LogError> {
        match self {
            Self::Entry => transparency.tables().head_covering(size).await,
            Self::Histories => transparency.tables().head_with_map(size).await,
        }
    }
}

/// A checkpoint that covers this many events; it is requested if there is none yet.
///
/// # Errors
/// [`ProofError::NotCovered`] if there is none soon enough: too many wait, or the last one on request is too young.
pub(super) async fn covering(transparency: &Transparency, size: u64, covers: Covers) -> Result<SignedHead, ProofError> {
    if let Some(head) = covers.head(transparency, size).await? {
        return Ok(head);
    }
    let again = transparency.tables().want_head(size).await?;
    if again > PATIENCE {
        return Err(ProofError::NotCovered(again));
    }
    let not_soon = ProofError::NotCovered(PATIENCE);
    let Ok(_place) = WAITING.try_acquire() else { return Err(not_soon) };
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        sleep(LOOK).await;
        if let Some(head) = covers.head(transparency, size).await? {
            return Ok(head);
        }
    }
    Err(not_soon)
}
