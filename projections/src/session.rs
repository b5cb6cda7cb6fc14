//! The read model of sessions: which token, by its hash, speaks for which account.

use std::collections::{BTreeMap, BTreeSet};

use be8_events::{AccId, Event, Hash32, KeyId, Position, Recorded, SessionEvent, StreamName};
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Row};

use crate::columns::Columns as _;
use crate::derived::Derived;
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::rows::is_null;
use crate::stored::{EventRow, Named, Stored, StoredSealed};
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[Table::new(
    "session",
    "
create table if not exists {schema}.session (
    hash    bytea primary key,
    account bigint not null,
    opened  bigint not null, -- position of the event that opened it
    named   bigint           -- position of the event that set its name; none until one was first set
);
create index if not exists session_account on {schema}.session (account);
",
)];

/// What a batch changes: a session that opens and ends within it leaves no row.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    opened: BTreeMap<Hash32, Opened>,
    /// Sessions of earlier batches that got a name, each with its account.
    named: BTreeMap<Hash32, (AccId, Position)>,
    ended: BTreeSet<Hash32>,
    /// Accounts all of whose sessions end.
    removed: BTreeSet<AccId>,
}

/// A session that opens.
#[derive(Debug)]
struct Opened {
    account: AccId,
    position: Position,
    named: Option<Position>,
}

impl ReadModel for Sessions {
    const MODEL: Model = Model { name: "sessions", version: 2, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, _: &Derived) {
        if let (Event::Session(event), StreamName::Session(hash)) = (&recorded.event, recorded.stream) {
            match event {
                SessionEvent::SessionOpened(e) => {
                    let opened = Opened { account: e.account, position: recorded.position, named: None };
                    self.opened.insert(hash, opened);
                }
                SessionEvent::SessionNamed(e) => match self.opened.get_mut(&hash) {
                    Some(opened) => opened.named = Some(recorded.position),
                    None => _ = self.named.insert(hash, (e.account, recorded.position)),
                },
                SessionEvent::SessionEnded(_) => {
                    // The parts of a statement do not see each other's rows: one row is written by one of them.
                    self.named.remove(&hash);
                    if self.opened.remove(&hash).is_none() {
                        self.ended.insert(hash);
                    }
                }
            }
        }
        if let Some(e) = recorded.event.removed() {
            self.opened.retain(|_, opened| opened.account != e.account);
            self.named.retain(|_, (of, _)| *of != e.account);
            self.removed.insert(e.account);
        }
    }

    fn write(&self, to: &mut Statement) {
        to.rows()
            .column("hash", self.opened.keys().map(|hash| &hash.0[..]))
            .column("account", self.opened.values().map(|opened| opened.account.number()))
            .column("opened", self.opened.values().map(|opened| opened.position.0))
            .column("named", self.opened.values().map(|opened| opened.named.map(|named| named.0)))
            .insert("session_opened", "{schema}.session", "");
        to.rows()
            .column("hash", self.named.keys().map(|hash| &hash.0[..]))
            .column("named", self.named.values().map(|(_, position)| position.0))
            .write(
                "session_named",
                "update {schema}.session s set named = u.named from head, {rows} u({columns}) where s.hash = u.hash",
            );
        to.rows().column("hash", self.ended.iter().map(|hash| &hash.0[..])).write(
            "session_ended",
            "delete from {schema}.session s using head, {rows} u({columns}) where s.hash = u.hash",
        );
        to.rows().column("account", self.removed.iter().map(|account| account.number())).write(
            "session_removed",
            "delete from {schema}.session s using head, {rows} u({columns}) where s.account = u.account",
        );
    }
}

/// The open sessions of an account.
#[derive(Debug, Default)]
pub struct OpenSessions {
    /// The sessions, the oldest first.
    pub found: Vec<SessionRow>,
    /// The data keys that were live when this was read.
    pub live: Vec<KeyId>,
}

/// An open session.
#[derive(Debug)]
pub struct SessionRow {
    /// The hash of its token.
    pub hash: Hash32,
    /// The event that opened it.
    pub opened: Stored,
    /// The event that named it, if one did.
    pub named: Option<StoredSealed>,
}

impl ReadModels {
    /// The open sessions of an account, with what is known of each.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn open_sessions(&self, account: AccId) -> Result<OpenSessions, ReadError> {
        let rows = self.fetch(&OPEN_SESSIONS, |to| to.add(account.number())).await?;
        let mut sessions = OpenSessions::default();
        for row in rows.iter().filter(|row| !is_null(row, "hash")) {
            let opened = EventRow::read(row, "opened")?.ok_or(ReadError::Damaged("position of a session"))?.stored()?;
            let named = NAMED.read(row, &mut sessions.live)?;
            sessions.found.push(SessionRow { hash: hash(row)?, opened, named });
        }
        Ok(sessions)
    }

    /// Those of these sessions that are open.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn open_among(&self, sessions: &[Hash32]) -> Result<BTreeSet<Hash32>, ReadError> {
        let hashes: Vec<&[u8]> = sessions.iter().map(|session| &session.0[..]).collect();
        let rows = self.fetch(&OPEN_AMONG, |to| to.add(hashes.clone())).await?;
        rows.iter().filter(|row| !is_null(row, "hash")).map(hash).collect()
    }
}

/// The hash of a row.
fn hash(row: &PgRow) -> Result<Hash32, ReadError> {
    let hash: &[u8] = row.try_get("hash")?;
    hash.try_into().map(Hash32).map_err(|_| ReadError::Damaged("hash of a session"))
}

/// The event that named a session.
const NAMED: Named = Named("named");

/// The statement of [`ReadModels::open_sessions`]; `$1` the account.
static OPEN_SESSIONS: Query = Query::new(open_sessions_sql);

fn open_sessions_sql(generation: Generation) -> String {
    format!(
        "select h.generation, s.hash, {opened}, {named}
from log_head h left join {generation}.session s on s.account = $1
left join events opened on opened.position = s.opened
{join_named}
order by s.opened",
        opened = EventRow::part("opened", "opened"),
        named = NAMED.columns(),
        join_named = NAMED.join("s.named"),
    )
}

/// The statement of [`ReadModels::open_among`]; `$1` the hashes.
static OPEN_AMONG: Query = Query::new(open_among_sql);

fn open_among_sql(generation: Generation) -> String {
    format!(
        "select h.generation, s.hash from log_head h left join {generation}.session s on s.hash = any ($1::bytea[])"
    )
}
