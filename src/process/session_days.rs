//! Forgets on which day sessions were last used that have ended.

use std::time::Duration;

use async_trait::async_trait;
use be8_events::Hash32;
use be8_projections::ReadModels;
use parking_lot::Mutex;

use super::{Process, ProcessError};
use crate::ledger::{Lead, Ledger};

/// How many sessions are looked at in one tick.
const PAGE: u32 = 1000;
/// The pause between two pages.
const PAUSE_BETWEEN_PAGES: Duration = Duration::from_millis(20);
/// The pause after the last one.
const PAUSE: Duration = Duration::from_secs(3600);

/// The process that forgets.
#[derive(Debug)]
pub struct SessionDaySweeper {
    /// Where the days are.
    pub ledger: Ledger,
    /// Which sessions are open.
    pub read: ReadModels,
    /// The last session of the page before; none: the next page is the first one.
    pub after: Mutex<Option<Hash32>>,
}

#[async_trait]
impl Process for SessionDaySweeper {
    fn name(&self) -> &'static str {
        "session-days"
    }

    async fn tick(&self, _: &mut Lead) -> Result<Duration, ProcessError> {
        let days = self.ledger.session_days();
        let after = *self.after.lock();
        let mut page = days.page(after, PAGE).await?;
        let last = page.last().copied().filter(|_| page.len() == PAGE as usize);
        // A session of this page was open before: it cannot be one that the read models do not have yet.
        let open = self.read.open_among(&page).await?;
        page.retain(|session| !open.contains(session));
        if !page.is_empty() {
            days.forget(&page).await?;
        }
        *self.after.lock() = last;
        Ok(if last.is_some() { PAUSE_BETWEEN_PAGES } else { PAUSE })
    }
}
