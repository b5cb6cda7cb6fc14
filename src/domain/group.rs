//! Groups: who is a member, by numbered stays.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use be8_events::erasure::Cause;
use be8_events::group::{
    Access, GroupCreated, GroupDestroyed, GroupSecret, GroupUpdateSignalled, MemberAdded, MemberJoined, MemberKicked,
    MemberLeft, Update,
};
use be8_events::{
    AccId, Event, GroupEvent, GroupId, GroupVersion, Hash32, MessageNo, NewEvent, Position, Sealing, Secret,
    SecretPayload, StayNo, StreamName, Subject, ThreadId,
};
use serde::{Deserialize, Serialize};

use super::key_versions::Versions;
use super::{Command, Decision, Rejection, Stop, View};

/// A present member.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Member {
    stay: StayNo,
    /// The thread is in the member's list; not so for a creator before its first join.
    listed: bool,
}

/// The state of a `group-gN` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Who created it; none while it does not exist.
    admin: Option<AccId>,
    private: bool,
    capacity: u32,
    /// The event that set the name.
    name: Position,
    destroyed: bool,
    members: BTreeMap<AccId, Member>,
    /// The newest stay of everybody who has left.
    former: BTreeMap<AccId, StayNo>,
    /// The number of the newest system message.
    last_message: MessageNo,
    pub(super) versions: Versions,
}

impl Group {
    /// It was created and is not destroyed.
    pub const fn lives(&self) -> bool {
        self.admin.is_some() && !self.destroyed
    }

    /// The number of a present member's stay.
    pub fn stay_of(&self, account: AccId) -> Option<StayNo> {
        self.members.get(&account).map(|member| member.stay)
    }

    /// Whether an account is a member now.
    pub fn is_member(&self, account: AccId) -> bool {
        self.members.contains_key(&account)
    }

    /// The present members, ascending.
    pub fn members(&self) -> impl Iterator<Item = AccId> + '_ {
        self.members.keys().copied()
    }

    /// The number of the newest system message in the thread; 0 before the first.
    pub const fn last_message(&self) -> MessageNo {
        self.last_message
    }

    /// The newest version of the group's key.
    pub fn version(&self) -> Option<GroupVersion> {
        self.versions.newest()
    }

    /// Who its admin is.
    pub const fn admin(&self) -> Option<AccId> {
        self.admin
    }

    /// The position of the event that set its name.
    pub const fn name(&self) -> Position {
        self.name
    }

    /// The stay that begins when an account comes (again).
    fn next_stay(&self, account: AccId) -> StayNo {
        self.former.get(&account).map_or(1, |stay| stay + 1)
    }

    fn is_full(&self) -> bool {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX) >= self.capacity
    }

    pub(super) fn evolve(&mut self, position: Position, event: &GroupEvent) {
        match event {
            GroupEvent::GroupCreated(e) => {
                self.admin = Some(e.admin);
                self.private = e.access == Access::Private;
                self.capacity = e.capacity;
                self.name = position;
                self.members.insert(e.admin, Member { stay: 1, listed: false });
            }
            GroupEvent::MemberJoined(e) => self.arrived(e.account, e.stay, e.message),
            GroupEvent::MemberAdded(e) => self.arrived(e.account, e.stay, e.message),
            GroupEvent::MemberLeft(e) => self.departed(e.account, e.stay, e.message),
            GroupEvent::MemberKicked(e) => self.departed(e.account, e.stay, e.message),
            GroupEvent::VersionAllocated(e) => {
                self.versions.allocated(e.version, e.by);
            }
            GroupEvent::GroupKeyStored(e) => self.versions.stored(e, position),
            GroupEvent::GroupDestroyed(_) => {
                self.destroyed = true;
                self.members.clear();
                self.former.clear();
                self.versions = Versions::default();
            }
            GroupEvent::GroupUpdateSignalled(_) => {}
        }
    }

    fn arrived(&mut self, account: AccId, stay: StayNo, message: MessageNo) {
        self.members.insert(account, Member { stay, listed: true });
        self.former.remove(&account);
        self.last_message = message;
    }

    fn departed(&mut self, account: AccId, stay: StayNo, message: MessageNo) {
        self.members.remove(&account);
        self.former.insert(account, stay);
        self.versions.departed(account);
        self.last_message = message;
    }
}

/// The living group that a command names: the check `group`.
pub(super) fn living<'a>(view: &View<'a>, group: Option<GroupId>) -> Result<(GroupId, &'a Group), Stop> {
    let id = group.ok_or(Rejection::GroupNotExisting)?;
    let state = view.group(id)?;
    if state.lives() { Ok((id, state)) } else { Err(Rejection::GroupNotExisting.into()) }
}

/// The living group that the session's account is a member of: the checks `acc`, `group` and
/// `isMember`, where nothing stands between them.
pub(super) fn as_member<'a>(
    view: &View<'a>,
    session: Option<Hash32>,
    group: Option<GroupId>,
) -> Result<(AccId, GroupId, &'a Group), Stop> {
    let me = view.authenticate(session)?;
    let (id, state) = living(view, group)?;
    if state.is_member(me) { Ok((me, id, state)) } else { Err(Rejection::NoGroupMember.into()) }
}

