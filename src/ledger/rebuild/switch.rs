//! The end of a rebuild: the comparison of live and fresh tables, and the switch.

use be8_events::Position;
use be8_projections::compare::{Tally, tally};
use be8_projections::{Changes, Generation, MODELS, Model};
use futures_util::TryStreamExt;
use sqlx::Connection;

use super::{Discrepancy, Progress, ProgressCallback, Rebuild, RebuildError, RebuildSession, Registered};
use super::{names, register};
use crate::ledger::head::Head;

/// With at most this many events left to replay, a rebuild has appends wait and switches.
const NEAR: i64 = 1000;
/// How often it comes near before it has appends wait whatever is left.
const APPROACHES: u32 = 20;

impl RebuildSession {
    /// Compares the live tables with the fresh ones as they are at one position; those whose shape is the same.
    pub(super) async fn compare(
        &self,
        generation: Generation,
        what: &Rebuild,
        progress: ProgressCallback<'_>,
    ) -> Result<(Vec<Tally>, Vec<Discrepancy>), RebuildError> {
        // Not to hold a snapshot for as long as it takes to come near.
        self.catch_up(generation, self.head().await?.position, progress).await?;
        let mut held = self.pool.acquire().await?;
        let mut snapshot = held.begin_with("begin isolation level repeatable read read only").await?;
        let head = Head::read(&mut snapshot).await?;
        self.catch_up(generation, head.position, progress).await?;
        progress(Progress::Comparing(head.position));
        let generations = Registered::all(&mut snapshot).await?;
        let live = generations.iter().find(|known| known.generation == head.generation);
        let mut models: Vec<&Model> = MODELS.iter().collect();
        models.retain(|model| live.is_some_and(|live| live.models.contains(&model.shape())));
        let mut connection = self.connection().await;
        let (live, rebuilt) = tokio::try_join!(
            tally(&mut snapshot, head.generation, &models),
            tally(&mut connection, generation, &models),
        )?;
        drop(connection);
        snapshot.commit().await?;
        let pairs = live.into_iter().zip(rebuilt.clone()).filter(|(live, rebuilt)| live != rebuilt);
        let differences: Vec<_> = pairs.map(|(live, rebuilt)| Discrepancy { live, rebuilt }).collect();
        if what.force && !differences.is_empty() {
            tracing::warn!(
                differences = names(&differences),
                "switching to read models that differ from the live ones"
            );
        }
        Ok((rebuilt, differences))
    }

    /// Makes a generation live: catches up until little is left, then has appends wait for the rest. Returns the generation
    /// that was live, and the position of the switch.
    pub(super) async fn switch(
        &self,
        generation: Generation,
        progress: ProgressCallback<'_>,
    ) -> Result<(Generation, Position), RebuildError> {
        let mut approaches = 0;
        loop {
            let near = self.head().await?.position;
            self.catch_up(generation, near, progress).await?;
            let mut connection = self.connection().await;
            let mut tx = connection.begin().await?;
            sqlx::query("set local synchronous_commit = on").execute(&mut *tx).await?;
            let head = Head::lock(&mut tx).await?;
            approaches += 1;
            if head.position.0 - near.0 > NEAR && approaches < APPROACHES {
                tx.rollback().await?;
                continue;
            }
            let mut changes = Changes::default();
            let mut rest = std::pin::pin!(self.pages.decoded(near, head.position));
            while let Some(page) = rest.try_next().await? {
                page.iter().for_each(|event| changes.apply(event));
            }
            changes.write(&mut tx, generation).await?;
            register::go_live(&mut tx, generation, head.generation, head.position).await?;
            tx.commit().await?;
            return Ok((head.generation, head.position));
        }
    }
}
