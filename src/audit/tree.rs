//! The Merkle tree of the transparency log (RFC 6962), kept in tiles of 256 hashes as C2SP
//! tlog-tiles has them: what grows it, and what is asked of it.
//!
//! Entry `n`, counted from 0, is the hash of the canonical bytes of the event at position `n + 1`.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use be8_events::Hash32;
use tlog_tiles::{Hash, HashReader, Tile};

use crate::ledger::{TileId, Tiles};

/// The height of a tile: 256 hashes.
const HEIGHT: u8 = 8;
/// The most hashes of a tile.
pub const WIDTH: usize = 256;
/// The bytes of a hash.
pub const HASH: usize = 32;

/// The tree cannot be what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the hashes of the transparency log cannot be read: {0}")]
pub struct BrokenTree(pub(super) String);

impl From<tlog_tiles::Error> for BrokenTree {
    fn from(error: tlog_tiles::Error) -> Self {
        Self(error.to_string())
    }
}

/// The hash of an entry as a leaf of the tree.
pub fn leaf(entry: Hash32) -> Hash32 {
    Hash32(tlog_tiles::record_hash(&entry.0).0)
}

/// Something that is asked of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The root of the first `size` entries.
    Root {
        /// How many.
        size: u64,
    },
    /// That the entry `index` is among the first `size`.
    Inclusion {
        /// How many.
        size: u64,
        /// Which.
        index: u64,
    },
    /// That the first `old` entries are the beginning of the first `size`.
    Consistency {
        /// How many at first.
        old: u64,
        /// How many then.
        size: u64,
    },
}

impl Question {
    fn ask(self, reader: &impl HashReader) -> Result<Vec<Hash>, BrokenTree> {
        Ok(match self {
            Self::Root { size } => vec![tlog_tiles::tree_hash(size, reader)?],
            Self::Inclusion { size, index } if index < size => tlog_tiles::prove_record(size, index, reader)?,
            Self::Inclusion { .. } => return Err(BrokenTree("an entry beyond the end".to_owned())),
            // From nothing everything follows.
            Self::Consistency { old: 0, .. } => Vec::new(),
            Self::Consistency { old, size } => tlog_tiles::prove_tree(size, old, reader)?,
        })
    }

    /// The tiles that the answer is made from.
    ///
    /// # Errors
    /// [`BrokenTree`] when there is no answer.
    pub fn tiles(self) -> Result<BTreeSet<TileId>, BrokenTree> {
        let recorder = Recorder::default();
        self.ask(&recorder)?;
        Ok(recorder.0.into_inner().into_iter().map(tile_of).collect())
    }

    /// The answer, from tiles that hold at least those of [`Question::tiles`].
    ///
    /// # Errors
    /// [`BrokenTree`] when tiles are missing or too narrow.
    pub fn answer(self, tiles: &Tiles) -> Result<Vec<Hash32>, BrokenTree> {
        self.answer_with(&Reader::new(tiles))
    }

    /// The answer, where the reader remembers what earlier ones have calculated.
    ///
    /// # Errors
    /// As [`Question::answer`].
    pub fn answer_with(self, reader: &Reader<'_>) -> Result<Vec<Hash32>, BrokenTree> {
        Ok(self.ask(reader)?.into_iter().map(|hash| Hash32(hash.0)).collect())
    }
}

/// The tile that holds a hash, by the index that tlog_tiles gives it.
fn tile_of(index: u64) -> TileId {
    let tile = Tile::from_index(HEIGHT, index);
    (tile.level(), tile.level_index())
}

/// Notes which hashes are asked for: the calculations ask for all of them at once.
#[derive(Default)]
struct Recorder(RefCell<Vec<u64>>);

impl HashReader for Recorder {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        self.0.borrow_mut().extend(indexes);
        Ok(vec![Hash([0; HASH]); indexes.len()])
    }
}

/// Reads hashes from tiles, and calculates those inside of tiles once.
#[derive(Debug)]
pub struct Reader<'a> {
    tiles: &'a Tiles,
    known: RefCell<HashMap<u64, Hash>>,
}

impl<'a> Reader<'a> {
    /// From these tiles.
    pub fn new(tiles: &'a Tiles) -> Self {
        Self { tiles, known: RefCell::default() }
    }
}

impl HashReader for Reader<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let mut known = self.known.borrow_mut();
        let mut read = |index: &u64| {
            if let Some(hash) = known.get(index) {
                return Ok(*hash);
            }
            let tile = Tile::from_index(HEIGHT, *index);
            let bytes = self.tiles.get(&(tile.level(), tile.level_index())).ok_or(tlog_tiles::Error::InvalidTile)?;
            let hash = tile.hash_at_index(bytes, *index)?;
            known.insert(*index, hash);
            Ok(hash)
        };
        indexes.iter().map(&mut read).collect()
    }
}

/// Whether a proof shows that `leaf` is the entry `index` of the tree with this root.
pub fn included(proof: &[Hash32], size: u64, root: Hash32, index: u64, leaf: Hash32) -> bool {
    // Longer than the tree is high: tlog_tiles would look at all of it first.
    let proof: Vec<Hash> = proof.iter().take(65).map(|hash| Hash(hash.0)).collect();
    size <= i64::MAX as u64 && tlog_tiles::check_record(&proof, size, Hash(root.0), index, Hash(leaf.0)).is_ok()
}

