//! What comes to its end in the storm: accounts, days and the names of groups at their time, tokens with their accounts; and
//! what sweeps after all that. After the storm it is finished, and nothing may be left over.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use be8::domain::erasure::{ExpireDays, ExpireGroupNames};
use be8::domain::removal::RemoveAccount;
use be8::domain::token::{IssueToken, UseToken};
use be8::ledger::{Ledger, LedgerError, SweepConnector};
use be8::process::removal::follow;
use be8::process::sweep::deletions;
use be8_events::token::Grant;
use be8_events::{AccId, AccountEvent, Event, GroupEvent, GroupId, Hash32, Position, Subject, Timestamp};
use be8_projections::{End, ReadModels};
use chrono::TimeDelta;
use futures_util::future::{join_all, try_join_all};
use sqlx::PgPool;

use super::{Got, Storm};
use crate::removal::races::{nobody_comes_back, ties};
use crate::rig::{Rig, token};

/// A time that is trusted whatever the clocks of the nodes show.
const END: Timestamp = Timestamp::from_micros(i64::MAX);

/// What ends things in the storm.
#[derive(Debug, Clone)]
pub struct Ends {
    sweepers: SweepConnector,
    /// The newest deletion of keys that was swept.
    swept: Arc<AtomicI64>,
}

impl Ends {
    pub fn new(rig: &Rig) -> Self {
        Self { sweepers: rig.sweepers(), swept: Arc::default() }
    }

    /// Ends something; `random` for what is left to chance.
    pub(super) async fn end(
        &self,
        ledger: &Ledger,
        session: u64,
        accounts: Vec<AccId>,
        groups: Vec<GroupId>,
        random: u32,
    ) -> Result<Option<Got>, LedgerError> {
        match random % 8 {
            0 | 1 => {
                // Of all of them: nothing happens to those whose time is not over.
                let all = accounts.iter().map(|&account| ledger.execute(RemoveAccount::Expiry { account, now: END }));
                let removed = try_join_all(all).await?;
                return Ok(removed.into_iter().flatten().next().map(Got::Removed));
            }
            2 => self.days(ledger).await?,
            3 => ledger.execute(ExpireGroupNames { groups }).await?,
            4 | 5 => self.sweep(ledger).await,
            _ => {
                // An endless token is taken, and free again when its holder is removed at once.
                let hmac = Hash32([random as u8 | 8; 32]);
                ledger.execute(IssueToken { token: hmac, grant: Grant::Endless }).await?;
                let session = Some(token(session));
                ledger.execute(UseToken { session, token: Ok(hmac) }).await?;
                return Ok(ledger.execute(RemoveAccount::Panic { session }).await?.map(Got::Removed));
            }
        }
        Ok(None)
    }

    /// Erases the messages of all days before the newest, and drops their partitions.
    async fn days(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let log = ledger.log();
        let newest = log.read_all(Position(log.newest().await.unwrap().0 - 1), 1).await.unwrap();
        let Some(today) = newest.first().map(|event| event.time.day()) else { return Ok(()) };
        let mut sweeper = self.sweepers.take().await.unwrap();
        let days = sweeper.live_days(today).await.unwrap();
        ledger.execute(ExpireDays { days, now: END, lifetime: TimeDelta::zero() }).await?;
        for day in sweeper.dead_partitions(today).await.unwrap() {
            // Somebody may use it, or drop it as well: it is there for the next one.
            let _ = sweeper.drop_partition(day).await;
        }
        Ok(())
    }

    /// Sweeps after a page of deletions, as others may do at the same time.
    async fn sweep(&self, ledger: &Ledger) {
        let after = Position(self.swept.load(Ordering::SeqCst));
        let page = deletions(ledger.log(), after).await.unwrap();
        let mut sweeper = self.sweepers.take().await.unwrap();
        for (position, keys) in page {
            for key in &keys {
                sweeper.sweep(key).await.unwrap();
            }
            self.swept.fetch_max(position.0, Ordering::SeqCst);
        }
    }
}

impl Storm {
    /// Finishes what was begun, on both nodes at once, as their processes do; then nothing is left of what ended, and
    /// nobody came back.
    pub async fn settles(&self, rig: &Rig) {
        let read = ReadModels::new(rig.pool.clone());
        let ends = read.ends(Position::START, 100_000).await.unwrap();
        assert!(ends.iter().any(|(_, end)| matches!(end, End::Account(_))), "nobody was removed");
        for (_, end) in ends {
            let both = self.nodes.iter().map(|node| follow(&node.ledger, &read, end));
            join_all(both).await.into_iter().for_each(Result::unwrap);
        }
        let ledger = &self.nodes[0].ledger;
        self.ends.swept.store(0, Ordering::SeqCst);
        while !deletions(ledger.log(), Position(self.ends.swept.load(Ordering::SeqCst))).await.unwrap().is_empty() {
            self.ends.sweep(ledger).await;
        }
        self.ends.days(ledger).await.unwrap();
        nobody_comes_back(&rig.events().await);
        assert_eq!(ties(&rig.pool).await, 0, "something hangs on the dead");
        keys_are_as_they_should(rig, &read).await;
        let bytes = bytes_of_the_dead(&rig.pool).await;
        assert_eq!(bytes, [0; 4], "bytes that nobody can read: lasting ones; messages by account, stay and day");
    }
}

/// No key of what is gone lives.
async fn keys_are_as_they_should(rig: &Rig, read: &ReadModels) {
    let (mut removed, mut destroyed) = (Vec::new(), Vec::new());
    for recorded in rig.events().await {
        match recorded.event {
            Event::Account(AccountEvent::AccountRemoved(e)) => removed.push(e.account),
            Event::Group(GroupEvent::GroupDestroyed(e)) => destroyed.push(e.group),
            _ => {}
        }
    }
    let live: Vec<String> = sqlx::query_scalar("select subject from vault.key where wrapped is not null")
        .fetch_all(&rig.pool)
        .await
        .unwrap();
    for subject in live.iter().map(|subject| subject.parse().unwrap()) {
        let gone = match subject {
            Subject::Server | Subject::GroupName(_) | Subject::Day(_) => false,
            Subject::Account(account) => removed.contains(&account),
            Subject::PublicKey(account) => {
                removed.contains(&account) && read.keyholder_in(account).await.unwrap().is_empty()
            }
            Subject::GroupKeys(group) => destroyed.contains(&group),
            Subject::Stay { thread, author, .. } => {
                let gone = |account| removed.contains(&account);
                gone(author) || thread.partner_of(author).is_some_and(gone)
            }
        };
        assert!(!gone, "{subject} has a key");
    }
}

/// How many sealed payloads there are whose key is gone: lasting ones, and messages by the key of the account, the stay and
/// the day.
async fn bytes_of_the_dead(pool: &PgPool) -> [i64; 4] {
    let count = async |table: &str, column: &str| -> i64 {
        let sql =
            format!("select count(*) from {table} s join vault.key k on k.id = s.{column} where k.wrapped is null");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await.unwrap()
    };
    [
        count("sealed", "key").await,
        count("sealed_message", "account_key").await,
        count("sealed_message", "stay_key").await,
        count("sealed_message", "day_key").await,
    ]
}