/// The living group whose admin the session's account is: the checks `acc` and `isAdmin`.
fn as_admin<'a>(
    view: &View<'a>,
    session: Option<Hash32>,
    group: Option<GroupId>,
) -> Result<(AccId, GroupId, &'a Group), Stop> {
    let me = view.authenticate(session)?;
    let id = group.ok_or(Rejection::NotAdmin)?;
    let state = view.group(id)?;
    if state.lives() && state.admin == Some(me) { Ok((me, id, state)) } else { Err(Rejection::NotAdmin.into()) }
}

/// The account that a command names, if it lives: the check `member`.
pub(super) fn existing(view: &View<'_>, account: Option<AccId>, otherwise: Rejection) -> Result<AccId, Stop> {
    let account = account.ok_or(otherwise)?;
    if view.lives(account)? { Ok(account) } else { Err(otherwise.into()) }
}

/// The next number in a group's thread.
pub(super) fn next_message_no(view: &View<'_>, id: GroupId, group: &Group) -> Result<MessageNo, Stop> {
    Ok(group.last_message.max(view.chat(id)?.last()) + 1)
}

pub(super) fn in_group(group: GroupId, actor: AccId, event: impl Into<Event>) -> NewEvent {
    NewEvent { stream: StreamName::Group(group), actor: Some(actor), event: event.into(), secret: None }
}

/// The key of what a member wrote during a stay.
pub(super) fn stay_key(group: GroupId, author: AccId, stay: StayNo) -> Subject {
    Subject::Stay { thread: ThreadId::Group(group), author, stay }
}

/// The streams that most commands on a group need.
pub(super) fn group_streams(
    session: Option<Hash32>,
    group: Option<GroupId>,
    accounts: &[Option<AccId>],
) -> Vec<StreamName> {
    let session = session.into_iter().map(StreamName::Session);
    let group = group.into_iter().flat_map(|group| [StreamName::Group(group), StreamName::Chat(group)]);
    session.chain(group).chain(accounts.iter().flatten().copied().map(StreamName::Account)).collect()
}

/// Creates a group.
#[derive(Debug, Clone)]
pub struct CreateGroup {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The name; none if it cannot be one.
    pub name: Option<Secret<GroupSecret>>,
    /// Who may join; none if it is no such word.
    pub access: Option<Access>,
    /// The most members.
    pub capacity: u32,
}

impl Command for CreateGroup {
    type Reply = GroupId;

    fn streams(&self) -> Vec<StreamName> {
        group_streams(self.session, None, &[])
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<GroupId>, Stop> {
        let admin = view.authenticate(self.session)?;
        let name = self.name.as_ref().ok_or(Rejection::InvalidNickname)?;
        let access = self.access.ok_or(Rejection::InvalidGroupType)?;
        let group = GroupId::new(view.next_group).ok_or(Rejection::NumbersExhausted)?;
        let created = GroupCreated { group, admin, access, capacity: self.capacity };
        let mut event = in_group(group, admin, created);
        event.secret = Some(SecretPayload::new(Sealing::Lasting(Subject::GroupName(group)), name));
        Ok(Decision::events(vec![event], group))
    }
}

/// Joins a group oneself.
#[derive(Debug, Clone)]
pub struct JoinGroup {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The group.
    pub group: Option<GroupId>,
}

impl Command for JoinGroup {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        group_streams(self.session, self.group, &[])
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let me = view.authenticate(self.session)?;
        let (id, group) = living(view, self.group)?;
        let present = group.members.get(&me);
        if present.is_some_and(|member| member.listed) {
            return Err(Rejection::AlreadyMember.into());
        }
        // The creator's first join is let through: it is a member already (docs/protocol.md, "Creating a group").
        if present.is_none() {
            if group.private {
                return Err(Rejection::NotAdmin.into());
            }
            if group.is_full() {
                return Err(Rejection::GroupFull.into());
            }
        }
        let stay = present.map_or_else(|| group.next_stay(me), |member| member.stay);
        let nickname = view.account(me)?.nickname();
        let joined =
            MemberJoined { group: id, account: me, stay, message: next_message_no(view, id, group)?, nickname };
        Ok(Decision::events(vec![in_group(id, me, joined)], ()))
    }
}

/// Adds somebody to a group.
#[derive(Debug, Clone)]
pub struct AddMember {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The group.
    pub group: Option<GroupId>,
    /// Whom.
    pub member: Option<AccId>,
}

impl Command for AddMember {
    /// The members afterwards, ascending.
    type Reply = Vec<AccId>;

