//! The library beside a running server, on the same database: a ledger that appends what no route does.

use std::sync::Arc;

use be8::clock::{Clock, SystemClock};
use be8::ledger::{Ledger, LedgerSettings};
use be8::vault::{MasterKey, Vault};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use crate::server::{Server, Setup};

/// A ledger in this process. It stops with this value.
pub struct Library {
    /// The ledger.
    pub ledger: Ledger,
    /// The vault.
    pub vault: Arc<Vault>,
    /// The database.
    pub pool: PgPool,
    stop: CancellationToken,
}

impl Library {
    /// Beside a server.
    pub async fn open(server: &Server) -> Self {
        Self::with_clock(server.setup(), Arc::new(SystemClock)).await
    }

    /// On the database of a setup, whose schema must be there; with any clock, even one that is far ahead.
    pub async fn with_clock(setup: &Setup, clock: Arc<dyn Clock>) -> Self {
        let connect: PgConnectOptions = setup.database_url().parse().expect("a database URL");
        let pool = be8::node::reading_pool(&connect, 4);
        let master = MasterKey::load_or_create(setup.master_key()).expect("a master key");
        let vault = Vault::open(pool.clone(), master).await.expect("a vault");
        let settings = LedgerSettings { any_clock: true, ..LedgerSettings::default() };
        let stop = CancellationToken::new();
        let started = Ledger::start(pool.clone(), connect, vault.clone(), clock, settings, stop.clone()).await;
        let (ledger, _) = started.expect("a ledger");
        Self { ledger, vault, pool, stop }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