/// Whether a proof shows that the tree of `old` entries is the beginning of that of `size`.
pub fn consistent(proof: &[Hash32], (old, old_root): (u64, Hash32), (size, root): (u64, Hash32)) -> bool {
    if size > i64::MAX as u64 || old > size {
        return false;
    }
    if old == 0 || old == size {
        return proof.is_empty() && (old == 0 || old_root == root);
    }
    let proof: Vec<Hash> = proof.iter().take(65).map(|hash| Hash(hash.0)).collect();
    tlog_tiles::check_tree(&proof, size, Hash(root.0), old, Hash(old_root.0)).is_ok()
}

/// The tiles at the right edge of a tree that are not full: all that its growth needs.
pub fn edge(size: u64) -> Vec<TileId> {
    let levels = (0..8u8).filter(|level| !(size >> (HEIGHT * level)).is_multiple_of(WIDTH as u64));
    levels.map(|level| (level, tile_number(size, level))).collect()
}

/// The number of the tile that the next hash of a level goes to.
fn tile_number(size: u64, level: u8) -> u64 {
    let shift = u32::from(HEIGHT) * (u32::from(level) + 1);
    size.checked_shr(shift).unwrap_or(0)
}

/// A tree that grows.
#[derive(Debug, Clone)]
pub struct Growth {
    size: u64,
    /// The tiles of the right edge that are not full.
    edge: Tiles,
    /// Those that are new or wider since they were last taken.
    changed: BTreeSet<TileId>,
    /// Full ones among them.
    full: Tiles,
}

impl Growth {
    /// A tree of this size, from the tiles of its [`edge`]. Wider ones are cut.
    ///
    /// # Errors
    /// [`BrokenTree`] when one is missing or too narrow.
    pub fn new(size: u64, mut tiles: Tiles) -> Result<Self, BrokenTree> {
        let mut own = Tiles::new();
        for id @ (level, number) in edge(size) {
            let width = (size >> (HEIGHT * level)) as usize % WIDTH * HASH;
            let mut bytes = tiles.remove(&id).unwrap_or_default();
            if bytes.len() < width {
                return Err(BrokenTree(format!("tile {number} of level {level} is too narrow")));
            }
            bytes.truncate(width);
            own.insert(id, bytes);
        }
        Ok(Self { size, edge: own, changed: BTreeSet::new(), full: Tiles::new() })
    }

    /// How many entries it has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends the next entry.
    pub fn push(&mut self, entry: Hash32) {
        let mut hash = leaf(entry);
        for level in 0..8 {
            let id = (level, tile_number(self.size, level));
            let tile = self.edge.entry(id).or_default();
            tile.extend_from_slice(&hash.0);
            self.changed.insert(id);
            if tile.len() < WIDTH * HASH {
                break;
            }
            hash = Hash32(Tile::subtree_hash(tile).0);
            if let Some(tile) = self.edge.remove(&id) {
                self.full.insert(id, tile);
            }
        }
        self.size += 1;
    }

    /// The tiles that changed since the last call.
    pub fn changed(&mut self) -> Tiles {
        let mut tiles = std::mem::take(&mut self.full);
        for id in std::mem::take(&mut self.changed) {
            if let Some(bytes) = self.edge.get(&id) {
                tiles.insert(id, bytes.clone());
            }
        }
        tiles
    }

    /// The root.
    ///
    /// # Errors
    /// [`BrokenTree`]: never for a tree that grew here.
    pub fn root(&self) -> Result<Hash32, BrokenTree> {
        let answer = Question::Root { size: self.size }.answer(&self.edge)?;
        answer.first().copied().ok_or_else(|| BrokenTree("no root".to_owned()))
    }
}

/// The path of a tile by C2SP tlog-tiles, `tile/<L>/<N>[.p/<W>]`, without the first part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TilePath {
    /// Which tile.
    pub id: TileId,
    /// How many hashes of it.
    pub width: usize,
}

impl std::str::FromStr for TilePath {
    type Err = BrokenTree;

    /// Reads exactly what [`TilePath`]'s `Display` writes. (That of tlog_tiles has the height in
    /// it, and panics for a width of 0.)
    fn from_str(path: &str) -> Result<Self, BrokenTree> {
        let bad = || BrokenTree("not the path of a tile".to_owned());
        let (level, rest) = path.split_once('/').ok_or_else(bad)?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().map_err(|_| bad())?),
            None => (rest, WIDTH),
        };
        let digits = number.split('/').map(|part| part.trim_start_matches('x')).collect::<String>();
        let level = level.parse().map_err(|_| bad())?;
        let tile = Self { id: (level, digits.parse().map_err(|_| bad())?), width };
        if level > 63 || !(1..=WIDTH).contains(&width) || tile.to_string() != path { Err(bad()) } else { Ok(tile) }
    }
}

impl std::fmt::Display for TilePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (level, mut number) = self.id;
        let mut parts = vec![format!("{:03}", number % 1000)];
        while number >= 1000 {
            number /= 1000;
            parts.push(format!("x{:03}", number % 1000));
        }
        parts.reverse();
        write!(f, "{level}/{}", parts.join("/"))?;
        if self.width < WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