    fn streams(&self) -> Vec<StreamName> {
        group_streams(self.session, self.group, &[self.member])
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<Vec<AccId>>, Stop> {
        let me = view.authenticate(self.session)?;
        let (id, group) = living(view, self.group)?;
        let member = existing(view, self.member, Rejection::MemberNotExisting)?;
        if !group.is_member(me) {
            return Err(Rejection::NoGroupMember.into());
        }
        if group.private && group.admin != Some(me) {
            return Err(Rejection::NotAdmin.into());
        }
        let present = group.members.get(&member);
        if present.is_some_and(|present| present.listed) {
            return Err(Rejection::AlreadyMember.into());
        }
        if present.is_none() && group.is_full() {
            return Err(Rejection::GroupFull.into());
        }
        let added = MemberAdded {
            group: id,
            account: member,
            by: me,
            stay: present.map_or_else(|| group.next_stay(member), |present| present.stay),
            message: next_message_no(view, id, group)?,
            nickname: view.account(member)?.nickname(),
            by_nickname: view.account(me)?.nickname(),
            group_name: group.name,
        };
        let mut members: Vec<AccId> = group.members().filter(|present| *present != member).chain([member]).collect();
        members.sort_unstable();
        Ok(Decision::events(vec![in_group(id, me, added)], members))
    }
}

/// Leaves a group. When its admin leaves, the group is destroyed.
#[derive(Debug, Clone)]
pub struct LeaveGroup {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The group.
    pub group: Option<GroupId>,
}

impl Command for LeaveGroup {
    /// Who remains (or did, until the group was destroyed with it), ascending.
    type Reply = Vec<AccId>;

    fn streams(&self) -> Vec<StreamName> {
        group_streams(self.session, self.group, &[])
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<Vec<AccId>>, Stop> {
        let (me, id, group) = as_member(view, self.session, self.group)?;
        let stay = group.stay_of(me).ok_or(Rejection::NoGroupMember)?;
        let remaining: Vec<AccId> = group.members().filter(|member| *member != me).collect();
        let left = MemberLeft {
            group: id,
            account: me,
            stay,
            message: next_message_no(view, id, group)?,
            nickname: view.account(me)?.nickname(),
            group_name: group.name,
        };
        let mut decision = Decision::events(vec![in_group(id, me, left)], remaining);
        decision.erase.push((stay_key(id, me, stay), Cause::Departure));
        if group.admin == Some(me) {
            destroy(&mut decision, id, group, me, |member| member != me);
        }
        Ok(decision)
    }
}

/// Removes a member from a group.
#[derive(Debug, Clone)]
pub struct KickMember {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The group.
    pub group: Option<GroupId>,
    /// Whom.
    pub member: Option<AccId>,
}

impl Command for KickMember {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        group_streams(self.session, self.group, &[self.member])
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let me = view.authenticate(self.session)?;
        let (id, group) = living(view, self.group)?;
        if group.admin != Some(me) {
            return Err(Rejection::NotAdmin.into());
        }
        let member = self.member.ok_or(Rejection::NoGroupMember)?;
        let stay = group.stay_of(member).ok_or(Rejection::NoGroupMember)?;
        if member == me {
            return Err(Rejection::CircularKick.into());
        }
        let kicked = MemberKicked {
            group: id,
            account: member,
            by: me,
            stay,
            message: next_message_no(view, id, group)?,
            nickname: view.account(member)?.nickname(),
            group_name: group.name,
        };
        let mut decision = Decision::events(vec![in_group(id, me, kicked)], ());
        decision.erase.push((stay_key(id, member, stay), Cause::Departure));
        Ok(decision)
    }
}

/// Destroys a group.
#[derive(Debug, Clone)]
pub struct DestroyGroup {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The group.
    pub group: Option<GroupId>,
}

impl Command for DestroyGroup {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        group_streams(self.session, self.group, &[])
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let (me, id, group) = as_admin(view, self.session, self.group)?;
        let mut decision = Decision::nothing(());
        destroy(&mut decision, id, group, me, |_| true);
        Ok(decision)
    }
}

/// Ends a group for those of its members that are still there: their stays, what they wrote, and
/// all wrapped keys. The name stays for a while, for the message that says so.
pub(super) fn destroy<R>(
    decision: &mut Decision<R>,
    id: GroupId,
    group: &Group,
    by: AccId,
    there: impl Fn(AccId) -> bool,
) {
    let members: Vec<(AccId, StayNo)> =
        group.members.iter().filter(|(id, _)| there(**id)).map(|(id, member)| (*id, member.stay)).collect();
    decision.erase.extend(members.iter().map(|&(member, stay)| (stay_key(id, member, stay), Cause::GroupDestroyed)));
    decision.erase.push((Subject::GroupKeys(id), Cause::GroupDestroyed));
    decision.events.push(in_group(id, by, GroupDestroyed { group: id, by, members, group_name: group.name }));
}

/// Asks all members to look at the group again.
#[derive(Debug, Clone)]
pub struct SignalUpdate {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The group.
    pub group: Option<GroupId>,
    /// What they are to believe; none if it is no such word.
    pub update: Option<Update>,
}

impl Command for SignalUpdate {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        group_streams(self.session, self.group, &[])
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let (by, id, _) = as_member(view, self.session, self.group)?;
        let update = self.update.ok_or(Rejection::InvalidUpdateType)?;
        Ok(Decision::events(vec![in_group(id, by, GroupUpdateSignalled { by, update })], ()))
    }
}
