//! The check: walks the whole log and says what is wrong in it, and compares every read model row by
//! row with a fresh replay. All in one snapshot; the replay is in temporary tables, so that nothing
//! is changed and nothing stays, also when it is killed.

mod histories;
mod keys;
mod walk;

use std::sync::Arc;

use be8_database::Connector;
use be8_events::{Hash32, Position};
use be8_projections::Generation;
use be8_projections::MODELS;
use be8_projections::compare::{Difference, differences, unknown_tables};
use sqlx::{Connection, PgConnection};

use super::LogError;
use super::head::Head;
use super::pages::{self, PAGE};
use crate::vault::Vault;
use histories::Histories;
use keys::Keys;
use walk::Walk;

/// How many problems are listed; the others are only counted.
const LISTED: usize = 100;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, if it is of one event.
    pub position: Option<Position>,
    /// What is wrong.
    pub what: String,
}

/// The problems that were found: the first ones, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// The first ones.
    pub listed: Vec<Problem>,
    /// How many there are.
    pub count: u64,
}

impl Problems {
    fn add(&mut self, position: impl Into<Option<i64>>, what: impl Into<String>) {
        self.count += 1;
        if self.listed.len() < LISTED {
            self.listed.push(Problem { position: position.into().map(Position), what: what.into() });
        }
    }
}

/// What became of the sealed payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SealedCount {
    /// Intact, with living keys.
    pub readable: u64,
    /// Intact, a key is deleted.
    pub erased: u64,
    /// Gone, a key is deleted.
    pub swept: u64,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// The newest position.
    pub position: Position,
    /// How many streams there are.
    pub streams: usize,
    /// The SHA-256 of the hashes of all events, one after the other: equal for equal logs.
    pub digest: Hash32,
    /// What is sealed.
    pub sealed: SealedCount,
    /// How many tables of read models were compared.
    pub tables: usize,
    /// What is wrong in the log.
    pub problems: Problems,
    /// The tables that differ from the replay.
    pub differences: Vec<Difference>,
    /// What could not be looked at, and why.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether all is as it must be.
    pub fn is_sound(&self) -> bool {
        self.problems.count == 0 && self.differences.is_empty()
    }
}

/// Checks the log and the read models of a database. With a vault every payload whose keys live is
/// opened, too. `progress` is called with the position reached and the last one.
///
/// # Errors
/// [`LogError`] if it could not be done; what is wrong is in the report.
pub async fn check(
    connect: &Connector,
    vault: Option<Arc<Vault>>,
    progress: &(dyn Fn(Position, Position) + Send + Sync),
) -> Result<Report, LogError> {
    connect
        .watched(async {
            let mut connection = connect.connect().await?;
            // Its temporary tables stay in memory as far as that goes. A session that had some before, for a former client of
            // a pooler, keeps the size that it has.
            let _ = sqlx::raw_sql("set temp_buffers = '64MB'").execute(&mut connection).await;
            let report = in_snapshot(&mut connection, vault, progress).await;
            connection.close().await?;
            report
        })
        .await
}

async fn in_snapshot(
    connection: &mut PgConnection,
    vault: Option<Arc<Vault>>,
    progress: &(dyn Fn(Position, Position) + Send + Sync),
) -> Result<Report, LogError> {
    let mut tx = connection.begin_with("begin isolation level repeatable read").await?;
    let head = Head::read(&mut tx).await?;
    let mut notes = Vec::new();
    let keys = Keys::load(&mut tx, &head, &mut notes).await?;
    if keys.is_known() && vault.is_none() {
        notes
            .push("there is no master key at hand: sealed payloads were compared with their hashes, not opened".into());
    }
    // A standby, and a session that is read-only, has no temporary tables.
    let replays = !read_only(&mut tx).await?;
    if replays {
        Generation::SCRATCH.create(&mut tx).await?;
    }
    let histories = Histories::load(&mut tx).await?;
    let mut walk = Walk::new(keys, vault, histories, replays);
    let mut after = 0;
    progress(Position(after), head.position);
    while after < head.position.0 {
        let until = head.position.0.min(after + PAGE);
        let page = pages::rows(&mut tx, after, until).await?;
        walk.page(&mut tx, page, after, until).await?;
        after = until;
        progress(Position(after), head.position);
    }
    walk.ends(&mut tx, &head).await?;

    let mut found = Vec::new();
    let mut tables = 0;
    if !replays {
        notes.push(
            "the read models were not compared: this is a standby or read-only, where no temporary tables can be made. Run \
             the check on the primary for that"
                .into(),
        );
    } else if !walk.all_decoded {
        notes.push("the read models were not compared: not every event can be replayed".into());
    } else if !head.generation.is_ours(&mut *tx).await? {
        notes.push("the read models were not compared: the live ones are of another version of be8".into());
    } else {
        found = differences(&mut tx, head.generation, Generation::SCRATCH).await?;
        tables = MODELS.iter().flat_map(|model| model.tables()).count();
        for table in unknown_tables(&mut tx, head.generation).await? {
            walk.problems.add(None, format!("{}.{table} does not belong to any read model", head.generation));
        }
    }
    tx.rollback().await?;
    Ok(Report {
        position: head.position,
        streams: walk.streams(),
        digest: walk.digest(),
        sealed: walk.sealed,
        tables,
        problems: walk.problems,
        differences: found,
        notes,
    })
}

/// Whether this transaction cannot write.
async fn read_only(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select current_setting('transaction_read_only')::bool").fetch_one(connection).await
}
