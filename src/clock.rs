//! Where the time comes from: an argument, so that tests can set it.

use std::fmt::Debug;
use std::path::PathBuf;

use be8_events::Timestamp;

/// A source of the current time.
pub trait Clock: Debug + Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        chrono::Utc::now().into()
    }
}

/// The clock of the machine, moved by what a file says: a number of seconds. For tests of what
/// takes days; the file is read anew each time, so that a test can turn a running server's clock.
#[derive(Debug, Clone)]
pub struct FileClock(PathBuf);

impl FileClock {
    /// A clock that this file moves. Without the file, or a number in it, it is not moved.
    pub const fn new(file: PathBuf) -> Self {
        Self(file)
    }
}

impl Clock for FileClock {
    fn now(&self) -> Timestamp {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let seconds: i32 = text.trim().parse().unwrap_or(0);
        SystemClock.now().plus(chrono::TimeDelta::seconds(i64::from(seconds)))
    }
}
