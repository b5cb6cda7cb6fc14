//! What this node has seen of the log, by which it proves that a database continues it.

use std::collections::VecDeque;

use be8_events::{Hash32, Position, Recorded};
use sqlx::PgConnection;

use super::LogError;
use super::head::Head;

/// Of how many of the newest events the salts are kept: enough to say where the log was lost after a failover
/// to a standby that lagged.
const KEPT: usize = 4096;

/// The newest events that this node has seen, by their salts. A salt is random and belongs to one event, so an event with
/// the same salt at the same position is the same event, and the log up to it is the same log.
#[derive(Debug)]
pub(super) struct Seen {
    newest: VecDeque<(Position, Hash32)>,
}

impl Seen {
    /// Begins with the newest event of a log.
    pub(super) fn new(head: &Head) -> Self {
        Self { newest: head.salt.map(|salt| (head.position, salt)).into_iter().collect() }
    }

    /// Takes in the next events of the log.
    pub(super) fn extend(&mut self, events: &[Recorded]) {
        let excess = (self.newest.len() + events.len()).saturating_sub(KEPT).min(self.newest.len());
        self.newest.drain(..excess);
        let kept = &events[events.len().saturating_sub(KEPT)..];
        self.newest.extend(kept.iter().map(|event| (event.position, event.salt)));
    }

    /// Forgets all but the newest event of a log of which not every event was read.
    pub(super) fn jump(&mut self, head: &Head) {
        *self = Self::new(head);
    }

    /// Checks that the log of a database whose head was just read continues the log that was seen.
    ///
    /// # Errors
    /// [`LogError::Fork`] if it does not; [`LogError::Database`].
    pub(super) async fn check(&self, connection: &mut PgConnection, head: &Head) -> Result<(), LogError> {
        // A log without events is continued by every log.
        let Some((position, salt)) = self.newest.back().copied() else { return Ok(()) };
        let found = if position == head.position {
            head.salt
        } else if position < head.position {
            Head::salt_at(connection, position).await?
        } else {
            None
        };
        if found == Some(salt) {
            return Ok(());
        }
        let lost = self.first_lost(connection).await?;
        Err(LogError::Fork { seen: position, end: head.position, lost })
    }

    /// The first of the kept events that the database does not have.
    async fn first_lost(&self, connection: &mut PgConnection) -> Result<Position, LogError> {
        let (positions, salts): (Vec<i64>, Vec<&[u8]>) =
            self.newest.iter().map(|(position, salt)| (position.0, &salt.0[..])).unzip();
        let lost: Option<i64> = sqlx::query_scalar(
            "select min(u.position) from unnest($1::bigint[], $2::bytea[]) u(position, salt)
             where not exists (select from events e where e.position = u.position and e.salt = u.salt)",
        )
        .bind(positions)
        .bind(salts)
        .fetch_one(connection)
        .await?;
        // If all of them are back, the database was exchanged between two queries: the next head shows it.
        let newest = self.newest.back().map_or(Position::START, |(position, _)| *position);
        Ok(lost.map_or(newest, Position))
    }
}
