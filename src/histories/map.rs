//! The tree of the map: a sparse Merkle tree over 256 bits, kept in nodes of 16 children.
//!
//! Of the entries below a point of the tree, none are 32 zero bytes, one is its leaf, and more are the hash of both halves, by the
//! next bit of their indexes. So the root follows from the set of entries alone, and a proof is as long as the logarithm of their
//! number.
//!
//! Own code: crates.io has `jmt`, whose reader is synchronous where PostgreSQL's is not, which stores every value once more, and
//! brings a serialisation and macros of its own; `akd` brings a directory with a verifiable random function and its own storage;
//! `sparse-merkle-tree` stores each branch by its height. What any of them would do here are the functions below, and what is proved
//! by them must be specified byte by byte for other verifiers either way.

use std::collections::{BTreeMap, BTreeSet};

use be8_events::Hash32;

use super::hash;

/// The hash of no entries.
pub const EMPTY: Hash32 = Hash32([0; 32]);
/// The bits of an index.
const BITS: usize = 256;
/// The children of a node: four bits of an index.
const CHILDREN: usize = 16;

/// An entry of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub index: Hash32,
    /// What it commits to.
    pub commitment: Hash32,
}

impl Entry {
    /// Its hash as a leaf of the tree.
    fn leaf(&self) -> Hash32 {
        hash("be8/map/leaf/1", &[&self.index.0, &self.commitment.0])
    }
}

/// The hash of both halves.
fn parent(left: &Hash32, right: &Hash32) -> Hash32 {
    hash("be8/map/node/1", &[&left.0, &right.0])
}

/// A bit of an index, counted from its front.
fn bit(index: &Hash32, at: usize) -> bool {
    index.0[at / 8] >> (7 - at % 8) & 1 == 1
}

/// Four bits of an index.
fn nibble(index: &Hash32, at: usize) -> usize {
    usize::from(if at.is_multiple_of(2) { index.0[at / 2] >> 4 } else { index.0[at / 2] & 0x0f })
}

/// Where a node is: the first bits of all indexes below it, four to a byte.
pub type Prefix = Vec<u8>;

/// The prefixes of an index that have at most so many times four bits, the shortest first.
pub fn prefixes(index: &Hash32, most: usize) -> impl Iterator<Item = Prefix> {
    let nibbles: Vec<u8> = (0..most.min(BITS / 4 - 1)).map(|at| nibble(index, at) as u8).collect();
    (0..=nibbles.len()).map(move |length| nibbles[..length].to_vec())
}

/// What is below one of the 16 halves of halves of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Child {
    /// One entry.
    Entry(Entry),
    /// Several: the node of them, by its hash.
    Node(Hash32),
}

/// A node. It is there if at least two entries are below it, or if it is the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node([Option<Child>; CHILDREN]);

/// Marks a node among the children, beside the number of the child.
const IS_NODE: u8 = 0x10;

impl Node {
    /// As it is stored: for each child a byte, then its hash, or index and commitment.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, child) in (0u8..).zip(&self.0) {
            match child {
                None => {}
                Some(Child::Entry(entry)) => {
                    bytes.push(number);
                    bytes.extend_from_slice(&entry.index.0);
                    bytes.extend_from_slice(&entry.commitment.0);
                }
                Some(Child::Node(hash)) => {
                    bytes.push(number | IS_NODE);
                    bytes.extend_from_slice(&hash.0);
                }
            }
        }
        bytes
    }

    /// Reads what [`Node::to_bytes`] wrote.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut node = Self::default();
        let take = |bytes: &mut &[u8]| {
            let (hash, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Some(Hash32(*hash))
        };
        while let Some((number, rest)) = bytes.split_first() {
            bytes = rest;
            let child = node.0.get_mut(usize::from(number & !IS_NODE))?;
            *child = Some(if number & IS_NODE != 0 {
                Child::Node(take(&mut bytes)?)
            } else {
                Child::Entry(Entry { index: take(&mut bytes)?, commitment: take(&mut bytes)? })
            });
        }
        Some(node)
    }
}

/// The hash of what is below some neighbouring children: all, a half, a quarter, an eighth or one of a node's.
fn below(children: &[Option<Child>]) -> Hash32 {
    let mut there = children.iter().flatten();
    match (there.next(), there.next()) {
        (None, _) => EMPTY,
        (Some(Child::Entry(entry)), None) => entry.leaf(),
        (Some(Child::Node(hash)), None) if children.len() == 1 => *hash,
        _ => {
            let (left, right) = children.split_at(children.len() / 2);
            parent(&below(left), &below(right))
        }
    }
}

/// What is at an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The only entry where the path ends, which may be another one; none where nothing is.
    pub found: Option<Entry>,
    /// The hashes beside the path, from its end upwards.
    pub siblings: Vec<Hash32>,
}

