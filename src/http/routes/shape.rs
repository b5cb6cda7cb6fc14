//! How what is kept in memory is shown: each thing once, as the bytes that answers are put together from. They are cut out of
//! what the same types say that are answered from PostgreSQL, so that the two cannot differ.

use std::sync::Arc;

use be8_events::group::Access;
use be8_events::{AccId, Event, ThreadId, Timestamp};
use be8_projections::{
    AccountRow, AccountView, Counterpart, GroupMember, GroupRow, Partner, StoredSealed, ThreadGroup, ThreadList,
    ThreadMessage, ThreadMessages, ThreadSummary,
};
use chrono::TimeDelta;

use super::account::accounts::own_account;
use super::account::keys::read_key;
use super::group::group_keys::key_list;
use super::group::groups::member;
use crate::http::wire::answer::json;
use crate::http::wire::present;
use crate::http::wire::shown::{ListedThread, MessageType};
use crate::vault::Opener;
use crate::views::{AccountShown, Line, Shape, Shown, Unshown};

/// What stands behind the accounts that have read a message.
const AFTER_STATUS: &[u8] = b"],\"valid\":true}";
/// What stands behind the line of a thread that is not read.
const UNREAD: &[u8] = b"unread\"}";

/// Shows things as they are on the wire.
#[derive(Debug, Clone)]
pub struct Shapes {
    /// A listed thread of which nothing is known.
    blank: Vec<u8>,
}

impl Default for Shapes {
    fn default() -> Self {
        Self { blank: json(&ListedThread::default()) }
    }
}

impl Shapes {
    /// How the system is shown in a list of threads, in front of what depends on the thread.
    pub fn system(&self) -> Result<Box<[u8]>, Unshown> {
        let mut listed = ListedThread::default();
        present::beside_system(&mut listed);
        listed.partner.clear();
        self.in_front_of(&listed, b"\"threadID\":")
    }

    /// The beginning of a listed thread, up to a member: what follows must be that of the blank one.
    fn in_front_of(&self, listed: &ListedThread, member: &[u8]) -> Result<Box<[u8]>, Unshown> {
        let place = place_of(&self.blank, member).ok_or(Unshown)?;
        json(listed).strip_suffix(&self.blank[place..]).map(Into::into).ok_or(Unshown)
    }

    /// A listed thread's newest message: what is in front of it must be that of the blank one.
    fn line_of(&self, mut listed: ListedThread) -> Result<Box<[u8]>, Unshown> {
        let place = place_of(&self.blank, b"\"ts\":").ok_or(Unshown)?;
        let blank = ListedThread::default();
        let ListedThread { ts, text, sender, message_type, receiver, iv, group_version_key, .. } = listed;
        listed = ListedThread { ts, text, sender, message_type, receiver, iv, group_version_key, ..blank };
        let bytes = json(&listed);
        let line = bytes.strip_prefix(&self.blank[..place]).and_then(|line| line.strip_suffix(UNREAD));
        line.map(Into::into).ok_or(Unshown)
    }
}

fn place_of(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Who wrote a message; none for the system.
fn sender(event: &Event) -> Option<AccId> {
    let Event::Message(event) = event else { return None };
    Some(event.header().sender)
}

/// Before everything, and after it: when nothing is over, and when everything is.
const NEVER: Timestamp = Timestamp::from_micros(i64::MIN / 4);
const ALWAYS: Timestamp = Timestamp::from_micros(i64::MAX / 4);

impl Shape for Shapes {
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
            partner: self.in_front_of(&listed, b"\"threadID\":")?,
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
        self.in_front_of(&listed, b"\"ts\":")
    }

    fn line(&self, opener: &Opener, thread: ThreadId, newest: &ThreadMessage) -> Result<Line, Unshown> {
        let sender = sender(&newest.event.stored.event);
        let listed = |reader: AccId, now: Timestamp| {
            let summary = ThreadSummary {
                thread,
                counterpart: Counterpart::System,
                last_id: newest.id,
                last: newest.event.clone(),
                marked_read: false,
            };
            let list = ThreadList { reader, threads: vec![summary], live: Vec::new() };
            let threads = present::threads(list, opener, now, TimeDelta::zero()).map_err(|_| Unshown)?;
            threads.into_iter().next().ok_or(Unshown)
        };
        // Nobody has this number.
        let nobody = AccId::new(i64::from(AccId::MAX)).ok_or(Unshown)?;
        let other = listed(nobody, NEVER)?;
        // Whoever sent an image is told so in other words.
        let own = match sender {
            Some(sender) if other.message_type == MessageType::System => Some(self.line_of(listed(sender, NEVER)?)?),
            _ => None,
        };
        let (other, expired) = (self.line_of(other)?, self.line_of(listed(nobody, ALWAYS)?)?);
        Ok(Line { sender, lasting: present::is_lasting(&newest.event), other, own, expired })
    }

    fn messages(
        &self,
        opener: &Opener,
        thread: ThreadId,
        messages: Vec<ThreadMessage>,
        names: &[StoredSealed],
    ) -> Result<Vec<Shown>, Unshown> {
        let mut shown: Vec<Shown> = messages
            .iter()
            .map(|message| Shown {
                id: message.id,
                position: message.event.stored.position,
                time: message.event.stored.time,
                sender: sender(&message.event.stored.event),
                whole: true,
                lasting: present::is_lasting(&message.event),
                piece: Arc::default(),
            })
            .collect();
        let reader = AccId::new(i64::from(AccId::MAX)).ok_or(Unshown)?;
        let (names, read_marks, live) = (names.to_vec(), Vec::new(), Vec::new());
        let found = ThreadMessages { reader, thread, messages, names, read_marks, live };
        let page = present::messages(found, opener, NEVER, TimeDelta::zero()).map_err(|_| Unshown)?;
        if page.messages.len() != shown.len() {
            return Err(Unshown);
        }
        for (mut message, shown) in page.messages.into_iter().zip(&mut shown) {
            message.status.clear();
            shown.whole = message.message_type != MessageType::Removed;
            shown.piece = json(&message).strip_suffix(AFTER_STATUS).ok_or(Unshown)?.into();
        }
        Ok(shown)
    }

    fn group_keys(&self, opener: &Opener, keys: &[StoredSealed]) -> Result<Box<[u8]>, Unshown> {
        Ok(json(&key_list(keys, opener).map_err(|_| Unshown)?).into())
    }
}
