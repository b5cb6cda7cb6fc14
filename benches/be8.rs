//! The benchmark: the real server and its ledger against the floors that PostgreSQL sets on the
//! same machine in the same minutes. `cargo bench --bench be8 -- --help` lists the options.

#[path = "be8/closed_loop.rs"]
mod closed_loop;
#[path = "be8/community.rs"]
mod community;
#[path = "be8/cpu.rs"]
mod cpu;
#[path = "be8/data.rs"]
mod data;
#[path = "be8/driver.rs"]
mod driver;
#[path = "be8/floors.rs"]
mod floors;
#[path = "be8/ground.rs"]
mod ground;
#[path = "be8/groups.rs"]
mod groups;
#[path = "be8/proofs.rs"]
mod proofs;
#[path = "be8/questions.rs"]
mod questions;
#[path = "be8/rebuild.rs"]
mod rebuild;
#[path = "be8/report.rs"]
mod report;
#[path = "be8/rows.rs"]
mod rows;
#[path = "be8/servers.rs"]
mod servers;
#[path = "be8/streams.rs"]
mod streams;
#[path = "be8/world.rs"]
mod world;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use closed_loop::{Sample, Window};
use ground::Side;
use report::Report;
use rows::{ROWS, Row, Size};
use world::World;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The part of the processors that others may use while a row is measured.
const DISTURBED: f64 = 0.06;
/// How often a disturbed row is measured again.
const ATTEMPTS: usize = 3;

/// What a run of the benchmark does.
struct Plan {
    rows: Vec<&'static Row>,
    sizes: Vec<Size>,
    rounds: usize,
    window: Window,
    /// For how many days back there are partitions of messages, empty ones.
    days: u64,
    json: Option<PathBuf>,
    /// Another build, which is driven in turn with this one.
    baseline: Option<PathBuf>,
}

impl Plan {
    fn new(matches: &ArgMatches) -> Self {
        let quick = matches.get_flag("quick");
        let number = |name: &str| matches.get_one::<u64>(name).copied();
        let baseline = matches.get_one::<PathBuf>("baseline").cloned();
        let asked: Option<Vec<&String>> = matches.get_many("rows").map(Iterator::collect);
        let rows = ROWS.iter().filter(|row| match &asked {
            Some(names) => names.iter().any(|name| *name == row.name),
            None => baseline.is_none() || row.is_over_http(),
        });
        let tenfold = !quick && !matches.get_flag("once");
        Self {
            rows: rows.collect(),
            sizes: if tenfold { vec![Size::Once, Size::Tenfold] } else { vec![Size::Once] },
            rounds: number("rounds").unwrap_or(match (quick, &baseline) {
                (true, _) => 1,
                (false, None) => 3,
                (false, Some(_)) => 5,
            }) as usize,
            window: Window {
                warm_up: Duration::from_millis(if quick { 300 } else { 1000 }),
                measured: Duration::from_secs(number("seconds").unwrap_or(if quick { 1 } else { 4 })),
            },
            days: number("days").unwrap_or(0),
            json: matches.get_one::<PathBuf>("json").cloned(),
            baseline,
        }
    }
}

fn command() -> Command {
    let number = |name: &'static str| Arg::new(name).long(name).value_parser(value_parser!(u64).range(1..=1000));
    Command::new("be8 benchmark")
        .about("Measures the server and the floors under it; prints rates, latencies and ratios")
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("One short round, without the tenfold data"),
        )
        .arg(Arg::new("once").long("once").action(ArgAction::SetTrue).help("Leave out the tenfold data"))
        .arg(
            number("rounds")
                .help("How often every row is measured; figures are medians (default: 3, and 5 beside another build)"),
        )
        .arg(number("seconds").help("How long a row is measured each time (default: 4)"))
        .arg(number("days").help("With the partitions of so many days before today (28: as after a month; default: 0)"))
        .arg(
            Arg::new("rows")
                .long("rows")
                .value_delimiter(',')
                .value_parser(ROWS.iter().map(|row| row.name).collect::<Vec<_>>())
                .help("Only these rows"),
        )
        .arg(Arg::new("json").long("json").value_parser(value_parser!(PathBuf)).help("Write all figures to this file"))
        .arg(
            Arg::new("baseline")
                .long("baseline")
                .value_name("BINARY")
                .value_parser(value_parser!(PathBuf))
                .help("Drives another build of be8 in turn with this one, and prints the ratios pair by pair"),
        )
        .arg(
            Arg::new("rebuild")
                .long("rebuild")
                .value_name("EVENTS")
                .num_args(0..=1)
                .default_missing_value("100000")
                .value_parser(value_parser!(u64).range(1000..=10_000_000))
                .help(
                    "Only: how fast read models are rebuilt, with about so many events (the target is set for 1000000)",
                ),
        )
        .arg(
            Arg::new("proofs")
                .long("proofs")
                .value_name("EVENTS")
                .num_args(0..=1)
                .default_missing_value("100000")
                .value_parser(value_parser!(u64).range(1000..=10_000_000))
                .help("Only: what the transparency log costs, with about so many events (the targets are for 1000000)"),
        )
        .arg(
            Arg::new("streams")
                .long("streams")
                .action(ArgAction::SetTrue)
                .help("Only: what open event streams cost, and how soon what was written is at its receivers"),
        )
        // `cargo bench` says this to every benchmark.
        .arg(Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true))
}

