//! The read model of keyholders: whose key pairs wrapped keys of which groups. While such a group
//! lives, its members need the public key of the keyholder, even if the account is gone (H19).

use std::collections::BTreeSet;

use be8_events::{AccId, GroupId};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Row, error::BoxDynError};

use crate::account::{account_id, is_null};
use crate::{Generation, Parameters, ReadError, ReadModels};

pub(crate) const TABLE: &str = "
create table if not exists {schema}.keyholder (
    account  bigint not null,
    group_id bigint not null,
    primary key (account, group_id)
);
create index if not exists keyholder_group on {schema}.keyholder (group_id);
";

/// Whom a batch names as keyholder.
#[derive(Debug, Default)]
pub(crate) struct Keyholders(BTreeSet<(AccId, GroupId)>);

impl Keyholders {
    pub(crate) fn named(&mut self, account: AccId, group: GroupId) {
        self.0.insert((account, group));
    }

    pub(crate) fn sql(&self, generation: Generation, p: &mut Parameters) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        format!(
            "
, keyholders as (
    insert into {generation}.keyholder (account, group_id) select u.* from head, unnest({}) u
    -- Named again: the row is there.
    on conflict (account, group_id) do update set group_id = excluded.group_id)",
            p.arrays(&["bigint", "bigint"]),
        )
    }

    pub(crate) fn bind(&self, to: &mut PgArguments) -> Result<(), BoxDynError> {
        if !self.0.is_empty() {
            to.add(self.0.iter().map(|key| key.0.number()).collect::<Vec<_>>())?;
            to.add(self.0.iter().map(|key| key.1.number()).collect::<Vec<_>>())?;
        }
        Ok(())
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
        let rows = self.fetch(|sql| &sql.keyholder_in, |to| to.add(account.number())).await?;
        let rows = rows.iter().filter(|row| !is_null(row, "group_id"));
        rows.map(|row| GroupId::new(row.try_get("group_id")?).ok_or(ReadError::Damaged("a group id"))).collect()
    }

    /// The removed accounts that a group's stored keys name as keyholders, and that no living group needs.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn spared_keyholders(&self, group: GroupId) -> Result<Vec<AccId>, ReadError> {
        let rows = self.fetch(|sql| &sql.spared_keyholders, |to| to.add(group.number())).await?;
        rows.iter().filter(|row| !is_null(row, "account")).map(|row| account_id(row, "account")).collect()
    }
}

/// The statement of [`ReadModels::keyholder_in`]; `$1` the account.
pub(crate) fn keyholder_in_sql(generation: Generation) -> String {
    format!(
        "select h.generation, k.group_id from log_head h
left join (select kh.group_id from {generation}.keyholder kh join {generation}.groups g on g.id = kh.group_id
           where kh.account = $1 and not g.destroyed) k on true
order by k.group_id"
    )
}

/// The statement of [`ReadModels::spared_keyholders`]; `$1` the group.
pub(crate) fn spared_keyholders_sql(generation: Generation) -> String {
    format!(
        "select h.generation, k.account from log_head h
left join (select kh.account from {generation}.keyholder kh
           where kh.group_id = $1 and not {needed}
             and exists (select from {generation}.removal r where r.account = kh.account)) k on true
order by k.account",
        needed = needed(generation, "kh.account"),
    )
}
