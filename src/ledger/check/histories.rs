//! The map of histories: whether each commitment of the log is to what the log has up to there, and whether the stored map is.

use std::collections::{HashMap, VecDeque};

use be8_events::server::HistoriesCommitted;
use be8_events::{Event, GroupId, Hash32, Position, Recorded, ServerEvent, StreamName};
use futures_util::TryStreamExt as _;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row as _};

use super::Problems;
use crate::histories::Changes;
use crate::histories::map::{Node, Nodes};
use crate::ledger::LogError;
use crate::ledger::history_map::MapState;

/// Where the map is to be compared.
struct Due {
    /// Up to here it goes.
    until: Position,
    root: Hash32,
    /// The event that commits to it; none is the stored map.
    committed: Option<i64>,
    /// It covers its own event, or less than the commitment before.
    misplaced: bool,
}

/// The map as it follows from the events: all of it is in memory, about a kilobyte a group.
pub(super) struct Histories {
    nodes: Nodes,
    changes: Changes,
    /// The salts of the first events of groups.
    firsts: HashMap<GroupId, Hash32>,
    due: VecDeque<Due>,
    /// The digest of the nodes that must be stored.
    stored: Option<Hash32>,
    /// The events were not all there, so that nothing can be compared.
    gave_up: bool,
}

impl Histories {
    pub(super) async fn load(tx: &mut PgConnection) -> Result<Self, LogError> {
        let map = MapState::of(&sqlx::query("select until, root from audit_map").fetch_one(&mut *tx).await?)?;
        let committed: Vec<(i64, i16, Vec<u8>)> = sqlx::query_as(
            "select position, schema, payload from events
             where stream = (select id from streams where name = 'histories') order by version",
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut due = vec![Due { until: map.until, root: map.root, committed: None, misplaced: false }];
        let mut before = Position::START;
        for (position, schema, payload) in committed {
            let event = Event::decode("HistoriesCommitted", u16::try_from(schema).unwrap_or_default(), &payload);
            // One that cannot be read is a problem that the walk finds.
            if let Ok(Event::Server(ServerEvent::HistoriesCommitted(HistoriesCommitted { until, root }))) = event {
                let misplaced = until < before || until.0 >= position;
                due.push(Due { until: until.min(Position(position)), root, committed: Some(position), misplaced });
                before = until;
            }
        }
        due.sort_by_key(|due| due.until);
        let (nodes, changes, firsts) = (Nodes::empty(), Changes::default(), HashMap::new());
        Ok(Self { nodes, changes, firsts, due: due.into(), stored: None, gave_up: false })
    }

    /// Compares what is to be compared before an event, and takes it in.
    pub(super) fn apply(&mut self, event: &Recorded, problems: &mut Problems) {
        self.compare(Position(event.position.0 - 1), problems);
        if let StreamName::Group(group) = event.stream
            && event.version == 1
        {
            self.firsts.insert(group, event.salt);
        }
        self.changes.apply(event);
    }

    /// Not all events can be replayed: whatever is compared from here on would differ.
    pub(super) const fn give_up(&mut self) {
        self.gave_up = true;
    }

    /// Compares the maps that go up to this position at most.
    pub(super) fn compare(&mut self, until: Position, problems: &mut Problems) {
        while !self.gave_up && self.due.front().is_some_and(|due| due.until <= until) {
            let Some(due) = self.due.pop_front() else { break };
            for group in self.changes.without_salt() {
                if let Some(first) = self.firsts.get(&group) {
                    self.changes.set_first(group, *first);
                }
            }
            let changes = std::mem::take(&mut self.changes);
            let set = changes.entries().into_iter().try_for_each(|entry| self.nodes.set(entry));
            let found = set.and_then(|()| self.nodes.root()).map(|(root, _)| root);
            if due.committed.is_none() {
                self.stored = Some(self.digest());
            }
            match due.committed {
                Some(position) if due.misplaced => {
                    problems.add(position, "it commits to a map of histories that goes to where it cannot");
                }
                _ if found == Ok(due.root) => {}
                Some(position) => {
                    problems.add(position, "it commits to another map of histories than that of the events before it");
                }
                None => {
                    let what = "the stored map of histories is not that of the events up to position";
                    problems.add(None, format!("{what} {} (be8 rebuild)", due.until));
                }
            }
        }
    }

    /// The SHA-256 of all nodes, in their order.
    fn digest(&self) -> Hash32 {
        let mut digest = Sha256::new();
        for (prefix, node) in self.nodes.all().iter().filter(|(_, node)| **node != Node::default()) {
            add(&mut digest, prefix, &node.to_bytes());
        }
        Hash32(digest.finalize().into())
    }

    /// Compares the stored nodes with those that the map must have.
    pub(super) async fn ends(&self, tx: &mut PgConnection, problems: &mut Problems) -> Result<(), LogError> {
        let Some(expected) = self.stored.filter(|_| !self.gave_up) else { return Ok(()) };
        let mut digest = Sha256::new();
        let mut rows =
            sqlx::query("select prefix, node from audit_map_nodes where died is null order by prefix").fetch(tx);
        while let Some(row) = rows.try_next().await? {
            let (prefix, node): (&[u8], &[u8]) = (row.try_get("prefix")?, row.try_get("node")?);
            // The first node of a map without entries.
            if !node.is_empty() {
                add(&mut digest, prefix, node);
            }
        }
        if Hash32(digest.finalize().into()) != expected {
            problems.add(None, "the stored nodes of the map of histories are not those of its entries (be8 rebuild)");
        }
        Ok(())
    }
}

fn add(digest: &mut Sha256, prefix: &[u8], node: &[u8]) {
    for part in [prefix, node] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
}
