//! The read model of the insights: the ten counters of the server, and what they were at each hour
//! that struck.
//!
//! One row holds the counters. It is touched at most once an append, which holds the head row
//! anyway: nobody waits for it who would not wait without it.

use std::fmt;

use be8_events::server::{Link, Usage};
use be8_events::{Day, Timestamp};
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row, error::BoxDynError};

use crate::{Generation, Parameters, ReadError, ReadModels};

pub(crate) const TABLE: &str = "
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
";

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

            fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
                Ok(Self { $($field: row.try_get(stringify!($field))?,)* })
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
    added: Counters,
    struck: Vec<(Timestamp, Counters)>,
}

impl Insights {
    /// An account was created. Its `WELCOME`, which [`Self::message`] counts, is not to count.
    pub(crate) const fn account(&mut self) {
        self.added.accs += 1;
        self.added.messages -= 1;
    }

    /// A group was created. Its `CREATEDGROUP` is not to count.
    pub(crate) const fn group(&mut self) {
        self.added.groups += 1;
        self.added.messages -= 1;
    }

    /// A conversation was started.
    pub(crate) const fn conversation(&mut self) {
        self.added.threads += 1;
    }

    /// Somebody joined a group, or was added to it: a thread, and a message more than are stored.
    pub(crate) const fn arrival(&mut self) {
        self.added.threads += 1;
        self.added.messages += 1;
    }

    /// A message was stored, whoever it is from.
    pub(crate) const fn message(&mut self) {
        self.added.messages += 1;
    }

    /// An image was posted.
    pub(crate) const fn image(&mut self) {
        self.added.images += 1;
    }

    /// An account was removed because its owner asked for it.
    pub(crate) const fn panic(&mut self) {
        self.added.panic += 1;
    }

    /// An invite link was sent or used.
    pub(crate) const fn link(&mut self, link: Link, usage: Usage) {
        let counter = match (link, usage) {
            (Link::User, Usage::Sent) => &mut self.added.sent_user,
            (Link::User, Usage::Used) => &mut self.added.used_user,
            (Link::Group, Usage::Sent) => &mut self.added.sent_group,
            (Link::Group, Usage::Used) => &mut self.added.used_group,
        };
        *counter += 1;
    }

    /// An hour struck.
    pub(crate) fn hour(&mut self, hour: Timestamp) {
        self.struck.push((hour, self.added));
    }

    pub(crate) fn sql(&self, generation: Generation, p: &mut Parameters) -> String {
        let mut sql = String::new();
        let columns = COLUMNS.join(", ");
        let types = vec!["bigint"; COLUMNS.len()];
        if self.added != Counters::default() {
            let sums = sums("i", "excluded");
            sql += &format!(
                "
, insight_counted as (
    insert into {generation}.insight as i (only_row, {columns})
    select true, u.* from head, unnest({}) u
    on conflict (only_row) do update set ({columns}) = row({sums}))",
                p.arrays(&types),
            );
        }
        if !self.struck.is_empty() {
            // Parts of a statement do not see each other's rows: the counters as they were before
            // the batch, and what it had added by then.
            let sums = sums("i", "u");
            let types: Vec<&str> = std::iter::once("timestamptz").chain(types).collect();
            sql += &format!(
                "
, insight_struck as (
    insert into {generation}.insight_hour (hour, {columns})
    select u.hour, {sums} from head cross join unnest({}) u(hour, {columns})
    left join {generation}.insight i on true)",
                p.arrays(&types),
            );
        }
        sql
    }

    pub(crate) fn bind(&self, to: &mut PgArguments) -> Result<(), BoxDynError> {
        if self.added != Counters::default() {
            for value in self.added.values() {
                to.add(vec![value])?;
            }
        }
        if !self.struck.is_empty() {
            to.add(self.struck.iter().map(|(hour, _)| hour.to_utc()).collect::<Vec<_>>())?;
            for nth in 0..COLUMNS.len() {
                to.add(self.struck.iter().map(|(_, counters)| counters.values()[nth]).collect::<Vec<_>>())?;
            }
        }
        Ok(())
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
        let rows = self.fetch(|sql| &sql.insights, |_| Ok(())).await?;
        Ok(Counters::read(rows.first().ok_or(ReadError::Damaged("a head row"))?)?)
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
            .fetch(
                |sql| &sql.daily_insights,
                |to| {
                    to.add(midnight(first.0))?;
                    to.add(midnight(end))
                },
            )
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
struct OrZero(&'static str);

impl fmt::Display for OrZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        COLUMNS.iter().try_for_each(|name| write!(f, ", coalesce({}.{name}, 0) as {name}", self.0))
    }
}

/// The statement of [`ReadModels::insights`].
pub(crate) fn insights_sql(generation: Generation) -> String {
    format!("select h.generation{} from log_head h left join {generation}.insight i on true", OrZero("i"))
}

/// The statement of [`ReadModels::daily_insights`]; `$1` where it begins, `$2` where it ends.
pub(crate) fn daily_insights_sql(generation: Generation) -> String {
    format!(
        "select h.generation, i.hour{} from log_head h
left join {generation}.insight_hour i on i.hour >= $1 and i.hour < $2 order by i.hour",
        OrZero("i")
    )
}
