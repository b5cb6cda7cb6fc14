//! What was written to a stream, and how much of it has surely arrived.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::delivery::ChangeId;

/// Into how many parts the time is cut for which it is remembered when what was written.
const MARKS: u32 = 8;

/// How far a stream was written. A dead connection swallows what is written to it until that is noticed, so what was written
/// lately counts as written, not as arrived.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Everything up to here is written; none while the stream has not begun.
    upto: Option<ChangeId>,
    /// At some moments, how far the stream was written before. Everything after that was written at that moment or later.
    marks: VecDeque<(Instant, Option<ChangeId>)>,
}

impl Written {
    /// A stream that begins after a change.
    pub(super) fn from(upto: Option<ChangeId>) -> Self {
        Self { upto, marks: VecDeque::new() }
    }

    /// Notes that a stream begins after a change.
    pub(super) fn begin(&mut self, upto: ChangeId) {
        self.upto = Some(upto);
    }

    /// Notes that a change was written. What was written longer than `unproven` ago has arrived.
    pub(super) fn write(&mut self, id: ChangeId, now: Instant, unproven: Duration) {
        let part = unproven / MARKS;
        if self.marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= part) {
            self.marks.push_back((now, self.upto));
        }
        // One that is too old is of use until the next one is, too.
        while self.marks.get(1).is_some_and(|(at, _)| now.duration_since(*at) > unproven + part) {
            self.marks.pop_front();
        }
        self.upto = self.upto.max(Some(id));
    }

    /// Everything up to here is written.
    pub(super) const fn upto(&self) -> Option<ChangeId> {
        self.upto
    }

    /// Everything up to here was written longer than `unproven` ago.
    pub(super) fn arrived(&self, now: Instant, unproven: Duration) -> Option<ChangeId> {
        // What was written right after a mark has none of its own.
        let late = unproven + unproven / MARKS;
        let doubtful = self.marks.iter().find(|(at, _)| now.duration_since(*at) <= late);
        doubtful.map_or(self.upto, |(_, before)| *before)
    }
}

#[cfg(test)]
mod tests {
    use be8_events::Position;

    use super::*;

    fn id(position: i64) -> ChangeId {
        ChangeId { position: Position(position), nth: 0 }
    }

    #[test]
    fn what_was_written_lately_may_not_have_arrived() {
        let (start, unproven) = (Instant::now(), Duration::from_secs(40));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut written = Written::from(Some(id(1)));
        assert_eq!(written.arrived(at(0), unproven), Some(id(1)));
        for (seconds, position) in [(0, 2), (3, 3), (10, 4), (30, 5), (60, 6)] {
            written.write(id(position), at(seconds), unproven);
        }
        assert_eq!(written.upto(), Some(id(6)));
        assert_eq!(written.arrived(at(60), unproven), Some(id(4)), "30 s is lately, 50 s ago is not");
        assert_eq!(written.arrived(at(80), unproven), Some(id(5)));
        assert_eq!(written.arrived(at(200), unproven), Some(id(6)));
    }

    #[test]
    fn however_much_is_written_little_is_kept() {
        let (start, unproven) = (Instant::now(), Duration::from_secs(40));
        let mut written = Written::from(None);
        for n in 0..10_000 {
            let now = start + Duration::from_millis(n * 50);
            written.write(id(n.cast_signed() + 1), now, unproven);
            let arrived = written.arrived(now, unproven).map_or(0, |id| id.position.0);
            // Never too much, and not much too little.
            let oldest = n.cast_signed() + 1 - 20 * 40;
            assert!((oldest - 20 * 12..=oldest.max(0)).contains(&arrived), "{arrived} of {n}");
        }
        assert!(written.marks.len() <= 12);
    }
}
