//! The map of histories: how many events each history has, and which one is its newest, as one hash that an event commits to
//! (`docs/log-format.md`, "The map of histories"). So a signed head of the log says of every group where its history ends.
//!
//! Two entries of the [`map`] stand for a history. The *name entry* is where the name alone says, never changes and fixes the salt
//! of the name. The *history entry* is where the salt says, and holds the number of events with a hash of the newest one. A proof
//! shows the hashes of neighbours. Nobody can tell whose they are without their salts, so nobody learns from two proofs who else
//! wrote in between; and no server can give a name two histories under one root, since a name has one place and so one salt.
//! A verifiable random function would do the same with a secret key and curve arithmetic in every verifier; this needs SHA-256
//! alone, and follows from the log without any key.

pub mod map;

use std::collections::BTreeMap;

use be8_events::{GroupId, Hash32, Position, Recorded, StreamName};

use map::Entry;

/// Hashes what a purpose makes of some parts, all but the last one of fixed length.
fn hash(purpose: &str, parts: &[&[u8]]) -> Hash32 {
    let mut bytes = Vec::with_capacity(160);
    bytes.extend_from_slice(purpose.as_bytes());
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    Hash32::sha256(&bytes)
}

/// The salt of a name: what fixes where its history is found. It follows from the salt of the first event of its stream.
pub fn salt(first: &Hash32) -> Hash32 {
    hash("be8/map/salt/1", &[&first.0])
}

/// Where a name's entry is.
pub fn name_index(name: &str) -> Hash32 {
    hash("be8/map/name/1", &[name.as_bytes()])
}

/// The entry of a name: it fixes the salt.
pub fn name_entry(name: &str, salt: &Hash32) -> Entry {
    Entry { index: name_index(name), commitment: hash("be8/map/salted/1", &[&salt.0]) }
}

/// Where a history's entry is.
pub fn history_index(salt: &Hash32, name: &str) -> Hash32 {
    hash("be8/map/history/1", &[&salt.0, name.as_bytes()])
}

/// The entry of a history: how many events it has, and the newest of them.
pub fn history_entry(salt: &Hash32, name: &str, count: i64, newest: &Hash32) -> Entry {
    let commitment = hash("be8/map/events/1", &[&count.to_be_bytes(), &newest.0]);
    Entry { index: history_index(salt, name), commitment }
}

/// What stands for the newest event of a history. Not the hash that is its entry in the transparency log, which is public.
pub fn newest(event: &Recorded) -> Hash32 {
    hash("be8/map/newest/1", &[&event.canonical()])
}

/// What happened to the histories of some groups, on top of a map.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    from: Position,
    until: Position,
    groups: BTreeMap<GroupId, Changed>,
}

/// What happened to a group.
#[derive(Debug, Clone, Copy, Default)]
struct Changed {
    /// The salt of the first event of its life; none while that is not known.
    first: Option<Hash32>,
    /// Whether that event is among the changes.
    is_new: bool,
    life: Option<(i64, Hash32)>,
    chat: Option<(i64, Hash32)>,
}

impl Changes {
    /// None yet, on top of the map up to this position.
    pub fn after(from: Position) -> Self {
        Self { from, until: from, groups: BTreeMap::new() }
    }

    /// Up to where the map goes that these are on top of.
    pub const fn from(&self) -> Position {
        self.from
    }

    /// The newest event that was taken in.
    pub const fn until(&self) -> Position {
        self.until
    }

    /// How many groups changed.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether no group changed.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Takes the next event in.
    pub fn apply(&mut self, event: &Recorded) {
        self.until = event.position;
        match event.stream {
            StreamName::Group(group) => {
                let changed = self.groups.entry(group).or_default();
                if event.version == 1 {
                    (changed.first, changed.is_new) = (Some(event.salt), true);
                }
                changed.life = Some((event.version, newest(event)));
            }
            StreamName::Chat(group) => {
                self.groups.entry(group).or_default().chat = Some((event.version, newest(event)));
            }
            StreamName::Account(_)
            | StreamName::Session(_)
            | StreamName::Devices(_)
            | StreamName::Media(..)
            | StreamName::Token(_)
            | StreamName::Invites
            | StreamName::Clock
            | StreamName::Histories
            | StreamName::Dialog(..)
            | StreamName::Reads(_)
            | StreamName::Erasure => {}
        }
    }

    /// The groups whose first event is needed and was not among the changes.
    pub fn without_salt(&self) -> Vec<GroupId> {
        self.groups.iter().filter(|(_, changed)| changed.first.is_none()).map(|(group, _)| *group).collect()
    }

    /// Sets the salt of the first event of a group's life.
    pub fn set_first(&mut self, group: GroupId, first: Hash32) {
        if let Some(changed) = self.groups.get_mut(&group) {
            changed.first = Some(first);
        }
    }

    /// The entries that are new or other ones. A group whose first event is unknown has none.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.groups.len() * 2);
        for (group, changed) in &self.groups {
            let Some(first) = changed.first else { continue };
            let (salt, life) = (salt(&first), StreamName::Group(*group).to_string());
            if changed.is_new {
                entries.push(name_entry(&life, &salt));
            }
            if let Some((count, newest)) = changed.life {
                entries.push(history_entry(&salt, &life, count, &newest));
            }
            if let Some((count, newest)) = changed.chat {
                entries.push(history_entry(&salt, &StreamName::Chat(*group).to_string(), count, &newest));
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests;
