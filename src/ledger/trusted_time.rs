//! The time by which a node permanently ends what has expired, and what is wrong with its clock.
//!
//! The clock of a machine may be wrong: a flat battery, a clock in local time, a wrong answer of a time server. Reading and
//! writing go by it all the same, since what is hidden for a while is shown again. What is ended is ended for good, so it is
//! ended by a time that is trusted (`trust`). That time is kept in the database: neither a restart nor another node makes a
//! jump of the clock believed. An operator can confirm the clock instead.

use std::sync::Arc;
use std::time::Duration;

use be8_database::{Pool, is_timeout};
use be8_events::Timestamp;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::{Mutex, MutexGuard};
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use super::LogError;
use super::clock_skew::{AGREEMENT, Disagreement, Sample};
use super::clock_trust::{Ahead, Trust, difference};
use crate::support::clock::Clock;

/// How often a node looks at its clock, and for a confirmation.
const LOOK: Duration = Duration::from_secs(1);
/// How often the trusted time is stored.
const STORE: Duration = Duration::from_secs(30);

/// The trusted time of this node. As a [`Clock`] it shows that time.
#[derive(Debug, Clone)]
pub struct TrustedTime(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Pool,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    trust: Trust,
    /// The number of confirmations that this node knows of.
    confirmed: i64,
    /// What was stored last, and how much time had passed then.
    stored: Option<(Option<Ahead>, Duration)>,
    /// This clock beside PostgreSQL's.
    clocks: Disagreement,
    /// What was found by the last look.
    state: ClockState,
}

/// What is to be said of the clock of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockState {
    /// The clock is behind the newest event by this: the time of new events stands still.
    pub behind_log: Option<TimeDelta>,
    /// The clock has jumped forwards and is ahead of the trusted time by this: what has expired only by this clock is not ended.
    pub untrusted: Option<TimeDelta>,
    /// The clock is ahead of PostgreSQL's by this: nothing can be written.
    pub ahead_of_database: Option<TimeDelta>,
    /// PostgreSQL's clock was set back and is behind this one by this: it does not count.
    pub database_behind: Option<TimeDelta>,
}

impl ClockState {
    /// Whether the node refuses to write because of its clock.
    pub const fn refuses(&self) -> bool {
        self.ahead_of_database.is_some()
    }

    /// One sentence for each thing that is to be said; none: all is well.
    pub fn sentences(&self) -> Vec<String> {
        self.said().into_iter().flatten().collect()
    }

    fn said(&self) -> [Option<String>; 4] {
        [
            self.behind_log.map(|by| {
                format!(
                    "this machine's clock is {} behind the newest event: the time of new events stands still until the \
                     clock has caught up",
                    span(by)
                )
            }),
            self.untrusted.map(|by| {
                format!(
                    "this machine's clock has jumped forwards by {}: what has expired only since then is ended after the clock \
                     has been steady for as long, or once an operator confirms it by `be8 expire --confirm-clock`",
                    span(by)
                )
            }),
            self.ahead_of_database.map(|by| {
                format!("this machine's clock is {} ahead of PostgreSQL's: this node does not write", span(by))
            }),
            self.database_behind.map(|by| {
                format!(
                    "PostgreSQL's clock was set back and is {} behind this machine's, which goes on as it did: PostgreSQL's \
                     does not count until they agree",
                    span(by)
                )
            }),
        ]
    }
}

/// A span of time for people.
fn span(time: TimeDelta) -> String {
    // Rounded: between the two readings of clocks that are compared a thread may wait for its turn, and a jump of 40 days
    // is then some milliseconds less.
    let rounded = |unit: i64| (time.num_milliseconds() + 500 * unit) / (1000 * unit);
    match rounded(1) {
        ..120 => format!("{} s", rounded(1)),
        120..7200 => format!("{} min", rounded(60)),
        7200..172_800 => format!("{} h", rounded(3600)),
        _ => format!("{} days", rounded(86_400)),
    }
}

const READ: &str = "
select h.position, h.time as head, clock_timestamp() as database, t.time, t.ahead, t.steady_from, t.confirmed
from log_head h left join trusted_time t on true";

const BEGIN: &str = "
insert into trusted_time (time, ahead, steady_from, confirmed) values ($1, null, null, 0) on conflict do nothing";

