//! A group as it was at a point of the log: members, version, and who held which key.

use std::collections::BTreeMap;

use be8_events::group::Access;
use be8_events::{AccId, GroupId, GroupVersion, Hash32, Position, StayNo, StreamName, Timestamp};
use futures_util::TryStreamExt;

use super::history::{Act, Entry};
use super::{AuditError, Point};
use crate::ledger::{Log, LogError};

/// A member at that point.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberThen {
    /// Which of its stays.
    pub stay: StayNo,
    /// Where the stay began.
    pub since: Position,
}

/// A key that was stored for somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldKey {
    /// SHA-256 of the wrapped key.
    pub fingerprint: Hash32,
    /// Who stored it.
    pub by: Option<AccId>,
    /// Whose key pair wrapped it.
    pub keyholder: AccId,
    /// The event that stored it.
    pub position: Position,
}

/// A group at a point of the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StateThen {
    /// The newest event of the group up to that point.
    pub position: Position,
    /// Its time.
    pub time: Option<Timestamp>,
    /// The admin.
    pub admin: Option<AccId>,
    /// Who may join.
    pub access: Option<Access>,
    /// It was destroyed by then.
    pub destroyed: bool,
    /// The members.
    pub members: BTreeMap<AccId, MemberThen>,
    /// The newest version, with who allocated it and where.
    pub version: Option<(GroupVersion, Option<AccId>, Position)>,
    /// Keys by version, then by whom they are for.
    pub keys: BTreeMap<GroupVersion, BTreeMap<AccId, HeldKey>>,
}

impl StateThen {
    /// Folds one entry in.
    pub fn apply(&mut self, entry: &Entry) {
        self.position = entry.position;
        self.time = Some(entry.time);
        match &entry.act {
            Act::Created { access, .. } => {
                self.admin = entry.actor;
                self.access = Some(*access);
                if let Some(admin) = entry.actor {
                    self.members.insert(admin, MemberThen { stay: 1, since: entry.position });
                }
            }
            Act::Joined { account, stay } | Act::Added { account, stay } => {
                // A creator's first join does not restart its stay.
                let since = entry.position;
                self.members.entry(*account).or_insert(MemberThen { stay: *stay, since });
            }
            Act::Left { account, .. } | Act::Kicked { account, .. } => {
                self.members.remove(account);
            }
            Act::VersionAllocated { version } => self.version = Some((*version, entry.actor, entry.position)),
            Act::KeyStored { version, account, keyholder, fingerprint, .. } => {
                let key = HeldKey {
                    fingerprint: *fingerprint,
                    by: entry.actor,
                    keyholder: *keyholder,
                    position: entry.position,
                };
                self.keys.entry(*version).or_default().insert(*account, key);
            }
            Act::Destroyed { .. } => {
                self.destroyed = true;
                self.members.clear();
            }
            Act::Message { .. } => {}
        }
    }
}

/// A group as it was at a point; none if it did not exist by then.
///
/// # Errors
/// [`AuditError`]
pub async fn state_at(log: &Log, group: GroupId, point: Point) -> Result<Option<StateThen>, AuditError> {
    let until = point.position(log).await?;
    let mut state = StateThen::default();
    for entry in membership(log, group).await? {
        if entry.position > until {
            break;
        }
        state.apply(&entry);
    }
    Ok(state.admin.is_some().then_some(state))
}

/// All entries of a group but its messages.
pub(super) async fn membership(log: &Log, group: GroupId) -> Result<Vec<Entry>, LogError> {
    let mut entries = Vec::new();
    let mut pages = std::pin::pin!(log.whole_stream(StreamName::Group(group)));
    while let Some(page) = pages.try_next().await? {
        entries.extend(page.iter().filter_map(Entry::of));
    }
    Ok(entries)
}
