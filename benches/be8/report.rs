//! The figures: medians over the rounds, ratios within each round, and the targets.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use crate::closed_loop::Sample;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Floor 1.
    SingleInserts,
    /// Floor 2.
    Batches,
    /// The ledger without HTTP.
    Ledger,
    /// `/writemessage` into many conversations.
    WriteMany,
    /// `/writemessage` into one.
    WriteOne,
    /// Floor 3 of `/getthreads`.
    ThreadsStatement,
    /// `/getthreads`.
    Threads,
    /// The same bytes from memory.
    ThreadsFromMemory,
    /// Floor 3 of `/getmessages`.
    MessagesStatement,
    /// `/getmessages`.
    Messages,
    /// The same bytes from memory.
    MessagesFromMemory,
}

impl Row {
    /// All rows, in the order in which they are measured.
    pub const ALL: [Self; 11] = [
        Self::SingleInserts,
        Self::Batches,
        Self::Ledger,
        Self::WriteMany,
        Self::WriteOne,
        Self::ThreadsStatement,
        Self::Threads,
        Self::ThreadsFromMemory,
        Self::MessagesStatement,
        Self::Messages,
        Self::MessagesFromMemory,
    ];

    /// Its name on the command line and in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SingleInserts => "f1",
            Self::Batches => "f2",
            Self::Ledger => "ledger",
            Self::WriteMany => "write-many",
            Self::WriteOne => "write-one",
            Self::ThreadsStatement => "f3-threads",
            Self::Threads => "getthreads",
            Self::ThreadsFromMemory => "memory-threads",
            Self::MessagesStatement => "f3-messages",
            Self::Messages => "getmessages",
            Self::MessagesFromMemory => "memory-messages",
        }
    }

    /// What it is, for people.
    const fn title(self) -> &'static str {
        match self {
            Self::SingleInserts => "F1: one event, one INSERT, 16 connections",
            Self::Batches => "F2: 256 events an INSERT, one connection",
            Self::Ledger => "ledger, 256 commands in flight",
            Self::WriteMany => "/writemessage, 64 clients, many conversations",
            Self::WriteOne => "/writemessage, 64 clients, one conversation",
            Self::ThreadsStatement => "F3: statement of /getthreads, 16 connections",
            Self::Threads => "/getthreads, 20 threads, 64 clients",
            Self::ThreadsFromMemory => "the same bytes from memory",
            Self::MessagesStatement => "F3: statement of /getmessages, 16 connections",
            Self::Messages => "/getmessages, 100 messages, 64 clients",
            Self::MessagesFromMemory => "the same bytes from memory",
        }
    }

    /// Whether it depends on how much data there is.
    pub const fn grows(self) -> bool {
        !matches!(self, Self::SingleInserts | Self::Batches | Self::ThreadsFromMemory | Self::MessagesFromMemory)
    }

    /// Whether the answers come from memory.
    pub const fn is_from_memory(self) -> bool {
        matches!(self, Self::ThreadsFromMemory | Self::MessagesFromMemory)
    }
}

/// How much data there is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// 1,000 accounts, 9,500 conversations, some 100,000 messages.
    Once,
    /// Ten times that.
    Tenfold,
}

impl Size {
    /// Its name in the JSON and in the names of databases.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Once => "1x",
            Self::Tenfold => "10x",
        }
    }

    /// How many accounts.
    pub const fn accounts(self) -> usize {
        match self {
            Self::Once => 1_000,
            Self::Tenfold => 10_000,
        }
    }
}

/// One round: each row with each size, once.
type Round = BTreeMap<(Row, Size), Sample>;

/// All rounds.
pub struct Report {
    sizes: Vec<Size>,
    rounds: Vec<Round>,
}

/// A ratio that has to be reached, or is only shown.
struct Ratio {
    what: String,
    target: Option<Target>,
    value: f64,
}

#[derive(Clone, Copy)]
enum Target {
    AtLeast(f64),
    Under(f64),
}

impl Target {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::Under(most) => value < most,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::Under(most) => write!(f, "under {most}"),
        }
    }
}

/// The quotients that are looked at: what, of which row and of which other one, and the target.
const QUOTIENTS: [(&str, Row, Row, Option<f64>); 9] = [
    ("ledger / F1", Row::Ledger, Row::SingleInserts, Some(2.5)),
    ("ledger / F2", Row::Ledger, Row::Batches, Some(0.3)),
    ("/writemessage, many conversations / F1", Row::WriteMany, Row::SingleInserts, Some(1.5)),
    ("/writemessage, one / many conversations", Row::WriteOne, Row::WriteMany, Some(0.7)),
    ("/getthreads / F3", Row::Threads, Row::ThreadsStatement, Some(0.45)),
    ("/getmessages / F3", Row::Messages, Row::MessagesStatement, Some(0.45)),
    ("/writemessage, many conversations / ledger", Row::WriteMany, Row::Ledger, None),
    ("/getthreads / the same from memory", Row::Threads, Row::ThreadsFromMemory, None),
    ("/getmessages / the same from memory", Row::Messages, Row::MessagesFromMemory, None),
];

