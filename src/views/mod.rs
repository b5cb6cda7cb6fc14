//! Reads from memory, exact at a position.
//!
//! Views follow the log: every batch, own or foreign, is folded into what is kept. A read asks how far the log has come, waits
//! until the views have that position, and is answered from them; what they lack is loaded from the read models in PostgreSQL at
//! a position of its own, and brought up to theirs. An entry that an event touches is folded exactly or dropped: there is no
//! third way. Whatever cannot be answered from here is answered from PostgreSQL, which is always right.
//!
//! [`read_index`](crate::ledger::ReadIndex) says how far the log has come, `state` keeps entries, `fold` is what events do to
//! them, `load` brings in what is missing, `follow` follows the log, and [`Presenter`] makes the bytes that answers consist of.

mod facts;
mod fold;
mod follow;
mod load;
pub mod presenter;
mod settings;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use be8_database::Pool;
use be8_events::Position;
use be8_projections::ReadModels;
use metrics::{Counter, Gauge, Histogram};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use facts::{Account, Group, Key, Newest, Thread};
pub use presenter::{AccountShown, Line, Names, Presenter, Shown, Unshown};
pub use settings::{ViewFlags, ViewSettings};
pub use state::{Look, Stop};

use crate::ledger::{Ledger, NoIndex, ReadIndex, RecentPayloads};
use crate::vault::Vault;
use state::State;

/// How often a read looks again after loading what it lacked, until PostgreSQL answers it.
const ROUNDS: usize = 6;
/// How long a read waits to learn a position, and for the views to reach it, until PostgreSQL answers it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The database does not say how far the log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the database does not say how far the log has come")]
pub struct Away;

/// The views of a node; there may be none.
#[derive(Debug, Clone, Default)]
pub struct Views(Option<Arc<Inner>>);

/// What reads and the follower share.
struct Inner {
    state: RwLock<State>,
    position: watch::Sender<Position>,
    index: ReadIndex,
    ledger: Ledger,
    recent_payloads: RecentPayloads,
    read: ReadModels,
    vault: Arc<Vault>,
    presenter: Arc<dyn Presenter>,
    delay: Duration,
    measures: Measures,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("position", &*self.position.borrow()).finish_non_exhaustive()
    }
}

/// What is measured.
struct Measures {
    hits: Vec<Counter>,
    misses: Vec<Counter>,
    unserved: Counter,
    evicted: Counter,
    bytes: Gauge,
    entries: Gauge,
    position: Gauge,
    wait: Histogram,
}

impl Measures {
    fn new() -> Self {
        let kinds = || Key::KINDS.into_iter();
        Self {
            hits: kinds().map(|kind| metrics::counter!("be8_view_hits_total", "kind" => kind)).collect(),
            misses: kinds().map(|kind| metrics::counter!("be8_view_misses_total", "kind" => kind)).collect(),
            unserved: metrics::counter!("be8_view_unserved_total"),
            evicted: metrics::counter!("be8_view_evicted_total"),
            bytes: metrics::gauge!("be8_view_memory_bytes"),
            entries: metrics::gauge!("be8_view_entries"),
            position: metrics::gauge!("be8_view_position"),
            wait: metrics::histogram!("be8_view_wait_seconds"),
        }
    }
}

impl Views {
    /// No views: every read is answered from PostgreSQL.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Views of what this ledger writes and follows, until `stop`.
    pub fn start(
        ledger: &Ledger,
        pool: &Pool,
        vault: Arc<Vault>,
        presenter: Arc<dyn Presenter>,
        settings: ViewSettings,
        stop: CancellationToken,
    ) -> Self {
        let position = ledger.position();
        let inner = Arc::new(Inner {
            state: RwLock::new(State::new(position, settings.budget, settings.tail)),
            position: watch::Sender::new(position),
            index: ReadIndex::start(pool.connector(), pool.limit(), stop.clone()),
            ledger: ledger.clone(),
            recent_payloads: ledger.recent_payloads().clone(),
            read: ReadModels::new(pool.clone()),
            vault,
            presenter,
            delay: settings.delay,
            measures: Measures::new(),
        });
        tokio::spawn(follow::follow(inner.clone(), ledger.subscribe_all(position), stop));
        Self(Some(inner))
    }

