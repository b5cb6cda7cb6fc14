//! The read model of accounts: the positions of what they set, and until when they live.

use std::collections::BTreeMap;

use be8_events::{AccId, Hash32, KeyId, Position, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row, error::BoxDynError};

use crate::stored::{Stored, StoredSealed, optional_sealed};
use crate::{Generation, Parameters, ReadError, ReadModels};

pub(crate) const TABLE: &str = "
create table if not exists {schema}.account (
    id         bigint primary key,
    nickname   bigint not null,      -- position of the event that set it
    public_key bigint,               -- position of the event that set it
    until      timestamptz not null  -- it lives before this point
);
";

/// The part of a reading statement that finds the living account of a session: `$1` the hash of
/// the token, `$2` the time.
pub(crate) const ME: &str = "
    select a.* from {schema}.session s join {schema}.account a on a.id = s.account
    where s.hash = $1 and a.until > $2";

#[derive(Debug, Clone, Copy)]
struct New {
    nickname: Position,
    public_key: Option<Position>,
    until: Timestamp,
}

/// What a batch changes, folded into at most one row an account.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    created: BTreeMap<AccId, New>,
    keys: BTreeMap<AccId, Position>,
}

impl Accounts {
    pub(crate) fn created(&mut self, account: AccId, nickname: Position, until: Timestamp) {
        self.created.insert(account, New { nickname, public_key: None, until });
    }

    pub(crate) fn public_key(&mut self, account: AccId, position: Position) {
        match self.created.get_mut(&account) {
            Some(new) => new.public_key = Some(position),
            None => {
                self.keys.insert(account, position);
            }
        }
    }

    pub(crate) fn sql(&self, generation: Generation, p: &mut Parameters) -> String {
        let mut sql = String::new();
        if !self.created.is_empty() {
            sql += &format!(
                "
, account_created as (
    insert into {generation}.account (id, nickname, public_key, until)
    select u.* from head, unnest({}) u)",
                p.arrays(&["bigint", "bigint", "bigint", "timestamptz"]),
            );
        }
        if !self.keys.is_empty() {
            sql += &format!(
                "
, account_key as (
    update {generation}.account a set public_key = u.position
    from head, unnest({}) u(id, position) where a.id = u.id)",
                p.arrays(&["bigint", "bigint"]),
            );
        }
        sql
    }

