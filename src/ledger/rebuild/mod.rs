//! The rebuild: replays the log into a fresh generation of the read models while the live one serves, compares the two at one
//! position, and makes the fresh one live.
//!
//! One at a time: a rebuild is a [`RebuildSession`], which holds an advisory lock. Every step is a transaction of its
//! own that moves the generation's row in the register ([`register`]), so that a rebuild that was killed resumes with its next
//! step.

mod register;
mod replay;
mod session;
mod switch;
mod tables;

use be8_database::{ConnectError, Connector};
use be8_events::Position;
use be8_projections::compare::Tally;
use be8_projections::{Generation, MODELS, Model, with_needed};
use sqlx::Connection;

use super::LogError;
use super::head::Head;

pub use register::{Phase, Registered, Removal, remove};
pub use session::RebuildSession;

/// How many events are written at once by default.
pub const EVENTS_AT_ONCE: i64 = 200_000;

/// What to rebuild, and how.
#[derive(Debug, Clone)]
pub struct Rebuild {
    /// The read models to replay, by name; none: all of them.
    pub models: Vec<String>,
    /// Switch whatever the comparison says.
    pub force: bool,
    /// How many events are written at once.
    pub events_at_once: i64,
}

impl Default for Rebuild {
    fn default() -> Self {
        Self { models: Vec::new(), force: false, events_at_once: EVENTS_AT_ONCE }
    }
}

/// Progress of a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It has begun, or resumes what an earlier one left.
    Begun {
        /// The generation that is built.
        generation: Generation,
        /// It was begun earlier.
        resumed: bool,
    },
    /// The log up to `reached` is in the fresh tables.
    Replayed {
        /// Last position replayed.
        reached: Position,
        /// The position to reach.
        target: Position,
    },
    /// The indexes are being made: how many are left.
    Indexing(usize),
    /// Live and fresh tables are being compared, as they are at this position.
    Comparing(Position),
}

/// Is called with the progress of a rebuild.
pub type ProgressCallback<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// How a rebuild ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The generation that is live now.
    pub generation: Generation,
    /// The one that was.
    pub instead_of: Generation,
    /// The position of the switch.
    pub position: Position,
    /// The tables as they were compared.
    pub tables: Vec<Tally>,
    /// Those that differed, if the switch was forced.
    pub differences: Vec<Discrepancy>,
}

/// A table of which the live and the rebuilt one differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discrepancy {
    /// The live one.
    pub live: Tally,
    /// The rebuilt one.
    pub rebuilt: Tally,
}

/// Why there was no switch.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log could not be read, or the tables not written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is one already.
    #[error("a rebuild is running already (be8 rebuild --status)")]
    Running,
    /// It was asked to stop by `be8 rebuild --abort`.
    #[error("the rebuild was aborted")]
    Aborted,
    /// No read model has this name.
    #[error("there is no read model {name:?}; there are {all}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        all: String,
    },
    /// What is to be taken over from the live generation is not what this build makes.
    #[error("the live read models are of another version: rebuild all of them")]
    OtherShape,
    /// The one that was begun is of other read models.
    #[error("a rebuild of {0} was begun: finish that, or be8 rebuild --abort")]
    Begun(String),
    /// The comparison failed.
    #[error("live and rebuilt tables differ in {}: not switched. The log is right: be8 check lists the rows, be8 rebuild --force switches", names(.0))]
    Differ(Vec<Discrepancy>),
    /// There is no generation to go back to.
    #[error("no earlier generation is kept that this build can read")]
    NothingKept,
}

impl From<sqlx::Error> for RebuildError {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

impl From<ConnectError> for RebuildError {
    fn from(error: ConnectError) -> Self {
        Self::Log(error.into())
    }
}

fn names(differences: &[Discrepancy]) -> String {
    let name = |d: &Discrepancy| format!("{} ({} rows live, {} rebuilt)", d.live.table, d.live.rows, d.rebuilt.rows);
    differences.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The read models of these names, and those that they need.
fn models(names: &[String]) -> Result<Vec<&'static Model>, RebuildError> {
    let all = || MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ");
    with_needed(names).map_err(|name| RebuildError::Unknown { name, all: all() })
}

/// Asks the rebuild that is running to stop, and removes what it has made. Returns which generation that was.
///
/// # Errors
/// [`RebuildError`]
pub async fn abort(connect: &Connector) -> Result<Option<Generation>, RebuildError> {
    let mut connection = connect.connect().await?;
    let aborted = register::abort(&mut connection).await?;
    connection.close().await?;
    if let Some(generation) = aborted {
        // A running rebuild stops at its next step.
        let session = RebuildSession::open(connect, true).await?;
        session.remove(generation).await?;
        session.close().await;
    }
    Ok(aborted)
}

/// What [`status`] returns.
#[derive(Debug, Clone)]
pub struct Status {
    /// All generations, the oldest first.
    pub generations: Vec<Registered>,
    /// The newest position of the log.
    pub head: Position,
    /// A rebuild is running.
    pub running: bool,
}

/// All generations, and whether a rebuild is running.
///
/// # Errors
/// [`RebuildError::Log`]
pub async fn status(connect: &Connector) -> Result<Status, RebuildError> {
    let mut connection = connect.connect().await?;
    let generations = Registered::all(&mut connection).await?;
    let head = Head::read(&mut connection).await?.position;
    let running = !session::try_lock(&mut connection).await?;
    // The lock goes with the connection.
    connection.close().await?;
    Ok(Status { generations, head, running })
}
