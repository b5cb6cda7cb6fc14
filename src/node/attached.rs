//! The database with a ledger, for commands of the operator.

use std::sync::Arc;

use be8_projections::ReadModels;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Database, NodeError, reading_pool, test_clock, transparency};
use crate::config::Config;
use crate::ledger::{Leads, Ledger, Log, LogError, SweepConnector};
use crate::process::expiry::Expiry;
use crate::support::clock::SystemClock;
use crate::vault::Vault;

/// The database with a ledger of its own, beside servers that may run: for commands that write.
#[derive(Debug)]
pub struct Attached {
    /// The way to write.
    pub ledger: Ledger,
    /// The way to read.
    pub read: Arc<ReadModels>,
    /// The keys.
    pub vault: Arc<Vault>,
    /// What sweeps.
    pub sweepers: SweepConnector,
    /// Grants leadership leases.
    pub leads: Leads,
    database: Database,
    task: JoinHandle<Result<(), LogError>>,
    stop: CancellationToken,
}

impl Attached {
    /// Attaches to the database, whose schema must be there.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn open(config: &Config) -> Result<Self, NodeError> {
        let database = Database::open(config, true).await?;
        if database.lacks_log().await? {
            let description = database.describe().to_owned();
            database.close().await;
            return Err(NodeError::NoLog(description));
        }
        // Opening the vault would found one, and a server would then serve without the keys.
        if database.lacks_vault().await? {
            return Err(NodeError::NoVault);
        }
        let pool =
            reading_pool(&database.connect, config.server.database_connections.min(4), config.server.database_read);
        let vault = Vault::open_files(pool.clone(), &config.key_files()).await?;
        // As at the start of a server: nothing is written to a database that does not extend what was signed.
        transparency(&Log::new(pool.clone()), &config.audit).await?;
        let clock = test_clock(config).unwrap_or_else(|| Arc::new(SystemClock));
        let stop = CancellationToken::new();
        let connect = database.connect.clone();
        let settings = config.ledger.clone();
        let (ledger, task) = Ledger::start(pool.clone(), connect, vault.clone(), clock, settings, stop.clone()).await?;
        let read = Arc::new(ReadModels::new(pool));
        let (sweepers, leads) = (SweepConnector::new(&database.connect), Leads::new(&database.connect));
        Ok(Self { ledger, read, vault, sweepers, leads, database, task, stop })
    }

    /// The process that ends what has expired.
    pub fn expiry(&self, config: &Config) -> Expiry {
        Expiry {
            ledger: self.ledger.clone(),
            read: self.read.clone(),
            sweepers: self.sweepers.clone(),
            lifetime: config.app.message_lifetime,
            cleared: Arc::default(),
        }
    }

    /// Ends the ledger and lets the database go.
    pub async fn close(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await.unwrap_or(Err(LogError::Died)) {
            tracing::warn!(%error, "the ledger did not end well");
        }
        self.database.close().await;
    }
}
