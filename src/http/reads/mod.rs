//! Answers from views: what is found at one position, put together from bytes. None: PostgreSQL answers.

mod messages;
mod threads;

use std::sync::Arc;

use be8_events::{AccId, GroupId, Hash32, Timestamp};
use be8_projections::{Counters, GroupStanding};

pub(in crate::http) use messages::{Page, Unread, messages};
pub(in crate::http) use threads::threads;

use crate::http::wire::codes::Code;
use crate::views::{Account, Away, Look, Stop, Views};

/// What a read came to: something, or a refusal.
pub(in crate::http) type Verdict<T> = Result<T, Code>;

/// The living account of a session.
fn living<'a>(look: &mut Look<'a>, session: Hash32, now: Timestamp) -> Result<Option<(AccId, &'a Arc<Account>)>, Stop> {
    let Some(&id) = look.session(session)? else { return Ok(None) };
    let account = look.account(id)?.filter(|account| account.until > now);
    Ok(account.map(|account| (id, account)))
}

/// The account of a session, as it is shown to itself.
pub(in crate::http) async fn own(
    views: &Views,
    session: Hash32,
    now: Timestamp,
) -> Result<Option<Verdict<Arc<Account>>>, Away> {
    views.read(|look| Ok(living(look, session, now)?.map(|(_, account)| account.clone()).ok_or(Code::NotAuth))).await
}

/// Where the account of a session stands with a group.
pub(in crate::http) async fn standing(
    views: &Views,
    session: Hash32,
    now: Timestamp,
    group: Option<GroupId>,
) -> Result<Option<Verdict<GroupStanding>>, Away> {
    let look = |look: &mut Look<'_>| {
        let Some((reader, _)) = living(look, session, now)? else { return Ok(Err(Code::NotAuth)) };
        let group = group.map_or(Ok(None), |group| look.group(group))?.filter(|group| !group.destroyed);
        let member = group.as_ref().is_some_and(|group| group.members.contains_key(&reader));
        let version = group.as_ref().and_then(|group| group.version);
        Ok(Ok(GroupStanding { reader, exists: group.is_some(), member, version }))
    };
    views.read(look).await
}

/// The members of a group that live, the admin first, the others ascending: the body of the answer.
pub(in crate::http) async fn members(
    views: &Views,
    session: Hash32,
    now: Timestamp,
    group: Option<GroupId>,
) -> Result<Option<Verdict<Vec<u8>>>, Away> {
    let look = |look: &mut Look<'_>| {
        let Some((reader, _)) = living(look, session, now)? else { return Ok(Err(Code::NotAuth)) };
        let group = group.map_or(Ok(None), |group| look.group(group))?.filter(|group| !group.destroyed);
        let Some(group) = group else { return Ok(Err(Code::GroupNotExisting)) };
        if !group.members.contains_key(&reader) {
            return Ok(Err(Code::NoGroupMember));
        }
        let admin = group.members.contains_key(&group.admin).then_some(group.admin);
        let others = group.members.keys().copied().filter(|member| *member != group.admin);
        // All that are missing are loaded together.
        let members: Vec<_> = admin.into_iter().chain(others).map(|member| look.account(member)).collect();
        let members = members.into_iter().collect::<Result<Vec<_>, _>>()?;
        let members = members.iter().flatten().filter(|member| member.until > now);
        Ok(Ok(list(b"members", members.map(|member| &*member.shown.member))))
    };
    views.read(look).await
}

/// The wrapped keys of a member: the body of the answer.
pub(in crate::http) async fn group_keys(
    views: &Views,
    session: Hash32,
    now: Timestamp,
    group: Option<GroupId>,
    of: Option<AccId>,
) -> Result<Option<Verdict<Vec<u8>>>, Away> {
    let look = |look: &mut Look<'_>| {
        let Some((reader, _)) = living(look, session, now)? else { return Ok(Err(Code::NotAuth)) };
        let Some(id) = group else { return Ok(Err(Code::GroupNotExisting)) };
        let Some(group) = look.group(id)?.filter(|group| !group.destroyed) else {
            return Ok(Err(Code::GroupNotExisting));
        };
        if !group.members.contains_key(&reader) {
            return Ok(Err(Code::NoGroupMember));
        }
        let account = of.map_or(Ok(None), |of| look.account(of))?.filter(|account| account.until > now);
        let (Some(of), Some(_)) = (of, account) else { return Ok(Err(Code::MemberNotExisting)) };
        if !group.members.contains_key(&of) {
            return Ok(Err(Code::NoGroupMember));
        }
        // There is always such an entry.
        Ok(Ok(look.group_keys(id, of)?.ok_or(Stop::Unserved)?.to_vec()))
    };
    views.read(look).await
}

/// Accounts by their ids, in that order; only of a session of a living account, and only if all of them live.
pub(in crate::http) async fn owners_of_keys(
    views: &Views,
    session: Hash32,
    now: Timestamp,
    ids: Option<&[AccId]>,
) -> Result<Option<Verdict<Vec<Arc<Account>>>>, Away> {
    let look = |look: &mut Look<'_>| {
        if living(look, session, now)?.is_none() {
            return Ok(Err(Code::NotAuth));
        }
        let Some(ids) = ids else { return Ok(Err(Code::MemberNotExisting)) };
        let found: Vec<_> = ids.iter().map(|id| look.account(*id)).collect();
        let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
        // The key of one that lives no more may be needed still, which PostgreSQL knows.
        let living = found.into_iter().map(|account| account.filter(|account| account.until > now).cloned());
        Ok(Ok(living.collect::<Option<Vec<_>>>().ok_or(Stop::Unserved)?))
    };
    views.read(look).await
}

/// The counters.
pub(in crate::http) async fn insights(views: &Views) -> Result<Option<Counters>, Away> {
    views.read(|look| look.insights()?.cloned().ok_or(Stop::Unserved)).await
}

/// The body of an answer that is a list under this name.
pub(in crate::http) fn list<'a>(name: &[u8], items: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let mut body = Vec::with_capacity(32 + items.clone().map(|item| item.len() + 1).sum::<usize>());
    body.extend_from_slice(b"{\"valid\":true,\"");
    body.extend_from_slice(name);
    body.extend_from_slice(b"\":[");
    for (nth, item) in items.enumerate() {
        if nth > 0 {
            body.push(b',');
        }
        body.extend_from_slice(item);
    }
    body.extend_from_slice(b"]}");
    body
}
