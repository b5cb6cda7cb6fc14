//! Process managers: what reacts to the log or to the time and then commands like anybody else.
//!
//! Each runs on one node at a time, under a session advisory lock of PostgreSQL ([`Lead`]), and
//! keeps what it has seen in a checkpoint that only the holder of the lock can move. A process that
//! is killed in the middle is started again, on this node or another one, from its checkpoint: what
//! it does must be harmless when done twice.

pub mod answers;
pub mod checkpoints;
pub mod expiry;
pub mod hours;
pub mod media;
pub mod overdue;
pub mod push;
pub mod removal;
pub mod rotation;
pub mod session_days;
pub mod sweep;
pub mod witnesses;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_trait::async_trait;
use be8_projections::ReadError;
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::audit::TransparencyError;
use crate::audit::tree::BrokenTree;
use crate::ledger::{Lead, Leads, LedgerError, LogError};
use crate::support::occasional::Occasional;
use crate::vault::VaultError;

/// How long a tick that is under way may go on when the server stops.
const LAST_TICK: Duration = Duration::from_secs(3);
/// How long a process may take to end when the server stops, its last tick included.
const GRACE: Duration = Duration::from_secs(5);
/// How often a node that does not lead asks whether it can.
const LEADERSHIP_RETRY: Duration = Duration::from_secs(1);

/// Why a process gave up its tick; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The log or the lock could not be reached.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A command failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The transparency log cannot go on.
    #[error(transparent)]
    Transparency(#[from] TransparencyError),
    /// A read model could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store of images failed.
    #[error(transparent)]
    Media(#[from] crate::media::MediaError),
    /// A key could not be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<BrokenTree> for ProcessError {
    fn from(error: BrokenTree) -> Self {
        Self::Transparency(error.into())
    }
}

/// A process manager.
#[async_trait]
pub trait Process: Send + Sync + 'static {
    /// Its name: of the lock, of the checkpoint and in the log. Never changed.
    fn name(&self) -> &'static str;

    /// Does what is to be done now, as long as `lead` is held. It is called again and again, with a
    /// pause of what it returns.
    ///
    /// # Errors
    /// [`ProcessError`]: the lead is given up, and somebody tries again.
    async fn tick(&self, lead: &mut Lead) -> Result<Duration, ProcessError>;

    /// Makes ready for the ticks to come: this node has just got the lead.
    ///
    /// # Errors
    /// [`ProcessError`]: as for a tick.
    async fn begin(&self, _: &mut Lead) -> Result<(), ProcessError> {
        Ok(())
    }

    /// Finishes the work in progress because the server is stopping; it has a few seconds.
    ///
    /// # Errors
    /// [`ProcessError`], which is logged.
    async fn end(&self, _: &mut Lead) -> Result<(), ProcessError> {
        Ok(())
    }
}

/// Runs processes on this node, each while it leads it.
#[derive(Debug, Clone)]
pub struct ProcessRunner {
    leads: Leads,
    stop: CancellationToken,
}

impl ProcessRunner {
    /// Processes that end with `stop`.
    pub const fn new(leads: Leads, stop: CancellationToken) -> Self {
        Self { leads, stop }
    }

    /// Runs a process whenever this node leads it. A tick that is under way when the server stops may go on for a
    /// while; one that takes longer is given up, as by a node that is killed.
    pub fn spawn(&self, process: impl Process) -> JoinHandle<()> {
        let Self { leads, stop } = self.clone();
        let stopped = stop.clone();
        let running = async move {
            // What fails at each tick, as with a database that is away, is tried again each second.
            let failures = Occasional::new();
            while !stop.is_cancelled() {
                match leads.take(process.name()).await {
                    Ok(Some(mut lead)) => {
                        // One that panics is as good as one that gave up: it goes on from its checkpoint.
                        let ended = AssertUnwindSafe(run_while_leader(&process, &mut lead, &stop)).catch_unwind().await;
                        lead.resign().await;
                        match ended {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => {
                                if let Some(count) = failures.count() {
                                    tracing::warn!(%error, process = process.name(), count, "a process gave up its turn");
                                }
                            }
                            Err(_) => tracing::error!(process = process.name(), "a process panicked"),
                        }
                    }
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, process = process.name(), "cannot ask for the lead"),
                }
                tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(LEADERSHIP_RETRY) => {} }
            }
        };
        tokio::spawn(async move {
            let overdue = async {
                stopped.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            tokio::select! { () = running => {}, () = overdue => {} }
        })
    }
}

/// The moment at which a tick is given up because the server stops.
async fn too_late(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_TICK).await;
}

/// Ticks, as long as the lock is held.
async fn run_while_leader(
    process: &dyn Process,
    lead: &mut Lead,
    stop: &CancellationToken,
) -> Result<(), ProcessError> {
    process.begin(lead).await?;
    while !stop.is_cancelled() {
        lead.confirm().await?;
        let pause = tokio::select! {
            pause = process.tick(lead) => pause?,
            // A peer that does not answer keeps no server from stopping: the next leader does the tick again.
            () = too_late(stop) => return Ok(()),
        };
        tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(pause) => {} }
    }
    process.end(lead).await
}
