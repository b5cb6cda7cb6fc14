//! The closed loop: workers that each do one thing after the other for a while, and what that
//! came to.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::cpu::Used;

/// How long a loop runs.
#[derive(Clone, Copy)]
pub struct Window {
    /// Not counted.
    pub warm_up: Duration,
    /// Counted.
    pub measured: Duration,
}

/// Operations that a loop completed within its window.
#[derive(Default)]
pub struct Laps {
    microseconds: Vec<u32>,
}

/// The figures of one row in one round.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Operations a second.
    pub rate: f64,
    /// Microseconds that half of them took at most.
    pub p50: f64,
    /// Microseconds that 99 of 100 took at most.
    pub p99: f64,
    /// Microseconds of processor time that one operation took, by who used them.
    pub cpu: Used,
}

impl Laps {
    /// Does one thing after the other and times each. `operation` says nothing: it must not fail.
    pub async fn walk<F: Future<Output = ()>>(window: Window, mut operation: impl FnMut() -> F) -> Self {
        let begin = Instant::now() + window.warm_up;
        let end = begin + window.measured;
        let mut laps = Self { microseconds: Vec::with_capacity(1 << 16) };
        loop {
            let before = Instant::now();
            operation().await;
            let after = Instant::now();
            if after >= end {
                return laps;
            }
            if after >= begin {
                laps.push(after - before);
            }
        }
    }

    /// One more.
    pub fn push(&mut self, took: Duration) {
        self.microseconds.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    fn join(&mut self, other: Self) {
        self.microseconds.extend(other.microseconds);
    }

    /// All that some workers did.
    pub async fn of_all(mut workers: JoinSet<Self>) -> Self {
        let mut all = Self::default();
        while let Some(laps) = workers.join_next().await {
            all.join(laps.expect("a worker that does not fail"));
        }
        all
    }

    /// The figures; `each` is how many things one operation does.
    pub fn sample(mut self, window: Window, each: u32, cpu: Used) -> Sample {
        self.microseconds.sort_unstable();
        let count = self.microseconds.len();
        assert!(count > 0, "nothing was done within the window");
        let quantile = |part: f64| f64::from(self.microseconds[((count - 1) as f64 * part) as usize]);
        let operations = count as f64 * f64::from(each);
        // Processor time is read around the whole loop, so the warm-up counts in both.
        let whole = (window.warm_up + window.measured).as_secs_f64() / window.measured.as_secs_f64();
        Sample {
            rate: operations / window.measured.as_secs_f64(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            cpu: cpu.per(operations * whole),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s, p50 {:.0} us, p99 {:.0} us, cpu us: {}", self.rate, self.p50, self.p99, self.cpu)
    }
}
