//! The tree against the definitions of RFC 6962, written down here once more.

use proptest::prelude::*;

use super::*;

/// The root as RFC 6962, section 2.1, defines it.
fn root_by_definition(leaves: &[Hash32]) -> Hash32 {
    match leaves {
        [] => Hash32::sha256(b""),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            let (left, right) = (root_by_definition(left), root_by_definition(right));
            Hash32::sha256(&[&[1][..], &left.0, &right.0].concat())
        }
    }
}

/// Entry number n of a tree for tests.
fn entry(n: u64) -> Hash32 {
    Hash32::sha256(&n.to_be_bytes())
}

fn leaves(size: u64) -> Vec<Hash32> {
    (0..size).map(|n| Hash32::sha256(&[&[0][..], &entry(n).0].concat())).collect()
}

/// A tree of this size that was stored and loaded again on its way, at each of these sizes.
fn grown(size: u64, stops: &[u64]) -> (Growth, Tiles) {
    let mut stored = Tiles::new();
    let mut tree = Growth::new(0, Tiles::new()).unwrap();
    for n in 0..size {
        if stops.contains(&n) {
            stored.append(&mut tree.changed());
            tree = Growth::new(n, stored.clone()).unwrap();
        }
        tree.push(entry(n));
    }
    stored.append(&mut tree.changed());
    (tree, stored)
}

fn ask(question: Question, tiles: &Tiles) -> Vec<Hash32> {
    let needed = question.tiles().unwrap();
    let only: Tiles = tiles.iter().filter(|(id, _)| needed.contains(id)).map(|(id, t)| (*id, t.clone())).collect();
    assert_eq!(only.len(), needed.len(), "{question:?} asks for tiles that there are");
    question.answer(&only).unwrap()
}

#[test]
fn the_leaf_and_node_hashes_are_those_of_rfc_6962() {
    // The tree of one empty entry and the empty tree, as Certificate Transparency publishes them.
    let empty_leaf = Hash32(tlog_tiles::record_hash(b"").0);
    assert_eq!(empty_leaf.to_string(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    let nothing = Growth::new(0, Tiles::new()).unwrap();
    assert_eq!(nothing.root().unwrap().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(leaf(entry(0)), leaves(1)[0]);
}

#[test]
fn tiles_are_what_c2sp_says() {
    // The example of the specification: a tree of 70,000.
    let (tree, tiles) = grown(70_000, &[1, 255, 256, 257, 65_536, 69_999]);
    let of = |level| tiles.iter().filter(move |((l, _), _)| *l == level).map(|(_, bytes)| bytes.len() / HASH);
    assert_eq!((of(0).filter(|width| *width == 256).count(), of(0).next_back()), (273, Some(112)));
    assert_eq!(of(1).collect::<Vec<_>>(), [256, 17]);
    assert_eq!(of(2).collect::<Vec<_>>(), [1]);
    assert_eq!(of(3).count(), 0, "never an empty tile");
    let leaves = leaves(70_000);
    assert_eq!(tree.root().unwrap(), root_by_definition(&leaves));
    // A hash of level 1 is the root of a full tile of level 0.
    assert_eq!(tiles[&(1, 1)][..HASH], root_by_definition(&leaves[65_536..65_792]).0);
    assert_eq!(tiles[&(2, 0)][..], root_by_definition(&leaves[..65_536]).0);
}

#[test]
fn paths_are_read_as_written_and_nothing_else_is() {
    for (path, level, number, width) in [
        ("0/000", 0, 0, 256),
        ("0/273.p/112", 0, 273, 112),
        ("1/x001/x234/067", 1, 1_234_067, 256),
        ("63/x001/000.p/1", 63, 1000, 1),
    ] {
        let read: TilePath = path.parse().unwrap();
        assert_eq!((read.id, read.width, read.to_string().as_str()), ((level, number), width, path));
    }
    for bad in [
        "",
        "0",
        "0/",
        "0/0",
        "0/0000",
        "00/000",
        "64/000",
        "256/000",
        "-1/000",
        "0/-01",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000.p/",
        "0/x000/001",
        "0/001/x000",
        "0/x1/000",
        "entries/000",
        "0/000/",
        "0/000.p/1/2",
        "0/+01",
        "0/99999999999999999999999",
        "0/x001/x002",
    ] {
        assert!(bad.parse::<TilePath>().is_err(), "{bad}");
    }
}

#[test]
fn what_is_missing_is_reported() {
    let (_, tiles) = grown(300, &[]);
    assert!(Growth::new(300, Tiles::new()).is_err());
    assert!(Growth::new(301, tiles.clone()).is_err(), "narrower than the size says");
    assert!(Growth::new(299, tiles.clone()).is_ok(), "wider is cut");
    assert!(Question::Root { size: 301 }.answer(&tiles).is_err());
    assert!(Question::Inclusion { size: 300, index: 300 }.tiles().is_err());
    assert!(Question::Consistency { old: 301, size: 300 }.tiles().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_tree_grows_the_same_however_often_it_is_stored(size in 0u64..2000, stops in prop::collection::vec(0u64..2000, 0..6)) {
        let (tree, tiles) = grown(size, &stops);
        prop_assert_eq!(tree.root().unwrap(), root_by_definition(&leaves(size)));
        prop_assert_eq!(&tiles, &grown(size, &[]).1);
        prop_assert_eq!(ask(Question::Root { size }, &tiles), [root_by_definition(&leaves(size))]);
    }

    #[test]
    fn every_entry_is_proved_at_every_size(size in 1u64..1500, part in 0.0..1.0f64, at in 0.0..1.0f64, bit in 0usize..256) {
        let (_, tiles) = grown(size, &[]);
        // At an older size, from the tiles of today.
        let then = 1 + ((size - 1) as f64 * part) as u64;
        let index = ((then - 1) as f64 * at) as u64;
        let root = root_by_definition(&leaves(then));
        let mut proof = ask(Question::Inclusion { size: then, index }, &tiles);
        let own = leaf(entry(index));
        prop_assert!(included(&proof, then, root, index, own));
        prop_assert!(!included(&proof, then, root, index, leaf(entry(index + 1))), "another entry");
        prop_assert!(!included(&proof, then, leaf(root), index, own), "another root");
        if then > 1 {
            let elsewhere = if index == 0 { then - 1 } else { index - 1 };
            prop_assert!(!included(&proof, then, root, elsewhere, own), "another index");
            let flipped = bit % proof.len();
            proof[flipped].0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!included(&proof, then, root, index, own), "a changed proof");
            proof.pop();
            prop_assert!(!included(&proof, then, root, index, own), "a shorter proof");
        }
        proof.push(root);
        prop_assert!(!included(&proof, then, root, index, own), "a longer proof");
    }

    #[test]
    fn every_size_is_the_beginning_of_every_later_one(size in 1u64..1500, part in 0.0..=1.0f64) {
        let (_, tiles) = grown(size, &[]);
        let old = (size as f64 * part) as u64;
        let (now, then) = (root_by_definition(&leaves(size)), root_by_definition(&leaves(old)));
        let proof = ask(Question::Consistency { old, size }, &tiles);
        prop_assert!(consistent(&proof, (old, then), (size, now)));
        if old > 0 {
            prop_assert!(!consistent(&proof, (old, leaf(then)), (size, now)), "a rewritten beginning");
        }
        if old > 0 && old < size {
            prop_assert!(!consistent(&[], (old, then), (size, now)));
            prop_assert!(!consistent(&proof, (old, then), (size, leaf(now))));
        }
        prop_assert!(!consistent(&proof, (size + 1, now), (size, now)), "smaller than before");
    }
}
