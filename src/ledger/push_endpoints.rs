//! Which account has an endpoint of Web Push, in a table outside of the log: the fingerprints of the log differ from
//! account to account, so that erasing an account's key unlinks them.

use std::collections::HashMap;

use be8_events::{AccId, Hash32, Subject};
use sqlx::{PgPool, Row};

use super::LogError;
use crate::vault::{Found, Vault, VaultError};

/// A device: its account, and the fingerprint of its endpoint under that account's key.
pub type DeviceName = (AccId, Hash32);

/// The holders of endpoints, each known by its fingerprint under the key of the server.
#[derive(Debug, Clone)]
pub struct PushEndpoints(PgPool);

impl PushEndpoints {
    pub(super) const fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// From now on this device has the endpoint; answers which one had it before, if it was another.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn claim(&self, endpoint: Hash32, device: DeviceName) -> Result<Option<DeviceName>, LogError> {
        let former = sqlx::query(CLAIM)
            .bind(&endpoint.0[..])
            .bind(device.0.number())
            .bind(&device.1.0[..])
            .fetch_optional(&self.0)
            .await?;
        former.map(|row| read(&row)).transpose()
    }

    /// This device has the endpoint no more, unless another one has it by now.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn release(&self, device: DeviceName) -> Result<(), LogError> {
        sqlx::query("delete from push_endpoints where account = $1 and device = $2")
            .bind(device.0.number())
            .bind(&device.1.0[..])
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// The holders of those of some endpoints that have one.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn holders(&self, of: &[Hash32]) -> Result<HashMap<Hash32, DeviceName>, LogError> {
        let rows = sqlx::query("select endpoint, account, device from push_endpoints where endpoint = any ($1)")
            .bind(of.iter().map(|endpoint| &endpoint.0[..]).collect::<Vec<_>>())
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(|row| Ok((hash(row, "endpoint")?, read(row)?))).collect()
    }
}

/// The fingerprint of an endpoint, the same for all accounts; none while the log has no key for that.
///
/// # Errors
/// [`VaultError`]
pub async fn fingerprint(vault: &Vault, endpoint: &str) -> Result<Option<Hash32>, VaultError> {
    Ok(match vault.find(&[Subject::Server]).await?.get(&Subject::Server) {
        Some(Found::Live(key)) => Some(key.mac("push-endpoint", endpoint.as_bytes())),
        // It is never erased.
        Some(Found::Erased(_)) | None => None,
    })
}

fn hash(row: &sqlx::postgres::PgRow, column: &str) -> Result<Hash32, LogError> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(Hash32).map_err(|_| LogError::Stored("a fingerprint of an endpoint"))
}

fn read(row: &sqlx::postgres::PgRow) -> Result<DeviceName, LogError> {
    let account = AccId::new(row.try_get("account")?).ok_or(LogError::Stored("an account of an endpoint"))?;
    Ok((account, hash(row, "device")?))
}

/// Of two that claim at once, one waits for the other at the row. It may not learn of the other, which is pushed to no
/// more all the same.
const CLAIM: &str = "
with former as (select account, device from push_endpoints where endpoint = $1),
claimed as (
    insert into push_endpoints as p (endpoint, account, device) values ($1, $2, $3)
    on conflict (endpoint) do update set account = excluded.account, device = excluded.device
    where (p.account, p.device) is distinct from (excluded.account, excluded.device))
select account, device from former where (account, device) is distinct from ($2, $3)";
