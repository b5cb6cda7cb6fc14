//! The read model of messages: which event is the n-th message of a thread. What a message shows
//! follows from that event.

use be8_events::{AccId, Hash32, KeyId, MessageNo, Position, Recorded, Sealed, ThreadId, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Row};

use crate::account::{ME, account_id, is_null, session_arguments};
use crate::copy::Rows;
use crate::derived::{Derived, Number, Posted};
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::read_mark::{Ranges, from_text};
use crate::stored::{self, Stored, StoredSealed};
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
        let row = rows.into_iter().next().ok_or(ReadError::Damaged("the head row"))?;
        if is_null(&row, "me") {
            return Ok(MessagesAnswer::NoSession);
        }
        let Some(key) = row.try_get::<Option<i64>, _>("thread")? else { return Ok(MessagesAnswer::NoThread) };
        let reader = account_id(&row, "me")?;
        let thread = crate::thread::thread_id(key, row.try_get("initiator")?)?;
        let readers: Vec<i64> = array(&row, "readers")?;
        let ranges: Vec<String> = array(&row, "ranges")?;
        let read_marks = readers
            .into_iter()
            .zip(&ranges)
            .map(|(reader, ranges)| Ok((stored::account(reader)?, from_text(ranges)?)))
            .collect::<Result<_, ReadError>>()?;
        Ok(MessagesAnswer::Messages(Box::new(ThreadMessages {
            reader,
            thread,
            messages: read_messages(&row)?,
            names: read_names(&row)?,
            read_marks,
            live: array(&row, "live")?,
        })))
    }
}

/// A column that is an array or, where nothing was found, null.
pub(crate) fn array<T>(row: &PgRow, column: &str) -> Result<Vec<T>, ReadError>
where
    Option<Vec<T>>: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    Ok(row.try_get::<Option<Vec<T>>, _>(column)?.unwrap_or_default())
}

pub(crate) fn read_messages(row: &PgRow) -> Result<Vec<ThreadMessage>, ReadError> {
    let ids: Vec<i32> = array(row, "ids")?;
    let mut events = read_events(row, "m_")?;
    let account_keys: Vec<Option<KeyId>> = array(row, "account_keys")?;
    let stay_keys: Vec<Option<KeyId>> = array(row, "stay_keys")?;
    let day_keys: Vec<Option<KeyId>> = array(row, "day_keys")?;
    let nonces: Vec<Option<Vec<u8>>> = array(row, "nonces")?;
    let bytes: Vec<Option<Vec<u8>>> = array(row, "bytes")?;
    let mut sealed = Vec::with_capacity(ids.len());
    for ((((account, stay), day), nonce), bytes) in
        account_keys.into_iter().zip(stay_keys).zip(day_keys).zip(nonces).zip(bytes)
    {
        sealed.push(match (account, stay, day, nonce, bytes) {
            (Some(account), Some(stay), Some(day), Some(nonce), Some(bytes)) => {
                Some(stored::sealed(vec![account, stay, day], &nonce, bytes)?)
            }
            _ => None,
        });
    }
    Ok(ids
        .into_iter()
        .zip(events.drain(..))
        .zip(sealed)
        .map(|((id, stored), sealed)| ThreadMessage { id: id.cast_unsigned(), event: StoredSealed { stored, sealed } })
        .collect())
}

pub(crate) fn read_names(row: &PgRow) -> Result<Vec<StoredSealed>, ReadError> {
    let events = read_events(row, "n_")?;
    let keys: Vec<Option<KeyId>> = array(row, "n_keys")?;
    let nonces: Vec<Option<Vec<u8>>> = array(row, "n_nonces")?;
    let bytes: Vec<Option<Vec<u8>>> = array(row, "n_bytes")?;
    let mut names = Vec::with_capacity(events.len());
    for (((stored, key), nonce), bytes) in events.into_iter().zip(keys).zip(nonces).zip(bytes) {
        let sealed: Option<Sealed> = match (key, nonce, bytes) {
            (Some(key), Some(nonce), Some(bytes)) => Some(stored::sealed(vec![key], &nonce, bytes)?),
            _ => None,
        };
        names.push(StoredSealed { stored, sealed });
    }
    Ok(names)
}

