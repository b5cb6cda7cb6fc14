//! Following what other nodes append, and checking that the database continues the log that was seen.

use be8_database::{reason, with_deadline};
use be8_events::DecodeError;
use sqlx::PgConnection;

use super::{MAKING, Writer};
use crate::ledger::head::Head;
use crate::ledger::log::Log;
use crate::ledger::{LogError, partitions};

/// How many events are read at once while catching up with other nodes.
const PAGE: u32 = 2000;
/// Beyond this many events of other nodes the cache is emptied instead of brought up to date.
const CATCH_UP_LIMIT: i64 = 50_000;

impl Writer {
    /// Looks whether other nodes appended, and follows; once a day also makes partitions ahead.
    pub(super) async fn follow(&mut self) {
        let followed = async {
            let mut connection = self.connection().await?;
            let limit = self.settings.patience;
            let head = with_deadline(limit, Head::read(&mut connection)).await?;
            let today = self.clock.now().max(head.time);
            if self.partitions_of != today.day() {
                with_deadline(MAKING, partitions::ensure(&mut connection, today)).await?;
                self.partitions_of = today.day();
            }
            with_deadline(limit, self.catch_up(&mut connection, head)).await?;
            self.connection = Some(connection);
            Ok(())
        };
        match followed.await {
            Ok(()) => {}
            // It is tried again soon, and a command that comes meanwhile gets the error.
            Err(LogError::Database(error)) => tracing::debug!(error = %reason(&error), "cannot follow the log"),
            // It was logged where it was found.
            Err(_) if self.ended.is_some() => {}
            Err(error) => tracing::warn!(%error, "cannot follow the log"),
        }
    }

    /// Checks that the database continues the log that this node has seen. One that does not ends the node: what it
    /// decided, its states, its keys and what its streams sent, are of a log that is no more.
    pub(super) async fn check(&mut self, connection: &mut PgConnection, head: &Head) -> Result<(), LogError> {
        let checked = self.seen.check(connection, head).await;
        if let Err(LogError::Fork { seen, end, lost }) = checked {
            let error = LogError::Fork { seen, end, lost };
            tracing::error!("{error}: this node stops");
            self.ended = Some(LogError::Fork { seen, end, lost });
            return Err(error);
        }
        checked
    }

    /// Brings states, keys and followers up to a head that was just read on this connection.
    pub(super) async fn catch_up(&mut self, connection: &mut PgConnection, head: Head) -> Result<(), LogError> {
        self.check(connection, &head).await?;
        self.answers.note();
        if head.generation != self.head.generation {
            let (pool, live) = (self.log.pool().clone(), head.generation);
            let ours = self.on_main_runtime(async move { live.is_ours(&pool).await }).await??;
            if !ours {
                tracing::error!("another version of be8 has made its own read models live: this node stops");
                self.ended = Some(LogError::Foreign);
                return Err(LogError::Foreign);
            }
            tracing::info!(generation = head.generation.0, "a rebuilt generation of the read models is live");
        }
        if head.position.0 - self.head.position.0 > CATCH_UP_LIMIT {
            self.cache.clear();
            self.seen.jump(&head);
        } else {
            while self.head.position < head.position {
                let missing = u32::try_from(head.position.0 - self.head.position.0).unwrap_or(PAGE);
                let page = Log::read_all_on(connection, self.head.position, missing.min(PAGE)).await;
                if let Err(error @ LogError::Undecodable { cause: DecodeError::Unknown { .. }, .. }) = &page {
                    tracing::error!(%error, "a newer version of be8 writes to this log: this node stops");
                    self.ended = Some(LogError::Newer);
                }
                let page = page?;
                let Some(last) = page.last() else {
                    let what = "the head row names an event that is not there";
                    return Err(LogError::Damaged { position: head.position.0, what });
                };
                self.head.position = last.position;
                self.head.salt = Some(last.salt);
                self.seen.extend(&page);
                self.cache.catch_up(&page, &self.vault);
                self.publish(page);
                self.answers.note();
            }
        }
        self.head = head;
        self.position.send_replace(head.position);
        Ok(())
    }
}
