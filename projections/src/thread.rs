//! The read model of threads: who takes part, and of whom a dialog is. Which message is the newest
//! is what the read model of messages says: a write changes no row of its thread.

use std::collections::BTreeMap;

use be8_events::account::Life;
use be8_events::group::Access;
use be8_events::{AccId, DialogEvent, Event, Hash32, KeyId, MessageNo, Position, Recorded, ThreadId, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row};

use crate::columns::{Columns, columns};
use crate::derived::{Derived, Number, Posted};
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::rows::{account, account_id, is_null, session_account, session_arguments};
use crate::stored::{Named, NamedMessage, StoredSealed};
use crate::thread_key::{ThreadKey, thread_id};
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[
    Table::new(
        "thread",
        "
create table if not exists {schema}.thread (
    id        bigint primary key,  -- ThreadId::key
    initiator bigint,              -- of a dialog
    receiver  bigint,              -- of a dialog
    counted   integer              -- of a thread of the system: how many messages it has
);
",
    ),
    Table::new(
        "thread_member",
        "
create table if not exists {schema}.thread_member (
    account bigint not null,
    thread  bigint not null,
    primary key (account, thread)
);
",
    ),
];

/// What a batch changes, folded into at most one row a thread.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    /// Those that begin in the batch; of a dialog, who began it and with whom.
    begun: BTreeMap<i64, Option<(AccId, AccId)>>,
    /// How many messages it adds to threads of the system.
    counted: BTreeMap<i64, MessageNo>,
    /// Whether a thread is in an account's list after the batch.
    listed: BTreeMap<(AccId, i64), bool>,
}

impl Threads {
    fn list(&mut self, account: AccId, thread: ThreadId, listed: bool) {
        self.listed.insert((account, thread.key()), listed);
    }
}

impl ReadModel for Threads {
    const MODEL: Model = Model { name: "threads", version: 1, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, derived: &Derived) {
        match recorded.event.life() {
            Some(Life::Created(e)) => self.list(e.account, ThreadId::System(e.account), true),
            Some(Life::Extended(_) | Life::Removed(_)) | None => {}
        }
        if let Event::Dialog(event) = &recorded.event {
            let (thread, listed) = match event {
                DialogEvent::ConversationStarted(e) => (e.thread, true),
                DialogEvent::ConversationEnded(e) => (e.thread, false),
            };
            if let ThreadId::Dialog { initiator, receiver } = thread {
                self.list(initiator, thread, listed);
                self.list(receiver, thread, listed);
            }
        }
        if let Some(arrival) = derived.arrival {
            self.list(arrival.account, ThreadId::Group(arrival.group), true);
        }
        for departure in &derived.departures {
            self.list(departure.account, ThreadId::Group(departure.group), false);
        }
        for Posted { thread, number, .. } in &derived.messages {
            match number {
                // With the first message the thread is there.
                Number::Given(1) => {
                    let dialog = match *thread {
                        ThreadId::Dialog { initiator, receiver } => Some((initiator, receiver)),
                        ThreadId::Group(_) | ThreadId::System(_) => None,
                    };
                    self.begun.insert(thread.key(), dialog);
                }
                Number::Given(_) => {}
                Number::Counted(_) => *self.counted.entry(thread.key()).or_default() += 1,
            }
        }
    }

    fn write(&self, to: &mut Statement) {
        let dialogs = || self.begun.values();
        to.rows()
            .column("id", self.begun.keys().copied())
            .column("initiator", dialogs().map(|pair| pair.map(|(initiator, _)| initiator.number())))
            .column("receiver", dialogs().map(|pair| pair.map(|(_, receiver)| receiver.number())))
            .insert("thread_begun", "{schema}.thread", "");
        to.rows()
            .column("id", self.counted.keys().copied())
            .column("counted", self.counted.values().map(|counted| counted.cast_signed()))
            .insert(
                "thread_counted",
                "{schema}.thread as t",
                " on conflict (id) do update set counted = t.counted + excluded.counted",
            );
        let members = |listed: bool| self.listed.iter().filter(move |(_, now)| **now == listed).map(|(key, _)| key);
        to.rows()
            .column("account", members(true).map(|key| key.0.number()))
            .column("thread", members(true).map(|key| key.1))
            .insert(
                "thread_joined",
                "{schema}.thread_member",
                "
    -- Left and joined again within the batch: the row is there.
    on conflict (account, thread) do update set thread = excluded.thread",
            );
        to.rows()
            .column("account", members(false).map(|key| key.0.number()))
            .column("thread", members(false).map(|key| key.1))
            .write(
                "thread_left",
                "
    delete from {schema}.thread_member m using head, {rows} u({columns})
    where m.account = u.account and m.thread = u.thread",
            );
    }
}

