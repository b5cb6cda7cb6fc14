//! The read model of sessions: which token, by its hash, speaks for which account.

use std::collections::{BTreeMap, BTreeSet};

use be8_events::{AccId, Hash32, Position};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, error::BoxDynError};

use crate::{Generation, Parameters};

pub(crate) const TABLE: &str = "
create table if not exists {schema}.session (
    hash    bytea primary key,
    account bigint not null,
    opened  bigint not null  -- position of the event that opened it
);
create index if not exists session_account on {schema}.session (account);
";

/// What a batch changes: a session that opens and ends within it leaves no row.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    opened: BTreeMap<Hash32, (AccId, Position)>,
    ended: BTreeSet<Hash32>,
    /// Accounts all of whose sessions end.
    removed: BTreeSet<AccId>,
}

impl Sessions {
    pub(crate) fn opened(&mut self, hash: Hash32, account: AccId, position: Position) {
        self.opened.insert(hash, (account, position));
    }

    pub(crate) fn ended(&mut self, hash: Hash32) {
        if self.opened.remove(&hash).is_none() {
            self.ended.insert(hash);
        }
    }

    /// All sessions of an account end with it.
    pub(crate) fn removed(&mut self, account: AccId) {
        self.opened.retain(|_, (of, _)| *of != account);
        self.removed.insert(account);
    }

    pub(crate) fn sql(&self, generation: Generation, p: &mut Parameters) -> String {
        let mut sql = String::new();
        if !self.opened.is_empty() {
            sql += &format!(
                "
, session_opened as (
    insert into {generation}.session (hash, account, opened)
    select u.* from head, unnest({}) u)",
                p.arrays(&["bytea", "bigint", "bigint"]),
            );
        }
        if !self.ended.is_empty() {
            sql += &format!(
                "
, session_ended as (
    delete from {generation}.session s using head, unnest({}) u(hash) where s.hash = u.hash)",
                p.arrays(&["bytea"]),
            );
        }
        if !self.removed.is_empty() {
            sql += &format!(
                "
, session_removed as (
    delete from {generation}.session s using head, unnest({}) u(account) where s.account = u.account)",
                p.arrays(&["bigint"]),
            );
        }
        sql
    }

    pub(crate) fn bind(&self, to: &mut PgArguments) -> Result<(), BoxDynError> {
        if !self.opened.is_empty() {
            to.add(self.opened.keys().map(|hash| &hash.0[..]).collect::<Vec<_>>())?;
            to.add(self.opened.values().map(|(account, _)| account.number()).collect::<Vec<_>>())?;
            to.add(self.opened.values().map(|(_, position)| position.0).collect::<Vec<_>>())?;
        }
        if !self.ended.is_empty() {
            to.add(self.ended.iter().map(|hash| &hash.0[..]).collect::<Vec<_>>())?;
        }
        if !self.removed.is_empty() {
            to.add(self.removed.iter().map(|account| account.number()).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
