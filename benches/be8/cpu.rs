//! Who uses the processors: this process, a server, PostgreSQL, by `/proc` (Linux).

use std::collections::HashMap;
use std::fmt;

/// Ticks of processor time are 10 ms long on every Linux (`USER_HZ`).
const TICK_MICROSECONDS: f64 = 10_000.0;

/// Processor time, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// The benchmark itself: the driver or, for the floors and the ledger, their client.
    pub bench: f64,
    /// The server.
    pub server: f64,
    /// All processes of PostgreSQL.
    pub postgres: f64,
    /// The part of all processor time that went to processes that are none of ours.
    pub others: f64,
}

impl Used {
    /// What one of so many operations used.
    pub fn per(self, operations: f64) -> Self {
        Self {
            bench: self.bench / operations,
            server: self.server / operations,
            postgres: self.postgres / operations,
            others: self.others,
        }
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bench, server, postgres, others } = self;
        write!(f, "bench {bench:.1}, server {server:.1}, postgres {postgres:.1}; others {:.0} %", others * 100.0)
    }
}

/// The clocks of the processes at one moment.
pub struct Clocks {
    server: Option<u32>,
    postmaster: u32,
    processes: HashMap<u32, Process>,
    /// Of all processors: busy, and busy or not.
    all: (u64, u64),
}

/// What `/proc` says of a process.
#[derive(Clone, Copy, Default)]
struct Process {
    parent: u32,
    ticks: u64,
    /// Of its children that have ended.
    ended: u64,
}

impl Clocks {
    /// Now.
    pub fn read(server: Option<u32>, postmaster: u32) -> Self {
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let processes = ids.filter_map(|id| Some((id, Process::read(id)?))).collect();
        Self { server, postmaster, processes, all: all_processors() }
    }

    /// What was used since.
    pub fn used(&self) -> Used {
        let now = Self::read(self.server, self.postmaster);
        let since = |ticks: fn(&Self, u32) -> u64, id| {
            ticks(&now, id).saturating_sub(ticks(self, id)) as f64 * TICK_MICROSECONDS
        };
        let one = |clocks: &Self, id: u32| clocks.processes.get(&id).map_or(0, |process| process.ticks);
        let bench = since(one, std::process::id());
        let server = self.server.map_or(0.0, |id| since(one, id));
        let postgres = since(Self::family, self.postmaster);
        let [busy, whole] =
            [now.all.0 - self.all.0, now.all.1 - self.all.1].map(|ticks| ticks as f64 * TICK_MICROSECONDS);
        Used { bench, server, postgres, others: ((busy - bench - server - postgres) / whole).max(0.0) }
    }

    /// The ticks of a process and all its children, those included that have ended.
    fn family(&self, id: u32) -> u64 {
        let own = self.processes.get(&id).copied().unwrap_or_default();
        let children = self.processes.values().filter(|process| process.parent == id);
        own.ticks + own.ended + children.map(|process| process.ticks).sum::<u64>()
    }
}

/// The ticks of all processors, proc_stat(5): busy (time that a hypervisor gave to others
/// included), and all.
fn all_processors() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    let fields = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    let whole: u64 = ticks.iter().sum();
    // The fourth is idle time, the fifth idle time with a disk at work.
    (whole - ticks.iter().skip(3).take(2).sum::<u64>(), whole)
}

impl Process {
    /// proc_pid_stat(5): the fields 4 and 14 to 17.
    fn read(id: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |nth: usize| fields.get(nth - 3)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(field(4)?).ok()?,
            ticks: field(14)? + field(15)?,
            ended: field(16)? + field(17)?,
        })
    }
}
