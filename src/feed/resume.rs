//! What a stream missed: read from the streams of the account's threads, by position.

use std::collections::BTreeSet;

use be8_events::{AccId, Position, Recorded, StreamName, ThreadId};
use futures_util::future::try_join_all;

use super::change::{Change, changes_for};
use super::delivery::{ChangeId, Delivery, Shared};
use super::roster::Rosters;
use crate::ledger::{Log, LogError};

/// Beyond this many missed changes a stream gets one `newMessage` a thread instead.
const MOST: usize = 1000;

/// How many events are read at once.
const PAGE: u32 = 1000;

/// Which of the missed changes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// All but those that would switch the chat that the client has open: it may have seen them.
    Quiet,
}

impl Scope {
    fn includes(self, change: &Change) -> bool {
        let switches = matches!(change, Change::NewConversation { .. } | Change::GroupCreate { .. });
        self == Self::All || !switches
    }
}

/// The changes of an account after `seen`, up to and including the position `until`.
///
/// # Errors
/// [`LogError`]
pub async fn missed(
    log: &Log,
    account: AccId,
    threads: &[ThreadId],
    seen: ChangeId,
    until: Position,
    scope: Scope,
) -> Result<Vec<Delivery>, LogError> {
    let streams: Vec<StreamName> = threads.iter().flat_map(streams_of).collect();
    let mut after = Position(seen.position.0.saturating_sub(1));
    let mut rosters = Rosters::default();
    let mut changes = Vec::new();
    // Many events may bring this account nothing: read on until it is enough or the end.
    while changes.len() <= MOST {
        let events = log.read_streams(&streams, after, until, PAGE).await?;
        rosters.load(log, &events).await?;
        for event in &events {
            let missed = deliveries(event, account, &rosters);
            changes.extend(missed.filter(|one| one.id > seen && scope.includes(&one.shared.change)));
            rosters.apply(event);
        }
        match events.last() {
            Some(last) if events.len() == PAGE as usize => after = last.position,
            _ if changes.len() <= MOST => return Ok(changes),
            _ => break,
        }
    }
    // One message a thread: the newest of each. No event of a group's life is one.
    let chats =
        streams.into_iter().filter(|s| !matches!(s, StreamName::Reads(_) | StreamName::Group(_))).collect::<Vec<_>>();
    let newest = log.newest_of_streams(&chats, seen.position, until).await?;
    let mut covered = BTreeSet::new();
    let mut messages = Vec::new();
    for (event, rosters) in newest.iter().zip(rosters_at(log, &newest).await?).rev() {
        for delivery in deliveries(event, account, &rosters) {
            if let Change::NewMessage { thread, .. } = delivery.shared.change
                && covered.insert(thread)
            {
                messages.push(delivery);
            }
        }
    }
    messages.reverse();
    Ok(messages)
}

/// How many groups' members are read at once.
const AT_ONCE: usize = 4;

/// The rosters that decide who receives each of these events.
async fn rosters_at(log: &Log, events: &[Recorded]) -> Result<Vec<Rosters>, LogError> {
    let mut all = Vec::with_capacity(events.len());
    for some in events.chunks(AT_ONCE) {
        all.extend(try_join_all(some.iter().map(|event| Rosters::in_front_of(log, event))).await?);
    }
    Ok(all)
}

fn deliveries(event: &Recorded, account: AccId, rosters: &Rosters) -> impl Iterator<Item = Delivery> {
    let position = event.position;
    changes_for(event, account, rosters)
        .into_iter()
        .zip(0..)
        .map(move |(change, nth)| Delivery { id: ChangeId { position, nth }, shared: Shared::new(change) })
}

/// The streams whose events are sent to those who take part in a thread.
fn streams_of(thread: &ThreadId) -> Vec<StreamName> {
    match *thread {
        ThreadId::Dialog { initiator, receiver } => {
            vec![StreamName::dialog(initiator, receiver), StreamName::Reads(*thread)]
        }
        ThreadId::Group(group) => {
            vec![StreamName::Group(group), StreamName::Chat(group), StreamName::Reads(*thread)]
        }
        ThreadId::System(_) => Vec::new(),
    }
}
