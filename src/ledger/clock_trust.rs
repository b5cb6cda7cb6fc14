//! How far a clock is trusted: a clock that jumps forwards is not, until it has run on steadily for as long as it jumped.

use std::time::Duration;

use be8_events::Timestamp;
use chrono::TimeDelta;

/// By how much a clock may gain on the time that passes within a day, and how far it may be ahead after a restart.
pub(super) const TOLERANCE: TimeDelta = TimeDelta::hours(1);

/// A clock that is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ahead {
    /// How far it is ahead of the trusted time.
    pub(super) by: TimeDelta,
    /// Since which trusted time it has been ahead by that.
    pub(super) steady_from: Timestamp,
}

/// A time that never runs ahead of the right one because a clock was set wrong. It follows the clock, unless the clock gains
/// more than [`TOLERANCE`] on the time that passes: then it goes on at the pace of the time that passes, until the
/// clock has been steady for as long as it is ahead. A clock that is set backwards is followed at once: that ends nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trust {
    /// The trusted time.
    pub(super) time: Timestamp,
    /// The clock, if it is not trusted.
    pub(super) ahead: Option<Ahead>,
    /// What the clock has gained lately; it is forgiven at the pace of [`TOLERANCE`] a day.
    gained: TimeDelta,
    /// How much time had passed when this was so.
    elapsed: Duration,
}

impl Trust {
    /// Begins with a time that was trusted.
    pub(super) const fn new(time: Timestamp, ahead: Option<Ahead>, elapsed: Duration) -> Self {
        Self { time, ahead, gained: TimeDelta::zero(), elapsed }
    }

    /// Takes in what the clock shows when this much time has passed.
    pub(super) fn look(&mut self, clock: Timestamp, elapsed: Duration) {
        let passed = elapsed.saturating_sub(self.elapsed);
        let passed = TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX);
        self.elapsed = self.elapsed.max(elapsed);
        self.time = self.time.plus(passed);
        self.gained = (self.gained - passed / 24).max(TimeDelta::zero());
        let by = difference(clock, self.time);
        let gained = (self.gained + by).max(TimeDelta::zero());
        if gained <= TOLERANCE {
            (self.time, self.ahead, self.gained) = (clock, None, gained);
            return;
        }
        match self.ahead {
            Some(ahead) if (by - ahead.by).abs() <= TOLERANCE => {
                if difference(self.time, ahead.steady_from) >= by {
                    self.trust(clock);
                }
            }
            _ => self.ahead = Some(Ahead { by, steady_from: self.time }),
        }
    }

    /// Trusts the clock from now on.
    pub(super) fn trust(&mut self, clock: Timestamp) {
        (self.time, self.ahead, self.gained) = (clock, None, TimeDelta::zero());
    }
}

/// How much later `a` is than `b`.
pub(super) fn difference(a: Timestamp, b: Timestamp) -> TimeDelta {
    TimeDelta::microseconds(a.micros().saturating_sub(b.micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock, and the time that really passes.
    struct World {
        trust: Trust,
        clock: Timestamp,
        elapsed: Duration,
    }

    impl World {
        fn new() -> Self {
            let (clock, elapsed) = ("2026-11-30T12:00:00Z".parse().unwrap(), Duration::from_secs(77));
            Self { trust: Trust::new(clock, None, elapsed), clock, elapsed }
        }

        /// Lets time pass, with a look at its end.
        fn pass(&mut self, time: TimeDelta) {
            self.clock = self.clock.plus(time);
            self.elapsed += time.to_std().unwrap();
            self.trust.look(self.clock, self.elapsed);
        }

        /// Sets the clock, and looks.
        fn set(&mut self, by: TimeDelta) {
            self.clock = self.clock.plus(by);
            self.trust.look(self.clock, self.elapsed);
        }

        fn behind(&self) -> TimeDelta {
            difference(self.clock, self.trust.time)
        }
    }

    #[test]
    fn a_clock_that_runs_is_followed_however_rarely_one_looks() {
        let mut world = World::new();
        for time in [TimeDelta::seconds(1), TimeDelta::days(40), TimeDelta::days(4000)] {
            world.pass(time);
            assert_eq!((world.behind(), world.trust.ahead), (TimeDelta::zero(), None));
        }
    }

    #[test]
    fn a_jump_forwards_is_trusted_after_as_much_time_and_not_before() {
        let mut world = World::new();
        let jump = TimeDelta::days(40);
        world.set(jump);
        for _ in 0..39 {
            world.pass(TimeDelta::days(1));
            assert_eq!(world.behind(), jump);
        }
        world.pass(TimeDelta::hours(23));
        assert_eq!(world.behind(), jump);
        world.pass(TimeDelta::hours(1));
        assert_eq!((world.behind(), world.trust.ahead), (TimeDelta::zero(), None));
    }

    #[test]
    fn a_clock_that_is_set_right_again_is_trusted_at_once() {
        let mut world = World::new();
        for jump in [TimeDelta::hours(2), TimeDelta::days(40), TimeDelta::days(36_500)] {
            world.set(jump);
            world.pass(TimeDelta::seconds(12));
            assert_eq!(world.behind(), jump);
            world.set(-jump);
            assert_eq!((world.behind(), world.trust.ahead), (TimeDelta::zero(), None));
        }
    }

    #[test]
    fn a_clock_that_is_set_again_meanwhile_has_to_be_steady_from_then_on() {
        let mut world = World::new();
        world.set(TimeDelta::hours(10));
        world.pass(TimeDelta::hours(9));
        world.set(TimeDelta::hours(10));
        world.pass(TimeDelta::hours(19));
        assert_eq!(world.behind(), TimeDelta::hours(20));
        world.pass(TimeDelta::hours(1));
        assert_eq!(world.behind(), TimeDelta::zero());
    }

    #[test]
    fn a_clock_set_backwards_is_followed_and_its_way_back_is_a_jump() {
        let mut world = World::new();
        world.set(TimeDelta::days(-7));
        assert_eq!(world.behind(), TimeDelta::zero());
        world.set(TimeDelta::days(7));
        assert_eq!(world.behind(), TimeDelta::days(7));
    }

    #[test]
    fn small_steps_are_followed_but_not_many_of_them_on_one_day() {
        let mut world = World::new();
        world.set(TimeDelta::minutes(50));
        assert_eq!(world.behind(), TimeDelta::zero());
        world.set(TimeDelta::minutes(50));
        assert_eq!(world.behind(), TimeDelta::minutes(50));
        world.set(TimeDelta::minutes(-50));
        // Steps to and fro, as of a clock that is disciplined, add up to nothing.
        for _ in 0..1000 {
            world.set(TimeDelta::minutes(5));
            world.set(TimeDelta::minutes(-5));
            assert_eq!(world.behind(), TimeDelta::zero());
        }
        world.pass(TimeDelta::days(1));
        world.set(TimeDelta::minutes(50));
        assert_eq!(world.behind(), TimeDelta::zero());
    }
}
