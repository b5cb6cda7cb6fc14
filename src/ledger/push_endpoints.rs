//! Which device has an endpoint of Web Push, in a table beside the log: the fingerprints in the log differ from account to
//! account, so that nothing connects them once the key of one is erased.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use be8_database::Pool;
use be8_events::{AccId, DeviceEvent, Event, Hash32, Recorded, StreamName, Subject};
use be8_projections::Statement;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::LogError;
use crate::domain::device::DeviceName;
use crate::vault::DataKey;

/// The fingerprint of an endpoint, the same for all accounts, under the key of [`Subject::Server`].
pub fn fingerprint(server: &DataKey, endpoint: &str) -> Hash32 {
    server.mac("push-endpoint", endpoint.as_bytes())
}

/// The devices that have endpoints. They change in the append of what changes them, see `DeviceRows`.
#[derive(Debug, Clone)]
pub struct PushEndpoints(Pool);

impl PushEndpoints {
    pub(super) const fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// The devices that have these endpoints, by their fingerprints ([`fingerprint`]); those that no device has are left
    /// out, and so are those of logs that were imported, until a device subscribes there.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn holders(&self, of: &[Hash32]) -> Result<HashMap<Hash32, DeviceName>, LogError> {
        let rows = sqlx::query("select endpoint, account, device from push_endpoints where endpoint = any ($1)")
            .bind(of.iter().map(|endpoint| &endpoint.0[..]).collect::<Vec<_>>())
            .fetch_all(&self.0)
            .await?;
        let holder = |row: &PgRow| {
            let account = AccId::new(row.try_get("account")?).ok_or(LogError::Stored("an account of an endpoint"))?;
            Ok((hash(row, "endpoint")?, (account, hash(row, "device")?)))
        };
        rows.iter().map(holder).collect()
    }
}

fn hash(row: &PgRow, column: &str) -> Result<Hash32, LogError> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(Hash32).map_err(|_| LogError::Stored("a fingerprint of an endpoint"))
}

/// What a batch changes of the rows beside the log that belong to devices: who has an endpoint, and how many pushes in
/// a row were refused.
#[derive(Debug, Default)]
pub(super) struct DeviceRows {
    /// Which device has an endpoint from now on.
    claimed: BTreeMap<Hash32, DeviceName>,
    /// Devices that subscribed: their count of refused pushes begins again.
    subscribed: BTreeSet<DeviceName>,
    dropped: BTreeSet<DeviceName>,
    /// Accounts all of whose devices go.
    gone: BTreeSet<AccId>,
}

impl DeviceRows {
    /// An event of the batch; they come in order.
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        if let (Event::Device(event), StreamName::Devices(account)) = (&recorded.event, recorded.stream) {
            match event {
                DeviceEvent::DeviceSubscribed(e) => _ = self.subscribed.insert((account, e.endpoint)),
                DeviceEvent::DeviceDropped(e) => {
                    let device = (account, e.endpoint);
                    self.claimed.retain(|_, holder| *holder != device);
                    self.dropped.insert(device);
                }
            }
        }
        if let Some(e) = recorded.event.removed() {
            self.gone(e.account);
        }
        if let Some(e) = recorded.event.deleted_keys() {
            for key in &e.keys {
                if let Subject::Account(account) = key.subject {
                    self.gone(account);
                }
            }
        }
    }

    fn gone(&mut self, account: AccId) {
        self.claimed.retain(|_, (holder, _)| *holder != account);
        self.gone.insert(account);
    }

    /// This device has the endpoint from now on, and nobody else.
    pub(super) fn claimed(&mut self, endpoint: Hash32, device: DeviceName) {
        self.claimed.insert(endpoint, device);
    }

    /// Devices, or without one all of an account, that have no endpoint any more.
    fn over(&self) -> impl Iterator<Item = (i64, Option<&[u8]>)> {
        let dropped = self.dropped.iter().map(|(account, device)| (account.number(), Some(&device.0[..])));
        dropped.chain(self.gone.iter().map(|account| (account.number(), None)))
    }

    /// The same of the count of refused pushes.
    fn uncounted(&self) -> impl Iterator<Item = (i64, Option<&[u8]>)> {
        let subscribed = self.subscribed.iter().map(|(account, device)| (account.number(), Some(&device.0[..])));
        subscribed.chain(self.over())
    }

    /// Adds the CTEs that write these rows to the statement of an append, after a CTE `head`.
    pub(super) fn write(&self, to: &mut Statement) {
        to.rows()
            .column("endpoint", self.claimed.keys().map(|endpoint| &endpoint.0[..]))
            .column("account", self.claimed.values().map(|(account, _)| account.number()))
            .column("device", self.claimed.values().map(|(_, device)| &device.0[..]))
            .insert(
                "pc",
                "push_endpoints as p",
                "
    on conflict (endpoint) do update set account = excluded.account, device = excluded.device",
            );
        if self.over().next().is_some() {
            // The parts of a statement do not see each other's rows: what is claimed is left to the part above.
            let claimed = to.bind(self.claimed.keys().map(|endpoint| &endpoint.0[..]).collect::<Vec<_>>());
            to.rows()
                .column("account", self.over().map(|(account, _)| account))
                .column("device", self.over().map(|(_, device)| device))
                .write(
                    "pd",
                    &format!(
                        "
    delete from push_endpoints p using head, {{rows}} u({{columns}})
    where p.account = u.account and (u.device is null or p.device = u.device)
      and p.endpoint <> all ({claimed}::bytea[])"
                    ),
                );
        }
        to.rows()
            .column("account", self.uncounted().map(|(account, _)| account))
            .column("device", self.uncounted().map(|(_, device)| device))
            .write(
                "pr",
                "
    delete from push_refusals p using head, {rows} u({columns})
    where p.account = u.account and (u.device is null or p.device = u.device)",
            );
    }
}
