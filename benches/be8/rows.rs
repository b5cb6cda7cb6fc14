//! The rows: what is measured, how, and what is to be reached. Each is declared once, in [`ROWS`].

use std::fmt;

use crate::driver::Requests;
use crate::questions::Questions;

/// Messages that the first server takes a second while a second one answers.
const WRITTEN_MEANWHILE: u32 = 2_000;
/// The smallest budget of the views: what is asked for is never there.
const NO_ROOM: &[(&str, &str)] = &[("--view-memory-mib", "1")];
/// MiB that the views are given which are to be full: there is more to read.
const ROOM: u32 = 48;

/// What is sent.
pub type Ask = fn(&Questions) -> &Requests;

/// How a row is measured.
#[derive(Clone, Copy)]
pub enum Load {
    /// Floor 1.
    SingleInserts,
    /// Floor 2.
    Batches,
    /// Floor 3: the statement of this name.
    Statement(&'static str),
    /// The ledger without HTTP.
    Ledger,
    /// 64 clients of the server.
    Server(Ask),
    /// 64 clients of a server that answers the same bytes from memory.
    Memory(Ask),
    /// 64 clients of a second server on the same database, which has these settings where its build knows them.
    ServerWith(&'static [(&'static str, &'static str)], Ask),
    /// 64 clients of a second server, while the first one is sent so many messages a second.
    Second(Ask, u32),
    /// Each request once, from 64 clients, to a second server that has just started.
    First(Ask),
    /// No load: the resident memory of a second server that has just started, in MiB.
    Idle,
    /// Each of these requests once, to a second server whose views have room for so many MiB, and to one without views: how much more
    /// resident memory the first one has, as a part of that.
    Full(u32, &'static [Ask]),
}

/// How much data there is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// 1,000 accounts, 9,500 conversations, some 100,000 messages; and a community of 100 accounts that all talk, with
    /// 525 threads of 100 messages each.
    Once,
    /// Ten times that: ten communities.
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

    /// How many times the data.
    pub const fn times(self) -> usize {
        match self {
            Self::Once => 1,
            Self::Tenfold => 10,
        }
    }

    /// How many accounts talk in a ring.
    pub const fn accounts(self) -> usize {
        1_000 * self.times()
    }
}

/// What a ratio has to be.
#[derive(Clone, Copy)]
pub enum Target {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
}

impl Target {
    /// Whether it is.
    pub fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::AtMost(most) => write!(f, "at most {most}"),
        }
    }
}

/// What is measured.
pub struct Row {
    /// Its name on the command line and in the figures.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// How it is measured.
    pub load: Load,
    /// The data that it is measured with.
    pub sizes: &'static [Size],
    /// The rows that it is a part of, and how much of them it has to be.
    pub parts: &'static [(&'static str, Option<f64>)],
    /// What is left of its rate with ten times the data.
    pub tenfold: Option<f64>,
    /// Its p99 as a multiple of its p50.
    pub spread: Option<f64>,
    /// What it is itself, where that is a ratio.
    pub itself: Option<Target>,
    /// Its rate as a multiple of that of an older build.
    pub baseline: Option<Target>,
    /// Its p99 as a multiple of that of an older build.
    pub baseline_tail: Option<Target>,
}

impl Row {
    /// Whether an older build can do the same.
    pub const fn is_of_a_server(&self) -> bool {
        use Load::{Batches, Full, Ledger, Memory, SingleInserts, Statement};
        !matches!(self.load, SingleInserts | Batches | Statement(_) | Ledger | Memory(_) | Full(..))
    }

    /// Whether it makes sense beside an older build.
    pub const fn is_over_http(&self) -> bool {
        self.is_of_a_server() || matches!(self.load, Load::Memory(_))
    }

    /// Whether it asks one running server again and again.
    pub const fn is_warm(&self) -> bool {
        matches!(self.load, Load::Server(_))
    }

    const fn new(name: &'static str, title: &'static str, load: Load) -> Self {
        let sizes = &[Size::Once];
        let (tenfold, spread, itself, baseline, baseline_tail) = (None, None, None, None, None);
        Self { name, title, load, sizes, parts: &[], tenfold, spread, itself, baseline, baseline_tail }
    }

    const fn part_of(self, parts: &'static [(&'static str, Option<f64>)]) -> Self {
        Self { parts, ..self }
    }

    /// Measured with both sizes of the data: this much is to be left with the larger one.
    const fn grows(self, least: f64) -> Self {
        Self { sizes: &[Size::Once, Size::Tenfold], tenfold: Some(least), ..self }
    }

    const fn spread(self, most: f64) -> Self {
        Self { spread: Some(most), ..self }
    }

    /// At least so many times the rate of an older build.
    const fn times(self, least: f64) -> Self {
        Self { baseline: Some(Target::AtLeast(least)), ..self }
    }

    /// Not slower than an older build, but for what the machine varies by.
    const fn no_slower(self) -> Self {
        self.times(0.95)
    }
}

