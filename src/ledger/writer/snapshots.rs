//! Storing snapshots of the states that a batch changed.

use super::Writer;
use crate::ledger::states::{Snapshot, store_snapshots};

impl Writer {
    /// Stores snapshots beside the loop; drops them while earlier ones are still being stored.
    pub(super) fn store(&mut self, snapshots: Vec<Snapshot>) {
        let busy = self.snapshots.as_ref().is_some_and(|task| !task.is_finished());
        if snapshots.is_empty() || busy {
            return;
        }
        let pool = self.log.pool().clone();
        self.snapshots = Some(self.runtime.spawn(async move {
            if let Err(error) = store_snapshots(&pool, snapshots).await {
                tracing::warn!(%error, "snapshots not stored");
            }
        }));
    }
}
