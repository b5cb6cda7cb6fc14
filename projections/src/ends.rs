//! The read model of what has ended: removed accounts and destroyed groups in the order of the log, and
//! what is still left to do about them. Process managers work it off.

use be8_events::group::Membership;
use be8_events::{AccId, Event, GroupId, Hash32, Position, Recorded, Timestamp};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Row};

use crate::derived::Derived;
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::rows::{account_id, is_null, time};
use crate::thread_key::ThreadKey;
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[
    Table::new(
        "removal",
        "
create table if not exists {schema}.removal (
    position bigint primary key,    -- of the event
    account  bigint not null unique
);
",
    ),
    Table::new(
        "group_end",
        "
create table if not exists {schema}.group_end (
    position bigint primary key,    -- of the event
    group_id bigint not null
);
",
    ),
];

/// What ends in a batch.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    accounts: Vec<(Position, AccId)>,
    groups: Vec<(Position, GroupId)>,
}

impl ReadModel for Ends {
    const MODEL: Model = Model { name: "ends", version: 1, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, _: &Derived) {
        if let Some(e) = recorded.event.removed() {
            self.accounts.push((recorded.position, e.account));
        }
        if let Event::Group(event) = &recorded.event {
            match event.membership() {
                Some(Membership::Destroyed(e)) => self.groups.push((recorded.position, e.group)),
                Some(
                    Membership::Created(_)
                    | Membership::Joined(_)
                    | Membership::Added(_)
                    | Membership::Left(_)
                    | Membership::Kicked(_),
                )
                | None => {}
            }
        }
    }

    fn write(&self, to: &mut Statement) {
        to.rows()
            .column("position", self.accounts.iter().map(|row| row.0.0))
            .column("account", self.accounts.iter().map(|row| row.1.number()))
            .insert("removals", "{schema}.removal", "");
        to.rows()
            .column("position", self.groups.iter().map(|row| row.0.0))
            .column("group_id", self.groups.iter().map(|row| row.1.number()))
            .insert("group_ends", "{schema}.group_end", "");
    }
}

/// What has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// An account was removed.
    Account(AccId),
    /// A group was destroyed.
    Group(GroupId),
}

/// Everything that refers to an account and has to be ended with it.
#[derive(Debug, Default)]
pub struct OpenRelations {
    /// The partners of conversations that have not ended.
    pub partners: Vec<AccId>,
    /// Groups that it is a member of, each with how many members its end concerns: all of them where
    /// the account is the admin.
    pub groups: Vec<(GroupId, i64)>,
}

impl OpenRelations {
    /// Nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.partners.is_empty() && self.groups.is_empty()
    }
}

impl ReadModels {
    /// The first ends after a position, in the order of the log.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn ends(&self, after: Position, count: i64) -> Result<Vec<(Position, End)>, ReadError> {
        let bind = |to: &mut PgArguments| {
            to.add(after.0)?;
            to.add(count)
        };
        let rows = self.fetch(&ENDS, bind).await?;
        let rows = rows.iter().filter(|row| !is_null(row, "position"));
        rows.map(|row| {
            let end = match row.try_get::<Option<i64>, _>("group_id")? {
                Some(group) => End::Group(GroupId::new(group).ok_or(ReadError::Damaged("group id"))?),
                None => End::Account(account_id(row, "account")?),
            };
            Ok((Position(row.try_get("position")?), end))
        })
        .collect()
    }

    /// Groups that were destroyed after a position, each with where and when, in the order of the log.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn group_ends(
        &self,
        after: Position,
        count: i64,
    ) -> Result<Vec<(Position, Timestamp, GroupId)>, ReadError> {
        let bind = |to: &mut PgArguments| {
            to.add(after.0)?;
            to.add(count)
        };
        let rows = self.fetch(&GROUP_ENDS, bind).await?;
        let rows = rows.iter().filter(|row| !is_null(row, "position"));
        rows.map(|row| {
            let group = GroupId::new(row.try_get("group_id")?).ok_or(ReadError::Damaged("group id"))?;
            Ok((Position(row.try_get("position")?), time(row, "time")?, group))
        })
        .collect()
    }

    /// At most `count` conversations and as many groups of an account, whether it lives or not.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn open_relations(&self, account: AccId, count: i64) -> Result<OpenRelations, ReadError> {
        let bind = |to: &mut PgArguments| {
            to.add(account.number())?;
            to.add(count)
        };
        let rows = self.fetch(&OPEN_RELATIONS, bind).await?;
        let mut open = OpenRelations::default();
        for row in &rows {
            if !is_null(row, "partner") {
                open.partners.push(account_id(row, "partner")?);
            } else if !is_null(row, "group_id") {
                let group = GroupId::new(row.try_get("group_id")?).ok_or(ReadError::Damaged("group id"))?;
                open.groups.push((group, row.try_get("members")?));
            }
        }
        Ok(open)
    }

    /// Expired accounts that are not removed, the longest expired first.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn overdue(&self, now: Timestamp, count: i64) -> Result<Vec<AccId>, ReadError> {
        let bind = |to: &mut PgArguments| {
            to.add(now.to_utc())?;
            to.add(count)
        };
        let rows = self.fetch(&OVERDUE, bind).await?;
        rows.iter().filter(|row| !is_null(row, "account")).map(|row| account_id(row, "account")).collect()
    }

    /// The open sessions of an account, by the hashes of their tokens, the oldest first.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn sessions(&self, account: AccId) -> Result<Vec<Hash32>, ReadError> {
        let rows = self.fetch(&SESSIONS, |to| to.add(account.number())).await?;
        let rows = rows.iter().filter(|row| !is_null(row, "hash"));
        rows.map(|row| {
            let hash: &[u8] = row.try_get("hash")?;
            hash.try_into().map(Hash32).map_err(|_| ReadError::Damaged("hash of a session"))
        })
        .collect()
    }

    /// The groups that an account is or was in, ascending.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn groups_ever(&self, account: AccId) -> Result<Vec<GroupId>, ReadError> {
        let rows = self.fetch(&GROUPS_EVER, |to| to.add(account.number())).await?;
        let rows = rows.iter().filter(|row| !is_null(row, "group_id"));
        rows.map(|row| GroupId::new(row.try_get("group_id")?).ok_or(ReadError::Damaged("group id"))).collect()
    }
}