    /// Reads something at a position that is at least that of everything acknowledged before this call. `look` finds it; it is
    /// called again once what it lacked is loaded. None: PostgreSQL has to answer.
    ///
    /// # Errors
    /// [`Away`]: nobody can answer now.
    pub async fn read<T>(&self, mut look: impl FnMut(&mut Look<'_>) -> Result<T, Stop>) -> Result<Option<T>, Away> {
        let Some(inner) = &self.0 else { return Ok(None) };
        let found = inner.read(&mut look).await?;
        if found.is_none() {
            inner.measures.unserved.increment(1);
        }
        Ok(found)
    }

    /// Drops everything that is kept: reads are the same, and slower.
    pub fn drop_all(&self) {
        if let Some(inner) = &self.0 {
            inner.state.write().clear();
        }
    }

    /// The bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.state.read().bytes())
    }
}

impl Inner {
    async fn read<T>(
        self: &Arc<Self>,
        look: &mut impl FnMut(&mut Look<'_>) -> Result<T, Stop>,
    ) -> Result<Option<T>, Away> {
        let begun = Instant::now();
        let before = *self.position.borrow();
        let index = match tokio::time::timeout(PATIENCE, self.index.ask()).await {
            Ok(Ok(index)) => index,
            Ok(Err(NoIndex::Over)) | Err(_) => return Ok(None),
            Ok(Err(NoIndex::Away)) => return Err(Away),
        };
        if index.position < before {
            // The log that was followed is not the one that answers now.
            self.ledger.follow_to(before.next());
            return Err(Away);
        }
        if !self.reach(index.position).await {
            return Ok(None);
        }
        self.measures.wait.record(begun.elapsed().as_secs_f64());
        let known = self.state.read().is_of(index.generation);
        if !known {
            self.state.write().live(index.generation, index.question);
        }
        let mut absent = HashMap::new();
        for round in 0..ROUNDS {
            let (missing, ahead) = {
                let state = self.state.read();
                if state.broken {
                    return Ok(None);
                }
                if round == 0 && state.contradicts(index.position, index.salt) {
                    return Err(Away);
                }
                let mut seen = Look::new(&state, &absent);
                let found = look(&mut seen);
                self.count(&seen);
                match found {
                    Ok(found) => return Ok(Some(found)),
                    Err(Stop::Unserved) => return Ok(None),
                    Err(Stop::Missing) => (std::mem::take(&mut seen.missing), seen.ahead),
                }
            };
            if !missing.is_empty() {
                if !self.state.write().admits(&missing) {
                    return Ok(None);
                }
                load::load(self, missing, &mut absent).await;
            }
            if !self.reach(ahead).await {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Waits until the views have a position; false if that takes too long.
    async fn reach(&self, position: Position) -> bool {
        if *self.position.borrow() >= position {
            return true;
        }
        if self.ledger.position() < position {
            // Another node appended: not when it says so, or the next time that somebody looks, but now.
            self.ledger.follow_to(position);
        }
        let mut reached = self.position.subscribe();
        let reached = reached.wait_for(|reached| *reached >= position);
        matches!(tokio::time::timeout(PATIENCE, reached).await, Ok(Ok(_)))
    }

    fn count(&self, seen: &Look<'_>) {
        for (counter, hits) in self.measures.hits.iter().zip(seen.hits) {
            if hits > 0 {
                counter.increment(hits);
            }
        }
        for key in &seen.missing {
            self.measures.misses[key.kind()].increment(1);
        }
    }

    fn measure(&self, state: &mut State) {
        self.measures.evicted.increment(std::mem::take(&mut state.evicted));
        self.measures.bytes.set(state.bytes() as f64);
        self.measures.entries.set(state.entries() as f64);
        self.measures.position.set(state.position.0 as f64);
    }
}
