//! `/getmessages` from views.

use std::sync::Arc;

use be8_events::{AccId, Hash32, MessageNo, ThreadId, Timestamp};
use chrono::TimeDelta;

use super::{Verdict, living};
use crate::http::request::addressing::NamedThread;
use crate::http::wire::codes::Code;
use crate::views::{Away, Look, Shown, Stop, Thread, Views};

/// An answer, and what is to be marked as read before it is given.
pub(in crate::http) struct Page {
    /// The body.
    pub(in crate::http) body: Vec<u8>,
    /// What the reader is shown, if something of others is among it for the first time.
    pub(in crate::http) unread: Option<Unread>,
}

/// What counts as read once it was shown.
pub(in crate::http) struct Unread {
    /// The thread, by its stored name.
    pub(in crate::http) thread: ThreadId,
    /// The messages, each with its sender if that is an account and is to know.
    pub(in crate::http) shown: Vec<(MessageNo, Option<AccId>)>,
}

/// What is found for a reader.
struct Found {
    reader: AccId,
    /// The first message that it sees.
    first: MessageNo,
    thread: Arc<Thread>,
}

/// The newest messages of a thread that the session's account takes part in.
pub(in crate::http) async fn messages(
    views: &Views,
    session: Hash32,
    named: Option<NamedThread>,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Option<Verdict<Page>>, Away> {
    let look = |look: &mut Look<'_>| {
        let Some((reader, _)) = living(look, session, now)? else { return Ok(Err(Code::NotAuth)) };
        let Some(named) = named.filter(|named| named.is_of(Some(reader))) else {
            return Ok(Err(Code::InvalidThreadId));
        };
        find(look, reader, named.thread, now).map(|found| found.ok_or(Code::InvalidThreadId))
    };
    Ok(views.read(look).await?.map(|found| found.map(|found| found.page(now, lifetime))))
}

/// The thread, if the reader takes part in it, and from where on it is seen.
fn find(look: &mut Look<'_>, reader: AccId, name: ThreadId, now: Timestamp) -> Result<Option<Found>, Stop> {
    // Both are looked for before either is needed, so that what is missing is loaded together.
    let thread = look.thread(name.key());
    let (stay, first) = match name {
        ThreadId::Group(group) => match look.group(group)?.and_then(|group| group.members.get(&reader).copied()) {
            None => return Ok(None),
            Some(stay) => stay,
        },
        ThreadId::Dialog { .. } | ThreadId::System(_) => {
            let listed = look.list(reader)?.and_then(|list| list.get(&name.key()).copied());
            let Some(listed) = listed else { return Ok(None) };
            if let Some(partner) = listed.partner_of(reader)
                && look.account(partner)?.is_none_or(|partner| partner.until <= now)
            {
                return Ok(None);
            }
            (1, 1)
        }
    };
    let Some(thread) = thread?.filter(|thread| thread.thread == name) else { return Ok(None) };
    let seen = thread.messages.iter().filter(|message| message.id >= first).count();
    // Who was there before sees what was written then, too.
    if stay > 1 && seen < Thread::MOST {
        return Err(Stop::Unserved);
    }
    Ok(Some(Found { reader, first, thread: thread.clone() }))
}

/// What one account has read, followed along ascending numbers.
struct Marks {
    account: AccId,
    /// The account as a text of JSON.
    text: Vec<u8>,
    runs: Vec<(MessageNo, MessageNo)>,
    at: usize,
}

impl Marks {
    fn contain(&mut self, id: MessageNo) -> bool {
        while self.runs.get(self.at).is_some_and(|(_, last)| *last < id) {
            self.at += 1;
        }
        self.runs.get(self.at).is_some_and(|(first, _)| *first <= id)
    }
}

impl Found {
    /// What each account has read of what is shown, ascending by account; the reader is among them.
    fn marks(&self) -> Vec<Marks> {
        let (Some(oldest), Some(newest)) = (self.thread.messages.front(), self.thread.messages.back()) else {
            return Vec::new();
        };
        let shown = oldest.id..=newest.id;
        let mut marks: Vec<Marks> = Vec::with_capacity(self.thread.marks.len() + 1);
        for (account, ranges) in &self.thread.marks {
            let runs: Vec<_> = ranges.overlapping(&shown).map(|run| (*run.start(), *run.end())).collect();
            if !runs.is_empty() || *account == self.reader {
                marks.push(Marks { account: *account, text: format!("\"{account}\"").into_bytes(), runs, at: 0 });
            }
        }
        if let Err(place) = marks.binary_search_by_key(&self.reader, |marks| marks.account) {
            let text = format!("\"{}\"", self.reader).into_bytes();
            marks.insert(place, Marks { account: self.reader, text, runs: Vec::new(), at: 0 });
        }
        marks
    }

    fn page(&self, now: Timestamp, lifetime: TimeDelta) -> Page {
        let shown =
            |message: &&Shown| message.id >= self.first && (message.lasting || message.time.plus(lifetime) > now);
        let messages = || self.thread.messages.iter().filter(shown);
        let mut marks = self.marks();
        let each = 24 + marks.iter().map(|marks| marks.text.len() + 1).sum::<usize>();
        let mut body = Vec::with_capacity(32 + messages().map(|message| message.piece.len() + each).sum::<usize>());
        let mut unread = false;
        body.extend_from_slice(b"{\"valid\":true,\"messages\":[");
        for (nth, message) in messages().enumerate() {
            if nth > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&message.piece);
            let mut first = true;
            for reader in &mut marks {
                // What the reader is shown counts as read.
                let read = reader.contain(message.id) || {
                    let own = reader.account == self.reader;
                    unread |= own && message.sender != Some(self.reader);
                    own
                };
                if read && message.sender != Some(reader.account) {
                    if !std::mem::take(&mut first) {
                        body.push(b',');
                    }
                    body.extend_from_slice(&reader.text);
                }
            }
            body.extend_from_slice(b"],\"valid\":true}");
        }
        body.extend_from_slice(b"]}");
        // Nobody learns who read what was removed.
        let informed = |message: &Shown| message.sender.filter(|sender| *sender == self.reader || message.whole);
        let shown = || messages().map(|message| (message.id, informed(message))).collect();
        let unread = unread.then(|| Unread { thread: self.thread.thread, shown: shown() });
        Page { body, unread }
    }
}
