//! What a vault that was restored has to catch up with before anything is served.

use be8_events::{ErasureEvent, Event, Recorded, StreamName};
use futures_util::TryStreamExt as _;

use super::NodeError;
use crate::ledger::Log;
use crate::vault::Vault;

/// Applies every erasure of the log to the vault: one that was restored from an older copy must
/// not serve a key that is deleted.
pub(super) async fn apply_erasures(log: &Log, vault: &Vault) -> Result<(), NodeError> {
    let mut pages = std::pin::pin!(log.whole_stream(StreamName::Erasure));
    while let Some(page) = pages.try_next().await? {
        let keys = |recorded: &Recorded| match &recorded.event {
            Event::Erasure(ErasureEvent::KeysDeleted(deleted)) => deleted.keys.clone(),
            _ => Vec::new(),
        };
        let deleted: Vec<_> = page.iter().flat_map(keys).collect();
        if !deleted.is_empty() {
            let applied = vault.apply_deletions(&deleted).await?;
            if applied > 0 {
                tracing::warn!(keys = applied, "the vault held keys that the log says are deleted: deleted now");
            }
        }
    }
    Ok(())
}
