//! The read model of accounts: the positions of what they set, and until when they live.

use std::collections::BTreeMap;

use be8_events::account::CodeKind;
use be8_events::{AccId, AccountEvent, Event, Hash32, KeyId, Position, Recorded, StreamName, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row, error::BoxDynError};

use crate::derived::Derived;
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::statement::Rows;
use crate::stored::{Stored, StoredSealed, optional_sealed, second_sealed};
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[Table::new(
    "account",
    "
create table if not exists {schema}.account (
    id         bigint primary key,
    nickname   bigint not null,      -- position of the event that set it
    status     bigint,               -- likewise, to an empty one too; none until one was first set
    public_key bigint,               -- likewise
    unlock     bigint,               -- position of the event that holds the hash of this lock code
    destroy    bigint,               -- likewise
    endless    boolean not null,
    until      timestamptz not null  -- it lives before this point; a removed one never
);
-- Whose time is over: those that are removed are in no such list.
create index if not exists account_until on {schema}.account (until) where until > 'epoch';
",
)];

/// The part of a reading statement that finds the living account of a session: `$1` the hash of
/// the token, `$2` the time.
pub(crate) const ME: &str = "
    select a.* from {schema}.session s join {schema}.account a on a.id = s.account
    where s.hash = $1 and a.until > $2";

/// What a batch sets of an account; what it leaves alone is none.
#[derive(Debug, Clone, Copy, Default)]
struct Set {
    nickname: Option<Position>,
    status: Option<Position>,
    public_key: Option<Position>,
    unlock: Option<Position>,
    destroy: Option<Position>,
    endless: Option<bool>,
    until: Option<Timestamp>,
}

/// What a batch changes, folded into at most one row an account: an account that is new in the
/// batch is written complete, since parts of a statement do not see each other's rows.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    created: BTreeMap<AccId, Set>,
    changed: BTreeMap<AccId, Set>,
}

/// Until when a removed account lives: it is gone at any time of any clock.
const NEVER: Timestamp = Timestamp::from_micros(0);

impl Accounts {
    fn row(&mut self, account: AccId) -> &mut Set {
        match self.created.get_mut(&account) {
            Some(row) => row,
            None => self.changed.entry(account).or_default(),
        }
    }

    fn set(&mut self, account: AccId, event: &AccountEvent, here: Position) {
        match event {
            AccountEvent::AccountCreated(e) => {
                let row = Set { nickname: Some(here), until: Some(e.until), endless: Some(false), ..Set::default() };
                self.created.insert(account, row);
            }
            AccountEvent::NicknameChanged(_) => self.row(account).nickname = Some(here),
            AccountEvent::StatusSet(_) => self.row(account).status = Some(here),
            AccountEvent::PublicKeySet(_) => self.row(account).public_key = Some(here),
            AccountEvent::CodesSet(_) => {
                let row = self.row(account);
                (row.unlock, row.destroy) = (Some(here), Some(here));
            }
            AccountEvent::CodeChanged(e) => match e.which {
                CodeKind::Unlock => self.row(account).unlock = Some(here),
                CodeKind::Destroy => self.row(account).destroy = Some(here),
            },
            AccountEvent::LifetimeExtended(e) => {
                let row = self.row(account);
                (row.until, row.endless) = (Some(e.until), Some(e.endless));
            }
            AccountEvent::AccountRemoved(_) => self.row(account).until = Some(NEVER),
        }
    }

    /// The columns of new or changed rows.
    fn columns<'s>(to: &'s mut Statement, rows: &BTreeMap<AccId, Set>) -> Rows<'s> {
        let position =
            |of: fn(&Set) -> Option<Position>| rows.values().map(move |row| of(row).map(|position| position.0));
        to.rows()
            .column("id", rows.keys().map(|account| account.number()))
            .column("nickname", position(|row| row.nickname))
            .column("status", position(|row| row.status))
            .column("public_key", position(|row| row.public_key))
            .column("unlock", position(|row| row.unlock))
            .column("destroy", position(|row| row.destroy))
            .column("endless", rows.values().map(|row| row.endless))
            .column("until", rows.values().map(|row| row.until.map(Timestamp::to_utc)))
    }
}