/// The statement of [`ReadModels::ends`]; `$1` the position, `$2` how many.
static ENDS: Query = Query::new(ends_sql);

fn ends_sql(generation: Generation) -> String {
    format!(
        "select h.generation, e.* from log_head h
left join (
    (select position, account, null::bigint as group_id from {generation}.removal
     where position > $1 order by position limit $2)
    union all
    (select position, null, group_id from {generation}.group_end where position > $1 order by position limit $2)
    order by position limit $2) e on true
order by e.position"
    )
}

/// The statement of [`ReadModels::group_ends`]; `$1` the position, `$2` how many.
static GROUP_ENDS: Query = Query::new(group_ends_sql);

fn group_ends_sql(generation: Generation) -> String {
    format!(
        "select h.generation, g.position, g.group_id, e.time from log_head h
left join (select * from {generation}.group_end where position > $1 order by position limit $2) g on true
left join events e on e.position = g.position
order by g.position"
    )
}

/// The statement of [`ReadModels::open_relations`]; `$1` the account, `$2` how many of each.
static OPEN_RELATIONS: Query = Query::new(open_relations_sql);

fn open_relations_sql(generation: Generation) -> String {
    let thread = ThreadKey("thread");
    format!(
        "select h.generation, t.* from log_head h
left join (
    (select {partner} as partner, null::bigint as group_id, null::bigint as members
     from {generation}.thread_member where account = $1 and {is_dialog} order by thread limit $2)
    union all
    (select null, s.group_id,
        case when g.admin = $1 then (select count(*) from {generation}.group_stay m
                                     where m.group_id = s.group_id and m.closed is null) else 1 end
     from {generation}.group_stay s join {generation}.groups g on g.id = s.group_id
     where s.account = $1 and s.closed is null limit $2)) t on true",
        partner = thread.partner("$1"),
        is_dialog = thread.is_dialog(),
    )
}

/// The statement of [`ReadModels::overdue`]; `$1` the time, `$2` how many. A removed account has no
/// time: it is in no such list.
static OVERDUE: Query = Query::new(overdue_sql);

fn overdue_sql(generation: Generation) -> String {
    format!(
        "select h.generation, a.id as account from log_head h
left join (select id, until from {generation}.account
           where until <= $1 and until > 'epoch' order by until limit $2) a on true
order by a.until, a.id"
    )
}

/// The statement of [`ReadModels::sessions`]; `$1` the account.
static SESSIONS: Query = Query::new(sessions_sql);

fn sessions_sql(generation: Generation) -> String {
    format!(
        "select h.generation, s.hash from log_head h left join {generation}.session s on s.account = $1
order by s.opened"
    )
}

/// The statement of [`ReadModels::groups_ever`]; `$1` the account.
static GROUPS_EVER: Query = Query::new(groups_ever_sql);

fn groups_ever_sql(generation: Generation) -> String {
    format!(
        "select h.generation, s.group_id from log_head h
left join (select distinct group_id from {generation}.group_stay where account = $1) s on true
order by s.group_id"
    )
}
