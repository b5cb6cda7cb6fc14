//! The read model of groups: what they are, who stays in them from which message to which, and
//! where their wrapped keys are.

use std::collections::BTreeMap;

use be8_events::group::Access;
use be8_events::{
    AccId, Event, GroupEvent, GroupId, GroupVersion, Hash32, KeyId, MessageNo, Position, Recorded, StayNo, StreamName,
    Timestamp,
};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row, error::BoxDynError};

use crate::derived::{Arrival, Departure, Derived};
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::rows::{account_id, is_null, session_account, session_arguments, time};
use crate::stored::{Named, StoredSealed};
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[
    Table::new(
        "groups",
        "
create table if not exists {schema}.groups (
    id        bigint primary key,
    admin     bigint not null,
    private   boolean not null,
    capacity  integer not null,
    name      bigint not null,           -- position of the event that set it
    version   integer,                   -- of its key; none allocated yet
    destroyed boolean not null
);
",
    ),
    Table::new(
        "group_stay",
        "
create table if not exists {schema}.group_stay (
    group_id bigint not null,
    account  bigint not null,
    stay     integer not null,
    from_id  integer not null,           -- the first message that the member sees
    until_id integer,                    -- the first that it does not see any more
    opened   bigint not null,            -- position
    closed   bigint,                     -- position; none: a member now
    primary key (group_id, account, stay)
);
create index if not exists group_stay_account on {schema}.group_stay (account);
",
    ),
    Table::new(
        "group_key",
        "
create table if not exists {schema}.group_key (
    group_id bigint not null,
    account  bigint not null,            -- for whom it is wrapped
    version  integer not null,
    position bigint not null,            -- of the event that stored it
    primary key (group_id, account, version)
);
",
    ),
];

#[derive(Debug, Clone, Copy)]
struct Stay {
    /// The first message and the position; none when the stay began before this batch.
    opened: Option<(MessageNo, Position)>,
    closed: Option<(Option<MessageNo>, Position)>,
}

#[derive(Debug, Clone, Copy)]
struct New {
    admin: AccId,
    private: bool,
    capacity: u32,
    name: Position,
}

/// What a batch changes, folded into at most one row a key.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    created: BTreeMap<GroupId, New>,
    /// Of groups that may be new in this batch too: the version, and whether it is destroyed.
    changed: BTreeMap<GroupId, (Option<GroupVersion>, bool)>,
    stays: BTreeMap<(GroupId, AccId, StayNo), Stay>,
    keys: BTreeMap<(GroupId, AccId, GroupVersion), Position>,
}

impl Groups {
    /// A stay begins; a creator's first one has begun with the group and is not touched.
    fn opened(&mut self, group: GroupId, account: AccId, stay: StayNo, first: MessageNo, position: Position) {
        let stay = self.stays.entry((group, account, stay)).or_insert(Stay { opened: None, closed: None });
        stay.opened.get_or_insert((first, position));
    }

    fn group(&mut self, group: GroupId, event: &GroupEvent, here: Position) {
        match event {
            GroupEvent::GroupCreated(e) => {
                let private = e.access == Access::Private;
                let new = New { admin: e.admin, private, capacity: e.capacity, name: here };
                self.created.insert(group, new);
                self.opened(group, e.admin, 1, 1, here);
            }
            GroupEvent::VersionAllocated(e) => self.changed.entry(group).or_default().0 = Some(e.version),
            GroupEvent::GroupKeyStored(e) => _ = self.keys.insert((group, e.account, e.version), here),
            GroupEvent::GroupDestroyed(_) => self.changed.entry(group).or_default().1 = true,
            // The stays that these begin and end are derived.
            GroupEvent::MemberJoined(_)
            | GroupEvent::MemberAdded(_)
            | GroupEvent::MemberLeft(_)
            | GroupEvent::MemberKicked(_)
            | GroupEvent::GroupUpdateSignalled(_) => {}
        }
    }

