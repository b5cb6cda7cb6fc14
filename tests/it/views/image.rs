//! What was erased is not in the memory of the servers any more, either: not where it was kept, and not where it once was. Only root
//! may look into that: on request, with `BE8_MEMORY_IMAGE=1`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use memchr::memmem::Finder;
use rand::RngExt as _;
use serde_json::json;

use super::NORMAL;
use super::erasure::{found, nodes};
use crate::groups::people;
use crate::patience::eventually;
use crate::server::Server;

/// How every word begins that is looked for.
const BEGIN: &str = "memory-image-";
/// How much memory is looked at at a time.
const PIECE: usize = 1 << 20;
/// How long a word is.
const WORD: usize = BEGIN.len() + 32;

/// A word that is nowhere else.
fn word() -> String {
    format!("{BEGIN}{:032x}", rand::rng().random::<u128>())
}

/// The words that are anywhere in the memory of a process.
fn words_in_memory(server: &Server) -> BTreeSet<String> {
    let pid = server.pid().as_raw_nonzero();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("where memory is");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("the memory of a process, which root may read");
    let (mut words, mut piece, begin) = (BTreeSet::new(), vec![0; PIECE + WORD], Finder::new(BEGIN));
    for line in maps.lines() {
        let mut fields = line.split(' ');
        let (Some((from, to)), Some(rights)) = (fields.next().and_then(|range| range.split_once('-')), fields.next())
        else {
            continue;
        };
        // Programs and libraries hold no words of users.
        if !rights.starts_with("rw") {
            continue;
        }
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).expect("an address"));
        for from in (from..to).step_by(PIECE) {
            // What was never touched, or belongs to the kernel, cannot be read.
            let Ok(read) = memory.read_at(&mut piece, from) else { continue };
            words.extend(begin.find_iter(&piece[..read]).map(|at| {
                let word = piece[at..read].iter().take(WORD);
                word.map(|byte| char::from(*byte)).collect::<String>()
            }));
        }
    }
    words
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_what_was_erased_stays_in_memory() {
    if std::env::var_os("BE8_MEMORY_IMAGE").is_none() {
        return;
    }
    let nodes = nodes(NORMAL).await;
    let [left, kicked, removed, named] = [word(), word(), word(), word()];
    let [anna, ben, carl] = people(&nodes[0], ["Anna", "Ben", "Carl"]).await;
    let all = [&anna, &ben, &carl];
    let (group, dialog) = (anna.founds().await, anna.start_conversation(&carl).await);
    let (threads, groups) = ([&*dialog], [&*group]);
    for member in [&ben, &carl] {
        member.enters(&group).await;
    }
    carl.at(&nodes[0]).says(&group, &left).await;
    ben.at(&nodes[0]).says(&group, &kicked).await;
    carl.at(&nodes[1]).write(&dialog, &anna, &removed).await;
    let status = carl.at(&nodes[1]).client.post("/userstatusset", &json!({ "userStatus": &named })).await;
    assert_eq!(status.verdict(), "200 ok");
    for word in [&left, &kicked, &removed, &named] {
        assert!(found(&nodes, &all, &threads, &groups, word).await);
    }
    // The search finds what is there.
    for node in &nodes {
        let in_memory = words_in_memory(node);
        for word in [&left, &kicked, &removed, &named] {
            assert!(in_memory.contains(word), "{word} is not in {in_memory:?}");
        }
    }

    let gone = async |what: &str, words: &[&String]| {
        for node in &nodes {
            eventually(&format!("{what}: nothing of it is in memory"), async || {
                let in_memory = words_in_memory(node);
                !words.iter().any(|word| in_memory.contains(*word))
            })
            .await;
        }
    };
    carl.at(&nodes[1]).leaves(&group).await;
    gone("leaving", &[&left]).await;
    anna.at(&nodes[0]).kicks(&group, &ben).await;
    gone("being kicked", &[&kicked]).await;
    assert_eq!(carl.at(&nodes[1]).client.get("/destroyacc").await.status, 200);
    gone("removal", &[&left, &removed, &named]).await;
}
