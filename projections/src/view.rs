//! What views in memory are loaded from: rows of the read models, each with the position of the log that it is of, read in one
//! statement, so that the position and the rows are of one moment.

use be8_events::{
    AccId, GroupId, GroupVersion, Hash32, KeyId, MessageNo, Position, Recorded, Sealed, StayNo, ThreadId, Timestamp,
};
use chrono::NaiveDate;
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Row};

use crate::columns::Columns;
use crate::derived::{Derived, Numbering};
use crate::insight::{Insights, OrZero};
use crate::message::{SHOWN_COLUMNS, join_shown, read_marks, read_messages, read_names, shown};
use crate::model::ReadModel;
use crate::queries::Query;
use crate::read_mark::Ranges;
use crate::rows::{account, account_id, array, is_null, time};
use crate::stored::{Named, NamedMessage, SealedMessageRow, StoredSealed};
use crate::thread_key::thread_id;
use crate::{Counters, Generation, ReadError, ReadModels, ThreadMessage};

/// Something read, with the moment that it is of.
#[derive(Debug)]
pub struct At<T> {
    /// Everything up to this position is in it, and nothing after it.
    pub position: Position,
    /// The generation that it was read from.
    pub generation: Generation,
    /// What was found.
    pub found: T,
    /// The data keys that were live at that moment, of those that sealed what was found.
    pub live: Vec<KeyId>,
}

impl<T> At<T> {
    fn new(rows: &[PgRow], found: T, live: Vec<KeyId>) -> Result<Self, ReadError> {
        let head = rows.first().ok_or(ReadError::Damaged("a head row"))?;
        let (position, generation) = (Position(head.try_get("head")?), Generation(head.try_get("generation")?));
        Ok(Self { position, generation, found, live })
    }
}

/// An account as it is.
#[derive(Debug)]
pub struct AccountRow {
    /// The account.
    pub id: AccId,
    /// Until when it lives.
    pub until: Timestamp,
    /// Whether a token made it endless.
    pub endless: bool,
    /// Whether lock codes are set.
    pub codes: bool,
    /// The event that set its nickname.
    pub nickname: StoredSealed,
    /// The event that set its status, if it set one.
    pub status: Option<StoredSealed>,
    /// The event that set its public key, if it set one.
    pub public_key: Option<StoredSealed>,
}

/// A group as it is.
#[derive(Debug)]
pub struct GroupRow {
    /// The group.
    pub id: GroupId,
    /// Its admin.
    pub admin: AccId,
    /// Only the admin adds members.
    pub private: bool,
    /// The most members.
    pub capacity: u32,
    /// The newest version of its key.
    pub version: Option<GroupVersion>,
    /// It was destroyed.
    pub destroyed: bool,
    /// The event that set its name.
    pub name: StoredSealed,
    /// The members, each with its present stay and the first message that it sees in it.
    pub members: Vec<(AccId, StayNo, MessageNo)>,
}

/// The newest message of a thread.
#[derive(Debug)]
pub struct NewestRow {
    /// The thread, by its stored name.
    pub thread: ThreadId,
    /// The message.
    pub message: ThreadMessage,
    /// Who has marked it as read.
    pub marked: Vec<AccId>,
    /// Somebody has marked messages that are yet to come.
    pub ahead: bool,
}

/// The newest messages of a thread.
#[derive(Debug)]
pub struct ThreadRow {
    /// The thread, by its stored name.
    pub thread: ThreadId,
    /// At most 100 messages, ascending.
    pub messages: Vec<ThreadMessage>,
    /// The events that set the names which are shown with them.
    pub names: Vec<StoredSealed>,
    /// Who has read which messages.
    pub read_marks: Vec<(AccId, Ranges)>,
}

impl Counters {
    /// The counters once this event is counted, too.
    #[must_use]
    pub fn after(self, event: &Recorded) -> Self {
        let mut insights = Insights::default();
        insights.apply(event, &Derived::of(event, &mut Numbering::default()));
        self.plus(insights.added)
    }
}

