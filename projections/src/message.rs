//! The read model of messages: which event is the n-th message of a thread. What a message shows
//! follows from that event.

use be8_events::{AccId, Hash32, KeyId, MessageNo, Position, Recorded, ThreadId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Row};

use crate::columns::{Columns, columns};
use crate::copy::Rows;
use crate::derived::{Derived, Number, Posted};
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::read_mark::{Ranges, from_text};
use crate::rows::{account, account_id, is_null, session_account, session_arguments};
use crate::stored::{EventRow, SealedMessageRow, SealedRow, StoredSealed, join_sealed_message};
use crate::thread_key::{ThreadKey, thread_id};
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[Table {
    only_added: true,
    ..Table::new(
        "message",
        "
create table if not exists {schema}.message (
    thread   bigint not null,
    id       integer not null,
    position bigint not null,
    name     bigint,        -- position of the event that set a name which is shown with it
    other_name bigint,      -- of another one
    primary key (thread, id)
);
",
    )
}];

/// What a batch adds.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    given: Vec<(i64, MessageNo, Position, Option<Position>)>,
    counted: Vec<(i64, MessageNo, Position, [Option<Position>; 2])>,
}

impl ReadModel for Messages {
    // A message of a system thread gets its number from the thread.
    const MODEL: Model = Model { name: "messages", version: 1, tables: TABLES, needs: &["threads"] };

    fn apply(&mut self, recorded: &Recorded, derived: &Derived) {
        for Posted { thread, number, names } in &derived.messages {
            match *number {
                Number::Given(id) => self.given.push((thread.key(), id, recorded.position, names[0])),
                Number::Counted(nth) => self.counted.push((thread.key(), nth, recorded.position, *names)),
            }
        }
    }

    fn write(&self, to: &mut Statement) {
        to.rows()
            .column("thread", self.given.iter().map(|row| row.0))
            .column("id", self.given.iter().map(|row| row.1.cast_signed()))
            .column("position", self.given.iter().map(|row| row.2.0))
            .column("name", self.given.iter().map(|row| row.3.map(|name| name.0)))
            .insert("message_given", "{schema}.message", "");
        to.rows()
            .column("thread", self.counted.iter().map(|row| row.0))
            .column("nth", self.counted.iter().map(|row| row.1.cast_signed()))
            .column("position", self.counted.iter().map(|row| row.2.0))
            .column("name", self.counted.iter().map(|row| row.3[0].map(|name| name.0)))
            .column("other_name", self.counted.iter().map(|row| row.3[1].map(|name| name.0)))
            .write(
                "message_counted",
                "
    insert into {schema}.message (thread, id, position, name, other_name)
    select u.thread, coalesce(t.counted, 0) + u.nth, u.position, u.name, u.other_name
    from head cross join {rows} u({columns})
    left join {schema}.thread t on t.id = u.thread",
            );
    }

    fn take_rows(&mut self) -> Option<Rows> {
        let given = std::mem::take(&mut self.given);
        if given.is_empty() {
            return None;
        }
        let mut rows = Rows::new("message", "thread, id, position, name", given.len());
        for (thread, id, position, name) in given {
            rows.row(4).int8(thread).int4(id.cast_signed()).int8(position.0);
            match name {
                Some(name) => rows.int8(name.0),
                None => rows.null(),
            };
        }
        Some(rows)
    }
}

/// One message of a thread.
#[derive(Debug)]
pub struct ThreadMessage {
    /// Its number in the thread.
    pub id: MessageNo,
    /// The event behind it and, for what somebody wrote, the sealed part (none once swept).
    pub event: StoredSealed,
}

/// The newest messages of a thread, as one of its participants reads them.
#[derive(Debug)]
pub struct ThreadMessages {
    /// Who reads.
    pub reader: AccId,
    /// The thread, by its stored name.
    pub thread: ThreadId,
    /// At most 100 messages, ascending.
    pub messages: Vec<ThreadMessage>,
    /// The events that set the nicknames which the messages show.
    pub names: Vec<StoredSealed>,
    /// Who has read which messages.
    pub read_marks: Vec<(AccId, Ranges)>,
    /// The data keys that were live when this was read.
    pub live: Vec<KeyId>,
}

/// The answer to a reader of messages.
#[derive(Debug)]
pub enum MessagesAnswer {
    /// No session of a living account.
    NoSession,
    /// The account takes no part in such a thread.
    NoThread,
    /// The messages.
    Messages(Box<ThreadMessages>),
}

impl ReadModels {
    /// The newest 100 messages of a thread that the session's account takes part in. The thread
    /// is found by its key, so in whatever direction a dialog is named.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn messages(
        &self,
        session: Hash32,
        now: Timestamp,
        thread: Option<ThreadId>,
    ) -> Result<MessagesAnswer, ReadError> {
        let rows = self
            .fetch(&MESSAGES, |to| {
                session_arguments(to, session, now)?;
                to.add(thread.map(ThreadId::key))
            })
            .await?;
        let row = rows.into_iter().next().ok_or(ReadError::Damaged("head row"))?;
        if is_null(&row, "me") {
            return Ok(MessagesAnswer::NoSession);
        }
        let Some(key) = row.try_get::<Option<i64>, _>("thread")? else { return Ok(MessagesAnswer::NoThread) };
        Ok(MessagesAnswer::Messages(Box::new(ThreadMessages {
            reader: account_id(&row, "me")?,
            thread: thread_id(key, row.try_get("initiator")?)?,
            messages: read_messages(&row)?,
            names: read_names(&row)?,
            read_marks: read_marks(&row)?,
            live: row.try_get::<Option<_>, _>("live")?.unwrap_or_default(),
        })))
    }
}

