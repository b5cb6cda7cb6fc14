//! The rebuild of all read models, against the rate at which PostgreSQL gives out the same rows of
//! the log.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use be8::ledger::rebuild::{Progress, Rebuild, RebuildSession};
use be8::node::BUILD;
use be8_database::Connector;
use futures_util::TryStreamExt;
use sqlx::Connection;

use crate::world::World;

/// An account brings about so many events: itself, its conversations, what is written and read in them.
const EVENTS_OF_AN_ACCOUNT: usize = 130;
/// The part of the floor that is to be reached.
const TARGET: f64 = 0.25;

/// The rows that a rebuild reads, in its order.
const FLOOR: &str = "copy (select position, stream, version, kind, schema, time, actor, salt, payload, sealed
    from events order by position) to stdout (format text)";

/// Fills a log, then reads it out and rebuilds from it in turn; the comparison is not counted.
pub async fn measure(events: usize, rounds: usize) -> String {
    let world = World::start().await;
    eprintln!("filling a log with about {events} events");
    let database = world.quiet(accounts_for(events)).await;
    let mut floors = Vec::new();
    let mut rebuilds = Vec::new();
    let mut ratios = Vec::new();
    let mut count = 0;
    for round in 1..=rounds {
        let (rows, floor) = read_out(&database.connect).await;
        let rebuilt = rebuild(&database.connect).await;
        count = rows;
        let rate = |time: Duration| rows as f64 / time.as_secs_f64();
        eprintln!("round {round}: {rows} events, COPY {:.0}/s, rebuild {:.0}/s", rate(floor), rate(rebuilt));
        floors.push(rate(floor));
        rebuilds.push(rate(rebuilt));
        ratios.push(rate(rebuilt) / rate(floor));
    }
    database.close().await;
    world.end().await;
    let mut out = String::new();
    let met = if median(&ratios) >= TARGET { "met" } else { "NOT MET" };
    let _ = writeln!(out, "{count} events, medians of {rounds}:\n");
    let _ = writeln!(out, "COPY (SELECT ...) TO STDOUT (FORMAT text)   {:>9.0} events/s", median(&floors));
    let _ = writeln!(out, "rebuild of all read models                  {:>9.0} events/s", median(&rebuilds));
    let _ = writeln!(
        out,
        "rebuild / COPY                              {:>9.2} (target: at least {TARGET}: {met})",
        median(&ratios)
    );
    out
}

/// How many accounts bring about so many events: an even number, and enough for 19 conversations each.
pub fn accounts_for(events: usize) -> usize {
    (events / EVENTS_OF_AN_ACCOUNT / 2 * 2).max(40)
}

async fn read_out(connect: &Connector) -> (usize, Duration) {
    let mut connection = connect.connect().await.expect("a connection");
    let begun = Instant::now();
    let mut rows = 0;
    let mut bytes = 0;
    let mut chunks = connection.copy_out_raw(FLOOR).await.expect("a copy");
    while let Some(chunk) = chunks.try_next().await.expect("rows") {
        bytes += chunk.len();
        rows += 1;
    }
    drop(chunks);
    let took = begun.elapsed();
    assert!(bytes > rows * 100, "every row comes alone");
    connection.close().await.expect("the end of the connection");
    (rows, took)
}

/// Until the comparison begins: replayed, indexed, caught up.
async fn rebuild(connect: &Connector) -> Duration {
    let session = RebuildSession::open(connect, false).await.expect("the lock");
    let begun = Instant::now();
    let ready = Mutex::new(None);
    let progress = |progress: Progress| {
        if matches!(progress, Progress::Comparing(_)) {
            ready.lock().expect("nobody panics").get_or_insert(begun.elapsed());
        }
    };
    let rebuilt = session.rebuild(&Rebuild::default(), BUILD, &progress).await.expect("a rebuild");
    assert!(rebuilt.differences.is_empty(), "equal tables");
    session.drop_old().await.expect("room");
    session.close().await;
    ready.into_inner().expect("nobody panics").expect("a comparison")
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