/// The partner of a dialog.
#[derive(Debug)]
pub struct Partner {
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

/// The group of a thread.
#[derive(Debug)]
pub struct ThreadGroup {
    /// Who its admin is.
    pub admin: AccId,
    /// Who may join.
    pub access: Access,
    /// The most members.
    pub capacity: u32,
    /// The event that set its name.
    pub name: StoredSealed,
}

/// Whose thread it is.
#[derive(Debug)]
pub enum Counterpart {
    /// Of a conversation.
    Partner(Box<Partner>),
    /// Of a group.
    Group(Box<ThreadGroup>),
    /// The system's.
    System,
}

/// A thread as one of its participants sees it in the list.
#[derive(Debug)]
pub struct ThreadSummary {
    /// The thread.
    pub thread: ThreadId,
    /// Whose thread it is.
    pub counterpart: Counterpart,
    /// The number of the newest message.
    pub last_id: MessageNo,
    /// The event behind the newest message.
    pub last: StoredSealed,
    /// Whether the reader has marked the newest message as read.
    pub marked_read: bool,
}

/// The threads of an account.
#[derive(Debug)]
pub struct ThreadList {
    /// Whose list it is.
    pub reader: AccId,
    /// The threads, in no particular order; those whose partner lives no more are left out.
    pub threads: Vec<ThreadSummary>,
    /// The data keys that were live when this was read.
    pub live: Vec<KeyId>,
}

impl ReadModels {
    /// The threads of the session's account; none when there is no session of a living account.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn threads(&self, session: Hash32, now: Timestamp) -> Result<Option<ThreadList>, ReadError> {
        let rows = self.fetch(&THREADS, |to| session_arguments(to, session, now)).await?;
        let Some(first) = rows.first().filter(|row| !is_null(row, "me")) else { return Ok(None) };
        let mut list =
            ThreadList { reader: account_id(first, "me")?, threads: Vec::with_capacity(rows.len()), live: Vec::new() };
        for row in &rows {
            list.threads.extend(read_summary(row, &mut list.live)?);
        }
        Ok(Some(list))
    }

    /// The session's account and the threads that it takes part in, or took part in after the
    /// position `since`; none when there is no session of a living account.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn participation(
        &self,
        session: Hash32,
        now: Timestamp,
        since: Position,
    ) -> Result<Option<(AccId, Vec<ThreadId>)>, ReadError> {
        let bind = |to: &mut PgArguments| {
            session_arguments(to, session, now)?;
            to.add(since.0)
        };
        let rows = self.fetch(&PARTICIPATION, bind).await?;
        let Some(first) = rows.first().filter(|row| !is_null(row, "me")) else { return Ok(None) };
        let account = account_id(first, "me")?;
        let threads = rows.iter().filter(|row| !is_null(row, "thread"));
        let threads = threads.map(|row| thread_id(row.try_get("thread")?, row.try_get("initiator")?));
        Ok(Some((account, threads.collect::<Result<_, ReadError>>()?)))
    }
}

/// The statement of [`ReadModels::participation`]; `$3` the position.
static PARTICIPATION: Query = Query::new(participation_sql);

