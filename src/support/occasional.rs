//! Log lines that strangers could make, or that trouble repeats: one a minute, with how often it happened.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The least time between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// Counts what happens, and says when a line is due.
#[derive(Debug)]
pub struct Occasional(Mutex<State>);

#[derive(Debug)]
struct State {
    logged: Option<Instant>,
    count: u64,
}

impl Occasional {
    pub const fn new() -> Self {
        Self(Mutex::new(State { logged: None, count: 0 }))
    }

    /// Counts one more; returns how many there were since the last line, if one is due.
    pub fn count(&self) -> Option<u64> {
        self.count_at(Instant::now())
    }

    fn count_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        state.count += 1;
        if state.logged.is_some_and(|logged| now.duration_since(logged) < PAUSE) {
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_says_how_often_it_happened() {
        let (occasional, start) = (Occasional::new(), Instant::now());
        let at = |seconds| occasional.count_at(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(59), at(60), at(61), at(200)], [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
