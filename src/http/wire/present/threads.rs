//! The list of threads.

use be8_events::{AccId, ThreadId, Timestamp};
use be8_projections::{Counterpart, ThreadList, ThreadSummary};
use chrono::TimeDelta;

use super::{Described, SYSTEM, describe, expired};
use crate::app::names::{open_name, open_status};
use crate::http::wire::error::WireError;
use crate::http::wire::js_date::js_date;
use crate::http::wire::shown::{ListedThread, MessageType, ReadStatus, ThreadKind};
use crate::vault::Opener;

/// The nickname of the system.
const SYSTEM_NAME: &str = "be8";
/// Until when the thread of the system lives: a constant of the contract.
const SYSTEM_EXPIRE: &str = "2286-11-20T17:46:40.000Z";

/// The threads of an account, the newest first; of one second, conversations before the system.
pub(in crate::http) fn threads(
    list: ThreadList,
    opener: &Opener,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Vec<ListedThread>, WireError> {
    let ThreadList { reader, mut threads, .. } = list;
    threads.sort_by_cached_key(|thread| {
        let at = thread.last.stored.time;
        let second = at.micros().div_euclid(1_000_000);
        let system = matches!(thread.thread, ThreadId::System(_));
        std::cmp::Reverse((second, !system, thread.last.stored.position))
    });
    threads.iter().filter_map(|thread| summary(thread, reader, opener, now, lifetime).transpose()).collect()
}

fn summary(
    summary: &ThreadSummary,
    reader: AccId,
    opener: &Opener,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Option<ListedThread>, WireError> {
    let ThreadSummary { thread, counterpart, last, marked_read, .. } = summary;
    let Some(described) = describe(last, *thread, opener)? else { return Ok(None) };
    let time = last.stored.time;
    // Of one that has expired, nobody is the sender.
    let (mut listed, own) = if expired(last, now, lifetime) {
        (expired_line(*thread, time), false)
    } else {
        let own = described.sender == Some(reader);
        (line(*thread, time, described, own), own)
    };
    listed.status = if own || *marked_read { ReadStatus::Read } else { ReadStatus::Unread };
    beside(&mut listed, counterpart, opener)?;
    Ok(Some(listed))
}

/// A thread with its newest message, as it is shown to its sender (`own`) or to others: what stands on the other side of the
/// thread is left out.
pub(in crate::http) fn line(thread: ThreadId, time: Timestamp, mut newest: Described, own: bool) -> ListedThread {
    if newest.is_image() {
        // The list shows it in the words of the system.
        newest.message_type = MessageType::System;
        newest.text = if own { "SENTIMAGE" } else { "RECEIVEDIMAGE" }.to_owned();
    }
    ListedThread {
        thread_id: thread.to_string(),
        ts: js_date(time),
        text: newest.text,
        sender: newest.sender_text,
        message_type: newest.message_type,
        receiver: newest.receiver,
        iv: newest.content.and_then(|content| content.iv),
        group_version_key: newest.version.map(|version| format!("{thread}:{version}")),
        ..ListedThread::default()
    }
}

/// A thread whose newest message has expired: it still needs a title that the client knows.
pub(in crate::http) fn expired_line(thread: ThreadId, time: Timestamp) -> ListedThread {
    let code = match thread {
        ThreadId::Group(_) => "ACCJOINEDGROUP",
        ThreadId::Dialog { .. } | ThreadId::System(_) => "STARTCONVERSATION",
    };
    line(thread, time, Described::system(thread, code, None, [None, None, None]), false)
}

/// Shows what stands on the other side of a thread, whose id is set.
pub(in crate::http) fn beside(
    thread: &mut ListedThread,
    counterpart: &Counterpart,
    opener: &Opener,
) -> Result<(), WireError> {
    match counterpart {
        Counterpart::Partner(partner) => {
            thread.kind = ThreadKind::User;
            thread.nickname = open_name(opener, &partner.nickname)?;
            thread.partner = partner.id.to_string();
            thread.id = Some(partner.id.to_string());
            thread.expire = Some(js_date(partner.until));
            thread.user_status = Some(open_status(opener, partner.status.as_ref())?);
            thread.endless = partner.endless;
        }
        Counterpart::Group(group) => {
            thread.kind = ThreadKind::Group;
            thread.nickname = open_name(opener, &group.name)?;
            thread.partner.clone_from(&thread.thread_id);
            thread.group_id = Some(thread.thread_id.clone());
            thread.group_type = Some(group.access.into());
            thread.admin = Some(group.admin.to_string());
            thread.max_members = Some(group.capacity.to_string());
        }
        Counterpart::System => beside_system(thread),
    }
    Ok(())
}

/// Shows the system on the other side of a thread.
pub(in crate::http) fn beside_system(thread: &mut ListedThread) {
    thread.kind = ThreadKind::System;
    thread.nickname = SYSTEM_NAME.to_owned();
    thread.partner = SYSTEM.to_owned();
    thread.id = Some(SYSTEM.to_owned());
    thread.expire = Some(SYSTEM_EXPIRE.to_owned());
}