const KEEP: &str = "update trusted_time set time = $1, ahead = $2, steady_from = $3 where confirmed = $4";

const CONFIRM: &str = "
update trusted_time set time = $1, ahead = null, steady_from = null, confirmed = confirmed + 1 returning confirmed";

/// What the database says.
struct Stored {
    position: i64,
    head: Timestamp,
    database: Timestamp,
    /// How much time had passed before it was asked.
    asked: Duration,
    trusted: Option<(Timestamp, Option<Ahead>, i64)>,
}

impl TrustedTime {
    /// Goes on from the time that was trusted last on this database. A log that never had one is as old as its newest event.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub(super) async fn open(pool: Pool, clock: Arc<dyn Clock>) -> Result<Self, LogError> {
        let mut stored = read(&pool, &*clock).await?;
        if stored.trusted.is_none() {
            let now = clock.now();
            let begin = if stored.position == 0 { now } else { now.min(stored.head) };
            sqlx::query(BEGIN).bind(begin.to_utc()).execute(&pool).await?;
            stored = read(&pool, &*clock).await?;
        }
        let (time, ahead, confirmed) = stored.trusted.ok_or(LogError::Stored("the trusted time is missing"))?;
        let trust = Trust::new(time, ahead, clock.elapsed());
        let (clocks, state) = (Disagreement::default(), ClockState::default());
        let known = Mutex::new(Known { trust, confirmed, stored: None, clocks, state });
        let opened = Self(Arc::new(Inner { pool, clock, known }));
        opened.take_in(&stored);
        Ok(opened)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock()
    }

    fn trust(&self, known: &mut Known) -> Trust {
        // In this order: a clock that is set in between has jumped at worst.
        let elapsed = self.0.clock.elapsed();
        known.trust.look(self.0.clock.now(), elapsed);
        known.trust
    }

    /// What was found by the last look at the clock.
    pub fn state(&self) -> ClockState {
        self.lock().state
    }

    /// How far a time that an append brings may be ahead of PostgreSQL's clock.
    pub(super) fn allowance(&self) -> TimeDelta {
        let behind = self.state().database_behind.unwrap_or_default();
        AGREEMENT + self.0.clock.moved() + behind
    }

    /// Looks at the clock once a second until `stop`.
    pub(super) async fn watch(self, stop: CancellationToken) {
        loop {
            tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(LOOK) => {} }
            // Without the database there is nothing to compare with, and nobody who ends anything.
            if let Ok(stored) = read(&self.0.pool, &*self.0.clock).await {
                self.take_in(&stored);
            }
        }
    }

    /// Compares the clock with what the database says, and says once what is wrong.
    fn take_in(&self, stored: &Stored) {
        let mut known = self.lock();
        let now = self.0.clock.now();
        if let Some((time, ahead, confirmed)) = stored.trusted
            && confirmed > known.confirmed
        {
            known.trust = Trust::new(time, ahead, self.0.clock.elapsed());
            known.confirmed = confirmed;
        }
        let trust = self.trust(&mut known);
        let beyond = |by: TimeDelta| Some(by).filter(|by| *by > AGREEMENT);
        let behind = difference(stored.head, now);
        let behind_log = beyond(behind).filter(|_| stored.position > 0);
        let sample = Sample {
            own: now,
            database: stored.database.plus(self.0.clock.moved()),
            asked: stored.asked,
            elapsed: self.0.clock.elapsed(),
        };
        let head = Some(stored.head).filter(|_| stored.position > 0);
        let database_is_wrong = known.clocks.look(sample, head, trust.ahead.is_none());
        let ahead = beyond(sample.ahead());
        let state = ClockState {
            behind_log,
            untrusted: trust.ahead.map(|ahead| ahead.by),
            // A head that is ahead is not moved further by this clock.
            ahead_of_database: ahead.filter(|_| now > stored.head && !database_is_wrong),
            database_behind: ahead.filter(|_| database_is_wrong),
        };
        let before = std::mem::replace(&mut known.state, state);
        drop(known);
        let seconds = |by: TimeDelta| by.num_milliseconds() as f64 / 1000.0;
        metrics::gauge!("be8_ledger_clock_behind_seconds").set(behind_log.map_or(0.0, seconds));
        metrics::gauge!("be8_clock_untrusted_seconds").set(state.untrusted.map_or(0.0, seconds));
        for (before, now) in before.said().into_iter().zip(state.said()) {
            match (before, now) {
                (None, Some(sentence)) => tracing::warn!("{sentence}"),
                (Some(sentence), None) => tracing::info!("no longer so: {sentence}"),
                _ => {}
            }
        }
    }

    /// Stores the trusted time now and then. Only the node that leads the expiry does so.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn store(&self) -> Result<(), LogError> {
        let elapsed = self.0.clock.elapsed();
        let (trust, confirmed) = {
            let mut known = self.lock();
            let trust = self.trust(&mut known);
            let recent = |(ahead, at): (Option<Ahead>, Duration)| {
                ahead.map(|ahead| ahead.steady_from) == trust.ahead.map(|ahead| ahead.steady_from)
                    && elapsed.saturating_sub(at) < STORE
            };
            if known.stored.is_some_and(recent) {
                return Ok(());
            }
            (trust, known.confirmed)
        };
        // Not over a confirmation that this node does not know of yet.
        let kept = sqlx::query(KEEP)
            .bind(trust.time.to_utc())
            .bind(trust.ahead.map(|ahead| ahead.by.num_microseconds().unwrap_or(i64::MAX)))
            .bind(trust.ahead.map(|ahead| ahead.steady_from.to_utc()))
            .bind(confirmed)
            .execute(&self.0.pool)
            .await;
        if is_timeout(&kept) {
            // A server that nobody writes to learns here that PostgreSQL does not answer writes.
            self.0.pool.set_stalled(true);
        }
        kept?;
        self.lock().stored = Some((trust.ahead, elapsed));
        Ok(())
    }

    /// Trusts the clock as it is, in this process only; answers what it shows.
    pub fn suppose(&self) -> Timestamp {
        let now = self.0.clock.now();
        let mut known = self.lock();
        known.trust.trust(now);
        known.state.untrusted = None;
        now
    }

    /// Trusts the clock as it is, on the word of an operator; answers what it shows. Other nodes take it over within a second.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn confirm(&self) -> Result<Timestamp, LogError> {
        let now = self.0.clock.now();
        let confirmed = sqlx::query_scalar(CONFIRM).bind(now.to_utc()).fetch_one(&self.0.pool).await?;
        let mut known = self.lock();
        known.trust.trust(now);
        known.confirmed = confirmed;
        known.state.untrusted = None;
        Ok(now)
    }
}

