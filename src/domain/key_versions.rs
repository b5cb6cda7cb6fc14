//! What a group remembers of the versions of its key
//! (docs/protocol.md, "Storing a wrapped key").

use std::collections::BTreeMap;

use be8_events::group::GroupKeyStored;
use be8_events::{AccId, GroupVersion, Hash32, Position};
use serde::{Deserialize, Serialize};

/// A version that a key may still be stored under.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Allocation {
    pub(super) by: AccId,
    /// For whom a key is stored, and which.
    pub(super) stored: BTreeMap<AccId, StoredKey>,
}

/// A key that is stored for a member.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredKey {
    /// Its fingerprint.
    pub(super) sha256: Hash32,
    pub(super) keyholder: AccId,
    /// Of the event that stored it.
    pub(super) position: Position,
}

/// What a group remembers of its versions: the newest, and the last that each present member
/// allocated. The others can get no key any more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    pub(super) newest: Option<GroupVersion>,
    pub(super) allocations: BTreeMap<GroupVersion, Allocation>,
    /// The last version that a present member allocated since its stay began.
    pub(super) last_of: BTreeMap<AccId, GroupVersion>,
}

impl Versions {
    pub(super) const fn newest(&self) -> Option<GroupVersion> {
        self.newest
    }

    pub(super) fn allocated(&mut self, version: GroupVersion, by: AccId) {
        self.newest = Some(version);
        self.allocations.insert(version, Allocation { by, stored: BTreeMap::new() });
        self.last_of.insert(by, version);
        self.forget();
    }

    pub(super) fn stored(&mut self, event: &GroupKeyStored, position: Position) {
        if let Some(allocation) = self.allocations.get_mut(&event.version) {
            let key = StoredKey { sha256: event.sha256, keyholder: event.keyholder, position };
            allocation.stored.insert(event.account, key);
        }
    }

    pub(super) fn departed(&mut self, member: AccId) {
        self.last_of.remove(&member);
        self.forget();
    }

    fn forget(&mut self) {
        let Self { newest, allocations, last_of } = self;
        allocations.retain(|version, _| Some(*version) == *newest || last_of.values().any(|last| last == version));
    }
}