impl Proof {
    /// The root that this is a proof for; none if it cannot be of this index.
    pub fn root(&self, index: &Hash32) -> Option<Hash32> {
        let depth = self.siblings.len();
        let of_path = |entry: &Entry| (0..depth).all(|at| bit(&entry.index, at) == bit(index, at));
        if depth > BITS || !self.found.as_ref().is_none_or(of_path) {
            return None;
        }
        let mut hash = self.found.as_ref().map_or(EMPTY, Entry::leaf);
        for (at, sibling) in (0..depth).rev().zip(&self.siblings) {
            hash = if bit(index, at) { parent(sibling, &hash) } else { parent(&hash, sibling) };
        }
        Some(hash)
    }
}

/// A node that is needed and not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a node of the map of histories is missing, at {0:?}")]
pub struct Missing(pub Prefix);

/// The nodes of a map: all, or those that were read.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    nodes: BTreeMap<Prefix, Node>,
    changed: BTreeSet<Prefix>,
}

impl Nodes {
    /// A map without entries, of which all nodes are there.
    pub fn empty() -> Self {
        let mut nodes = Self::default();
        nodes.add([(Prefix::new(), Node::default())]);
        nodes
    }

    /// Adds nodes that were read.
    pub fn add(&mut self, nodes: impl IntoIterator<Item = (Prefix, Node)>) {
        self.nodes.extend(nodes);
    }

    /// All nodes.
    pub const fn all(&self) -> &BTreeMap<Prefix, Node> {
        &self.nodes
    }

    /// Which node must be added before this index can be proved or set.
    pub fn missing(&self, index: &Hash32) -> Option<Missing> {
        let mut prefix = Prefix::new();
        loop {
            let Some(node) = self.nodes.get(&prefix) else { return Some(Missing(prefix)) };
            let number = nibble(index, prefix.len());
            match node.0[number] {
                None | Some(Child::Entry(_)) => return None,
                Some(Child::Node(_)) => prefix.push(number as u8),
            }
        }
    }

    /// Puts an entry to its index. The hashes above follow with [`Nodes::root`].
    ///
    /// # Errors
    /// [`Missing`]
    pub fn set(&mut self, entry: Entry) -> Result<(), Missing> {
        let mut prefix = Prefix::new();
        loop {
            let Some(node) = self.nodes.get_mut(&prefix) else { return Err(Missing(prefix)) };
            let number = nibble(&entry.index, prefix.len());
            let child = &mut node.0[number];
            self.changed.insert(prefix.clone());
            prefix.push(number as u8);
            match *child {
                Some(Child::Node(_)) => {}
                Some(Child::Entry(other)) if other.index != entry.index => {
                    *child = Some(Child::Node(EMPTY));
                    let mut node = Node::default();
                    node.0[nibble(&other.index, prefix.len())] = Some(Child::Entry(other));
                    self.nodes.insert(prefix.clone(), node);
                }
                Some(Child::Entry(_)) | None => {
                    *child = Some(Child::Entry(entry));
                    return Ok(());
                }
            }
        }
    }

    /// The root, after what was set, and the nodes that are new or other ones since the last call.
    ///
    /// # Errors
    /// [`Missing`]
    pub fn root(&mut self) -> Result<(Hash32, BTreeSet<Prefix>), Missing> {
        let mut by_length: Vec<Prefix> = self.changed.iter().cloned().collect();
        by_length.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        for prefix in by_length {
            let Some((number, above)) = prefix.split_last() else { break };
            let hash = self.nodes.get(&prefix).map(|node| below(&node.0)).ok_or_else(|| Missing(prefix.clone()))?;
            let above = self.nodes.get_mut(above).ok_or_else(|| Missing(above.to_vec()))?;
            above.0[usize::from(*number)] = Some(Child::Node(hash));
        }
        let root = self.nodes.get(&Prefix::new()).map(|node| below(&node.0)).ok_or_else(|| Missing(Prefix::new()))?;
        Ok((root, std::mem::take(&mut self.changed)))
    }

    /// Proves what is at an index.
    ///
    /// # Errors
    /// [`Missing`]
    pub fn prove(&self, index: &Hash32) -> Result<Proof, Missing> {
        let (mut prefix, mut siblings) = (Prefix::new(), Vec::new());
        let found = 'nodes: loop {
            let Some(node) = self.nodes.get(&prefix) else { return Err(Missing(prefix)) };
            let number = nibble(index, prefix.len());
            let mut children = &node.0[..];
            let mut at = prefix.len() * 4;
            loop {
                let mut there = children.iter().flatten();
                match (there.next(), there.next()) {
                    (None, _) => break 'nodes None,
                    (Some(Child::Entry(entry)), None) => break 'nodes Some(*entry),
                    _ if children.len() == 1 => break,
                    _ => {}
                }
                let (left, right) = children.split_at(children.len() / 2);
                let (own, other) = if bit(index, at) { (right, left) } else { (left, right) };
                siblings.push(below(other));
                (children, at) = (own, at + 1);
            }
            prefix.push(number as u8);
        };
        siblings.reverse();
        Ok(Proof { found, siblings })
    }
}
