//! Where the time comes from: an argument, so that tests can set it.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use be8_events::Timestamp;
use chrono::TimeDelta;
use rustix::time::{ClockId, clock_gettime};

/// A source of the current time.
pub trait Clock: Debug + Send + Sync {
    /// The current time. It can be set, forwards and backwards.
    fn now(&self) -> Timestamp;

    /// How much time has passed since some fixed moment, such as the start of the machine. Nobody can set it.
    fn elapsed(&self) -> Duration {
        // As the machine's monotonic clock, but it goes on while the machine is suspended.
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    /// How far a test has moved this clock from the clock of the machine. PostgreSQL's clock counts as moved as far, as if
    /// both ran on a machine whose clock is set so.
    fn moved(&self) -> TimeDelta {
        TimeDelta::zero()
    }
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        chrono::Utc::now().into()
    }
}

/// The clock of the machine, moved by what a file says, for tests. The first number in the file is how many seconds the clock
/// is set forwards (or, negative, backwards). A second number is how many seconds more have really passed: `86400 86400` is a
/// day later, `86400` alone is a clock that is set wrong by a day. The file is read each time, so that a test can turn the
/// clock of a running server.
#[derive(Debug, Clone)]
pub struct FileClock(PathBuf);

impl FileClock {
    /// A clock that this file moves. Without the file, or a number in it, it is not moved.
    pub const fn new(file: PathBuf) -> Self {
        Self(file)
    }

    fn seconds(&self, nth: usize) -> i64 {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let number: Option<i32> = text.split_whitespace().nth(nth).and_then(|number| number.parse().ok());
        number.unwrap_or(0).into()
    }
}

impl Clock for FileClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.moved())
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed() + Duration::from_secs(u64::try_from(self.seconds(1)).unwrap_or(0))
    }

    fn moved(&self) -> TimeDelta {
        TimeDelta::seconds(self.seconds(0))
    }
}
