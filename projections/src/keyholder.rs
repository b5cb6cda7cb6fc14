//! The read model of keyholders: whose key pairs wrapped keys of which groups. While such a group
//! lives, its members need the public key of the keyholder, even if the account was removed
//! (docs/protocol.md, "Keyholders that are gone").

use std::collections::BTreeSet;

use be8_events::group::KeyChange;
use be8_events::{AccId, Event, GroupId, Recorded, StreamName};
use sqlx::{Arguments, Row};

use crate::derived::Derived;
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::rows::{account_id, is_null};
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[Table::new(
    "keyholder",
    "
create table if not exists {schema}.keyholder (
    account  bigint not null,
    group_id bigint not null,
    primary key (account, group_id)
);
create index if not exists keyholder_group on {schema}.keyholder (group_id);
",
)];

/// Whom a batch names as keyholder.
#[derive(Debug, Default)]
pub(crate) struct Keyholders(BTreeSet<(AccId, GroupId)>);

impl ReadModel for Keyholders {
    const MODEL: Model = Model { name: "keyholders", version: 1, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, _: &Derived) {
        if let (Event::Group(event), StreamName::Group(group)) = (&recorded.event, recorded.stream) {
            match event.keys() {
                Some(KeyChange::Stored(e)) => _ = self.0.insert((e.keyholder, group)),
                Some(KeyChange::Allocated(_)) | None => {}
            }
        }
    }

    fn write(&self, to: &mut Statement) {
        to.rows()
            .column("account", self.0.iter().map(|key| key.0.number()))
            .column("group_id", self.0.iter().map(|key| key.1.number()))
            .insert(
                "keyholders",
                "{schema}.keyholder",
                "
    -- Named again: the row is there.
    on conflict (account, group_id) do update set group_id = excluded.group_id",
            );
    }
}

/// The condition that a living group needs the public key of the account `account`.
pub(crate) fn needed(generation: Generation, account: &str) -> String {
    format!(
        "exists (select from {generation}.keyholder kh join {generation}.groups kg on kg.id = kh.group_id
                where kh.account = {account} and not kg.destroyed)"
    )
}

impl ReadModels {
    /// The living groups whose stored keys name an account as keyholder, ascending.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn keyholder_in(&self, account: AccId) -> Result<Vec<GroupId>, ReadError> {
        let rows = self.fetch(&KEYHOLDER_IN, |to| to.add(account.number())).await?;
        let rows = rows.iter().filter(|row| !is_null(row, "group_id"));
        rows.map(|row| GroupId::new(row.try_get("group_id")?).ok_or(ReadError::Damaged("group id"))).collect()
    }

    /// The removed accounts that a group's stored keys name as keyholders, and that no living group needs.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn spared_keyholders(&self, group: GroupId) -> Result<Vec<AccId>, ReadError> {
        let rows = self.fetch(&SPARED_KEYHOLDERS, |to| to.add(group.number())).await?;
        rows.iter().filter(|row| !is_null(row, "account")).map(|row| account_id(row, "account")).collect()
    }
}

/// The statement of [`ReadModels::keyholder_in`]; `$1` the account.
static KEYHOLDER_IN: Query = Query::new(keyholder_in_sql);

fn keyholder_in_sql(generation: Generation) -> String {
    format!(
        "select h.generation, k.group_id from log_head h
left join (select kh.group_id from {generation}.keyholder kh join {generation}.groups g on g.id = kh.group_id
           where kh.account = $1 and not g.destroyed) k on true
order by k.group_id"
    )
}

/// The statement of [`ReadModels::spared_keyholders`]; `$1` the group.
static SPARED_KEYHOLDERS: Query = Query::new(spared_keyholders_sql);

fn spared_keyholders_sql(generation: Generation) -> String {
    format!(
        "select h.generation, k.account from log_head h
left join (select kh.account from {generation}.keyholder kh
           where kh.group_id = $1 and not {needed}
             and exists (select from {generation}.removal r where r.account = kh.account)) k on true
order by k.account",
        needed = needed(generation, "kh.account"),
    )
}