fn participation_sql(generation: Generation) -> String {
    format!(
        "with me as ({me})
, mine as (
    select t.id as thread, t.initiator from me
    join {generation}.thread_member tm on tm.account = me.id and not {is_group}
    join {generation}.thread t on t.id = tm.thread
    union
    select {thread_of_group}, null from me
    join {generation}.group_stay s on s.account = me.id and (s.closed is null or s.closed > $3))
select h.generation, me.id as me, mine.* from log_head h left join me on true left join mine on true",
        me = session_account(generation),
        is_group = ThreadKey("tm.thread").is_group(),
        thread_of_group = ThreadKey::of_group("s.group_id"),
    )
}

columns! {
    /// What is read of a thread of any kind.
    ThreadRow { id: i64, last_id: i32, }
}

columns! {
    /// What is read of the partner of a dialog.
    PartnerRow { id: i64, until: DateTime<Utc>, endless: bool, }
}

columns! {
    /// What is read of a group.
    GroupRow { admin: i64, private: bool, capacity: i32, }
}

/// The events that are joined to a thread: what its partner or its group is called, the partner's status, the newest message.
const NAME: Named = Named("name");
const STATUS: Named = Named("status");
const LAST: NamedMessage = NamedMessage("last");

/// A thread from its row; none in that of an account without any.
fn read_summary(row: &PgRow, live: &mut Vec<KeyId>) -> Result<Option<ThreadSummary>, ReadError> {
    let Some(thread) = ThreadRow::read(row, "thread")? else { return Ok(None) };
    let counterpart = if let Some(partner) = PartnerRow::read(row, "partner")? {
        Counterpart::Partner(Box::new(Partner {
            id: account(partner.id)?,
            until: partner.until.into(),
            nickname: NAME.read_one(row, live)?,
            status: STATUS.read(row, live)?,
            endless: partner.endless,
        }))
    } else if let Some(group) = GroupRow::read(row, "group")? {
        Counterpart::Group(Box::new(ThreadGroup {
            admin: account(group.admin)?,
            access: if group.private { Access::Private } else { Access::Public },
            capacity: group.capacity.cast_unsigned(),
            name: NAME.read_one(row, live)?,
        }))
    } else {
        Counterpart::System
    };
    Ok(Some(ThreadSummary {
        thread: thread_id(thread.id, row.try_get("initiator")?)?,
        counterpart,
        last_id: thread.last_id.cast_unsigned(),
        last: LAST.read_one(row, live)?,
        marked_read: row.try_get::<Option<bool>, _>("marked")?.unwrap_or(false),
    }))
}

/// The statement of [`ReadModels::threads`].
pub(crate) static THREADS: Query = Query::new(threads_sql);

fn threads_sql(generation: Generation) -> String {
    let thread = ThreadKey("t.id");
    format!(
        "with me as ({me})
, thread as (
    select t.id, t.initiator, newest.id as last_id, newest.position as last, mark.ranges @> newest.id as marked,
        {group_id} as group_id, {partner_id} as partner_id
    from me
    join {generation}.thread_member tm on tm.account = me.id
    join {generation}.thread t on t.id = tm.thread
    join lateral (
        select m.id, m.position from {generation}.message m
        where m.thread = t.id order by m.id desc limit 1) newest on true
    left join {generation}.read_mark mark on mark.thread = t.id and mark.reader = me.id)
, shown as (
    select thread.initiator, thread.marked, thread.last, coalesce(partner.nickname, g.name) as name, partner.status,
        {thread}, {partner}, {group}
    from thread
    left join {generation}.account partner on partner.id = thread.partner_id
    left join {generation}.groups g on g.id = thread.group_id
    where thread.partner_id is null or partner.until > $2)
select h.generation, me.id as me, shown.*, {name}, {status}, {last}
from log_head h
left join me on true
left join shown on true
{join_name}
{join_status}
{join_last}",
        me = session_account(generation),
        group_id = thread.group(),
        partner_id = thread.partner("me.id"),
        thread = ThreadRow::part("thread", "thread"),
        partner = PartnerRow::part("partner", "partner"),
        group = GroupRow::part("g", "group"),
        name = NAME.columns(),
        status = STATUS.columns(),
        last = LAST.columns(),
        join_name = NAME.join("shown.name"),
        join_status = STATUS.join("shown.status"),
        join_last = LAST.join("shown.last"),
    )
}
