//! What the transparency log costs: a proof beside the reading of its event alone, and the ledger with
//! checkpoints beside the ledger without them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use be8::audit::tree::Question;
use be8_events::Position;
use rand::RngExt as _;

use crate::closed_loop::Window;
use crate::cpu::Clocks;
use crate::rebuild::{accounts_for, median};
use crate::world::{Resident, World};

/// How many positions are asked for.
const POSITIONS: usize = 2000;
/// How many pairs of windows with and without checkpoints.
const PAIRS: usize = 7;
/// A proof takes less than so many times the reading of its event.
const PROOF: f64 = 3.0;
/// What is left of the rate of the ledger with checkpoints, at least.
const WRITING: f64 = 0.9;

/// Fills a log, asks for proofs out of it, then writes on with and without checkpoints in turn.
pub async fn measure(events: usize, window: Window) -> String {
    let world = World::start().await;
    eprintln!("filling a log with about {events} events");
    let [with, without] = world.twins(accounts_for(events), [("1", "signing"), ("86400", "silent")]).await;
    let size = covered(&with).await;
    let (read, proved) = proofs(&with, size).await;
    let mut ratios = Vec::new();
    for pair in 0..PAIRS {
        let (one, other) = if pair % 2 == 0 { (&with, &without) } else { (&without, &with) };
        let first = rate(one, window).await;
        let second = rate(other, window).await;
        let (with, without) = if pair % 2 == 0 { (first, second) } else { (second, first) };
        eprintln!("pair {}: {with:.0}/s with checkpoints, {without:.0}/s without", pair + 1);
        ratios.push(with / without);
    }
    // What was written is covered: the checkpoints did go on.
    assert!(covered(&with).await > size, "nothing was signed");
    for resident in [with, without] {
        resident.leave().await;
    }
    world.end().await;

    let mut out = String::new();
    let proof = proved / read;
    let verdict = |met| if met { "met" } else { "NOT MET" };
    let _ = writeln!(out, "{size} events; medians of {POSITIONS} positions, and of {PAIRS} pairs:\n");
    let _ = writeln!(out, "reading an event alone                      {read:>9.0} us");
    let _ = writeln!(out, "the same with its proof                     {proved:>9.0} us");
    let met = verdict(proof < PROOF);
    let _ = writeln!(out, "proof / reading                             {proof:>9.2} (target: under {PROOF}: {met})");
    let writing = median(&ratios);
    let met = verdict(writing >= WRITING);
    let _ =
        writeln!(out, "ledger with / without checkpoints           {writing:>9.2} (target: at least {WRITING}: {met})");
    out
}

/// Waits until everything is covered by a checkpoint; how many events that are.
async fn covered(resident: &Resident) -> u64 {
    let newest = resident.app().ledger.log().newest().await.expect("the log").0.unsigned_abs();
    loop {
        if let Some(head) = resident.app().transparency.tables().newest_head().await.expect("the heads")
            && head.size >= newest
        {
            return head.size;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Microseconds that it takes to read an event, and to read and prove it.
async fn proofs(resident: &Resident, size: u64) -> (f64, f64) {
    let (log, transparency) = (resident.app().ledger.log(), &resident.app().transparency);
    let (mut read, mut proved) = (Vec::new(), Vec::new());
    for _ in 0..POSITIONS {
        let index = rand::rng().random_range(0..size);
        let after = Position(index.cast_signed());
        let begun = Instant::now();
        let alone = log.read_all(after, 1).await.expect("an event");
        read.push(begun.elapsed().as_secs_f64() * 1e6);
        // Another one, so that nothing of it is warm.
        let index = rand::rng().random_range(0..size);
        let begun = Instant::now();
        let event = log.read_all(Position(index.cast_signed()), 1).await.expect("an event");
        let head = transparency.tables().head_covering(index + 1).await.expect("the heads").expect("a head");
        let hashes = transparency.answer(Question::Inclusion { size: head.size, index }).await.expect("a proof");
        proved.push(begun.elapsed().as_secs_f64() * 1e6);
        assert!(alone.len() == 1 && event.len() == 1 && !hashes.is_empty());
    }
    (median(&read), median(&proved))
}

/// Commands that the ledger takes in a second.
async fn rate(resident: &Resident, window: Window) -> f64 {
    let clocks = Clocks::read(None, 0);
    resident.write(window).await.sample(window, 1, clocks.used()).rate
}