impl ReadModel for Accounts {
    const MODEL: Model = Model { name: "accounts", version: 1, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, _: &Derived) {
        if let (Event::Account(event), StreamName::Account(account)) = (&recorded.event, recorded.stream) {
            self.set(account, event, recorded.position);
        }
    }

    fn write(&self, to: &mut Statement) {
        Self::columns(to, &self.created).insert("account_created", "{schema}.account", "");
        Self::columns(to, &self.changed).write(
            "account_changed",
            "
    update {schema}.account a set
        nickname = coalesce(u.nickname, a.nickname), status = coalesce(u.status, a.status),
        public_key = coalesce(u.public_key, a.public_key), unlock = coalesce(u.unlock, a.unlock),
        destroy = coalesce(u.destroy, a.destroy), endless = coalesce(u.endless, a.endless),
        until = coalesce(u.until, a.until)
    from head, {rows} u({columns}) where a.id = u.id",
        );
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
    /// The event that set the status, if it set one.
    pub status: Option<StoredSealed>,
    /// Whether lock codes are set.
    pub codes: bool,
    /// Whether a token made it endless.
    pub endless: bool,
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
        let rows = self.fetch(&ACCOUNT, |to| session_arguments(to, session, now)).await?;
        let Some(row) = rows.into_iter().next().filter(|row| !is_null(row, "me")) else { return Ok(None) };
        let mut live = Vec::new();
        let nickname = StoredSealed::read(&row, &mut live)?;
        Ok(Some(AccountView {
            id: account_id(&row, "me")?,
            until: time(&row, "until")?,
            nickname,
            status: second_sealed(&row, &mut live)?,
            codes: row.try_get("codes")?,
            endless: row.try_get("endless")?,
            live,
        }))
    }

    /// The event at a position with what is sealed of it, and its key if that lives.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn sealed_event(&self, position: Position) -> Result<(Option<StoredSealed>, Vec<KeyId>), ReadError> {
        let rows = self.fetch(&SEALED_EVENT, |to| to.add(position.0)).await?;
        let mut live = Vec::new();
        let event = rows.first().map(|row| optional_sealed(row, &mut live)).transpose()?.flatten();
        Ok((event, live))
    }

    /// The public keys of the accounts `of`; none when the session is not that of a living
    /// account. Accounts that do not live at `now` are left out, unless a stored key of a living
    /// group names them as keyholder.
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
            .fetch(&PUBLIC_KEYS, |to| {
                session_arguments(to, session, now)?;
                to.add(of.iter().map(|account| account.number()).collect::<Vec<_>>())
            })
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
pub(crate) static ACCOUNT: Query = Query::new(account_sql);

fn account_sql(generation: Generation) -> String {
    format!(
        "with me as ({me})
select h.generation, me.id as me, me.until, me.unlock is not null as codes, me.endless, {columns}, {second}
from log_head h left join me on true {sealed} {status}",
        me = ME.replace("{schema}", &generation.to_string()),
        columns = Stored::COLUMNS,
        second = Stored::SECOND_COLUMNS,
        sealed = Stored::join("me.nickname"),
        status = Stored::join_second("me.status"),
    )
}

/// The statement of [`ReadModels::sealed_event`]; `$1` the position.
static SEALED_EVENT: Query = Query::new(sealed_event_sql);

fn sealed_event_sql(_: Generation) -> String {
    format!("select h.generation, {} from log_head h {}", Stored::COLUMNS, Stored::join("$1"))
}

/// The statement of [`ReadModels::public_keys`]; `$3` the accounts.
pub(crate) static PUBLIC_KEYS: Query = Query::new(public_keys_sql);

fn public_keys_sql(generation: Generation) -> String {
    format!(
        "with me as ({me})
select h.generation, me.id as me, a.id, {columns}
from log_head h left join me on true
left join {generation}.account a on me.id is not null and a.id = any ($3) and (a.until > $2 or {needed})
{sealed}",
        needed = crate::keyholder::needed(generation, "a.id"),
        me = ME.replace("{schema}", &generation.to_string()),
        columns = Stored::COLUMNS,
        sealed = Stored::join("a.public_key"),
    )
}