/// All rows, in the order in which they are measured.
pub const ROWS: &[Row] = &[
    Row::new("f1", "F1: one event, one INSERT, 16 connections", Load::SingleInserts),
    Row::new("f2", "F2: 256 events an INSERT, one connection", Load::Batches),
    Row::new("ledger", "ledger, 256 commands in flight", Load::Ledger)
        .part_of(&[("f1", Some(2.5)), ("f2", Some(0.3))])
        .grows(0.8),
    Row::new("write-many", "/writemessage, many conversations", Load::Server(|it| &it.write_many))
        .part_of(&[("f1", Some(1.5)), ("ledger", None)])
        .grows(0.8)
        .spread(20.0)
        .no_slower(),
    Row::new("write-one", "/writemessage, one conversation", Load::Server(|it| &it.write_one))
        .part_of(&[("write-many", Some(0.7))])
        .grows(0.8)
        .no_slower(),
    Row::new("f3-threads", "F3: statement of /getthreads, 16 connections", Load::Statement("threads")).grows(0.8),
    Row::new("memory-threads", "the bytes of /getthreads from memory", Load::Memory(|it| &it.threads)),
    Row::new("getthreads", "/getthreads, 20 threads", Load::Server(|it| &it.threads))
        .part_of(&[("f3-threads", Some(0.45)), ("memory-threads", Some(0.35))])
        .grows(0.8)
        .times(15.0),
    Row::new("f3-messages", "F3: statement of /getmessages, 16 connections", Load::Statement("messages")).grows(0.8),
    Row::new("memory-messages", "the bytes of /getmessages from memory", Load::Memory(|it| &it.messages)),
    Row::new("getmessages", "/getmessages, 100 messages", Load::Server(|it| &it.messages))
        .part_of(&[("f3-messages", Some(0.45)), ("memory-messages", Some(0.35))])
        .grows(0.8)
        .times(15.0),
    Row::new("getthreads-packed", "/getthreads, compressed as browsers ask", Load::Server(|it| &it.threads_packed))
        .times(6.0),
    Row::new("getmessages-packed", "/getmessages, compressed as browsers ask", Load::Server(|it| &it.messages_packed))
        .times(6.0),
    Row::new("memory-members", "the bytes of /groupgetmembers from memory", Load::Memory(|it| &it.members)),
    Row::new("members", "/groupgetmembers, 20 members", Load::Server(|it| &it.members))
        .part_of(&[("memory-members", Some(0.4))])
        .times(4.0),
    Row::new("memory-version", "the bytes of /groupgetcurrentversion from memory", Load::Memory(|it| &it.version)),
    Row::new("version", "/groupgetcurrentversion", Load::Server(|it| &it.version))
        .part_of(&[("memory-version", Some(0.4))])
        .times(4.0),
    Row::new("memory-me", "the bytes of /me from memory", Load::Memory(|it| &it.me)),
    Row::new("me", "/me", Load::Server(|it| &it.me)).part_of(&[("memory-me", Some(0.4))]).times(4.0),
    Row::new("memory-key", "the bytes of /getkey from memory", Load::Memory(|it| &it.key)),
    Row::new("key", "/getkey", Load::Server(|it| &it.key)).part_of(&[("memory-key", Some(0.4))]).times(4.0),
    Row::new("memory-insights", "the bytes of /insights from memory", Load::Memory(|it| &it.insights)),
    Row::new("insights", "/insights", Load::Server(|it| &it.insights))
        .part_of(&[("memory-insights", Some(0.4))])
        .times(4.0),
    Row {
        baseline_tail: Some(Target::AtMost(0.25)),
        ..Row::new("mix", "mix of a community that talks", Load::Server(|it| &it.mix)).grows(0.9).times(8.0)
    },
    Row::new(
        "second",
        "reads of the mix from a second server while the first one is written to",
        Load::Second(|it| &it.mix_reads, WRITTEN_MEANWHILE),
    )
    .times(8.0),
    Row {
        sizes: &[Size::Tenfold],
        ..Row::new("cold", "first /getmessages of 10,000 threads, cold start", Load::First(|it| &it.first_reads))
            .times(0.8)
    },
    Row::new("miss", "/getmessages that misses the views", Load::ServerWith(NO_ROOM, |it| &it.first_reads)).times(0.8),
    Row { baseline: Some(Target::AtMost(1.2)), ..Row::new("idle", "idle server: resident memory, MiB", Load::Idle) },
    Row {
        itself: Some(Target::AtMost(1.1)),
        ..Row::new(
            "full",
            "memory of full views, of their budget",
            Load::Full(ROOM, &[|it| &it.messages, |it| &it.threads, |it| &it.mix_reads, |it| &it.first_reads]),
        )
    },
];

/// The row of this name.
pub fn named(name: &str) -> &'static Row {
    ROWS.iter().find(|row| row.name == name).expect("a row of this name")
}