impl Clock for TrustedTime {
    fn now(&self) -> Timestamp {
        let mut known = self.lock();
        self.trust(&mut known).time
    }

    fn elapsed(&self) -> Duration {
        self.0.clock.elapsed()
    }

    fn moved(&self) -> TimeDelta {
        self.0.clock.moved()
    }
}

async fn read(pool: &Pool, clock: &dyn Clock) -> Result<Stored, LogError> {
    let asked = clock.elapsed();
    let row = sqlx::query(READ).fetch_one(pool).await?;
    let time = |column| row.try_get::<DateTime<Utc>, _>(column).map(Timestamp::from);
    let trusted = match row.try_get::<Option<i64>, _>("confirmed")? {
        None => None,
        Some(confirmed) => {
            let by = row.try_get::<Option<i64>, _>("ahead")?.map(TimeDelta::microseconds);
            let from = row.try_get::<Option<DateTime<Utc>>, _>("steady_from")?;
            let ahead = by.zip(from).map(|(by, from)| Ahead { by, steady_from: from.into() });
            Some((time("time")?, ahead, confirmed))
        }
    };
    Ok(Stored { position: row.try_get("position")?, head: time("head")?, database: time("database")?, asked, trusted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded() {
        for (span_of, text) in [
            (TimeDelta::milliseconds(5_400), "5 s"),
            (TimeDelta::milliseconds(119_499), "119 s"),
            (TimeDelta::hours(2) - TimeDelta::seconds(1), "120 min"),
            (TimeDelta::hours(47) + TimeDelta::minutes(50), "48 h"),
            (TimeDelta::days(40) - TimeDelta::microseconds(1), "40 days"),
            (TimeDelta::days(40) - TimeDelta::milliseconds(300), "40 days"),
            (TimeDelta::days(40) + TimeDelta::seconds(30), "40 days"),
        ] {
            assert_eq!(span(span_of), text);
        }
    }
}