/// Events as arrays of columns, their names prefixed.
fn read_events(row: &PgRow, prefix: &str) -> Result<Vec<Stored>, ReadError> {
    let column = |name: &str| format!("{prefix}{name}");
    let positions: Vec<i64> = array(row, &column("positions"))?;
    let kinds: Vec<String> = array(row, &column("kinds"))?;
    let schemas: Vec<i16> = array(row, &column("schemas"))?;
    let times: Vec<DateTime<Utc>> = array(row, &column("times"))?;
    let salts: Vec<Vec<u8>> = array(row, &column("salts"))?;
    let payloads: Vec<Vec<u8>> = array(row, &column("payloads"))?;
    let mut out = Vec::with_capacity(positions.len());
    for (i, position) in positions.into_iter().enumerate() {
        // The arrays come from one sub-query: they are equally long.
        out.push(Stored::new(position, &kinds[i], schemas[i], times[i], &salts[i], &payloads[i])?);
    }
    Ok(out)
}

/// The statement of [`ReadModels::messages`]; `$3` the key of the thread. One row comes back,
/// with the messages as arrays: one answer to decode, and one look at which keys live.
pub(crate) static MESSAGES: Query = Query::new(messages_sql);

fn messages_sql(generation: Generation) -> String {
    format!(
        "with me as ({me})
, th as (
    -- Members read, whether the thread is in their list or not: a group's creator is one from the beginning.
    select t.id, t.initiator, me.id as reader from me
    join {generation}.thread t on t.id = $3 and case when t.id < 0 and t.id % 2 = 0
        then exists (select from {generation}.group_stay s
                     where s.group_id = -t.id / 2 and s.account = me.id and s.closed is null)
        else exists (select from {generation}.thread_member tm where tm.account = me.id and tm.thread = t.id) end
    left join {generation}.account p
      on p.id = case when t.initiator = me.id then t.receiver else t.initiator end
    where t.id < 0 or p.until > $2)
, seen as (
    select id, 1 as from_id, null::integer as until_id from th where id > 0 or id % 2 = -1
    union all
    -- Of a group, what the reader was there for. Each stay has a message at least: its first.
    (select th.id, s.from_id, s.until_id from th
     join {generation}.group_stay s on th.id < 0 and th.id % 2 = 0 and s.group_id = -th.id / 2 and s.account = th.reader
     order by s.stay desc limit 100))
, ids as (
    select m.* from seen join lateral (
        select * from {generation}.message m
        where m.thread = seen.id and m.id >= seen.from_id and (seen.until_id is null or m.id < seen.until_id)
        order by m.id desc limit 100) m on true
    order by m.id desc limit 100)
, msg as materialized (
    select m.id, m.name, m.other_name, e.*, s.account_key, s.stay_key, s.day_key, s.nonce, s.bytes
    from ids m
    join events e on e.position = m.position
    left join sealed_message s on s.day = (e.time at time zone 'UTC')::date and s.position = e.position
    order by m.id)
, nam as materialized (
    select e.*, s.key, s.nonce, s.bytes
    from (select name from msg union select other_name from msg) n
    join events e on e.position = n.name
    left join sealed s on s.position = n.name)
select h.generation, me.id as me, th.id as thread, th.initiator, m.*, n.*, r.*,
    (select array_agg(k.id) from vault.key k where k.wrapped is not null and k.id in (
        select account_key from msg union select stay_key from msg union select day_key from msg
        union select key from nam)) as live
from log_head h
left join me on true
left join th on true
left join lateral (
    select array_agg(id) as ids, array_agg(position) as m_positions, array_agg(kind) as m_kinds,
        array_agg(schema) as m_schemas, array_agg(time) as m_times, array_agg(salt) as m_salts,
        array_agg(payload) as m_payloads, array_agg(account_key) as account_keys,
        array_agg(stay_key) as stay_keys, array_agg(day_key) as day_keys,
        array_agg(nonce) as nonces, array_agg(bytes) as bytes
    from msg) m on true
left join lateral (
    select array_agg(position) as n_positions, array_agg(kind) as n_kinds,
        array_agg(schema) as n_schemas, array_agg(time) as n_times, array_agg(salt) as n_salts,
        array_agg(payload) as n_payloads, array_agg(key) as n_keys,
        array_agg(nonce) as n_nonces, array_agg(bytes) as n_bytes
    from nam) n on true
left join lateral (
    select array_agg(reader) as readers, array_agg(ranges::text) as ranges
    from {generation}.read_mark where thread = th.id) r on true",
        me = ME.replace("{schema}", &generation.to_string()),
    )
}
