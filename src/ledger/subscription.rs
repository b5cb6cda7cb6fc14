//! Following the log: catch-up from the tables, then live, without gap or double.

use be8_events::Position;
use tokio::sync::{broadcast, watch};

use super::log::Log;
use super::{Batch, LogError};

/// How many events are read at once while catching up.
const PAGE: u32 = 1000;

/// All events after a position, batch by batch. Positions are gapless: each batch begins right
/// after the one before.
#[derive(Debug)]
pub struct Subscription {
    log: Log,
    live: broadcast::Receiver<Batch>,
    newest: watch::Receiver<Position>,
    at: Position,
    held: Option<Batch>,
}

impl Subscription {
    pub(super) fn new(
        log: Log,
        live: broadcast::Receiver<Batch>,
        newest: watch::Receiver<Position>,
        from: Position,
    ) -> Self {
        Self { log, live, newest, at: from, held: None }
    }

    /// The position up to which events were handed out.
    pub const fn position(&self) -> Position {
        self.at
    }

    /// The next events; waits for them. None when the ledger has stopped and everything that it
    /// appended was handed out.
    ///
    /// # Errors
    /// [`LogError`] while catching up; the call may be repeated.
    pub async fn next(&mut self) -> Result<Option<Batch>, LogError> {
        loop {
            // Behind what this node knows of, or woken by a batch that does not follow: read.
            if self.held.is_none() && self.at < *self.newest.borrow_and_update() {
                match self.live.try_recv() {
                    Ok(batch) => self.held = Some(batch),
                    Err(broadcast::error::TryRecvError::Lagged(_)) => continue,
                    Err(_) => return self.read().await.map(Some),
                }
            }
            let batch = match self.held.take() {
                Some(batch) => batch,
                None => tokio::select! {
                    biased;
                    live = self.live.recv() => match live {
                        Ok(batch) => batch,
                        Err(broadcast::error::RecvError::Lagged(_)) => continue,
                        Err(broadcast::error::RecvError::Closed) => return Ok(None),
                    },
                    // Not every position comes with a batch: a node that is far behind passes over.
                    Ok(()) = self.newest.changed() => continue,
                },
            };
            let (Some(first), Some(last)) = (batch.first(), batch.last()) else { continue };
            if last.position <= self.at {
                continue;
            }
            if first.position == self.at.next() {
                self.at = last.position;
                return Ok(Some(batch));
            }
            if first.position > self.at.next() {
                self.held = Some(batch);
                return self.read().await.map(Some);
            }
            // Some of it was handed out already.
            let rest: Batch = batch.iter().filter(|event| event.position > self.at).cloned().collect();
            self.at = last.position;
            return Ok(Some(rest));
        }
    }

    async fn read(&mut self) -> Result<Batch, LogError> {
        let page = self.log.read_all(self.at, PAGE).await?;
        if let Some(last) = page.last() {
            self.at = last.position;
        }
        Ok(page.into())
    }
}
