//! What every server does for a rotation: it reads the file of keys again and again, and shows by locks of the database
//! which keys it has read. The locks go with their connection, so a server that ended is not waited for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use super::rotation::{LOCKS, SERVER};
use super::{Vault, VaultError};

/// How often the file is read.
const PAUSE: Duration = Duration::from_secs(2);

/// Reads the file of keys again and again until `stop`. A vault that was opened without files has nothing to read.
pub async fn watch(vault: Arc<Vault>, stop: CancellationToken) {
    while vault.has_files() && !stop.is_cancelled() {
        if let Err(error) = show(&vault, &stop).await {
            tracing::warn!(%error, "the rotating key of the vault cannot be followed");
        }
        tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(PAUSE) => {} }
    }
}

/// Holds the locks of the keys that were read, as long as the connection lives.
async fn show(vault: &Vault, stop: &CancellationToken) -> Result<(), VaultError> {
    let mut connection = PgConnection::connect_with(&vault.connect_options()).await?;
    lock(&mut connection, "select pg_advisory_lock_shared($1, $2)", SERVER).await?;
    let mut shown = BTreeSet::new();
    while !stop.is_cancelled() {
        let read: BTreeSet<i32> = vault.locks_of_keys().await?.into_iter().collect();
        for key in read.difference(&shown) {
            lock(&mut connection, "select pg_advisory_lock_shared($1, $2)", *key).await?;
        }
        for key in shown.difference(&read) {
            lock(&mut connection, "select pg_advisory_unlock_shared($1, $2)", *key).await?;
        }
        shown = read;
        connection.ping().await?;
        tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(PAUSE) => {} }
    }
    connection.close().await?;
    Ok(())
}

async fn lock(connection: &mut PgConnection, statement: &'static str, key: i32) -> Result<(), VaultError> {
    sqlx::query(statement).bind(LOCKS).bind(key).execute(connection).await?;
    Ok(())
}
