//! Turns for fetching images: a limited number at once, of which one account may have a quarter, so that nobody keeps
//! all others waiting for a slow store.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use be8_events::AccId;
use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// The turns.
#[derive(Debug)]
pub struct ImageReads {
    all: Arc<Semaphore>,
    /// How many of them one account may have.
    share: usize,
    /// Of the accounts that read now.
    shares: Mutex<HashMap<AccId, Weak<Semaphore>>>,
}

/// A turn, as long as it lasts.
#[derive(Debug)]
pub struct Turn {
    _permits: [OwnedSemaphorePermit; 2],
    _share: Arc<Semaphore>,
}

impl ImageReads {
    /// With this many turns.
    pub fn new(turns: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(turns)), share: turns.div_ceil(4), shares: Mutex::default() }
    }

    fn share(&self, account: AccId) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(&account).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.share));
        shares.insert(account, Arc::downgrade(&share));
        share
    }

    /// Waits for a turn of this account, at most so long; none when none came.
    pub async fn turn(&self, account: AccId, patience: Duration) -> Option<Turn> {
        let share = self.share(account);
        let permits = async {
            // One's own first, so that those who wait for theirs keep nobody else waiting.
            Ok::<_, AcquireError>([share.clone().acquire_owned().await?, self.all.clone().acquire_owned().await?])
        };
        match tokio::time::timeout(patience, permits).await {
            Ok(Ok(permits)) => Some(Turn { _permits: permits, _share: share.clone() }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_account_has_a_quarter_of_the_turns() {
        let reads = ImageReads::new(8);
        let (zoe, yan) = (AccId::new(10_001).unwrap(), AccId::new(10_002).unwrap());
        let soon = Duration::from_millis(10);
        let first = reads.turn(zoe, soon).await.unwrap();
        let _second = reads.turn(zoe, soon).await.unwrap();
        assert!(reads.turn(zoe, soon).await.is_none());
        assert!(reads.turn(yan, soon).await.is_some());
        drop(first);
        assert!(reads.turn(zoe, soon).await.is_some());
    }
}
