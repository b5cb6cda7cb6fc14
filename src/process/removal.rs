//! Ends what depends on removed accounts, in steps that hold the head of the log only briefly.
//!
//! The caller that removes an account runs the first step itself ([`remove`]), so that most removals are
//! complete before the answer. The process manager does the rest, and what was left unfinished when a node
//! died: its checkpoint is the position of the newest removal, or end of a group, that is done with.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use be8_events::{AccId, GroupId, Position};
use be8_projections::{End, ReadModels};

use super::{Process, ProcessError};
use crate::domain::removal::{EndConversations, ErasePublicKey, LeaveGroups, RemoveAccount};
use crate::ledger::{Lead, Ledger, LedgerError};

/// How many conversations, or members of groups, one step ends: few, so that others get their turn
/// at the head in between. No append of such a step held the head for 5 ms, and some of twice as
/// many did (`docs/performance.md`).
const STEP: i64 = 20;
/// How often the process looks for removals.
const LOOK: Duration = Duration::from_millis(500);
/// The pause between two steps, in which others write.
const PAUSE_BETWEEN_STEPS: Duration = Duration::from_millis(5);

/// Removes accounts and ends what hangs on them.
#[derive(Debug, Clone)]
pub struct Removals {
    /// Where to write.
    pub ledger: Ledger,
    /// What is left to do.
    pub read: Arc<ReadModels>,
}

/// Removes an account, and does the first step of what follows: an account with few conversations and
/// groups leaves nothing behind. Answers which account it was, if one was removed.
///
/// # Errors
/// [`LedgerError`] when the account was not removed. Once it is, what follows will be done, and is no
/// reason to say otherwise.
pub async fn remove(ledger: &Ledger, read: &ReadModels, command: RemoveAccount) -> Result<Option<AccId>, LedgerError> {
    let removed = ledger.execute(command).await?;
    if let Some(account) = removed {
        note(account);
        if let Err(error) = step(ledger, read, account).await {
            tracing::warn!(%error, %account, "what follows from a removal is left to the process");
        }
    }
    Ok(removed)
}

/// Says that an account was removed.
pub(super) fn note(account: AccId) {
    tracing::info!(%account, "an account was removed");
    metrics::counter!("be8_accounts_removed_total").increment(1);
}

/// One step: conversations first, then groups, then the public key and what is counted of the account
/// outside of the log. Answers whether nothing is left.
async fn step(ledger: &Ledger, read: &ReadModels, account: AccId) -> Result<bool, ProcessError> {
    let ties = read.open_relations(account, STEP + 1).await?;
    let mut room = STEP;
    let partners: Vec<AccId> = ties.partners.iter().copied().take(usize::try_from(room).unwrap_or(0)).collect();
    let all_partners = partners.len() == ties.partners.len();
    room -= i64::try_from(partners.len()).unwrap_or(room);
    if !partners.is_empty() {
        ledger.execute(EndConversations { gone: account, partners }).await?;
    }
    let mut groups: Vec<GroupId> = Vec::new();
    for &(group, members) in &ties.groups {
        // A group larger than a step goes alone: its end is one event.
        if !all_partners || (room < members && room < STEP) {
            break;
        }
        room -= members;
        groups.push(group);
    }
    let all_groups = groups.len() == ties.groups.len();
    if !groups.is_empty() {
        ledger.execute(LeaveGroups { gone: account, groups }).await?;
    }
    if !all_partners || !all_groups {
        return Ok(false);
    }
    if read.keyholder_in(account).await?.is_empty() {
        ledger.execute(ErasePublicKey { gone: account }).await?;
    }
    ledger.code_attempts().forget(account).await?;
    Ok(true)
}

/// Ends all that hangs on an account that was removed.
///
/// # Errors
/// [`ProcessError`]
pub async fn finish(ledger: &Ledger, read: &ReadModels, account: AccId) -> Result<(), ProcessError> {
    while !step(ledger, read, account).await? {
        tokio::time::sleep(PAUSE_BETWEEN_STEPS).await;
    }
    Ok(())
}

/// What one end leads to: of an account, all that hangs on it; of a group, the public keys that only
/// its members needed.
///
/// # Errors
/// [`ProcessError`]
pub async fn follow(ledger: &Ledger, read: &ReadModels, end: End) -> Result<(), ProcessError> {
    match end {
        End::Account(account) => finish(ledger, read, account).await,
        End::Group(group) => {
            for account in read.spared_keyholders(group).await? {
                ledger.execute(ErasePublicKey { gone: account }).await?;
            }
            Ok(())
        }
    }
}

#[async_trait]
impl Process for Removals {
    fn name(&self) -> &'static str {
        REMOVAL
    }

    async fn tick(&self, lead: &mut Lead) -> Result<Duration, ProcessError> {
        let after = Position(lead.checkpoint().await?);
        let Some((position, end)) = self.read.ends(after, 1).await?.pop() else { return Ok(LOOK) };
        match end {
            // A step a tick: a tick is short, and a long removal is stopped between two.
            End::Account(account) if !step(&self.ledger, &self.read, account).await? => return Ok(PAUSE_BETWEEN_STEPS),
            End::Account(_) => {}
            End::Group(_) => follow(&self.ledger, &self.read, end).await?,
        }
        lead.save_position(position).await?;
        Ok(Duration::ZERO)
    }
}

/// The name of the process, of its lock and of its checkpoint.
pub const REMOVAL: &str = "removal";