impl Report {
    /// Without a round yet.
    pub fn new(sizes: &[Size]) -> Self {
        Self { sizes: sizes.to_vec(), rounds: Vec::new() }
    }

    /// Begins a round.
    pub fn begin(&mut self) {
        self.rounds.push(Round::new());
    }

    /// Adds to the round that was begun.
    pub fn add(&mut self, row: Row, size: Size, sample: Sample) {
        self.rounds.last_mut().expect("a round was begun").insert((row, size), sample);
    }

    /// The median over the rounds; none where a round lacks what it needs.
    fn median(&self, of: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.rounds.iter().map(of).collect::<Option<_>>()?;
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    fn figure(&self, row: Row, size: Size, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        self.median(|round| round.get(&(row, size)).map(&of))
    }

    fn ratios(&self) -> Vec<Ratio> {
        let rate = |round: &Round, row, size| Some(round.get(&(row, size))?.rate);
        let mut ratios = Vec::new();
        let mut add =
            |what: String, target, value| ratios.extend(Option::map(value, |value| Ratio { what, target, value }));
        for (what, row, other, least) in QUOTIENTS {
            let value = self.median(|round| Some(rate(round, row, Size::Once)? / rate(round, other, Size::Once)?));
            add(what.to_owned(), least.map(Target::AtLeast), value);
        }
        let tail = |sample: &Sample| sample.p99 / sample.p50;
        let value = self.figure(Row::WriteMany, Size::Once, tail);
        add("/writemessage, many conversations: p99 / p50".to_owned(), Some(Target::Under(20.0)), value);
        for row in Row::ALL.into_iter().filter(|row| row.grows()) {
            let value = self.median(|round| Some(rate(round, row, Size::Tenfold)? / rate(round, row, Size::Once)?));
            add(format!("{}: tenfold data / once", row.title()), Some(Target::AtLeast(0.8)), value);
        }
        ratios
    }

    /// All figures of all rounds.
    pub fn json(&self) -> String {
        let sample = |(key, sample): (&(Row, Size), &Sample)| {
            json!({
                "row": key.0.name(), "data": key.1.name(), "rate": sample.rate,
                "p50_us": sample.p50, "p99_us": sample.p99,
                "cpu_us": {
                    "bench": sample.cpu.bench, "server": sample.cpu.server, "postgres": sample.cpu.postgres,
                },
                "cpu_of_others": sample.cpu.others,
            })
        };
        let rounds: Vec<Vec<_>> = self.rounds.iter().map(|round| round.iter().map(sample).collect()).collect();
        let ratios: Vec<_> = self
            .ratios()
            .iter()
            .map(|ratio| {
                json!({
                    "what": ratio.what, "value": ratio.value, "target": ratio.target.map(|target| target.to_string()),
                    "met": ratio.target.map(|target| target.met(ratio.value)),
                })
            })
            .collect();
        format!("{:#}\n", json!({ "ratios": ratios, "rounds": rounds }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Medians of {}. Processor time per operation, in us: benchmark, server, PostgreSQL;\nin parentheses, the part of both processors that went to others.\n",
            self.rounds.len()
        )?;
        writeln!(f, "| what | data | per second | p50 us | p99 us | processor time |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for row in Row::ALL {
            for &size in &self.sizes {
                let figure = |of: fn(&Sample) -> f64| self.figure(row, size, of);
                let (Some(rate), Some(p50), Some(p99)) =
                    (figure(|it| it.rate), figure(|it| it.p50), figure(|it| it.p99))
                else {
                    continue;
                };
                let cpu = [figure(|it| it.cpu.bench), figure(|it| it.cpu.server), figure(|it| it.cpu.postgres)];
                let cpu = cpu.map(|used| format!("{:.1}", used.unwrap_or_default())).join(" + ");
                let (title, size) = (row.title(), size.name());
                let others = 100.0 * figure(|it| it.cpu.others).unwrap_or_default();
                writeln!(f, "| {title} | {size} | {rate:.0} | {p50:.0} | {p99:.0} | {cpu} ({others:.0} %) |")?;
            }
        }
        writeln!(f, "\n| ratio | target | measured | |")?;
        writeln!(f, "|---|---|---|---|")?;
        for Ratio { what, target, value } in self.ratios() {
            let met = target.map_or("", |target| if target.met(value) { "met" } else { "NOT MET" });
            let target = target.map(|target| target.to_string()).unwrap_or_default();
            writeln!(f, "| {what} | {target} | {value:.2} | {met} |")?;
        }
        Ok(())
    }
}
