//! What every server does for a rotation: it reads the file of keys again and again, and shows by locks of the database
//! which keys it has read. The locks go with their connection, so a server that ended is not waited for; one that cannot read
//! the file is.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use be8_database::{Deadline, with_deadline};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use super::rotation::{LOCKS, SERVER};
use super::{Vault, VaultError};
use crate::support::occasional::Occasional;

/// How often the file is read.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a statement may take. Locks of these numbers are only ever shared: nobody waits for one.
const LIMIT: Duration = Duration::from_secs(30);

/// Reads the file of keys again and again until `stop`. A vault that was opened without files has nothing to read.
pub async fn watch(vault: Arc<Vault>, stop: CancellationToken) {
    if !vault.has_files() {
        return;
    }
    let complaints = Occasional::new();
    loop {
        // Whatever it waits for, it does not hold up a stop: the locks go with the connection.
        let Err(error) = tokio::select! { () = stop.cancelled() => return, ended = show(&vault, &complaints) => ended };
        complain(&complaints, &error);
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(PAUSE) => {} }
    }
}

fn complain(complaints: &Occasional, error: &VaultError) {
    if let Some(count) = complaints.count() {
        tracing::warn!(%error, count, "the rotating key of the vault cannot be followed; trying again");
    }
}

/// Holds the locks of the keys that were read, as long as the connection lives.
async fn show(vault: &Vault, complaints: &Occasional) -> Result<Infallible, VaultError> {
    let mut connection = vault.connector().connect().await?;
    lock(&mut connection, "select pg_advisory_lock_shared($1, $2)", SERVER).await?;
    let mut shown = BTreeSet::new();
    loop {
        // A server that cannot read the file shows no key, and so no key is changed.
        let read: BTreeSet<i32> = vault.locks_of_keys().await.map(BTreeSet::from_iter).unwrap_or_else(|error| {
            complain(complaints, &error);
            BTreeSet::new()
        });
        for key in read.difference(&shown) {
            lock(&mut connection, "select pg_advisory_lock_shared($1, $2)", *key).await?;
        }
        for key in shown.difference(&read) {
            lock(&mut connection, "select pg_advisory_unlock_shared($1, $2)", *key).await?;
        }
        shown = read;
        with_deadline(LIMIT, connection.ping()).await?;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn lock(connection: &mut PgConnection, statement: &'static str, key: i32) -> Result<(), VaultError> {
    sqlx::query(statement).bind(LOCKS).bind(key).execute(Deadline::new(connection, LIMIT)).await?;
    Ok(())
}