impl ReadModels {
    /// The account that a session is of.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn session_at(&self, session: Hash32) -> Result<At<Option<AccId>>, ReadError> {
        let rows = self.fetch(&SESSION, |to| to.add(session.0.to_vec())).await?;
        let number: Option<i64> = rows.first().map_or(Ok(None), |row| row.try_get("account"))?;
        At::new(&rows, number.map(account).transpose()?, Vec::new())
    }

    /// Some accounts; those that do not exist are left out.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn accounts_at(&self, of: &[AccId]) -> Result<At<Vec<AccountRow>>, ReadError> {
        let ids: Vec<i64> = of.iter().map(|account| account.number()).collect();
        let rows = self.fetch(&ACCOUNTS, |to| to.add(ids.clone())).await?;
        let (mut found, mut live): (Vec<AccountRow>, _) = (Vec::with_capacity(of.len()), Vec::new());
        for row in rows.iter().filter(|row| !is_null(row, "id")) {
            let event = EVENT.read_one(row, &mut live)?;
            match (row.try_get::<i32, _>("what")?, found.last_mut()) {
                (0, _) => found.push(AccountRow {
                    id: account_id(row, "id")?,
                    until: time(row, "until")?,
                    endless: row.try_get("endless")?,
                    codes: row.try_get("codes")?,
                    nickname: event,
                    status: None,
                    public_key: None,
                }),
                (1, Some(account)) => account.status = Some(event),
                (_, Some(account)) => account.public_key = Some(event),
                (_, None) => return Err(ReadError::Damaged("an account without a nickname")),
            }
        }
        At::new(&rows, found, live)
    }

    /// Some groups, destroyed ones included; those that never existed are left out.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn groups_at(&self, of: &[GroupId]) -> Result<At<Vec<GroupRow>>, ReadError> {
        let ids: Vec<i64> = of.iter().map(|group| group.number()).collect();
        let rows = self.fetch(&GROUPS, |to| to.add(ids.clone())).await?;
        let (mut found, mut live) = (Vec::with_capacity(of.len()), Vec::new());
        for row in rows.iter().filter(|row| !is_null(row, "id")) {
            let accounts: Vec<i64> = array(row, "accounts")?;
            let (stays, firsts): (Vec<i32>, Vec<i32>) = (array(row, "stays")?, array(row, "firsts")?);
            let members = accounts
                .into_iter()
                .zip(stays)
                .zip(firsts)
                .map(|((number, stay), first)| Ok((account(number)?, stay.cast_unsigned(), first.cast_unsigned())));
            found.push(GroupRow {
                id: GroupId::new(row.try_get("id")?).ok_or(ReadError::Damaged("a group id"))?,
                admin: account_id(row, "admin")?,
                private: row.try_get("private")?,
                capacity: row.try_get::<i32, _>("capacity")?.cast_unsigned(),
                version: row.try_get::<Option<i32>, _>("version")?.map(i32::cast_unsigned),
                destroyed: row.try_get("destroyed")?,
                members: members.collect::<Result<_, ReadError>>()?,
                name: EVENT.read_one(row, &mut live)?,
            });
        }
        At::new(&rows, found, live)
    }

    /// The threads in the list of an account, by their stored names.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn list_at(&self, account: AccId) -> Result<At<Vec<ThreadId>>, ReadError> {
        let rows = self.fetch(&LIST, |to| to.add(account.number())).await?;
        let row = rows.first().ok_or(ReadError::Damaged("a head row"))?;
        let (keys, initiators): (Vec<i64>, Vec<Option<i64>>) = (array(row, "threads")?, array(row, "initiators")?);
        let threads = keys.into_iter().zip(initiators).map(|(key, initiator)| thread_id(key, initiator));
        At::new(&rows, threads.collect::<Result<_, _>>()?, Vec::new())
    }

    /// The newest message of each of some threads, by their keys; those without one are left out.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn newest_at(&self, of: &[i64]) -> Result<At<Vec<NewestRow>>, ReadError> {
        let rows = self.fetch(&NEWEST, |to| to.add(of.to_vec())).await?;
        let (mut found, mut live) = (Vec::with_capacity(of.len()), Vec::new());
        for row in rows.iter().filter(|row| !is_null(row, "thread")) {
            let marked: Vec<i64> = array(row, "marked")?;
            let id = row.try_get::<i32, _>("last_id")?.cast_unsigned();
            found.push(NewestRow {
                thread: thread_id(row.try_get("thread")?, row.try_get("initiator")?)?,
                message: ThreadMessage { id, event: LAST.read_one(row, &mut live)? },
                marked: marked.into_iter().map(account).collect::<Result<_, _>>()?,
                ahead: row.try_get::<Option<bool>, _>("ahead")?.unwrap_or(false),
            });
        }
        At::new(&rows, found, live)
    }

    /// The newest 100 messages of a thread, by its key, regardless of who may read them.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn thread_at(&self, thread: i64) -> Result<At<Option<ThreadRow>>, ReadError> {
        let rows = self.fetch(&THREAD, |to| to.add(thread)).await?;
        let row = rows.first().ok_or(ReadError::Damaged("a head row"))?;
        let Some(key) = row.try_get::<Option<i64>, _>("thread")? else { return At::new(&rows, None, Vec::new()) };
        let found = ThreadRow {
            thread: thread_id(key, row.try_get("initiator")?)?,
            messages: read_messages(row)?,
            names: read_names(row)?,
            read_marks: read_marks(row)?,
        };
        At::new(&rows, Some(found), array(row, "live")?)
    }

    /// The events that stored wrapped keys for an account in a group, ascending by version.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn group_keys_at(&self, group: GroupId, of: AccId) -> Result<At<Vec<StoredSealed>>, ReadError> {
        let rows = self
            .fetch(&KEYS, |to| {
                to.add(group.number())?;
                to.add(of.number())
            })
            .await?;
        let (mut found, mut live) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in &rows {
            found.extend(EVENT.read(row, &mut live)?);
        }
        At::new(&rows, found, live)
    }

    /// The counters of the server.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn insights_at(&self) -> Result<At<Counters>, ReadError> {
        let rows = self.fetch(&COUNTERS, |_| Ok(())).await?;
        let counters = Counters::read(rows.first().ok_or(ReadError::Damaged("a head row"))?)?;
        At::new(&rows, counters, Vec::new())
    }

    /// What was sealed of messages, by the positions and times of their events; what was swept is left out.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn sealed_messages(&self, of: &[(Position, Timestamp)]) -> Result<Vec<(Position, Sealed)>, ReadError> {
        let positions: Vec<i64> = of.iter().map(|(position, _)| position.0).collect();
        let days: Vec<NaiveDate> = of.iter().map(|(_, time)| time.day().0).collect();
        let rows = self
            .fetch(&SEALED, |to| {
                to.add(positions.clone())?;
                to.add(days.clone())
            })
            .await?;
        let mut found = Vec::with_capacity(of.len());
        for row in rows.iter().filter(|row| !is_null(row, "position")) {
            let Some(sealed) = SealedMessageRow::read(row, "sealed")? else { continue };
            found.push((Position(row.try_get("position")?), sealed.sealed()?));
        }
        Ok(found)
    }
}

