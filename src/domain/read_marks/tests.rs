//! The rules of read marks.

use be8_events::read_marks::MessagesRead;
use be8_events::{AccId, GroupId, MessageNo, StreamName, ThreadId};

use super::MarkRead;
use crate::domain::testing::{World, id, token};
use crate::domain::{Command, Rejection};

/// What was shown: numbers with their senders, `0` for the system.
fn mark(session: i64, thread: ThreadId, shown: &[(MessageNo, i64)]) -> MarkRead {
    let shown = shown.iter().map(|&(no, sender)| (no, AccId::new(sender))).collect();
    MarkRead { session: token(session), thread, shown }
}

fn talk() -> (World, AccId, AccId, ThreadId) {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let (yan, _) = world.account(10_002);
    let thread = world.conversation(zoe, yan);
    (world, zoe, yan, thread)
}

#[test]
fn marking_takes_a_session() {
    let (mut world, _, _, thread) = talk();
    // The command always carries a session: none at all is refused before it is made.
    world.wants_a_session(10_001, |session| MarkRead {
        session: session.unwrap_or(token(77_777)),
        ..mark(10_001, thread, &[(1, 0)])
    });
}

#[test]
fn only_who_takes_part_marks() {
    let (mut world, zoe, yan, thread) = talk();
    world.account(10_003);
    world.refuses(&mark(10_003, thread, &[(1, 0)]), Rejection::InvalidThread);
    world.refuses(&mark(10_001, ThreadId::System(yan), &[(1, 0)]), Rejection::InvalidThread);
    let group = ThreadId::Group(GroupId::new(10_001).unwrap());
    world.refuses(&mark(10_001, group, &[(1, 0)]), Rejection::InvalidThread);
    let system = ThreadId::System(zoe);
    let read = MessagesRead { reader: zoe, ranges: vec![(1, 1)], tell: vec![] };
    world.answers(&mark(10_001, system, &[(1, 0)]), (), &[(StreamName::Reads(system), Some(zoe), read.into())]);
}

#[test]
fn what_was_shown_becomes_runs_and_the_senders_get_their_newest() {
    let (mut world, zoe, yan, thread) = talk();
    let stream = StreamName::Reads(thread);
    let mut reads = |who: i64, shown: &[(MessageNo, i64)], expected: Option<MessagesRead>| {
        let command = mark(who, thread, shown);
        let events: Vec<_> = expected.into_iter().map(|e| (stream, Some(id(who)), e.into())).collect();
        world.answers(&command, (), &events);
        let decision = world.when(&command).unwrap();
        world.happen(decision.events);
    };
    let read = |reader, ranges: &[(MessageNo, MessageNo)], tell: &[(AccId, MessageNo)]| {
        Some(MessagesRead { reader, ranges: ranges.to_vec(), tell: tell.to_vec() })
    };
    // Nothing shown, or nothing but own messages: nothing read.
    reads(10_002, &[], None);
    reads(10_002, &[(2, 10_002), (3, 10_002)], None);
    // An alternating dialog is one run, own messages included.
    let shown = [(1, 0), (2, 10_001), (3, 10_002), (4, 10_001), (5, 10_002)];
    reads(10_002, &shown, read(yan, &[(1, 5)], &[(zoe, 4)]));
    reads(10_002, &shown, None);
    // What is hidden in between splits a run; of what was marked before nothing comes again.
    let shown = [(4, 10_001), (5, 10_002), (6, 10_001), (8, 10_001), (9, 10_001), (12, 10_002)];
    reads(10_002, &shown, read(yan, &[(6, 6), (8, 9), (12, 12)], &[(zoe, 9)]));
    // Nobody is notified that a message of the system was read.
    reads(10_001, &[(1, 0)], read(zoe, &[(1, 1)], &[]));
    // Each reader has marks of its own.
    reads(10_001, &[(1, 0), (3, 10_002), (5, 10_002)], read(zoe, &[(3, 3), (5, 5)], &[(yan, 5)]));
}

#[test]
fn what_was_shown_counts_towards_the_bound_of_a_batch() {
    let (_, _, _, thread) = talk();
    assert_eq!(mark(10_001, thread, &[]).size(), 0);
    assert!(mark(10_001, thread, &[(1, 0), (2, 0)]).size() >= 8);
}
