//! The model of groups: what each command does, in the plainest way to say it.

use std::collections::{BTreeMap, BTreeSet};

use be8_events::{AccId, MessageNo};

use super::super::{Rejection, id};
use super::exists;

/// A message: who wrote it, if anybody, and who was there.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) sender: Option<i64>,
    pub(super) audience: BTreeSet<i64>,
    pub(super) removed: bool,
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) key: u8,
    pub(super) keyholder: i64,
}

#[derive(Debug)]
pub(super) struct Taken {
    pub(super) by: i64,
    pub(super) keys: BTreeMap<i64, Key>,
}

#[derive(Debug)]
pub(super) struct ModelGroup {
    pub(super) admin: i64,
    pub(super) private: bool,
    pub(super) capacity: usize,
    pub(super) members: BTreeSet<i64>,
    /// In whose list it is.
    pub(super) listed: BTreeSet<i64>,
    pub(super) said: Vec<Said>,
    pub(super) versions: Vec<Taken>,
    /// The last version that each took since it came.
    pub(super) mine: BTreeMap<i64, usize>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// Every group that was created; none for one that was destroyed.
    pub(super) groups: BTreeMap<i64, Option<ModelGroup>>,
}

impl ModelGroup {
    pub(super) fn announce(&mut self) {
        self.said.push(Said { sender: None, audience: self.members.clone(), removed: false });
    }

    pub(super) fn arrive(&mut self, who: i64) {
        self.members.insert(who);
        self.listed.insert(who);
        self.announce();
    }

    pub(super) fn depart(&mut self, who: i64) {
        self.members.remove(&who);
        self.listed.remove(&who);
        self.mine.remove(&who);
        self.said.iter_mut().filter(|said| said.sender == Some(who)).for_each(|said| said.removed = true);
        self.announce();
    }

    pub(super) fn allocate(&mut self, who: i64) -> usize {
        self.versions.push(Taken { by: who, keys: BTreeMap::new() });
        self.mine.insert(who, self.versions.len());
        self.versions.len()
    }

    pub(super) fn store(&mut self, who: i64, whom: i64, keyholder: i64, key: u8) -> Result<usize, Rejection> {
        let version = match self.mine.get(&who) {
            Some(mine) => *mine,
            None if self.versions.is_empty() => self.allocate(who),
            None => self.versions.len(),
        };
        let taken = &mut self.versions[version - 1];
        match taken.keys.get(&whom) {
            Some(known) if taken.by != who && known.key == key => {}
            Some(_) if taken.by != who => return Err(Rejection::InvalidGroupKey),
            _ => {
                taken.keys.insert(whom, Key { key, keyholder });
            }
        }
        Ok(version)
    }
}

impl Model {
    pub(super) fn group(&mut self, group: i64) -> Result<&mut ModelGroup, Rejection> {
        self.groups.get_mut(&group).and_then(Option::as_mut).ok_or(Rejection::GroupNotExisting)
    }

    pub(super) fn of_member(&mut self, who: i64, group: i64) -> Result<&mut ModelGroup, Rejection> {
        let group = self.group(group)?;
        if group.members.contains(&who) { Ok(group) } else { Err(Rejection::NoGroupMember) }
    }

    pub(super) fn join(&mut self, who: i64, group: i64) -> Result<(), Rejection> {
        let group = self.group(group)?;
        if group.listed.contains(&who) {
            return Err(Rejection::AlreadyMember);
        }
        if !group.members.contains(&who) {
            if group.private {
                return Err(Rejection::NotAdmin);
            }
            if group.members.len() >= group.capacity {
                return Err(Rejection::GroupFull);
            }
        }
        group.arrive(who);
        Ok(())
    }

    pub(super) fn add(&mut self, who: i64, group: i64, whom: i64) -> Result<Vec<AccId>, Rejection> {
        let group = self.group(group)?;
        if !exists(whom) {
            return Err(Rejection::MemberNotExisting);
        }
        if !group.members.contains(&who) {
            return Err(Rejection::NoGroupMember);
        }
        if group.private && who != group.admin {
            return Err(Rejection::NotAdmin);
        }
        if group.listed.contains(&whom) {
            return Err(Rejection::AlreadyMember);
        }
        if !group.members.contains(&whom) && group.members.len() >= group.capacity {
            return Err(Rejection::GroupFull);
        }
        group.arrive(whom);
        Ok(group.members.iter().copied().map(id).collect())
    }

    pub(super) fn leave(&mut self, who: i64, number: i64) -> Result<Vec<AccId>, Rejection> {
        let group = self.of_member(who, number)?;
        group.depart(who);
        let rest = group.members.iter().copied().map(id).collect();
        if group.admin == who {
            self.groups.insert(number, None);
        }
        Ok(rest)
    }

    pub(super) fn kick(&mut self, who: i64, group: i64, whom: i64) -> Result<(), Rejection> {
        let group = self.group(group)?;
        if group.admin != who {
            return Err(Rejection::NotAdmin);
        }
        if !group.members.contains(&whom) {
            return Err(Rejection::NoGroupMember);
        }
        if who == whom {
            return Err(Rejection::CircularKick);
        }
        group.depart(whom);
        Ok(())
    }

    pub(super) fn destroy(&mut self, who: i64, number: i64) -> Result<(), Rejection> {
        let admin = self.group(number).map(|group| group.admin);
        if admin != Ok(who) {
            return Err(Rejection::NotAdmin);
        }
        self.groups.insert(number, None);
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        who: i64,
        group: i64,
        whom: i64,
        keyholder: i64,
        key: u8,
    ) -> Result<usize, Rejection> {
        let group = self.group(group)?;
        if !exists(whom) {
            return Err(Rejection::MemberNotExisting);
        }
        if !group.members.contains(&who) || !group.members.contains(&whom) {
            return Err(Rejection::NoGroupMember);
        }
        if !exists(keyholder) {
            return Err(Rejection::KeyholderNotExisting);
        }
        group.store(who, whom, keyholder, key)
    }

    pub(super) fn write(&mut self, who: i64, group: i64, version: Option<u32>) -> Result<MessageNo, Rejection> {
        let group = self.group(group).map_err(|_| Rejection::AccountNotExisting)?;
        if !group.members.contains(&who) || group.said.is_empty() {
            return Err(Rejection::InvalidThread);
        }
        if version.is_some_and(|version| version == 0 || version as usize > group.versions.len()) {
            return Err(Rejection::InvalidMessageType);
        }
        group.said.push(Said { sender: Some(who), audience: group.members.clone(), removed: false });
        Ok(group.said.len() as MessageNo)
    }
}
