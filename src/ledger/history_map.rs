//! What the map of histories keeps in PostgreSQL: how far it goes, and the nodes of its tree, also of the maps that the newest
//! checkpoints commit to. Only the holder of the [`Lead`] moves it forwards, and a rebuild makes it again.

use std::collections::BTreeSet;

use be8_database::{Connector, with_deadline};
use be8_events::{Hash32, Position, StreamName};
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row};

use super::pages::{self, Names, PAGE};
use super::tile_store::{LIMIT, SignedHead, TransparencyTables, head, root, signed};
use super::{Lead, LogError};
use crate::histories::Changes;
use crate::histories::map::{Missing, Node, Nodes, Prefix, Proof, prefixes};

/// The maps of so many checkpoints are kept, so that a bundle can be of one that witnesses have signed already.
const KEPT: i64 = 100;
/// How many nodes of a path are read at first: that many are there for a million groups and some.
const FIRST: usize = 8;

const UNREADABLE: &str = "a node of the map of histories that cannot be read";
const LOST: &str = "the map of histories, of which nodes are missing: be8 rebuild makes it again";

/// How far the map goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapState {
    /// The last event in it.
    pub until: Position,
    /// Its root.
    pub root: Hash32,
}

impl MapState {
    pub(super) fn of(row: &PgRow) -> Result<Self, LogError> {
        Ok(Self { until: Position(row.try_get("until")?), root: root(row)? })
    }
}

impl From<Missing> for LogError {
    fn from(_: Missing) -> Self {
        Self::Stored(LOST)
    }
}

impl TransparencyTables {
    /// How far the map goes.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn map(&self) -> Result<MapState, LogError> {
        MapState::of(&sqlx::query("select until, root from audit_map").fetch_one(&self.pool).await?)
    }

    /// The newest head whose map is kept and covers this many events: one that witnesses have signed if there is such.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn head_with_map(&self, covered: u64) -> Result<Option<SignedHead>, LogError> {
        let row = sqlx::query(
            "select h.* from (
                 select size, root, note, cosignatures, histories from audit_heads
                 where log = (select max(id) from audit_logs) order by size desc limit $2) h, audit_map m
             where h.histories >= $1 and h.histories >= m.oldest
             order by (h.cosignatures <> '') desc, h.size desc limit 1",
        )
        .bind(signed(covered))
        .bind(KEPT)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(head).transpose()
    }

    /// Proves what the map that goes up to a position has at some indexes.
    ///
    /// # Errors
    /// [`LogError::Stored`] when that map is not kept.
    pub async fn map_proofs(&self, until: u64, indexes: &[Hash32]) -> Result<Vec<Proof>, LogError> {
        let mut nodes = Nodes::default();
        for most in [FIRST, usize::MAX] {
            let missing = indexes.iter().filter(|index| nodes.missing(index).is_some());
            let wanted: BTreeSet<Prefix> = missing.flat_map(|index| prefixes(index, most)).collect();
            if wanted.is_empty() {
                break;
            }
            let rows = sqlx::query(
                "select n.prefix, n.node from unnest($1::bytea[]) p(prefix) join audit_map_nodes n on n.prefix = p.prefix
                 where n.born <= $2 and (n.died is null or n.died > $2)",
            )
            .bind(wanted.into_iter().collect::<Vec<_>>())
            .bind(signed(until))
            .fetch_all(&self.pool)
            .await?;
            for row in &rows {
                nodes.add([node(row)?]);
            }
        }
        indexes.iter().map(|index| Ok(nodes.prove(index)?)).collect()
    }
}

impl Lead {
    /// Moves the map forwards by some changes, all or none: only in a database whose log has their newest event, by its position
    /// and salt, and whose map goes to where the changes begin. Returns the root; none if the database is another one.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn advance_map(
        &mut self,
        changes: &mut Changes,
        (newest, salt): (Position, Hash32),
    ) -> Result<Option<Hash32>, LogError> {
        let advance = async {
            let mut tx = self.transactions().begin().await?;
            let fits: Option<Vec<u8>> = sqlx::query_scalar(
                "select root from audit_map where until = $1
                 and exists (select from events where position = $2 and salt = $3) for update",
            )
            .bind(changes.from().0)
            .bind(newest.0)
            .bind(&salt.0[..])
            .fetch_optional(&mut *tx)
            .await?;
            if fits.is_none() {
                return Ok(None);
            }
            let root = store(&mut tx, changes, Replaced::Kept).await?;
            // Maps of heads that are not the newest ones are of no use any more, and those that no head commits to never were.
            let oldest: i64 = sqlx::query_scalar(
                "update audit_map set until = $1, root = $2, oldest = greatest(oldest, (
                     select coalesce(min(h.histories), $1) from (
                         select histories from audit_heads where log = (select max(id) from audit_logs)
                         order by size desc limit $3) h))
                 returning oldest",
            )
            .bind(changes.until().0)
            .bind(&root.0[..])
            .bind(KEPT)
            .fetch_one(&mut *tx)
            .await?;
            sqlx::query("delete from audit_map_nodes where died <= $1").bind(oldest).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(Some(root))
        };
        with_deadline(LIMIT, advance).await
    }
}

