//! The read model of the insights: the ten counters of the server, and what they were at each hour
//! that struck.
//!
//! One row holds the counters. It is touched at most once an append, which holds the head row
//! anyway: nobody waits for it who would not wait without it.

use std::fmt;

use be8_events::account::{Life, Removal};
use be8_events::group::Membership;
use be8_events::server::{Link, Usage};
use be8_events::{AccountEvent, Day, DialogEvent, Event, GroupEvent, MessageEvent, Recorded, ServerEvent, Timestamp};
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Row};

use crate::derived::Derived;
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::statement::Rows;
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[
    Table::new(
        "insight",
        "
create table if not exists {schema}.insight (
    only_row boolean primary key,
    accs     bigint not null,
    groups   bigint not null,
    threads  bigint not null,   -- conversations started, joins, adds
    messages bigint not null,   -- all but WELCOME and CREATEDGROUP; a join or an add is one more
    images   bigint not null,
    panic    bigint not null,
    sent_user bigint not null, used_user bigint not null, sent_group bigint not null, used_group bigint not null
) with (fillfactor = 10);       -- most appends update it: room for HOT updates in the page
",
    ),
    Table::new(
        "insight_hour",
        "
create table if not exists {schema}.insight_hour (
    hour     timestamptz primary key,
    accs     bigint not null,
    groups   bigint not null,
    threads  bigint not null,
    messages bigint not null,
    images   bigint not null,
    panic    bigint not null,
    sent_user bigint not null, used_user bigint not null, sent_group bigint not null, used_group bigint not null
);
",
    ),
];

/// Defines the counters: what each counts, field, column, name on the wire, in the order of the wire.
macro_rules! counters {
    ($($(#[$doc:meta])+ $field:ident $name:literal,)*) => {
        /// The counters of the server.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])+ pub $field: i64,)*
        }

        /// The columns of a row of counters.
        const COLUMNS: &[&str] = &[$(stringify!($field),)*];

        impl Counters {
            /// The names by which they are known.
            pub const NAMES: &[&'static str] = &[$($name,)*];

            /// Their values, in the order of [`Self::NAMES`].
            pub const fn values(&self) -> [i64; Self::NAMES.len()] {
                [$(self.$field,)*]
            }

            pub(crate) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
                Ok(Self { $($field: row.try_get(stringify!($field))?,)* })
            }

            /// These and others together.
            pub(crate) const fn plus(self, other: Self) -> Self {
                Self { $($field: self.$field + other.$field,)* }
            }
        }
    };
}

counters! {
    /// Accounts that were created.
    accs "accs",
    /// Groups that were created.
    groups "groups",
    /// Conversations that were started, and arrivals in groups.
    threads "threads",
    /// Messages, those of the system included.
    messages "messages",
    /// Images that were posted.
    images "images",
    /// Accounts that removed themselves at once.
    panic "panic",
    /// Invite links to a conversation that were sent.
    sent_user "sentInviteLinks",
    /// Those that were used.
    used_user "usedInviteLinks",
    /// Invite links to a group that were sent, as the clients of old know it.
    sent_group "sentGrouInviteLinks",
    /// Those that were used.
    used_group "usedGroupInviteLinks",
}

/// What a batch adds, and what it had added when an hour struck in it.
#[derive(Debug, Default)]
pub(crate) struct Insights {
    pub(crate) added: Counters,
    struck: Vec<(Timestamp, Counters)>,
}

impl Insights {
    fn link(&mut self, link: Link, usage: Usage) {
        let counter = match (link, usage) {
            (Link::User, Usage::Sent) => &mut self.added.sent_user,
            (Link::User, Usage::Used) => &mut self.added.used_user,
            (Link::Group, Usage::Sent) => &mut self.added.sent_group,
            (Link::Group, Usage::Used) => &mut self.added.used_group,
        };
        *counter += 1;
    }

    fn account(&mut self, event: &AccountEvent) {
        match event.life() {
            Some(Life::Created(_)) => {
                self.added.accs += 1;
                // Its `WELCOME` is not to count.
                self.added.messages -= 1;
            }
            Some(Life::Removed(e)) => self.added.panic += i64::from(e.reason == Removal::Panic),
            Some(Life::Extended(_)) | None => {}
        }
    }

    fn group(&mut self, event: &GroupEvent) {
        match event.membership() {
            Some(Membership::Created(_)) => {
                self.added.groups += 1;
                // Its `CREATEDGROUP` is not to count.
                self.added.messages -= 1;
            }
            // A thread, and a message more than are stored.
            Some(Membership::Joined(_) | Membership::Added(_)) => {
                self.added.threads += 1;
                self.added.messages += 1;
            }
            Some(Membership::Left(_) | Membership::Kicked(_) | Membership::Destroyed(_)) | None => {}
        }
    }

    /// The columns of the counters.
    fn counters<'s>(rows: Rows<'s>, counters: &[Counters]) -> Rows<'s> {
        let columns = COLUMNS.iter().enumerate();
        columns
            .fold(rows, |rows, (nth, name)| rows.column(name, counters.iter().map(|counters| counters.values()[nth])))
    }
}

