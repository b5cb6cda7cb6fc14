//! The history: what happened in a group, entry by entry, paged by position.

use be8_events::group::{Access, KeyChange, Membership};
use be8_events::{
    AccId, Event, GroupId, GroupVersion, Hash32, MessageHeader, MessageNo, Position, Recorded, StayNo, StreamName,
    Timestamp,
};

use super::{AuditError, Visibility};
use crate::ledger::{Log, LogError};

/// Something that happened in a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// It was created, with its admin as the first member.
    Created {
        /// Who may join.
        access: Access,
        /// The most members.
        capacity: u32,
    },
    /// An account joined.
    Joined {
        /// Who.
        account: AccId,
        /// Which of its stays.
        stay: StayNo,
    },
    /// A member added an account.
    Added {
        /// Who was added.
        account: AccId,
        /// Which of its stays.
        stay: StayNo,
    },
    /// A member left.
    Left {
        /// Who.
        account: AccId,
        /// Which of its stays ended.
        stay: StayNo,
    },
    /// The admin removed a member.
    Kicked {
        /// Who was removed.
        account: AccId,
        /// Which of its stays ended.
        stay: StayNo,
    },
    /// A member took the next version of the key.
    VersionAllocated {
        /// The version.
        version: GroupVersion,
    },
    /// A wrapped key was stored.
    KeyStored {
        /// Of which version.
        version: GroupVersion,
        /// For whom.
        account: AccId,
        /// Whose key pair wrapped it.
        keyholder: AccId,
        /// SHA-256 of the wrapped key.
        fingerprint: Hash32,
        /// The event whose key it replaces.
        replaces: Option<Position>,
    },
    /// The group was destroyed.
    Destroyed {
        /// Who was a member.
        members: Vec<AccId>,
    },
    /// A message was written. Nothing of it but where and under which version it stands.
    Message {
        /// Its number in the thread.
        id: MessageNo,
        /// The version of the key that the client named.
        version: Option<GroupVersion>,
    },
}

impl Act {
    fn of_membership(membership: Membership<'_>) -> Self {
        match membership {
            Membership::Created(e) => Self::Created { access: e.access, capacity: e.capacity },
            Membership::Joined(e) => Self::Joined { account: e.account, stay: e.stay },
            Membership::Added(e) => Self::Added { account: e.account, stay: e.stay },
            Membership::Left(e) => Self::Left { account: e.account, stay: e.stay },
            Membership::Kicked(e) => Self::Kicked { account: e.account, stay: e.stay },
            Membership::Destroyed(e) => {
                Self::Destroyed { members: e.members.iter().map(|(account, _)| *account).collect() }
            }
        }
    }

    const fn of_keys(change: KeyChange<'_>) -> Self {
        match change {
            KeyChange::Allocated(e) => Self::VersionAllocated { version: e.version },
            KeyChange::Stored(e) => Self::KeyStored {
                version: e.version,
                account: e.account,
                keyholder: e.keyholder,
                fingerprint: e.sha256,
                replaces: e.replaces,
            },
        }
    }
}

/// Something that happened in a group, when and by whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it stands in the log.
    pub position: Position,
    /// When.
    pub time: Timestamp,
    /// Who did it; none for the system and the operator.
    pub actor: Option<AccId>,
    /// What.
    pub act: Act,
}

impl Entry {
    /// The entry of an event; none for events that are not part of the history.
    pub fn of(recorded: &Recorded) -> Option<Self> {
        let act = match &recorded.event {
            Event::Group(event) => match (event.membership(), event.keys()) {
                (Some(membership), _) => Act::of_membership(membership),
                (None, Some(change)) => Act::of_keys(change),
                (None, None) => return None,
            },
            Event::Message(event) => {
                let MessageHeader { id, version, .. } = event.header();
                Act::Message { id, version }
            }
            Event::Account(_)
            | Event::Session(_)
            | Event::Device(_)
            | Event::Dialog(_)
            | Event::Media(_)
            | Event::Reads(_)
            | Event::Token(_)
            | Event::Server(_)
            | Event::Erasure(_) => return None,
        };
        Some(Self { position: recorded.position, time: recorded.time, actor: recorded.actor, act })
    }
}

/// Which page of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRequest {
    /// The first entries after a position.
    After(Position),
    /// The last entries before a position.
    Before(Position),
}

/// A page of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The entries, ascending.
    pub entries: Vec<Entry>,
    /// Whether there is more in the direction in which the page was asked for.
    pub more: bool,
}

/// A page of at most `count` entries of a group's history.
///
/// # Errors
/// [`AuditError`]
pub async fn history(
    log: &Log,
    group: GroupId,
    sight: &Visibility,
    request: PageRequest,
    count: u32,
) -> Result<Page, AuditError> {
    // One more than fits shows whether there is more.
    let wanted = count as usize + 1;
    let (after, until) = match request {
        PageRequest::After(after) => (after, log.newest().await?),
        PageRequest::Before(before) => (Position::START, Position(before.0 - 1).min(log.newest().await?)),
    };
    let group_stream = [StreamName::Group(group)];
    let chat = [StreamName::Chat(group)];
    let mut events = read(log, &group_stream, after, until, request, wanted).await?;
    let mut visible_ranges = sight.visible_ranges(after, until);
    if matches!(request, PageRequest::Before(_)) {
        visible_ranges.reverse();
    }
    let mut messages = 0;
    for (from, to) in visible_ranges {
        if messages >= wanted {
            break;
        }
        let page = read(log, &chat, from, to, request, wanted - messages).await?;
        messages += page.len();
        events.extend(page);
    }
    let mut entries: Vec<Entry> = events.iter().filter_map(Entry::of).collect();
    entries.sort_by_key(|entry| entry.position);
    let more = entries.len() > count as usize;
    match request {
        PageRequest::After(_) => entries.truncate(count as usize),
        PageRequest::Before(_) => {
            entries.drain(..entries.len().saturating_sub(count as usize));
        }
    }
    Ok(Page { entries, more })
}

async fn read(
    log: &Log,
    stream: &[StreamName],
    after: Position,
    until: Position,
    request: PageRequest,
    count: usize,
) -> Result<Vec<Recorded>, LogError> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    match request {
        PageRequest::After(_) => log.read_streams(stream, after, until, count).await,
        PageRequest::Before(_) => log.read_streams_backwards(stream, after, until, count).await,
    }
}
