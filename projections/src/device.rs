//! The read model of devices: where an account is notified of messages by Web Push.

use std::collections::{BTreeMap, BTreeSet};

use be8_events::{AccId, DeviceEvent, Event, Hash32, KeyId, Position, Recorded, SessionEvent, StreamName, Timestamp};
use sqlx::Arguments;
use sqlx::postgres::PgArguments;

use crate::derived::Derived;
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::rows::{account_id, is_null};
use crate::stored::{Named, StoredSealed};
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[Table::new(
    "device",
    "
create table if not exists {schema}.device (
    account  bigint not null,
    endpoint bytea not null,   -- its fingerprint under the account's key
    position bigint not null,  -- of the event that holds the subscription
    session  bytea,            -- that it ends with, by the hash of its token; null: not recorded by version 1 of the event
    primary key (account, endpoint)
);
",
)];

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
    /// A session of an account ended. Its devices are dropped by events of their own; those of version 1 of the event,
    /// which did not record the session, end with any.
    fn session_ended(&mut self, account: AccId) {
        let unrecorded = |of: AccId, row: &Option<Row>| of == account && row.is_some_and(|row| row.session.is_none());
        self.rows.iter_mut().filter(|((of, _), row)| unrecorded(*of, row)).for_each(|(_, row)| *row = None);
        self.ended.insert(account);
    }
}

impl ReadModel for Devices {
    const MODEL: Model = Model { name: "devices", version: 1, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, _: &Derived) {
        if let (Event::Device(event), StreamName::Devices(account)) = (&recorded.event, recorded.stream) {
            match event {
                DeviceEvent::DeviceSubscribed(e) => {
                    let row = Row { position: recorded.position, session: e.session };
                    self.rows.insert((account, e.endpoint), Some(row));
                }
                DeviceEvent::DeviceDropped(e) => _ = self.rows.insert((account, e.endpoint), None),
            }
        }
        if let Event::Session(event) = &recorded.event {
            match event {
                SessionEvent::SessionEnded(e) => self.session_ended(e.account),
                SessionEvent::SessionOpened(_) | SessionEvent::SessionNamed(_) => {}
            }
        }
        if let Some(e) = recorded.event.removed() {
            self.rows.retain(|(of, _), _| *of != e.account);
            self.ended.remove(&e.account);
            self.removed.insert(e.account);
        }
    }

    fn write(&self, to: &mut Statement) {
        let set = || self.rows.iter().filter_map(|(key, row)| Some((key, (*row)?)));
        to.rows()
            .column("account", set().map(|((account, _), _)| account.number()))
            .column("endpoint", set().map(|((_, endpoint), _)| &endpoint.0[..]))
            .column("position", set().map(|(_, row)| row.position.0))
            .column("session", set().map(|(_, row)| row.session.map(|session| session.0.to_vec())))
            .insert(
                "device_set",
                "{schema}.device",
                "
    on conflict (account, endpoint) do update set position = excluded.position, session = excluded.session",
            );
        let dropped = || self.rows.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| key);
        to.rows()
            .column("account", dropped().map(|(account, _)| account.number()))
            .column("endpoint", dropped().map(|(_, endpoint)| &endpoint.0[..]))
            .write(
                "device_dropped",
                "
    delete from {schema}.device d using head, {rows} u({columns})
    where d.account = u.account and d.endpoint = u.endpoint",
            );
        if !self.ended.is_empty() {
            // What the batch itself says of a device has its own row above.
            let said = to.bind(self.rows.keys().map(|(_, endpoint)| &endpoint.0[..]).collect::<Vec<_>>());
            to.rows().column("account", self.ended.iter().map(|account| account.number())).write(
                "device_ended",
                &format!(
                    "
    delete from {{schema}}.device d using head, {{rows}} u({{columns}})
    where d.account = u.account and d.session is null and d.endpoint <> all ({said}::bytea[])"
                ),
            );
        }
        to.rows().column("account", self.removed.iter().map(|account| account.number())).write(
            "device_removed",
            "delete from {schema}.device d using head, {rows} u({columns}) where d.account = u.account",
        );
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
        let rows = self.fetch(&DEVICES, bind).await?;
        let mut devices = DevicesOf { found: Vec::with_capacity(rows.len()), live: Vec::new() };
        for row in rows.iter().filter(|row| !is_null(row, "account")) {
            devices.found.push((account_id(row, "account")?, SUBSCRIBED.read_one(row, &mut devices.live)?));
        }
        Ok(devices)
    }
}

/// The event that holds a device's subscription.
const SUBSCRIBED: Named = Named("subscribed");

/// The statement of [`ReadModels::devices`]; `$1` the accounts, `$2` the time.
static DEVICES: Query = Query::new(devices_sql);

fn devices_sql(generation: Generation) -> String {
    format!(
        "with d as (
    select d.* from {generation}.device d join {generation}.account a on a.id = d.account
    where d.account = any ($1) and a.until > $2
      and (d.session is null or exists (select from {generation}.session s where s.hash = d.session))
    )
select h.generation, d.account, {subscribed}
from log_head h left join d on true
{join_subscribed}",
        subscribed = SUBSCRIBED.columns(),
        join_subscribed = SUBSCRIBED.join("d.position"),
    )
}