    pub(crate) fn bind(&self, to: &mut PgArguments) -> Result<(), BoxDynError> {
        if !self.created.is_empty() {
            let new = || self.created.values();
            to.add(self.created.keys().map(|account| account.number()).collect::<Vec<_>>())?;
            to.add(new().map(|row| row.nickname.0).collect::<Vec<_>>())?;
            to.add(new().map(|row| row.public_key.map(|p| p.0)).collect::<Vec<_>>())?;
            to.add(new().map(|row| row.until.to_utc()).collect::<Vec<_>>())?;
        }
        if !self.keys.is_empty() {
            to.add(self.keys.keys().map(|account| account.number()).collect::<Vec<_>>())?;
            to.add(self.keys.values().map(|position| position.0).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// An account as its owner sees it.
#[derive(Debug)]
pub struct AccountView {
    /// The account.
    pub id: AccId,
    /// Until when it lives.
    pub until: Timestamp,
    /// The event that set the nickname; its sealed part is absent once swept.
    pub nickname: StoredSealed,
    /// The data keys that were live when this was read.
    pub live: Vec<KeyId>,
}

/// The public keys of some accounts.
#[derive(Debug)]
pub struct PublicKeys {
    /// Each account that exists, with the event that set its key, if it set one.
    pub found: Vec<(AccId, Option<StoredSealed>)>,
    /// The data keys that were live when this was read.
    pub live: Vec<KeyId>,
}

impl ReadModels {
    /// The account that a session speaks for; none when there is no such session or the account
    /// does not live at `now`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn account(&self, session: Hash32, now: Timestamp) -> Result<Option<AccountView>, ReadError> {
        let rows = self.fetch(|sql| &sql.account, |to| session_arguments(to, session, now)).await?;
        let Some(row) = rows.into_iter().next().filter(|row| !is_null(row, "me")) else { return Ok(None) };
        let mut live = Vec::new();
        let nickname = StoredSealed::read(&row, &mut live)?;
        Ok(Some(AccountView { id: account_id(&row, "me")?, until: time(&row, "until")?, nickname, live }))
    }

    /// The event at a position with what is sealed of it, and its key if that lives.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn sealed_event(&self, position: Position) -> Result<(Option<StoredSealed>, Vec<KeyId>), ReadError> {
        let rows = self.fetch(|sql| &sql.sealed_event, |to| to.add(position.0)).await?;
        let mut live = Vec::new();
        let event = rows.first().map(|row| optional_sealed(row, &mut live)).transpose()?.flatten();
        Ok((event, live))
    }

    /// The public keys of the accounts `of`; none when the session is not that of a living
    /// account. Accounts that do not live at `now` are left out.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn public_keys(
        &self,
        session: Hash32,
        now: Timestamp,
        of: &[AccId],
    ) -> Result<Option<PublicKeys>, ReadError> {
        let rows = self
            .fetch(
                |sql| &sql.public_keys,
                |to| {
                    session_arguments(to, session, now)?;
                    to.add(of.iter().map(|account| account.number()).collect::<Vec<_>>())
                },
            )
            .await?;
        let mut keys = PublicKeys { found: Vec::new(), live: Vec::new() };
        for row in rows {
            if is_null(&row, "me") {
                return Ok(None);
            }
            if is_null(&row, "id") {
                continue;
            }
            keys.found.push((account_id(&row, "id")?, optional_sealed(&row, &mut keys.live)?));
        }
        Ok(Some(keys))
    }
}

/// `$1` and `$2` of [`ME`].
pub(crate) fn session_arguments(to: &mut PgArguments, session: Hash32, now: Timestamp) -> Result<(), BoxDynError> {
    to.add(&session.0[..])?;
    to.add(now.to_utc())
}

pub(crate) fn is_null(row: &PgRow, column: &str) -> bool {
    matches!(row.try_get_raw(column), Ok(value) if sqlx::ValueRef::is_null(&value))
}

pub(crate) fn account_id(row: &PgRow, column: &str) -> Result<AccId, ReadError> {
    AccId::new(row.try_get(column)?).ok_or(ReadError::Damaged("an account id"))
}

pub(crate) fn time(row: &PgRow, column: &str) -> Result<Timestamp, ReadError> {
    Ok(row.try_get::<DateTime<Utc>, _>(column)?.into())
}

/// The statement of [`ReadModels::account`].
pub(crate) fn account_sql(generation: Generation) -> String {
    format!(
        "with me as ({me})
select h.generation, me.id as me, me.until, {columns}
from log_head h left join me on true {sealed}",
        me = ME.replace("{schema}", &generation.to_string()),
        columns = Stored::COLUMNS,
        sealed = Stored::join("me.nickname"),
    )
}

/// The statement of [`ReadModels::sealed_event`]; `$1` the position.
pub(crate) fn sealed_event_sql() -> String {
    format!("select h.generation, {} from log_head h {}", Stored::COLUMNS, Stored::join("$1"))
}

/// The statement of [`ReadModels::public_keys`]; `$3` the accounts.
pub(crate) fn public_keys_sql(generation: Generation) -> String {
    format!(
        "with me as ({me})
select h.generation, me.id as me, a.id, {columns}
from log_head h left join me on true
left join {generation}.account a on me.id is not null and a.id = any ($3) and a.until > $2
{sealed}",
        me = ME.replace("{schema}", &generation.to_string()),
        columns = Stored::COLUMNS,
        sealed = Stored::join("a.public_key"),
    )
}
