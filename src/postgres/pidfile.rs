//! What `postmaster.pid` says, the file by which PostgreSQL tells that it runs.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

/// A `postgres` process that wrote `postmaster.pid`; it may be long dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub pid: Pid,
    pub ready: bool,
}

impl Postmaster {
    /// Reads the file of a cluster.
    pub fn of(cluster: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(path(cluster)).ok()?)
    }

    /// The first line is the process, the eighth the status.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = Pid::from_raw(lines.next()?.trim().parse().ok()?)?;
        let ready = lines.nth(6).is_some_and(|status| status.trim() == "ready");
        Some(Self { pid, ready })
    }

    /// Whether the process lives and is a PostgreSQL on this cluster: its number alone may be another process's by now, or
    /// a dead one's whose end nobody has taken note of. PostgreSQL works in its data directory; the dead work nowhere.
    pub fn runs_on(&self, cluster: &Path) -> bool {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).is_ok_and(|cwd| cwd == cluster)
    }
}

/// Where the file is.
pub(super) fn path(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_and_status_are_read() {
        let text = "12\n/data\n1790000000\n5432\n/socket\n\n  1234  5\nready   \n";
        let postmaster = Postmaster::parse(text).expect("a postmaster");
        assert_eq!((postmaster.pid.as_raw_pid(), postmaster.ready), (12, true));
        let starting = Postmaster::parse("12\n/data\n1790000000\n5432\n").expect("a postmaster");
        assert!(!starting.ready);
        assert_eq!(Postmaster::parse(""), None);
    }

    #[test]
    fn a_living_process_elsewhere_is_not_the_postmaster() {
        let pid = rustix::process::getpid();
        let postmaster = Postmaster { pid, ready: true };
        assert!(!postmaster.runs_on(Path::new("/nonexistent")));
        assert!(postmaster.runs_on(&std::env::current_dir().expect("a working directory")));
    }
}
