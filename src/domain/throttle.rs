//! Growing delays against guessing: how long the next attempt has to wait after a number of them.

use be8_events::Timestamp;
use chrono::TimeDelta;

/// Attempts that cost nothing but themselves: people mistype.
pub const FREE: u32 = 5;
/// The longest delay in seconds.
const LONGEST: i64 = 15 * 60;
/// After this many seconds without an attempt everything is forgotten.
const FORGET: i64 = 24 * 60 * 60;

/// How long the next attempt has to wait after this many that did not succeed: 1 s, 2 s, 4 s and
/// so on up to a quarter of an hour.
pub fn delay(attempts: u32) -> TimeDelta {
    let doublings = attempts.checked_sub(FREE).map_or(0, |over| over.min(20));
    let seconds = if attempts < FREE { 0 } else { (1_i64 << doublings).min(LONGEST) };
    TimeDelta::seconds(seconds)
}

/// The attempts that were made so far. An attempt counts when it begins, so that many at once get no
/// further than one after the other; a success clears the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// How many.
    pub count: u32,
    /// When the next one is allowed.
    pub next: Timestamp,
}

impl Attempts {
    /// Nobody tried yet.
    pub const NONE: Self = Self { count: 0, next: Timestamp::from_micros(0) };

    /// Counts an attempt.
    ///
    /// # Errors
    /// How long it is too early. Such an attempt does not count.
    pub fn admit(self, now: Timestamp) -> Result<Self, TimeDelta> {
        let early = self.next.micros().saturating_sub(now.micros());
        // A longer delay than was ever set comes from a clock that was ahead then.
        if early > 0 && TimeDelta::microseconds(early) <= delay(self.count) {
            return Err(TimeDelta::microseconds(early));
        }
        let forgotten = early.saturating_neg() > FORGET * 1_000_000;
        let count = if forgotten { 1 } else { self.count.saturating_add(1) };
        Ok(Self { count, next: now.plus(delay(count)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
    }

    #[test]
    fn delays_double_up_to_a_quarter_of_an_hour() {
        let seconds = |attempts| delay(attempts).num_seconds();
        assert_eq!([0, 1, 4, 5, 6, 7, 8].map(seconds), [0, 0, 0, 1, 2, 4, 8]);
        assert_eq!([14, 15, 1000, u32::MAX].map(seconds), [512, 900, 900, 900]);
    }

    #[test]
    fn an_early_attempt_waits_and_does_not_count() {
        let mut attempts = Attempts::NONE;
        for _ in 0..FREE {
            attempts = attempts.admit(at(0)).unwrap();
        }
        assert_eq!(attempts.admit(at(0)), Err(TimeDelta::seconds(1)));
        let next = attempts.admit(at(1)).unwrap();
        assert_eq!(next, Attempts { count: FREE + 1, next: at(3) });
        assert_eq!(next.admit(at(2)), Err(TimeDelta::seconds(1)));
        // All is forgotten a day after the next attempt would have been allowed.
        assert_eq!(next.admit(at(3 + FORGET)).unwrap().count, FREE + 2);
        assert_eq!(next.admit(at(4 + FORGET)).unwrap().count, 1);
    }

    #[test]
    fn an_attempt_under_a_clock_that_was_ahead_locks_nobody_out() {
        let counted =
            (0..FREE + 3).fold(Attempts::NONE, |attempts, nth| attempts.admit(at(1_000 * i64::from(nth))).unwrap());
        let back = counted.admit(at(0)).unwrap();
        assert_eq!(back, Attempts { count: FREE + 4, next: at(16) });
        assert_eq!(back.admit(at(15)), Err(TimeDelta::seconds(1)));
    }
}
