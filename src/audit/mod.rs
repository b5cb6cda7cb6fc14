//! The history of a group and what is wrong in it, from the events of the log alone
//! (`docs/audit.md`).
//!
//! [`history`] pages through what happened, [`state_at`] folds it up to a point, and
//! [`findings`] judges it. Who may see which of it is decided by a [`Visibility`]. That the log was never
//! rewritten is proved by the [`Transparency`] log over it; a [`bundle`] carries that proof to an auditor.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod bundle;
mod bundle_format;
pub mod checkpoint_wait;
pub mod completeness;
mod erasure;
mod findings;
mod history;
pub mod key_file;
pub mod notes;
pub mod settings;
mod state;
pub mod transparency;
pub mod tree;
pub mod verify;
pub mod witness;

use be8_events::{AccId, GroupId, Position, Timestamp};
use be8_projections::{ReadError, ReadModels};

use crate::ledger::{Log, LogError};

pub use erasure::{Copies, Deleted, ErasureReport, KeyFate, Moment, Retained, erasure_report};
pub use findings::{Finding, Knowledge, Rule, findings};
pub use history::{Act, Entry, Page, PageRequest, history};
pub use settings::AuditSettings;
pub use state::{HeldKey, MemberThen, StateThen, state_at};
pub use transparency::{Transparency, TransparencyError};
pub use witness::Witness;

/// Why a history cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The read models do not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Work on another thread did not end.
    #[error("a history could not be judged: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

/// What somebody may see of a group's history. Membership, versions and keys can only be judged
/// whole, so anyone who sees any of it sees all of it; messages are another matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visibility {
    /// The operator: the positions of all messages.
    Everything,
    /// A member: the positions of messages inside its own stays, each from its beginning up to
    /// and excluding its end.
    Stays(Vec<(Position, Option<Position>)>),
}

impl Visibility {
    /// What a member of a group sees.
    ///
    /// # Errors
    /// [`AuditError`]
    pub async fn of_member(read: &ReadModels, group: GroupId, member: AccId) -> Result<Self, AuditError> {
        Ok(Self::Stays(read.stays(group, member).await?))
    }

    /// The ranges of the log after `after` and up to `until` whose messages are seen,
    /// each as (after, up to).
    fn visible_ranges(&self, after: Position, until: Position) -> Vec<(Position, Position)> {
        let stays = match self {
            Self::Everything => return vec![(after, until)],
            Self::Stays(stays) => stays,
        };
        let cut = |&(opened, closed): &(Position, Option<Position>)| {
            let closed = closed.map_or(until, |closed| Position(closed.0 - 1));
            (opened.max(after), closed.min(until))
        };
        stays.iter().map(cut).filter(|(from, to)| from < to).collect()
    }
}

/// A point in the log, by position or by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// After this position.
    Position(Position),
    /// As it was at this time.
    Time(Timestamp),
}

impl std::str::FromStr for Point {
    type Err = NoPoint;

    /// Reads a position (digits) or a time (RFC 3339).
    fn from_str(text: &str) -> Result<Self, NoPoint> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().map(|position| Self::Position(Position(position))).map_err(|_| NoPoint);
        }
        text.parse().map(Self::Time).map_err(|_| NoPoint)
    }
}

/// A text that is neither a position nor a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a position nor a time such as 2026-11-23T12:00:00Z")]
pub struct NoPoint;

impl Point {
    /// The position, which may lie ahead of the newest event.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn position(self, log: &Log) -> Result<Position, LogError> {
        match self {
            Self::Position(position) => Ok(position),
            Self::Time(time) => log.position_at(time).await,
        }
    }
}

#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a model asks for few of the acts")]
pub(crate) mod tests;