/// The events that statements join: what is there, and the newest message of a thread.
const EVENT: Named = Named("event");
const LAST: NamedMessage = NamedMessage("last");

static SESSION: Query = Query::new(|generation| {
    format!(
        "select h.generation, h.position as head, s.account
from log_head h left join {generation}.session s on s.hash = $1"
    )
});

static ACCOUNTS: Query = Query::new(|generation| {
    format!(
        "select h.generation, h.position as head, a.id, a.until, a.endless, a.unlock is not null as codes, w.what, {columns}
from log_head h
left join {generation}.account a on a.id = any ($1)
left join lateral (values (0, a.nickname), (1, a.status), (2, a.public_key)) w(what, set_at) on w.set_at is not null
{sealed}
order by a.id, w.what",
        columns = EVENT.columns(),
        sealed = EVENT.join("w.set_at"),
    )
});

static GROUPS: Query = Query::new(|generation| {
    format!(
        "select h.generation, h.position as head, g.id, g.admin, g.private, g.capacity, g.version, g.destroyed, m.*, {columns}
from log_head h
left join {generation}.groups g on g.id = any ($1)
left join lateral (
    select array_agg(gs.account) as accounts, array_agg(gs.stay) as stays, array_agg(gs.from_id) as firsts
    from {generation}.group_stay gs where gs.group_id = g.id and gs.closed is null) m on true
{sealed}",
        columns = EVENT.columns(),
        sealed = EVENT.join("g.name"),
    )
});

static LIST: Query = Query::new(|generation| {
    format!(
        "select h.generation, h.position as head, l.*
from log_head h
left join lateral (
    select array_agg(tm.thread) as threads, array_agg(t.initiator) as initiators
    from {generation}.thread_member tm join {generation}.thread t on t.id = tm.thread
    where tm.account = $1) l on true"
    )
});

static NEWEST: Query = Query::new(|generation| {
    format!(
        "select h.generation, h.position as head, th.id as thread, th.initiator, th.last_id, r.marked, r.ahead, {columns}
from log_head h
left join (
    select t.id, t.initiator, newest.id as last_id, newest.position as last_position
    from {generation}.thread t
    join lateral (
        select m.id, m.position from {generation}.message m where m.thread = t.id order by m.id desc limit 1) newest on true
    where t.id = any ($1)) th on true
left join lateral (
    select array_agg(m.reader) filter (where m.ranges @> th.last_id) as marked,
        bool_or(upper(m.ranges) > th.last_id + 1) as ahead
    from {generation}.read_mark m where m.thread = th.id) r on true
{message}",
        columns = LAST.columns(),
        message = LAST.join("th.last_position"),
    )
});

static THREAD: Query = Query::new(|generation| {
    format!(
        "with thread as (select t.id, t.initiator from {generation}.thread t where t.id = $1)
, newest as (
    select m.* from thread join {generation}.message m on m.thread = thread.id order by m.id desc limit 100)
{shown}
select h.generation, h.position as head, thread.id as thread, thread.initiator, {SHOWN_COLUMNS}
from log_head h
left join thread on true
{join_shown}",
        shown = shown(generation),
        join_shown = join_shown(),
    )
});

static KEYS: Query = Query::new(|generation| {
    format!(
        "select h.generation, h.position as head, {columns}
from log_head h
left join {generation}.group_key gk on gk.group_id = $1 and gk.account = $2
{sealed}
order by gk.version",
        columns = EVENT.columns(),
        sealed = EVENT.join("gk.position"),
    )
});

static COUNTERS: Query = Query::new(|generation| {
    format!(
        "select h.generation, h.position as head{} from log_head h left join {generation}.insight i on true",
        OrZero("i")
    )
});

static SEALED: Query = Query::new(|_| {
    format!(
        "select h.generation, u.position, {sealed}
from log_head h
left join unnest($1::bigint[], $2::date[]) u(position, day) on true
left join sealed_message s on s.day = u.day and s.position = u.position",
        sealed = SealedMessageRow::part("s", "sealed"),
    )
});