fn main() {
    // The route that answers from memory is a process of its own, like the server: this program.
    if let Some(directory) = std::env::var_os(servers::MEMORY_SERVER) {
        return servers::serve_from_memory(directory.as_ref());
    }
    let matches = command().get_matches();
    let plan = Plan::new(&matches);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Some(&events) = matches.get_one::<u64>("rebuild") {
        return println!("{}", runtime.block_on(rebuild::measure(events as usize, plan.rounds)));
    }
    if let Some(&events) = matches.get_one::<u64>("proofs") {
        return println!("{}", runtime.block_on(proofs::measure(events as usize, plan.window)));
    }
    if matches.get_flag("streams") {
        return println!("{}", runtime.block_on(streams::measure(plan.rounds, plan.baseline.as_deref())));
    }
    let report = runtime.block_on(run(&plan));
    println!("{report}");
    if let Some(path) = &plan.json {
        std::fs::write(path, report.json()).expect("the file for the figures");
    }
}

/// Measures a row, again if others used the processors, and takes the least disturbed figures: on
/// two cores a compiler beside it halves some rows and leaves others alone.
async fn undisturbed(world: &World, row: &Row, size: Size, window: Window) -> Sample {
    let mut best = world.measure(row, size, Side::This, window).await;
    for _ in 0..ATTEMPTS {
        if best.cpu.others <= DISTURBED {
            break;
        }
        let sample = world.measure(row, size, Side::This, window).await;
        eprintln!("disturbed, once more: {sample}");
        if sample.cpu.others < best.cpu.others {
            best = sample;
        }
    }
    best
}

/// How long each row over HTTP is driven in front of the first round with ten times the data: what is asked for again and again is in
/// memory by then. With less data that takes no longer than the warm-up of each window.
const LOADING: Duration = Duration::from_secs(20);

/// Drives the rows of a running server with the tenfold data, so that the rounds do not measure how long it takes to load.
async fn warm_up(world: &World, plan: &Plan, sizes: &[Size]) {
    let window = Window { warm_up: Duration::ZERO, measured: LOADING };
    let sides = [Some(Side::This), plan.baseline.as_ref().map(|_| Side::Baseline)];
    for row in plan.rows.iter().filter(|row| row.is_warm() && row.sizes.contains(&Size::Tenfold)) {
        for side in sides.into_iter().flatten().filter(|_| sizes.contains(&Size::Tenfold)) {
            eprintln!("loading for {}: {}", row.name, world.measure(row, Size::Tenfold, side, window).await);
        }
    }
}

/// Fills the databases, then measures every row in turn, round by round.
async fn run(plan: &Plan) -> Report {
    let mut world = World::start().await;
    let measured = |size: &&Size| plan.rows.iter().any(|row| row.sizes.contains(size));
    let sizes: Vec<Size> = plan.sizes.iter().filter(measured).copied().collect();
    for &size in &sizes {
        world.settle(size, plan.days, plan.baseline.as_deref()).await;
    }
    let mut report = Report::new(&sizes);
    warm_up(&world, plan, &sizes).await;
    for round in 0..plan.rounds {
        report.begin();
        for &row in &plan.rows {
            for &size in row.sizes.iter().filter(|size| sizes.contains(size)) {
                let mut add = |side, sample: Sample| {
                    let whose = if side == Side::This { "" } else { ", the older build" };
                    let (round, rounds, name, size_name) = (round + 1, plan.rounds, row.name, size.name());
                    eprintln!("round {round} of {rounds}: {name} {size_name}{whose}: {sample}");
                    report.add(row, size, side, sample);
                };
                if plan.baseline.is_none() {
                    add(Side::This, undisturbed(&world, row, size, plan.window).await);
                    continue;
                }
                // What disturbs one of a pair disturbs the other: a pair is not repeated.
                add(Side::This, world.measure(row, size, Side::This, plan.window).await);
                if row.is_of_a_server() {
                    add(Side::Baseline, world.measure(row, size, Side::Baseline, plan.window).await);
                }
            }
        }
    }
    world.end().await;
    report
}
