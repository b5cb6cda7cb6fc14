//! The versions of a group's key, and the wrapped keys that are stored for its members
//! (docs/protocol.md, "Storing a wrapped key").

#[cfg(test)]
mod tests;

use be8_events::group::{GroupKeySecret, GroupKeyStored, VersionAllocated};
use be8_events::{AccId, GroupId, GroupVersion, Hash32, NewEvent, Sealing, Secret, SecretPayload, StreamName, Subject};

use super::group::{as_member, existing, group_streams, living};
use super::{Command, Decision, Rejection, Stop, View};

/// Takes the next version of a group's key.
#[derive(Debug, Clone)]
pub struct AllocateVersion {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The group.
    pub group: Option<GroupId>,
}

impl Command for AllocateVersion {
    type Reply = GroupVersion;

    fn streams(&self) -> Vec<StreamName> {
        group_streams(self.session, self.group, &[])
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<GroupVersion>, Stop> {
        let (by, id, group) = as_member(view, self.session, self.group)?;
        let version = group.version().unwrap_or(0) + 1;
        Ok(Decision::events(vec![allocation(id, version, by)], version))
    }
}

fn allocation(id: GroupId, version: GroupVersion, by: AccId) -> NewEvent {
    let event = VersionAllocated { version, by }.into();
    NewEvent { stream: StreamName::Group(id), actor: Some(by), event, secret: None }
}

/// Stores a wrapped key for a member.
#[derive(Debug, Clone)]
pub struct StoreKey {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The group.
    pub group: Option<GroupId>,
    /// For whom.
    pub account: Option<AccId>,
    /// Whose key pair wrapped it.
    pub keyholder: Option<AccId>,
    /// The wrapped key; none if it cannot be one.
    pub key: Option<Secret<GroupKeySecret>>,
}

impl Command for StoreKey {
    /// The version under which it is stored.
    type Reply = GroupVersion;

    fn streams(&self) -> Vec<StreamName> {
        group_streams(self.session, self.group, &[self.account, self.keyholder])
    }

    fn size(&self) -> usize {
        self.key.as_ref().map_or(0, |key| key.expose().key.len())
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<GroupVersion>, Stop> {
        let me = view.authenticate(self.session)?;
        let (id, group) = living(view, self.group)?;
        let account = existing(view, self.account, Rejection::MemberNotExisting)?;
        if !group.is_member(me) || !group.is_member(account) {
            return Err(Rejection::NoGroupMember.into());
        }
        let keyholder = existing(view, self.keyholder, Rejection::KeyholderNotExisting)?;
        let key = self.key.as_ref().ok_or(Rejection::InvalidGroupKey)?;
        let sha256 = Hash32::sha256(key.expose().key.as_bytes());

        let versions = &group.versions;
        let own_allocation = versions.last_of.get(&me).copied();
        let version = own_allocation.or(versions.newest).unwrap_or(1);
        let allocated = versions.allocations.get(&version);
        let existing_key = allocated.and_then(|allocation| Some((allocation.by, allocation.stored.get(&account)?)));
        let replaces = match existing_key {
            // The same bytes wrapped by another key pair are another key, to whom it is up to replace
            // it. The same bytes with another iv are not: bytes and iv are made together, so these
            // could not be opened, and the key that is there stays good.
            Some((by, known)) if known.sha256 == sha256 && (by != me || known.keyholder == keyholder) => {
                return Ok(Decision::nothing(version)); // docs/protocol.md, "Unchanged values"
            }
            Some((by, _)) if by != me => return Err(Rejection::InvalidGroupKey.into()),
            Some((_, known)) => Some(known.position),
            None => None,
        };
        let mut events = Vec::with_capacity(2);
        if versions.newest.is_none() {
            events.push(allocation(id, version, me));
        }
        events.push(NewEvent {
            stream: StreamName::Group(id),
            actor: Some(me),
            event: GroupKeyStored { version, account, by: me, keyholder, sha256, replaces }.into(),
            secret: Some(SecretPayload::new(Sealing::Lasting(Subject::GroupKeys(id)), key)),
        });
        Ok(Decision::events(events, version))
    }
}
