//! The read model of read marks: per thread and reader one set of ranges of message numbers.

use std::collections::BTreeMap;

use be8_events::{AccId, Event, MessageNo, ReadsEvent, Recorded, StreamName};
use rangemap::RangeInclusiveSet;

use crate::derived::Derived;
use crate::model::{Model, ReadModel, Table};
use crate::{ReadError, Statement};

const TABLES: &[Table] = &[Table::new(
    "read_mark",
    "
create table if not exists {schema}.read_mark (
    thread bigint not null,
    reader bigint not null,
    ranges int4multirange not null,
    primary key (thread, reader)
);
",
)];

/// A set of message numbers, kept as ranges.
pub type Ranges = RangeInclusiveSet<MessageNo>;

/// What a batch adds, folded into one set a thread and reader.
#[derive(Debug, Default)]
pub(crate) struct ReadMarks(BTreeMap<(i64, AccId), Ranges>);

impl ReadMarks {
    fn read(&mut self, thread: i64, reader: AccId, ranges: &[(MessageNo, MessageNo)]) {
        let set = self.0.entry((thread, reader)).or_default();
        set.extend(ranges.iter().map(|&(first, last)| first..=last));
    }
}

impl ReadModel for ReadMarks {
    const MODEL: Model = Model { name: "read-marks", version: 1, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, _: &Derived) {
        if let (Event::Reads(event), StreamName::Reads(thread)) = (&recorded.event, recorded.stream) {
            match event {
                ReadsEvent::MessagesRead(e) => self.read(thread.key(), e.reader, &e.ranges),
            }
        }
    }

    fn write(&self, to: &mut Statement) {
        to.rows()
            .column("thread", self.0.keys().map(|(thread, _)| *thread))
            .column("reader", self.0.keys().map(|(_, reader)| reader.number()))
            .column("ranges", self.0.values().map(to_text))
            .write(
                "read_marks",
                "
    insert into {schema}.read_mark as r ({columns})
    select u.thread, u.reader, u.ranges::int4multirange from head, {rows} u({columns})
    on conflict (thread, reader) do update set ranges = r.ranges + excluded.ranges",
            );
    }
}

/// A set in the text form of PostgreSQL's `int4multirange`.
fn to_text(ranges: &Ranges) -> String {
    let runs: Vec<String> = ranges.iter().map(|run| format!("[{},{}]", run.start(), run.end())).collect();
    format!("{{{}}}", runs.join(","))
}

/// Reads PostgreSQL's canonical text form: `{[1,5),[7,9)}`.
pub(crate) fn from_text(text: &str) -> Result<Ranges, ReadError> {
    let bad = || ReadError::Damaged("set of read marks");
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(bad)?;
    let mut ranges = Ranges::new();
    for run in inner.split_inclusive(')').filter(|run| !run.is_empty()) {
        let run = run.trim_start_matches(',').strip_prefix('[').and_then(|r| r.strip_suffix(')')).ok_or_else(bad)?;
        let (first, end) = run.split_once(',').ok_or_else(bad)?;
        let first: MessageNo = first.parse().map_err(|_| bad())?;
        let end: MessageNo = end.parse().map_err(|_| bad())?;
        if first >= end {
            return Err(bad());
        }
        ranges.insert(first..=end - 1);
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiranges_are_read_as_postgresql_writes_them() {
        assert_eq!(from_text("{}").unwrap(), Ranges::new());
        let set: Ranges = [1..=4, 7..=8].into_iter().collect();
        assert_eq!(from_text("{[1,5),[7,9)}").unwrap(), set);
        assert_eq!(to_text(&set), "{[1,4],[7,8]}");
        for bad in ["", "{[1,5)", "{[1,1)}", "{[a,b)}", "{(1,5)}"] {
            assert!(from_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn touching_runs_become_one() {
        let mut marks = ReadMarks::default();
        let reader = AccId::new(10_001).unwrap();
        marks.read(1, reader, &[(1, 2)]);
        marks.read(1, reader, &[(3, 5), (9, 9)]);
        assert_eq!(to_text(&marks.0[&(1, reader)]), "{[1,5],[9,9]}");
    }
}
