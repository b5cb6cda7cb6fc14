//! How the views show what they keep: the bytes that answers are put together from. They are cut out of what the types of
//! answers write, which also answer from PostgreSQL, so that the two cannot differ.

use be8_events::group::Access;
use be8_events::{AccId, Event, Position, ThreadId};
use be8_projections::{
    AccountRow, AccountView, Counterpart, GroupMember, GroupRow, Partner, StoredSealed, ThreadGroup, ThreadMessage,
};

use super::account::accounts::own_account;
use super::account::keys::read_key;
use super::group::group_keys::key_list;
use super::group::groups::member;
use crate::http::wire::answer::json;
use crate::http::wire::present::{self, Described};
use crate::http::wire::shown::ListedThread;
use crate::http::wire::thread_pieces::THREAD_PIECES;
use crate::vault::Opener;
use crate::views::{AccountShown, Line, Names, Presenter, Shown, Unshown};

/// The end of a message, after the accounts that have read it.
const AFTER_STATUS: &[u8] = b"],\"valid\":true}";

/// Shows things as they are on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Presenters;

/// The newest message of a thread in the list.
fn line(thread: ThreadId, event: &StoredSealed, newest: Described) -> Result<Line, Unshown> {
    let (sender, time) = (sender(&event.stored.event), event.stored.time);
    // Only an image is shown to its sender in other words.
    let own = newest.is_image().then(|| THREAD_PIECES.newest(thread, time, newest.clone(), true)).transpose()?;
    let other = THREAD_PIECES.newest(thread, time, newest, false)?;
    Ok(Line { sender, lasting: present::is_lasting(event), other, own })
}

/// A message as it is shown, up to the accounts that have read it.
fn shown<'a>(
    message: &ThreadMessage,
    thread: ThreadId,
    described: Described,
    name: impl Fn(Position) -> Option<&'a str>,
) -> Result<Shown, Unshown> {
    let ThreadMessage { id, event } = message;
    let sender = sender(&event.stored.event);
    // A message of an account whose content is erased is `removed`.
    let whole = sender.is_none() || described.has_content();
    let bytes = json(&present::shown(*id, event, thread, described, name));
    Ok(Shown {
        id: *id,
        position: event.stored.position,
        time: event.stored.time,
        sender,
        whole,
        lasting: present::is_lasting(event),
        piece: bytes.strip_suffix(AFTER_STATUS).ok_or(Unshown)?.into(),
    })
}

/// Who wrote a message; none for the system.
fn sender(event: &Event) -> Option<AccId> {
    let Event::Message(event) = event else { return None };
    Some(event.header().sender)
}

impl Presenter for Presenters {
    fn account(&self, opener: &Opener, account: &AccountRow) -> Result<AccountShown, Unshown> {
        let AccountRow { id, until, endless, codes, nickname, status, public_key } = account;
        let (id, until, endless) = (*id, *until, *endless);
        let view = AccountView {
            id,
            until,
            nickname: nickname.clone(),
            status: status.clone(),
            codes: *codes,
            endless,
            live: Vec::new(),
        };
        let other = GroupMember { id, until, nickname: nickname.clone(), status: status.clone(), endless };
        let partner = Partner { id, until, nickname: nickname.clone(), status: status.clone(), endless };
        let mut listed = ListedThread::default();
        present::beside(&mut listed, &Counterpart::Partner(Box::new(partner)), opener).map_err(|_| Unshown)?;
        listed.partner.clear();
        let key = public_key.as_ref().map(|event| read_key(opener, id, event)).transpose().map_err(|_| Unshown)?;
        Ok(AccountShown {
            own: json(&own_account(&view, opener).map_err(|_| Unshown)?).into(),
            partner: THREAD_PIECES.up_to(&listed, b"\"threadID\":")?,
            member: json(&member(&other, opener).map_err(|_| Unshown)?).into(),
            key: key.flatten().map(|key| json(&key).into()),
        })
    }

    fn group(&self, opener: &Opener, group: &GroupRow) -> Result<Box<[u8]>, Unshown> {
        let access = if group.private { Access::Private } else { Access::Public };
        let GroupRow { admin, capacity, .. } = *group;
        let of = Counterpart::Group(Box::new(ThreadGroup { admin, access, capacity, name: group.name.clone() }));
        let mut listed = ListedThread { thread_id: group.id.to_string(), ..ListedThread::default() };
        present::beside(&mut listed, &of, opener).map_err(|_| Unshown)?;
        THREAD_PIECES.up_to(&listed, b"\"ts\":")
    }

    fn line(&self, opener: &Opener, thread: ThreadId, newest: &ThreadMessage) -> Result<Line, Unshown> {
        let event = &newest.event;
        let described = present::describe(event, thread, opener).map_err(|_| Unshown)?.ok_or(Unshown)?;
        line(thread, event, described)
    }

    fn names(&self, opener: &Opener, events: &[StoredSealed]) -> Result<Names, Unshown> {
        present::opened(events, opener).map_err(|_| Unshown)
    }

    fn messages(
        &self,
        opener: &Opener,
        thread: ThreadId,
        messages: &[ThreadMessage],
        names: &Names,
    ) -> Result<Vec<Shown>, Unshown> {
        let shown = |message: &ThreadMessage| {
            let described = present::describe(&message.event, thread, opener).map_err(|_| Unshown)?.ok_or(Unshown)?;
            shown(message, thread, described, |position| names.get(&position).map(AsRef::as_ref))
        };
        messages.iter().map(shown).collect()
    }

    fn written(
        &self,
        opener: &Opener,
        thread: ThreadId,
        message: &ThreadMessage,
        nickname: Option<&str>,
    ) -> Result<(Line, Option<Shown>), Unshown> {
        let event = &message.event;
        let described = present::describe(event, thread, opener).map_err(|_| Unshown)?;
        let described = described.filter(present::Described::has_content).ok_or(Unshown)?;
        let shown = nickname.map(|nickname| shown(message, thread, described.clone(), |_| Some(nickname)));
        Ok((line(thread, event, described)?, shown.transpose()?))
    }

    fn group_keys(&self, opener: &Opener, keys: &[StoredSealed]) -> Result<Box<[u8]>, Unshown> {
        Ok(json(&key_list(keys, opener).map_err(|_| Unshown)?).into())
    }
}
