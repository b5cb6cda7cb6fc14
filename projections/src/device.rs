//! The read model of devices: where an account is told of messages by Web Push.

use std::collections::{BTreeMap, BTreeSet};

use be8_events::{AccId, Hash32, KeyId, Position, Timestamp};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, error::BoxDynError};

use crate::account::{account_id, is_null};
use crate::stored::{Stored, StoredSealed};
use crate::{Generation, Parameters, ReadError, ReadModels};

pub(crate) const TABLE: &str = "
create table if not exists {schema}.device (
    account  bigint not null,
    endpoint bytea not null,   -- its fingerprint under the account's key
    position bigint not null,  -- of the event that holds the subscription
    session  bytea,            -- that it ends with, by the hash of its token; null: not recorded by version 1 of the event
    primary key (account, endpoint)
);
";

/// What is kept of a device.
#[derive(Debug, Clone, Copy)]
struct Row {
    position: Position,
    session: Option<Hash32>,
}

/// What a batch changes: the final row of each device, or none for one that is dropped.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    rows: BTreeMap<(AccId, Hash32), Option<Row>>,
    /// Accounts of which a session ended: their devices that belong to no session in particular go.
    ended: BTreeSet<AccId>,
    /// Accounts all of whose devices go.
    removed: BTreeSet<AccId>,
}

impl Devices {
    pub(crate) fn subscribed(&mut self, account: AccId, endpoint: Hash32, position: Position, session: Option<Hash32>) {
        self.rows.insert((account, endpoint), Some(Row { position, session }));
    }

    /// A session of an account ended. Its devices are dropped by events of their own; those of version 1 of the event,
    /// which did not record the session, end with any.
    pub(crate) fn session_ended(&mut self, account: AccId) {
        let unrecorded = |of: AccId, row: &Option<Row>| of == account && row.is_some_and(|row| row.session.is_none());
        self.rows.iter_mut().filter(|((of, _), row)| unrecorded(*of, row)).for_each(|(_, row)| *row = None);
        self.ended.insert(account);
    }

    pub(crate) fn dropped(&mut self, account: AccId, endpoint: Hash32) {
        self.rows.insert((account, endpoint), None);
    }

    /// All devices of an account go with it.
    pub(crate) fn removed(&mut self, account: AccId) {
        self.rows.retain(|(of, _), _| *of != account);
        self.ended.remove(&account);
        self.removed.insert(account);
    }

    fn set(&self) -> impl Iterator<Item = (AccId, &Hash32, Row)> {
        self.rows.iter().filter_map(|((account, endpoint), row)| Some((*account, endpoint, (*row)?)))
    }

    fn unset(&self) -> impl Iterator<Item = (AccId, &Hash32)> {
        self.rows.iter().filter(|(_, row)| row.is_none()).map(|((account, endpoint), _)| (*account, endpoint))
    }

    pub(crate) fn sql(&self, generation: Generation, p: &mut Parameters) -> String {
        let mut sql = String::new();
        if self.set().next().is_some() {
            sql += &format!(
                "
, device_set as (
    insert into {generation}.device (account, endpoint, position, session)
    select u.* from head, unnest({}) u
    on conflict (account, endpoint) do update set position = excluded.position, session = excluded.session)",
                p.arrays(&["bigint", "bytea", "bigint", "bytea"]),
            );
        }
        if self.unset().next().is_some() {
            sql += &format!(
                "
, device_dropped as (
    delete from {generation}.device d using head, unnest({}) u(account, endpoint)
    where d.account = u.account and d.endpoint = u.endpoint)",
                p.arrays(&["bigint", "bytea"]),
            );
        }
        if !self.ended.is_empty() {
            // What the batch itself says of a device has its own row above.
            sql += &format!(
                "
, device_ended as (
    delete from {generation}.device d using head, unnest({}) u(account)
    where d.account = u.account and d.session is null and d.endpoint <> all ({}))",
                p.arrays(&["bigint"]),
                p.arrays(&["bytea"]),
            );
        }
        if !self.removed.is_empty() {
            sql += &format!(
                "
, device_removed as (
    delete from {generation}.device d using head, unnest({}) u(account) where d.account = u.account)",
                p.arrays(&["bigint"]),
            );
        }
        sql
    }

    pub(crate) fn bind(&self, to: &mut PgArguments) -> Result<(), BoxDynError> {
        if self.set().next().is_some() {
            to.add(self.set().map(|(account, ..)| account.number()).collect::<Vec<_>>())?;
            to.add(self.set().map(|(_, endpoint, _)| &endpoint.0[..]).collect::<Vec<_>>())?;
            to.add(self.set().map(|(.., row)| row.position.0).collect::<Vec<_>>())?;
            to.add(self.set().map(|(.., row)| row.session.map(|session| session.0.to_vec())).collect::<Vec<_>>())?;
        }
        if self.unset().next().is_some() {
            to.add(self.unset().map(|(account, _)| account.number()).collect::<Vec<_>>())?;
            to.add(self.unset().map(|(_, endpoint)| &endpoint.0[..]).collect::<Vec<_>>())?;
        }
        if !self.ended.is_empty() {
            to.add(self.ended.iter().map(|account| account.number()).collect::<Vec<_>>())?;
            to.add(self.rows.keys().map(|(_, endpoint)| &endpoint.0[..]).collect::<Vec<_>>())?;
        }
        if !self.removed.is_empty() {
            to.add(self.removed.iter().map(|account| account.number()).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// The devices of some accounts.
#[derive(Debug)]
pub struct DevicesOf {
    /// Each with the `DeviceSubscribed` event that holds its subscription.
    pub found: Vec<(AccId, StoredSealed)>,
    /// The data keys that were live when this was read.
    pub live: Vec<KeyId>,
}

impl ReadModels {
    /// The devices of those of some accounts that live at `now`, as far as the session of each is open.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn devices(&self, of: &[AccId], now: Timestamp) -> Result<DevicesOf, ReadError> {
        let bind = |to: &mut PgArguments| {
            to.add(of.iter().map(|account| account.number()).collect::<Vec<_>>())?;
            to.add(now.to_utc())
        };
        let rows = self.fetch(|sql| &sql.devices, bind).await?;
        let mut devices = DevicesOf { found: Vec::with_capacity(rows.len()), live: Vec::new() };
        for row in rows.iter().filter(|row| !is_null(row, "account")) {
            devices.found.push((account_id(row, "account")?, StoredSealed::read(row, &mut devices.live)?));
        }
        Ok(devices)
    }
}

/// The statement of [`ReadModels::devices`]; `$1` the accounts, `$2` the time.
pub(crate) fn devices_sql(generation: Generation) -> String {
    format!(
        "with d as (
    select d.* from {generation}.device d join {generation}.account a on a.id = d.account
    where d.account = any ($1) and a.until > $2
      and (d.session is null or exists (select from {generation}.session s where s.hash = d.session))
    )
select h.generation, d.account, {columns}
from log_head h left join d on true
{sealed}",
        columns = Stored::COLUMNS,
        sealed = Stored::join("d.position"),
    )
}
