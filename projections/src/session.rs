//! The read model of sessions: which token, by its hash, speaks for which account.

use std::collections::{BTreeMap, BTreeSet};

use be8_events::{AccId, Event, Hash32, Position, Recorded, SessionEvent, StreamName};

use crate::Statement;
use crate::derived::Derived;
use crate::model::{Model, ReadModel, Table};

const TABLES: &[Table] = &[Table::new(
    "session",
    "
create table if not exists {schema}.session (
    hash    bytea primary key,
    account bigint not null,
    opened  bigint not null  -- position of the event that opened it
);
create index if not exists session_account on {schema}.session (account);
",
)];

/// What a batch changes: a session that opens and ends within it leaves no row.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    opened: BTreeMap<Hash32, (AccId, Position)>,
    ended: BTreeSet<Hash32>,
    /// Accounts all of whose sessions end.
    removed: BTreeSet<AccId>,
}

impl ReadModel for Sessions {
    const MODEL: Model = Model { name: "sessions", version: 1, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, _: &Derived) {
        if let (Event::Session(event), StreamName::Session(hash)) = (&recorded.event, recorded.stream) {
            match event {
                SessionEvent::SessionOpened(e) => _ = self.opened.insert(hash, (e.account, recorded.position)),
                SessionEvent::SessionEnded(_) => {
                    if self.opened.remove(&hash).is_none() {
                        self.ended.insert(hash);
                    }
                }
            }
        }
        if let Some(e) = recorded.event.removed() {
            self.opened.retain(|_, (of, _)| *of != e.account);
            self.removed.insert(e.account);
        }
    }

    fn write(&self, to: &mut Statement) {
        to.rows()
            .column("hash", self.opened.keys().map(|hash| &hash.0[..]))
            .column("account", self.opened.values().map(|(account, _)| account.number()))
            .column("opened", self.opened.values().map(|(_, position)| position.0))
            .insert("session_opened", "{schema}.session", "");
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