impl ReadModel for Insights {
    const MODEL: Model = Model { name: "insights", version: 1, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, derived: &Derived) {
        self.added.messages += i64::try_from(derived.messages.len()).unwrap_or(i64::MAX);
        match &recorded.event {
            Event::Account(event) => self.account(event),
            Event::Dialog(event) => match event {
                DialogEvent::ConversationStarted(_) => self.added.threads += 1,
                DialogEvent::ConversationEnded(_) => {}
            },
            Event::Group(event) => self.group(event),
            Event::Message(event) => match event {
                MessageEvent::ImagePosted(_) => self.added.images += 1,
                MessageEvent::MessageWritten(_) => {}
            },
            Event::Server(event) => match event {
                ServerEvent::LinkCounted(e) => self.link(e.link, e.usage),
                ServerEvent::HourStruck(e) => self.struck.push((e.hour, self.added)),
                ServerEvent::HistoriesCommitted(_) => {}
            },
            Event::Session(_)
            | Event::Device(_)
            | Event::Media(_)
            | Event::Reads(_)
            | Event::Token(_)
            | Event::Erasure(_) => {}
        }
    }

    fn write(&self, to: &mut Statement) {
        let columns = COLUMNS.join(", ");
        let added: &[Counters] = if self.added == Counters::default() { &[] } else { &[self.added] };
        let sums_now = sums("i", "excluded");
        Self::counters(to.rows(), added).write(
            "insight_counted",
            &format!(
                "
    insert into {{schema}}.insight as i (only_row, {columns}) select true, u.* from head, {{rows}} u
    on conflict (only_row) do update set ({columns}) = row({sums_now})"
            ),
        );
        // Parts of a statement do not see each other's rows: the counters as they were before
        // the batch, and what it had added by then.
        let sums_then = sums("i", "u");
        let hours = to.rows().column("hour", self.struck.iter().map(|(hour, _)| hour.to_utc()));
        let struck: Vec<Counters> = self.struck.iter().map(|(_, counters)| *counters).collect();
        Self::counters(hours, &struck).write(
            "insight_struck",
            &format!(
                "
    insert into {{schema}}.insight_hour ({{columns}})
    select u.hour, {sums_then} from head cross join {{rows}} u({{columns}})
    left join {{schema}}.insight i on true"
            ),
        );
    }
}

/// The counters of two rows together, the first of which may be missing.
fn sums(one: &str, other: &str) -> String {
    let sums: Vec<_> = COLUMNS.iter().map(|name| format!("coalesce({one}.{name}, 0) + {other}.{name}")).collect();
    sums.join(", ")
}

impl ReadModels {
    /// The counters as they are.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn insights(&self) -> Result<Counters, ReadError> {
        let rows = self.fetch(&INSIGHTS, |_| Ok(())).await?;
        Ok(Counters::read(rows.first().ok_or(ReadError::Damaged("head row"))?)?)
    }

    /// The counters of each day from `first` to `last`: as they were when the first hour of that
    /// day struck that did. Days on which none did are left out.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn daily_insights(&self, first: Day, last: Day) -> Result<Vec<(Day, Counters)>, ReadError> {
        let midnight = |date: NaiveDate| date.and_time(chrono::NaiveTime::MIN).and_utc();
        let end = last.0.succ_opt().unwrap_or(NaiveDate::MAX);
        let rows = self
            .fetch(&DAILY_INSIGHTS, |to| {
                to.add(midnight(first.0))?;
                to.add(midnight(end))
            })
            .await?;
        let mut days: Vec<(Day, Counters)> = Vec::new();
        for row in &rows {
            let Some(hour) = row.try_get::<Option<DateTime<Utc>>, _>("hour")? else { continue };
            let day = Timestamp::from(hour).day();
            if days.last().is_none_or(|(known, _)| *known != day) {
                days.push((day, Counters::read(row)?));
            }
        }
        Ok(days)
    }
}

/// The columns of a row that may be missing.
pub(crate) struct OrZero(pub(crate) &'static str);

impl fmt::Display for OrZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        COLUMNS.iter().try_for_each(|name| write!(f, ", coalesce({}.{name}, 0) as {name}", self.0))
    }
}

/// The statement of [`ReadModels::insights`].
static INSIGHTS: Query = Query::new(insights_sql);

fn insights_sql(generation: Generation) -> String {
    format!("select h.generation{} from log_head h left join {generation}.insight i on true", OrZero("i"))
}

/// The statement of [`ReadModels::daily_insights`]; `$1` where it begins, `$2` where it ends.
static DAILY_INSIGHTS: Query = Query::new(daily_insights_sql);

fn daily_insights_sql(generation: Generation) -> String {
    format!(
        "select h.generation, i.hour{} from log_head h
left join {generation}.insight_hour i on i.hour >= $1 and i.hour < $2 order by i.hour",
        OrZero("i")
    )
}