    /// Groups that are changed but not new in this batch: what is new is written complete, since
    /// parts of a statement do not see each other's rows.
    fn changed(&self) -> impl Iterator<Item = (&GroupId, &(Option<GroupVersion>, bool))> {
        self.changed.iter().filter(|(group, _)| !self.created.contains_key(group))
    }
}

impl ReadModel for Groups {
    const MODEL: Model = Model { name: "groups", version: 1, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, derived: &Derived) {
        let here = recorded.position;
        if let (Event::Group(event), StreamName::Group(group)) = (&recorded.event, recorded.stream) {
            self.group(group, event, here);
        }
        if let Some(Arrival { group, account, stay, first }) = derived.arrival {
            self.opened(group, account, stay, first, here);
        }
        for &Departure { group, account, stay, until } in &derived.departures {
            let stay = self.stays.entry((group, account, stay)).or_insert(Stay { opened: None, closed: None });
            stay.closed = Some((until, here));
        }
    }

    fn write(&self, to: &mut Statement) {
        let created = || self.created.values();
        let now = |group: &GroupId| self.changed.get(group).copied().unwrap_or_default();
        to.rows()
            .column("id", self.created.keys().map(|group| group.number()))
            .column("admin", created().map(|row| row.admin.number()))
            .column("private", created().map(|row| row.private))
            .column("capacity", created().map(|row| row.capacity.cast_signed()))
            .column("name", created().map(|row| row.name.0))
            .column("version", self.created.keys().map(|group| now(group).0.map(u32::cast_signed)))
            .column("destroyed", self.created.keys().map(|group| now(group).1))
            .insert("group_created", "{schema}.groups", "");
        to.rows()
            .column("id", self.changed().map(|(group, _)| group.number()))
            .column("version", self.changed().map(|(_, change)| change.0.map(u32::cast_signed)))
            .column("destroyed", self.changed().map(|(_, change)| change.1))
            .write(
                "group_changed",
                "
    update {schema}.groups g
    set version = coalesce(u.version, g.version), destroyed = g.destroyed or u.destroyed
    from head, {rows} u({columns}) where g.id = u.id",
            );
        let stays = || self.stays.iter();
        let opened = |stay: &Stay| stay.opened.unwrap_or_default();
        let until = |stay: &Stay| stay.closed.and_then(|closed| closed.0).map(u32::cast_signed);
        to.rows()
            .column("group_id", stays().map(|(key, _)| key.0.number()))
            .column("account", stays().map(|(key, _)| key.1.number()))
            .column("stay", stays().map(|(key, _)| key.2.cast_signed()))
            .column("from_id", stays().map(|(_, stay)| opened(stay).0.cast_signed()))
            .column("until_id", stays().map(|(_, stay)| until(stay)))
            .column("opened", stays().map(|(_, stay)| opened(stay).1.0))
            .column("closed", stays().map(|(_, stay)| stay.closed.map(|closed| closed.1.0)))
            .insert(
                "group_stays",
                "{schema}.group_stay",
                "
    on conflict (group_id, account, stay) do update set until_id = excluded.until_id, closed = excluded.closed",
            );
        to.rows()
            .column("group_id", self.keys.keys().map(|key| key.0.number()))
            .column("account", self.keys.keys().map(|key| key.1.number()))
            .column("version", self.keys.keys().map(|key| key.2.cast_signed()))
            .column("position", self.keys.values().map(|position| position.0))
            .insert(
                "group_keys",
                "{schema}.group_key",
                " on conflict (group_id, account, version) do update set position = excluded.position",
            );
    }
}

/// What a reader learns of a group before anything else is decided.
#[derive(Debug, Clone, Copy)]
pub struct GroupStanding {
    /// Who reads.
    pub reader: AccId,
    /// The group lives.
    pub exists: bool,
    /// The reader is a member now.
    pub member: bool,
    /// The newest version of the group's key.
    pub version: Option<GroupVersion>,
}

