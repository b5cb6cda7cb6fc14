//! The read model of accounts: the positions of what they set, and until when they live.

use std::collections::BTreeMap;

use be8_events::account::CodeKind;
use be8_events::{AccId, AccountEvent, Event, Hash32, KeyId, Position, Recorded, StreamName, Timestamp};
use sqlx::{Arguments, Row};

use crate::derived::Derived;
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::rows::{account_id, is_null, session_account, session_arguments, time};
use crate::statement::Rows;
use crate::stored::{Named, StoredSealed};
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[Table::new(
    "account",
    "
create table if not exists {schema}.account (
    id         bigint primary key,
    nickname   bigint not null,      -- position of the event that set it
    password   bigint not null,      -- likewise
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

/// What a batch sets of an account; what it leaves alone is none.
#[derive(Debug, Clone, Copy, Default)]
struct Set {
    nickname: Option<Position>,
    password: Option<Position>,
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

/// Until when a removed account lives: it has ended at any time of any clock.
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
                let (until, endless) = (Some(e.until), Some(false));
                let row = Set { nickname: Some(here), password: Some(here), until, endless, ..Set::default() };
                self.created.insert(account, row);
            }
            AccountEvent::NicknameChanged(_) => self.row(account).nickname = Some(here),
            AccountEvent::StatusSet(_) => self.row(account).status = Some(here),
            AccountEvent::PasswordChanged(_) => self.row(account).password = Some(here),
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
            .column("password", position(|row| row.password))
            .column("status", position(|row| row.status))
            .column("public_key", position(|row| row.public_key))
            .column("unlock", position(|row| row.unlock))
            .column("destroy", position(|row| row.destroy))
            .column("endless", rows.values().map(|row| row.endless))
            .column("until", rows.values().map(|row| row.until.map(Timestamp::to_utc)))
    }
}

impl ReadModel for Accounts {
    const MODEL: Model = Model { name: "accounts", version: 2, tables: TABLES, needs: &[] };

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
        nickname = coalesce(u.nickname, a.nickname), password = coalesce(u.password, a.password),
        status = coalesce(u.status, a.status),
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
        Ok(Some(AccountView {
            id: account_id(&row, "me")?,
            until: time(&row, "until")?,
            nickname: NICKNAME.read_one(&row, &mut live)?,
            status: STATUS.read(&row, &mut live)?,
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
        let event = rows.first().map(|row| EVENT.read(row, &mut live)).transpose()?.flatten();
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
            keys.found.push((account_id(&row, "id")?, PUBLIC_KEY.read(&row, &mut keys.live)?));
        }
        Ok(Some(keys))
    }
}

/// The events that statements join to an account.
const NICKNAME: Named = Named("nickname");
const STATUS: Named = Named("status");
const PUBLIC_KEY: Named = Named("public_key");
const EVENT: Named = Named("event");

/// The statement of [`ReadModels::account`].
pub(crate) static ACCOUNT: Query = Query::new(account_sql);

fn account_sql(generation: Generation) -> String {
    format!(
        "with me as ({me})
select h.generation, me.id as me, me.until, me.unlock is not null as codes, me.endless, {nickname}, {status}
from log_head h left join me on true
{join_nickname}
{join_status}",
        me = session_account(generation),
        nickname = NICKNAME.columns(),
        status = STATUS.columns(),
        join_nickname = NICKNAME.join("me.nickname"),
        join_status = STATUS.join("me.status"),
    )
}

/// The statement of [`ReadModels::sealed_event`]; `$1` the position.
static SEALED_EVENT: Query = Query::new(sealed_event_sql);

fn sealed_event_sql(_: Generation) -> String {
    format!("select h.generation, {} from log_head h {}", EVENT.columns(), EVENT.join("$1"))
}

/// The statement of [`ReadModels::public_keys`]; `$3` the accounts.
pub(crate) static PUBLIC_KEYS: Query = Query::new(public_keys_sql);

fn public_keys_sql(generation: Generation) -> String {
    format!(
        "with me as ({me})
select h.generation, me.id as me, a.id, {public_key}
from log_head h left join me on true
left join {generation}.account a on me.id is not null and a.id = any ($3) and (a.until > $2 or {needed})
{join_public_key}",
        needed = crate::keyholder::needed(generation, "a.id"),
        me = session_account(generation),
        public_key = PUBLIC_KEY.columns(),
        join_public_key = PUBLIC_KEY.join("a.public_key"),
    )
}
