//! The map against its definition, and what its proofs show.

use std::collections::BTreeMap;

use be8_events::Hash32;
use proptest::prelude::*;

use super::map::{EMPTY, Entry, Missing, Node, Nodes, Proof};
use super::*;

/// The root as `docs/log-format.md` defines it, from the set of entries.
fn defined(entries: &[Entry], depth: usize) -> Hash32 {
    match entries {
        [] => Hash32([0; 32]),
        [entry] => hash("be8/map/leaf/1", &[&entry.index.0, &entry.commitment.0]),
        _ => {
            let right = |entry: &&Entry| entry.index.0[depth / 8] & (0x80 >> (depth % 8)) != 0;
            let (right, left): (Vec<Entry>, Vec<Entry>) = entries.iter().partition(right);
            hash("be8/map/node/1", &[&defined(&left, depth + 1).0, &defined(&right, depth + 1).0])
        }
    }
}

/// Indexes of which many begin alike.
fn index() -> impl Strategy<Value = Hash32> {
    (prop::collection::vec(0u8..3, 4), 0u8..=255, 0usize..32).prop_map(|(first, other, at)| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&first);
        bytes[at] ^= other;
        Hash32(bytes)
    })
}

proptest! {
    #[test]
    fn the_tree_is_the_defined_one_and_every_proof_leads_to_its_root(
        batches in prop::collection::vec(prop::collection::vec((index(), any::<u8>()), 0..12), 1..6),
        others in prop::collection::vec(index(), 1..8),
    ) {
        let mut model = BTreeMap::new();
        let mut nodes = Nodes::empty();
        for batch in batches {
            for (index, value) in batch {
                let entry = Entry { index, commitment: Hash32([value; 32]) };
                model.insert(index, entry);
                nodes.set(entry).unwrap();
            }
            let (root, _) = nodes.root().unwrap();
            let all: Vec<Entry> = model.values().copied().collect();
            prop_assert_eq!(root, defined(&all, 0));
        }
        let (root, _) = nodes.root().unwrap();
        for index in model.keys().chain(&others) {
            let proof = nodes.prove(index).unwrap();
            prop_assert_eq!(proof.root(index), Some(root));
            prop_assert_eq!(proof.found.filter(|found| found.index == *index), model.get(index).copied());
            // Nothing else is there: not another value, and not nothing.
            let there = model.get(index).copied();
            let lie = |found| Proof { found, siblings: proof.siblings.clone() }.root(index) == Some(root);
            let forged = Entry { index: *index, commitment: Hash32([0xee; 32]) };
            prop_assert!(there == Some(forged) || !lie(Some(forged)));
            prop_assert!(there.is_none() || !lie(None));
            // And a proof is of its path alone.
            if let Some(found) = proof.found {
                let mut elsewhere = *index;
                elsewhere.0[0] ^= 0x80;
                let moved = Proof { found: Some(found), ..proof.clone() }.root(&elsewhere);
                prop_assert!(proof.siblings.is_empty() || moved.is_none());
            }
        }
        // What is stored is what was there.
        for node in nodes.all().values() {
            prop_assert_eq!(Node::from_bytes(&node.to_bytes()), Some(node.clone()));
        }
    }

    #[test]
    fn a_part_of_the_nodes_is_enough_for_what_it_covers(
        old in prop::collection::vec((index(), any::<u8>()), 0..30),
        new in prop::collection::vec((index(), any::<u8>()), 1..10),
    ) {
        let entry = |(index, value): &(Hash32, u8)| Entry { index: *index, commitment: Hash32([*value; 32]) };
        let mut whole = Nodes::empty();
        old.iter().for_each(|one| whole.set(entry(one)).unwrap());
        whole.root().unwrap();
        let mut part = Nodes::default();
        for (index, _) in &new {
            while let Some(Missing(prefix)) = part.missing(index) {
                let node = whole.all()[&prefix].clone();
                part.add([(prefix, node)]);
            }
        }
        for one in &new {
            part.set(entry(one)).unwrap();
            whole.set(entry(one)).unwrap();
        }
        let (root, changed) = part.root().unwrap();
        let (expected, all_changed) = whole.root().unwrap();
        prop_assert_eq!((root, &changed), (expected, &all_changed));
        for prefix in changed {
            prop_assert_eq!(&part.all()[&prefix], &whole.all()[&prefix]);
        }
    }
}

#[test]
fn an_empty_map_has_no_root_but_zeros() {
    let mut nodes = Nodes::empty();
    assert_eq!(nodes.root().unwrap().0, EMPTY);
    assert_eq!(nodes.prove(&Hash32([7; 32])).unwrap(), Proof { found: None, siblings: Vec::new() });
    assert!(Nodes::default().set(Entry { index: EMPTY, commitment: EMPTY }).is_err());
    assert!(Nodes::default().root().is_err());
    assert_eq!(Node::from_bytes(&[3, 1]), None);
}
