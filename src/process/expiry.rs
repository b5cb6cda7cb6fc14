//! Ends what has expired: accounts at their time, messages some time after they were sent, and the names
//! of groups that were destroyed long ago.
//!
//! Reads hide all of it from the moment it expires, whatever this process does; the process makes that
//! permanent. Every step asks what there is to do, does it and keeps no state, so wherever one is killed,
//! the next one goes on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use be8_events::{AccId, Day, GroupId, Position, Timestamp};
use be8_projections::ReadModels;
use chrono::TimeDelta;
use futures_util::future::try_join_all;
use parking_lot::Mutex;

use super::removal::note;
use super::{Process, ProcessError};
use crate::domain::erasure::{ExpireDays, ExpireGroupNames};
use crate::domain::removal::RemoveAccount;
use crate::ledger::{Lead, Ledger, SweepConnector};
use crate::support::clock::Clock;

/// The longest time between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// When a partition that was not to be had is tried again.
const LATER: TimeDelta = TimeDelta::minutes(1);
/// How many accounts, or group names, one step ends.
const STEP: i64 = 16;

/// The process that ends what has expired. Its checkpoint is the position of the newest end of a group
/// whose name is erased.
#[derive(Debug, Clone)]
pub struct Expiry {
    /// Where to write.
    pub ledger: Ledger,
    /// What has expired.
    pub read: Arc<ReadModels>,
    /// What drops the partitions of days.
    pub sweepers: SweepConnector,
    /// How long a message is shown.
    pub lifetime: TimeDelta,
    /// What is known of the last look at the days.
    pub cleared: Arc<Mutex<Cleared>>,
}

/// When the days need no look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cleared {
    /// Nothing older than this day is kept.
    before: Option<Day>,
    /// A partition was not to be had: not before this time again.
    not_before: Option<Timestamp>,
}

/// What has expired and is not ended yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Accounts, at most as many as were asked for.
    pub accounts: Vec<AccId>,
    /// Days whose messages have all expired.
    pub days: Vec<Day>,
    /// Days whose partition holds nothing readable any more.
    pub partitions: Vec<Day>,
    /// Groups whose name is to be forgotten, each with the position of its end.
    pub group_names: Vec<(Position, GroupId)>,
}

impl Expiry {
    /// What there is to do, at most `count` of what may be many.
    ///
    /// # Errors
    /// [`ProcessError`]
    pub async fn due(&self, names_after: Position, count: i64) -> Result<Due, ProcessError> {
        let now = self.now();
        let kept = self.kept(now);
        let mut sweeper = self.sweepers.take().await?;
        let days = sweeper.live_days(kept).await?;
        let partitions = sweeper.dead_partitions(kept).await?;
        sweeper.close().await;
        Ok(Due {
            accounts: self.read.overdue(now, count).await?,
            days,
            partitions,
            group_names: self.names_due(now, names_after, count).await?,
        })
    }

    /// What is ended cannot be restored, so a clock that has jumped is not trusted.
    fn now(&self) -> Timestamp {
        self.ledger.trusted_time().now()
    }

    /// The oldest day that may have a message that is shown.
    fn kept(&self, now: Timestamp) -> Day {
        now.plus(-self.lifetime).day()
    }

    async fn names_due(
        &self,
        now: Timestamp,
        after: Position,
        count: i64,
    ) -> Result<Vec<(Position, GroupId)>, ProcessError> {
        let ends = self.read.group_ends(after, count).await?;
        let over = ends.into_iter().take_while(|(_, time, _)| time.plus(self.lifetime) <= now);
        Ok(over.map(|(position, _, group)| (position, group)).collect())
    }

    /// Removes some expired accounts; answers how many. There may be more unless none was.
    ///
    /// # Errors
    /// [`ProcessError`]
    pub async fn accounts(&self) -> Result<usize, ProcessError> {
        let now = self.now();
        let over = self.read.overdue(now, STEP).await?;
        // What follows is the other process's: a step of each in one append would be a long one.
        let commands = over.iter().map(|&account| self.ledger.execute(RemoveAccount::Expiry { account, now }));
        let removed = try_join_all(commands).await?;
        removed.iter().flatten().for_each(|account| note(*account));
        // Whose time was extended meanwhile stays.
        Ok(removed.into_iter().flatten().count())
    }

    /// Erases the messages of expired days, and drops their partitions; answers how many of both.
    ///
    /// # Errors
    /// [`ProcessError`]
    pub async fn days(&self) -> Result<(usize, usize), ProcessError> {
        let now = self.now();
        let kept = self.kept(now);
        let known = *self.cleared.lock();
        if known.before == Some(kept) || known.not_before.is_some_and(|time| now < time) {
            return Ok((0, 0));
        }
        let mut sweeper = self.sweepers.take().await?;
        let days = sweeper.live_days(kept).await?;
        let erased = days.len();
        if erased > 0 {
            tracing::info!(days = erased, until = %kept, "the messages of expired days are erased");
            self.ledger.execute(ExpireDays { days, now, lifetime: self.lifetime }).await?;
        }
        let dead = sweeper.dead_partitions(kept).await?;
        let mut dropped = 0;
        let mut next = Cleared { before: Some(kept), not_before: None };
        for &day in &dead {
            match sweeper.drop_partition(day).await {
                Ok(()) => dropped += 1,
                Err(error) => {
                    // Somebody reads for long, such as a dump. What it holds is unreadable all the same.
                    tracing::warn!(%error, %day, "a partition is not to be had yet: it is dropped later");
                    next = Cleared { before: None, not_before: Some(now.plus(LATER)) };
                    break;
                }
            }
        }
        sweeper.close().await;
        *self.cleared.lock() = next;
        Ok((erased, dropped))
    }

    /// Forgets the names of some groups that ended after a position and long ago; answers up to which
    /// position that is done now, and how many names. There may be more unless none was.
    ///
    /// # Errors
    /// [`ProcessError`]
    pub async fn group_names(&self, after: Position) -> Result<(Position, usize), ProcessError> {
        let due = self.names_due(self.now(), after, STEP).await?;
        let Some(&(reached, _)) = due.last() else { return Ok((after, 0)) };
        let groups: Vec<GroupId> = due.iter().map(|(_, group)| *group).collect();
        let count = groups.len();
        self.ledger.execute(ExpireGroupNames { groups }).await?;
        Ok((reached, count))
    }
}

#[async_trait]
impl Process for Expiry {
    fn name(&self) -> &'static str {
        EXPIRY
    }

    async fn tick(&self, lead: &mut Lead) -> Result<Duration, ProcessError> {
        self.ledger.trusted_time().store().await?;
        let accounts = self.accounts().await?;
        let after = Position(lead.checkpoint().await?);
        let (reached, names) = self.group_names(after).await?;
        if reached > after {
            lead.save_position(reached).await?;
        }
        self.days().await?;
        Ok(if accounts > 0 || names > 0 { Duration::from_millis(5) } else { LOOK })
    }
}

/// The name of the process, of its lock and of its checkpoint.
pub const EXPIRY: &str = "expiry";