/// What becomes of nodes that others replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replaced {
    Kept,
    Deleted,
}

/// Puts the entries of some changes into the stored tree, and returns its root.
async fn store(tx: &mut PgConnection, changes: &mut Changes, replaced: Replaced) -> Result<Hash32, LogError> {
    let names: Vec<String> =
        changes.without_salt().into_iter().map(|group| StreamName::Group(group).to_string()).collect();
    let firsts: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "select s.name, e.salt from streams s join events e on e.stream = s.id and e.version = 1 where s.name = any($1)",
    )
    .bind(names)
    .fetch_all(&mut *tx)
    .await?;
    for (name, salt) in firsts {
        if let (Ok(StreamName::Group(group)), Ok(salt)) = (name.parse(), salt.try_into()) {
            changes.set_first(group, Hash32(salt));
        }
    }
    let entries = changes.entries();
    let (mut nodes, mut is_new) = (Nodes::default(), false);
    let mut missing = BTreeSet::from([Prefix::new()]);
    while !missing.is_empty() {
        let rows = sqlx::query("select prefix, node from audit_map_nodes where prefix = any($1) and died is null")
            .bind(missing.iter().cloned().collect::<Vec<_>>())
            .fetch_all(&mut *tx)
            .await?;
        let found = rows.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        if found.is_empty() && missing.contains(&Prefix::new()) {
            // Nothing was stored yet.
            nodes = Nodes::empty();
            is_new = true;
        } else if found.len() != missing.len() {
            return Err(LogError::Stored(LOST));
        }
        nodes.add(found);
        missing =
            entries.iter().filter_map(|entry| nodes.missing(&entry.index)).map(|Missing(prefix)| prefix).collect();
    }
    for entry in entries {
        nodes.set(entry)?;
    }
    let (root, mut changed) = nodes.root()?;
    if is_new {
        // It is stored without entries, too: of a map that is kept there is at least this node.
        changed.insert(Prefix::new());
    }
    let changed: Vec<Prefix> = changed.into_iter().collect();
    let bytes: Vec<Vec<u8>> =
        changed.iter().map(|prefix| nodes.all().get(prefix).map(Node::to_bytes).unwrap_or_default()).collect();
    let replace = match replaced {
        Replaced::Kept => "update audit_map_nodes set died = $2 where prefix = any($1) and died is null",
        Replaced::Deleted => "delete from audit_map_nodes where prefix = any($1) and born < $2",
    };
    sqlx::query(replace).bind(&changed).bind(changes.until().0).execute(&mut *tx).await?;
    sqlx::query(
        "insert into audit_map_nodes (prefix, born, node) select p, $2, n from unnest($1::bytea[], $3::bytea[]) u(p, n)",
    )
    .bind(&changed)
    .bind(changes.until().0)
    .bind(bytes)
    .execute(&mut *tx)
    .await?;
    Ok(root)
}

/// A stored node.
pub(super) fn node(row: &PgRow) -> Result<(Prefix, Node), LogError> {
    let node = Node::from_bytes(row.try_get("node")?).ok_or(LogError::Stored(UNREADABLE))?;
    Ok((row.try_get("prefix")?, node))
}

/// How a rebuild of the map ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebuiltMap {
    /// The map as it is now.
    pub map: MapState,
    /// Whether its root is the one that was stored.
    pub same: bool,
}

/// Makes the map again from the log, as far as it went. No checkpoint is signed meanwhile, and bundles are of checkpoints before;
/// writes go on. `progress` is called with the position reached and the last one.
///
/// # Errors
/// [`LogError`]
pub async fn rebuild_map(
    connect: &Connector,
    progress: &(dyn Fn(Position, Position) + Send + Sync),
) -> Result<RebuiltMap, LogError> {
    let mut connection = connect.connect().await?;
    let mut tx = connection.begin().await?;
    let before = MapState::of(&sqlx::query("select until, root from audit_map for update").fetch_one(&mut *tx).await?)?;
    sqlx::query("delete from audit_map_nodes").execute(&mut *tx).await?;
    let mut names = Names::default();
    let (mut after, mut root) = (0, Hash32([0; 32]));
    while after < before.until.0 {
        progress(Position(after), before.until);
        let until = before.until.0.min(after + PAGE);
        let page = pages::rows(&mut tx, after, until).await?;
        names.learn(&mut tx, &page).await?;
        let mut changes = Changes::after(Position(after));
        for raw in page {
            let name = names.get(raw.stream);
            changes.apply(&raw.decode(name)?);
        }
        if changes.until().0 != until {
            return Err(LogError::Damaged { position: until, what: "a position before it is missing" });
        }
        root = store(&mut tx, &mut changes, Replaced::Deleted).await?;
        after = until;
    }
    progress(before.until, before.until);
    sqlx::query("update audit_map set root = $1, oldest = until").bind(&root.0[..]).execute(&mut *tx).await?;
    tx.commit().await?;
    connection.close().await?;
    Ok(RebuiltMap { map: MapState { until: before.until, root }, same: root == before.root })
}
