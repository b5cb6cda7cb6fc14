//! Replaying the log into the tables of a generation.

use std::sync::Arc;

use be8_events::Position;
use be8_projections::{Changes, Generation, MODELS, Model};
use futures_util::TryStreamExt;
use tokio::task::JoinHandle;

use super::{EVENTS_AT_ONCE, Progress, ProgressCallback, RebuildError, RebuildSession, register};

/// A page that is being written.
type PageWrite = JoinHandle<Result<(), RebuildError>>;

impl RebuildSession {
    /// Replays what follows `after` up to `until`. A page is written while the next one is read and folded.
    pub(super) async fn replay(
        &self,
        generation: Generation,
        after: Position,
        until: Position,
        models: &[&'static Model],
        events_at_once: i64,
        progress: ProgressCallback<'_>,
    ) -> Result<(), RebuildError> {
        let mut pages = std::pin::pin!(self.pages.decoded(after, until));
        let mut writing = None;
        let mut changes = Changes::default();
        let (mut reached, mut written) = (after, after);
        progress(Progress::Replayed { reached, target: until });
        while let Some(page) = pages.try_next().await? {
            for event in &page {
                changes.apply(event);
                reached = event.position;
                if reached.0 - written.0 < events_at_once {
                    continue;
                }
                written = reached;
                finish(writing.take()).await?;
                let mut page = std::mem::take(&mut changes);
                page.keep(models);
                writing = Some(self.write(generation, page, reached));
                progress(Progress::Replayed { reached, target: until });
            }
        }
        finish(writing).await?;
        if reached > written {
            changes.keep(models);
            register::write_page(&mut *self.connection().await, generation, changes, reached).await?;
        }
        progress(Progress::Replayed { reached, target: until });
        Ok(())
    }

    /// Begins to write a page.
    fn write(&self, to: Generation, changes: Changes, reached: Position) -> PageWrite {
        let connection = Arc::clone(&self.lock_connection);
        tokio::spawn(async move { register::write_page(&mut *connection.lock().await, to, changes, reached).await })
    }

    /// Brings a generation from where it stands up to a position.
    pub(super) async fn catch_up(
        &self,
        generation: Generation,
        until: Position,
        progress: ProgressCallback<'_>,
    ) -> Result<(), RebuildError> {
        let generations = self.generations().await?;
        // Somebody removed it.
        let built = generations.iter().find(|known| known.generation == generation).ok_or(RebuildError::Aborted)?;
        if built.reached >= until {
            return Ok(());
        }
        let all: Vec<&Model> = MODELS.iter().collect();
        self.replay(generation, built.reached, until, &all, EVENTS_AT_ONCE, progress).await
    }
}

/// Waits until a page is written.
async fn finish(writing: Option<PageWrite>) -> Result<(), RebuildError> {
    match writing {
        Some(writing) => writing.await.map_err(|_| sqlx::Error::WorkerCrashed)?,
        None => Ok(()),
    }
}
