//! `/getthreads` from views.

use std::cmp::Reverse;
use std::io::Write as _;

use be8_events::{AccId, Hash32, ThreadId, Timestamp};
use chrono::TimeDelta;

use super::Verdict;
use crate::http::wire::codes::Code;
use crate::http::wire::thread_pieces::THREAD_PIECES;
use crate::views::{Account, Away, Group, Look, Newest, Stop, Unshown, Views};

/// A thread, and what stands on its other side.
struct Listed<'a> {
    newest: &'a Newest,
    other: Other<'a>,
}

enum Other<'a> {
    Partner(AccId, &'a Account),
    Group(&'a Group),
    System,
}

/// The threads of the session's account: the body of the answer.
pub(in crate::http) async fn threads(
    views: &Views,
    session: Hash32,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Option<Verdict<Vec<u8>>>, Away> {
    let look = |look: &mut Look<'_>| {
        let Some(&reader) = look.session(session)? else { return Ok(Err(Code::NotAuth)) };
        let (me, list) = (look.account(reader), look.list(reader));
        if me?.is_none_or(|me| me.until <= now) {
            return Ok(Err(Code::NotAuth));
        }
        // All that are missing are loaded together.
        let threads = list?.into_iter().flat_map(|list| list.values());
        let threads: Vec<_> = threads.map(|thread| listed(look, reader, *thread, now)).collect();
        let threads = threads.into_iter().collect::<Result<Vec<_>, _>>()?;
        let threads = threads.into_iter().flatten().collect();
        body(reader, threads, now, lifetime).map(Ok).map_err(|Unshown| Stop::Unserved)
    };
    views.read(look).await
}

/// A thread of the list; none for one without messages, and for one whose partner is gone.
fn listed<'a>(
    look: &mut Look<'a>,
    reader: AccId,
    thread: ThreadId,
    now: Timestamp,
) -> Result<Option<Listed<'a>>, Stop> {
    let newest = look.newest(thread.key());
    let other = match thread {
        ThreadId::Dialog { .. } => {
            let Some(partner) = thread.partner_of(reader) else { return Err(Stop::Unserved) };
            let account = look.account(partner)?.filter(|account| account.until > now);
            account.map(|account| Other::Partner(partner, account))
        }
        ThreadId::Group(group) => Some(Other::Group(look.group(group)?.ok_or(Stop::Unserved)?)),
        ThreadId::System(_) => Some(Other::System),
    };
    Ok(newest?.zip(other).map(|(newest, other)| Listed { newest, other }))
}

/// The members of a thread that say which one it is, and who stands on its other side, as far as that.
fn named(body: &mut Vec<u8>, name: &str) {
    for part in ["\"threadID\":\"", name, "\",\"partner\":\""] {
        body.extend_from_slice(part.as_bytes());
    }
}

fn body(reader: AccId, mut threads: Vec<Listed<'_>>, now: Timestamp, lifetime: TimeDelta) -> Result<Vec<u8>, Unshown> {
    threads.sort_by_key(|Listed { newest, .. }| {
        let second = newest.time.micros().div_euclid(1_000_000);
        let system = matches!(newest.thread, ThreadId::System(_));
        Reverse((second, !system, newest.position))
    });
    let size = |listed: &Listed| {
        let other = match &listed.other {
            Other::Partner(_, account) => account.shown.partner.len(),
            Other::Group(group) => group.shown.len(),
            Other::System => THREAD_PIECES.system.len(),
        };
        other + listed.newest.line.other.len() + 96
    };
    let mut body = Vec::with_capacity(32 + threads.iter().map(size).sum::<usize>());
    body.extend_from_slice(b"{\"valid\":true,\"threads\":[");
    for (nth, Listed { newest, other }) in threads.iter().enumerate() {
        if nth > 0 {
            body.push(b',');
        }
        // Writing to memory cannot fail.
        let _ = match other {
            Other::Partner(partner, account) => {
                body.extend_from_slice(&account.shown.partner);
                named(&mut body, &newest.name);
                write!(body, "{partner}\",")
            }
            Other::Group(group) => body.write_all(&group.shown),
            Other::System => {
                body.extend_from_slice(&THREAD_PIECES.system);
                named(&mut body, &newest.name);
                body.write_all(b"s1\",")
            }
        };
        let line = &newest.line;
        let (mut read, mut text) = (newest.marked.contains(&reader), &line.other);
        let expired;
        if !line.lasting && newest.time.plus(lifetime) <= now {
            expired = THREAD_PIECES.expired(newest.thread, newest.time)?;
            text = &expired;
        } else if line.sender == Some(reader) {
            read = true;
            text = line.own.as_ref().unwrap_or(text);
        }
        body.extend_from_slice(text);
        body.extend_from_slice(if read { b"read\"}" } else { b"unread\"}" });
    }
    body.extend_from_slice(b"]}");
    Ok(body)
}
