//! Which of two clocks is wrong when a node's clock is ahead of PostgreSQL's: the one that moved.
//!
//! A node whose clock is ahead writes nothing, or the time of events would run ahead with it. But if it is PostgreSQL's clock
//! that was set back, the node's own one is what counts. A clock that moved shows itself beside the time that passes, which
//! nobody can set, and a clock that is behind the newest event of the log is not right either.

use std::time::Duration;

use be8_events::Timestamp;
use chrono::TimeDelta;

use super::clock_trust::difference;

/// Clocks that agree so far agree, and this far may the head be ahead of PostgreSQL's clock.
pub(super) const AGREEMENT: TimeDelta = TimeDelta::seconds(5);
/// How long asking PostgreSQL for its clock may take, for the answer to say when that was.
const PROMPT: Duration = Duration::from_secs(1);

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// The node's clock.
    pub(super) own: Timestamp,
    /// PostgreSQL's clock.
    pub(super) database: Timestamp,
    /// How much time had passed before PostgreSQL was asked.
    pub(super) asked: Duration,
    /// How much time had passed when both were known.
    pub(super) elapsed: Duration,
}

impl Sample {
    /// By how much the node's clock is ahead.
    pub(super) fn ahead(&self) -> TimeDelta {
        difference(self.own, self.database)
    }

    fn agrees(&self) -> bool {
        self.ahead() <= AGREEMENT
    }

    fn is_prompt(&self) -> bool {
        self.elapsed.saturating_sub(self.asked) <= PROMPT
    }
}

/// What was found so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Disagreement {
    last: Option<Sample>,
    database_is_wrong: bool,
}

impl Disagreement {
    /// Takes in both clocks; whether PostgreSQL's is the wrong one. `head` is the time of the newest event, if there is one;
    /// `trusted`: the node's clock has not jumped.
    pub(super) fn look(&mut self, now: Sample, head: Option<Timestamp>, trusted: bool) -> bool {
        if now.agrees() {
            self.database_is_wrong = false;
        } else if !now.is_prompt() {
            // It says nothing of when the clock showed that.
            return self.database_is_wrong;
        } else {
            self.database_is_wrong = match self.last {
                None => head.is_some_and(|head| difference(head, now.database) > AGREEMENT),
                Some(last) => {
                    let passed =
                        TimeDelta::from_std(now.elapsed.saturating_sub(last.elapsed)).unwrap_or(TimeDelta::MAX);
                    let moved = |before, after| difference(after, before) - passed;
                    let (own, database) = (moved(last.own, now.own), moved(last.database, now.database));
                    let set_back = database < -AGREEMENT && last.agrees() && trusted;
                    own <= AGREEMENT && (self.database_is_wrong || set_back)
                }
            };
        }
        if now.is_prompt() {
            self.last = Some(now);
        }
        self.database_is_wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two clocks, and the time that passes.
    struct World {
        found: Disagreement,
        own: Timestamp,
        database: Timestamp,
        elapsed: Duration,
        head: Option<Timestamp>,
        trusted: bool,
    }

    impl World {
        fn new() -> Self {
            let now = "2026-11-30T12:00:00Z".parse().unwrap();
            let elapsed = Duration::from_secs(99);
            Self { found: Disagreement::default(), own: now, database: now, elapsed, head: Some(now), trusted: true }
        }

        /// A second passes, and a look; whether PostgreSQL's clock is wrong.
        fn look(&mut self) -> bool {
            self.look_after(Duration::from_millis(5))
        }

        /// The same with an answer that took so long.
        fn look_after(&mut self, took: Duration) -> bool {
            let second = Duration::from_secs(1);
            (self.own, self.database) =
                (self.own.plus(TimeDelta::seconds(1)), self.database.plus(TimeDelta::seconds(1)));
            self.elapsed += second;
            let took_as_delta = TimeDelta::from_std(took).unwrap();
            let sample = Sample {
                own: self.own.plus(took_as_delta),
                database: self.database,
                asked: self.elapsed,
                elapsed: self.elapsed + took,
            };
            self.found.look(sample, self.head, self.trusted)
        }
    }

    #[test]
    fn a_database_that_is_set_back_is_wrong_until_the_clocks_agree() {
        for by in [TimeDelta::seconds(10), TimeDelta::hours(2), TimeDelta::days(40)] {
            let mut world = World::new();
            assert!(!world.look());
            world.database = world.database.plus(-by);
            assert!((0..100).all(|_| world.look()));
            world.database = world.database.plus(by);
            assert!(!world.look());
        }
    }

    #[test]
    fn a_node_that_is_set_forwards_is_wrong_whatever_the_database_does_then() {
        let mut world = World::new();
        world.look();
        world.own = world.own.plus(TimeDelta::seconds(20));
        assert!(!world.look());
        world.database = world.database.plus(TimeDelta::days(-40));
        assert!(!world.look());
        // One that is set forwards while the database is wrong counts no more, either.
        let mut world = World::new();
        world.look();
        world.database = world.database.plus(TimeDelta::days(-40));
        assert!(world.look());
        world.own = world.own.plus(TimeDelta::seconds(20));
        assert!(!world.look());
        assert!(!world.look());
    }

    #[test]
    fn a_node_that_gains_slowly_is_wrong() {
        let mut world = World::new();
        for _ in 0..100 {
            world.own = world.own.plus(TimeDelta::milliseconds(100));
            assert!(!world.look());
        }
    }

    #[test]
    fn a_database_that_is_set_right_leaves_a_node_wrong_whose_clock_jumped_with_it() {
        let mut world = World::new();
        world.look();
        (world.own, world.database) = (world.own.plus(TimeDelta::days(40)), world.database.plus(TimeDelta::days(40)));
        world.trusted = false;
        assert!(!world.look());
        world.database = world.database.plus(TimeDelta::days(-40));
        assert!(!world.look());
    }

    #[test]
    fn an_answer_that_took_long_says_nothing() {
        let mut world = World::new();
        world.look();
        assert!(!world.look_after(Duration::from_secs(10)));
        assert!(!world.look());
        // Nor does it free a node that is wrong.
        world.own = world.own.plus(TimeDelta::seconds(20));
        assert!(!world.look());
        assert!(!world.look_after(Duration::from_secs(30)));
        assert!(!world.look());
    }

    #[test]
    fn at_a_start_the_newest_event_says_which_clock_is_wrong() {
        let mut world = World::new();
        world.database = world.database.plus(TimeDelta::days(-40));
        assert!(world.look());
        assert!(world.look());
        // The database is not behind the log: the node is ahead, as far as anybody knows.
        let mut world = World::new();
        world.own = world.own.plus(TimeDelta::days(40));
        assert!(!world.look());
        // There is no event to go by.
        let mut world = World { head: None, ..World::new() };
        world.database = world.database.plus(TimeDelta::days(-40));
        assert!(!world.look());
    }
}