columns! {
    /// The number of a message.
    NumberRow { number: i32, }
}

columns! {
    /// What one reader has marked as read.
    ReadMarkRow { reader: i64, ranges: String, }
}

pub(crate) fn read_messages(row: &PgRow) -> Result<Vec<ThreadMessage>, ReadError> {
    let numbers = NumberRow::read_arrays(row, "message")?.into_iter().flatten();
    let events = EventRow::read_arrays(row, "message")?.into_iter().flatten();
    let sealed = SealedMessageRow::read_arrays(row, "message")?;
    let messages = numbers.zip(events).zip(sealed).map(|((NumberRow { number }, event), sealed)| {
        let sealed = sealed.map(SealedMessageRow::sealed).transpose()?;
        Ok(ThreadMessage { id: number.cast_unsigned(), event: StoredSealed { stored: event.stored()?, sealed } })
    });
    messages.collect()
}

pub(crate) fn read_names(row: &PgRow) -> Result<Vec<StoredSealed>, ReadError> {
    let events = EventRow::read_arrays(row, "name")?.into_iter().flatten();
    let sealed = SealedRow::read_arrays(row, "name")?;
    let names = events.zip(sealed).map(|(event, sealed)| {
        let sealed = sealed.map(SealedRow::sealed).transpose()?;
        Ok(StoredSealed { stored: event.stored()?, sealed })
    });
    names.collect()
}

pub(crate) fn read_marks(row: &PgRow) -> Result<Vec<(AccId, Ranges)>, ReadError> {
    let marks = ReadMarkRow::read_arrays(row, "mark")?.into_iter().flatten();
    marks.map(|mark| Ok((account(mark.reader)?, from_text(&mark.ranges)?))).collect()
}

/// The part of a statement that puts together what is shown of a thread: CTEs that follow one named `thread`, with its key as `id`,
/// and one named `newest`, with rows of the read model of messages.
pub(crate) fn shown(generation: Generation) -> String {
    format!(
        ", messages as materialized (
    select m.id as number, m.name, m.other_name, {event}, {message_sealed}
    from newest m
    join events event on event.position = m.position
    {join_message_sealed}
    order by m.id)
, names as materialized (
    select {event}, {name_sealed}
    from (select name as position from messages union select other_name from messages) name
    join events event on event.position = name.position
    left join sealed on sealed.position = name.position)
, marks as (
    select mark.reader, mark.ranges::text as ranges
    from thread join {generation}.read_mark mark on mark.thread = thread.id)",
        event = EventRow::of("event"),
        message_sealed = SealedMessageRow::of("sealed"),
        join_message_sealed = join_sealed_message("event", "sealed"),
        name_sealed = SealedRow::of("sealed"),
    )
}

/// What [`shown`] puts together, in one row: messages, names and marks as arrays, and which of their keys live. One statement sees
/// all of that at once, and what several messages share, a name or a key, is read once.
pub(crate) const SHOWN_COLUMNS: &str = "message.*, name.*, mark.*,
    (select array_agg(k.id) from vault.key k where k.wrapped is not null and k.id in (
        select account_key from messages union select stay_key from messages union select day_key from messages
        union select key from names)) as live";

/// Joins what [`SHOWN_COLUMNS`] name.
pub(crate) fn join_shown() -> String {
    format!(
        "cross join (select {numbers}, {message_events}, {message_payloads} from messages) message
cross join (select {name_events}, {name_payloads} from names) name
cross join (select {read_marks} from marks) mark",
        numbers = NumberRow::arrays("message"),
        message_events = EventRow::arrays("message"),
        message_payloads = SealedMessageRow::arrays("message"),
        name_events = EventRow::arrays("name"),
        name_payloads = SealedRow::arrays("name"),
        read_marks = ReadMarkRow::arrays("mark"),
    )
}

/// The statement of [`ReadModels::messages`]; `$3` the key of the thread.
pub(crate) static MESSAGES: Query = Query::new(messages_sql);

fn messages_sql(generation: Generation) -> String {
    let thread = ThreadKey("t.id");
    format!(
        "with me as ({me})
, thread as (
    select t.id, t.initiator, {group} as group_id, me.id as reader
    from me
    -- A member of a group reads it whether it is in the list of threads or not: its creator is a member from the beginning.
    join {generation}.thread t on t.id = $3 and case when {is_group}
        then exists (select from {generation}.group_stay s
                     where s.group_id = {group} and s.account = me.id and s.closed is null)
        else exists (select from {generation}.thread_member tm where tm.account = me.id and tm.thread = t.id) end
    left join {generation}.account partner on partner.id = {partner}
    where not {is_dialog} or partner.until > $2)
, visible as (
    select id as thread, 1 as from_id, null::integer as until_id from thread where group_id is null
    union all
    -- Of a group, what the reader was there for. Each stay has a message at least: its first.
    (select thread.id, s.from_id, s.until_id from thread
     join {generation}.group_stay s on s.group_id = thread.group_id and s.account = thread.reader
     order by s.stay desc limit 100))
, newest as (
    select m.* from visible v join lateral (
        select * from {generation}.message m
        where m.thread = v.thread and m.id >= v.from_id and (v.until_id is null or m.id < v.until_id)
        order by m.id desc limit 100) m on true
    order by m.id desc limit 100)
{shown}
select h.generation, me.id as me, thread.id as thread, thread.initiator, {SHOWN_COLUMNS}
from log_head h
left join me on true
left join thread on true
{join_shown}",
        me = session_account(generation),
        is_dialog = thread.is_dialog(),
        is_group = thread.is_group(),
        group = thread.group(),
        partner = thread.partner("me.id"),
        shown = shown(generation),
        join_shown = join_shown(),
    )
}