/// A member as the others see it.
#[derive(Debug)]
pub struct GroupMember {
    /// The account.
    pub id: AccId,
    /// Until when it lives.
    pub until: Timestamp,
    /// The event that set its nickname.
    pub nickname: StoredSealed,
    /// The event that set its status, if it set one.
    pub status: Option<StoredSealed>,
    /// Whether a token made it endless.
    pub endless: bool,
}

/// The members of a group.
#[derive(Debug)]
pub struct GroupMembers {
    /// Where the reader stands.
    pub standing: GroupStanding,
    /// The living members, the admin first, the others ascending. Only for members.
    pub members: Vec<GroupMember>,
    /// The data keys that were live when this was read.
    pub live: Vec<KeyId>,
}

/// The wrapped keys that are stored for one account in a group.
#[derive(Debug)]
pub struct GroupKeys {
    /// Where the reader stands.
    pub standing: GroupStanding,
    /// Whether the account exists.
    pub account_exists: bool,
    /// Whether the account is a member now.
    pub account_member: bool,
    /// The events that stored them, ascending by version. Only for members.
    pub keys: Vec<StoredSealed>,
    /// The data keys that were live when this was read.
    pub live: Vec<KeyId>,
}

impl ReadModels {
    /// Where the session's account stands with a group; none without a living account.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn group_standing(
        &self,
        session: Hash32,
        now: Timestamp,
        group: Option<GroupId>,
    ) -> Result<Option<GroupStanding>, ReadError> {
        let rows = self.fetch(&GROUP_STANDING, |to| arguments(to, session, now, group)).await?;
        rows.first().map_or(Ok(None), standing)
    }

    /// The stays of an account in a group, ascending: where each began and ended.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn stays(&self, group: GroupId, account: AccId) -> Result<Vec<(Position, Option<Position>)>, ReadError> {
        let bind = |to: &mut PgArguments| {
            to.add(group.number())?;
            to.add(account.number())
        };
        let rows = self.fetch(&STAYS, bind).await?;
        let stays = rows.iter().filter(|row| !is_null(row, "opened"));
        stays
            .map(|row| {
                let closed: Option<i64> = row.try_get("closed")?;
                Ok((Position(row.try_get("opened")?), closed.map(Position)))
            })
            .collect()
    }

    /// The members of a group; none without a living account.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn group_members(
        &self,
        session: Hash32,
        now: Timestamp,
        group: Option<GroupId>,
    ) -> Result<Option<GroupMembers>, ReadError> {
        let rows = self.fetch(&GROUP_MEMBERS, |to| arguments(to, session, now, group)).await?;
        let Some(standing) = rows.first().map_or(Ok(None), standing)? else { return Ok(None) };
        let mut list = GroupMembers { standing, members: Vec::with_capacity(rows.len()), live: Vec::new() };
        for row in rows.iter().filter(|row| !is_null(row, "id")) {
            list.members.push(GroupMember {
                id: account_id(row, "id")?,
                until: time(row, "until")?,
                nickname: NICKNAME.read_one(row, &mut list.live)?,
                status: STATUS.read(row, &mut list.live)?,
                endless: row.try_get("endless")?,
            });
        }
        Ok(Some(list))
    }

    /// The wrapped keys that are stored for `of` in a group; none without a living account.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn group_keys(
        &self,
        session: Hash32,
        now: Timestamp,
        group: Option<GroupId>,
        of: Option<AccId>,
    ) -> Result<Option<GroupKeys>, ReadError> {
        let bind = |to: &mut PgArguments| {
            arguments(to, session, now, group)?;
            to.add(of.map(AccId::number))
        };
        let rows = self.fetch(&GROUP_KEYS, bind).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let Some(standing) = standing(first)? else { return Ok(None) };
        let mut list = GroupKeys {
            standing,
            account_exists: first.try_get("account_exists")?,
            account_member: first.try_get("account_member")?,
            keys: Vec::with_capacity(rows.len()),
            live: Vec::new(),
        };
        for row in &rows {
            list.keys.extend(WRAPPED_KEY.read(row, &mut list.live)?);
        }
        Ok(Some(list))
    }
}

fn arguments(to: &mut PgArguments, session: Hash32, now: Timestamp, group: Option<GroupId>) -> Result<(), BoxDynError> {
    session_arguments(to, session, now)?;
    to.add(group.map(GroupId::number))
}

fn standing(row: &PgRow) -> Result<Option<GroupStanding>, ReadError> {
    if is_null(row, "me") {
        return Ok(None);
    }
    Ok(Some(GroupStanding {
        reader: account_id(row, "me")?,
        exists: row.try_get("group_exists")?,
        member: row.try_get("group_member")?,
        version: row.try_get::<Option<i32>, _>("group_version")?.map(i32::cast_unsigned),
    }))
}

/// The events that statements join to a member, and to a key that is stored for one.
const NICKNAME: Named = Named("nickname");
const STATUS: Named = Named("status");
const WRAPPED_KEY: Named = Named("wrapped_key");

/// The beginning of all statements here; `$3` the group.
fn standing_cte(generation: Generation) -> String {
    format!(
        "with me as ({me})
, g as (select * from {generation}.groups where id = $3 and not destroyed)
, st as (
    select me.id as me, g.id as group_id, g.admin, g.id is not null as group_exists, g.version as group_version,
        exists (select from {generation}.group_stay s
                where s.group_id = g.id and s.account = me.id and s.closed is null) as group_member
    from me left join g on true)",
        me = session_account(generation),
    )
}

/// The statement of [`ReadModels::group_standing`].
static GROUP_STANDING: Query = Query::new(standing_sql);

fn standing_sql(generation: Generation) -> String {
    format!("{} select h.generation, st.* from log_head h left join st on true", standing_cte(generation))
}

/// The statement of [`ReadModels::stays`]; `$1` the group, `$2` the account.
static STAYS: Query = Query::new(stays_sql);

fn stays_sql(generation: Generation) -> String {
    format!(
        "select h.generation, s.opened, s.closed from log_head h
left join {generation}.group_stay s on s.group_id = $1 and s.account = $2 order by s.stay"
    )
}

/// The statement of [`ReadModels::group_members`].
static GROUP_MEMBERS: Query = Query::new(members_sql);

fn members_sql(generation: Generation) -> String {
    format!(
        "{standing}
select h.generation, st.*, a.id, a.until, a.endless, {nickname}, {status}
from log_head h left join st on true
left join {generation}.group_stay gs on st.group_member and gs.group_id = st.group_id and gs.closed is null
left join {generation}.account a on a.id = gs.account and a.until > $2
{join_nickname}
{join_status}
order by a.id <> st.admin, a.id",
        standing = standing_cte(generation),
        nickname = NICKNAME.columns(),
        status = STATUS.columns(),
        join_nickname = NICKNAME.join("a.nickname"),
        join_status = STATUS.join("a.status"),
    )
}

/// The statement of [`ReadModels::group_keys`]; `$4` the account.
static GROUP_KEYS: Query = Query::new(keys_sql);

fn keys_sql(generation: Generation) -> String {
    format!(
        "{standing}
, of as (
    select exists (select from {generation}.account where id = $4 and until > $2) as account_exists,
        exists (select from {generation}.group_stay s
                where s.group_id = $3 and s.account = $4 and s.closed is null) as account_member)
select h.generation, st.*, of.*, {wrapped_key}
from log_head h cross join of left join st on true
left join {generation}.group_key gk
  on st.group_member and of.account_member and gk.group_id = st.group_id and gk.account = $4
{join_wrapped_key}
order by gk.version",
        standing = standing_cte(generation),
        wrapped_key = WRAPPED_KEY.columns(),
        join_wrapped_key = WRAPPED_KEY.join("gk.position"),
    )
}
