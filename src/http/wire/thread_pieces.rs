//! A listed thread in pieces of JSON: what stands on its other side, and its newest message. Views keep them apart, since they
//! change apart. They are cut out of what the type itself writes, so that an answer of pieces is one of the type.

use std::sync::LazyLock;

use be8_events::{ThreadId, Timestamp};

use super::answer::json;
use super::present::{self, Described};
use super::shown::ListedThread;
use crate::views::Unshown;

/// The pieces of this program's [`ListedThread`].
pub(in crate::http) static THREAD_PIECES: LazyLock<ThreadPieces> = LazyLock::new(ThreadPieces::new);

/// The last bytes of a thread that is not read.
const UNREAD: &[u8] = b"unread\"}";

/// Cuts listed threads into pieces.
#[derive(Debug)]
pub(in crate::http) struct ThreadPieces {
    /// A listed thread of which nothing is known.
    blank: Vec<u8>,
    /// The system on the other side, up to the member `threadID`.
    pub(in crate::http) system: Box<[u8]>,
}

impl ThreadPieces {
    fn new() -> Self {
        let mut listed = ListedThread::default();
        present::beside_system(&mut listed);
        listed.partner.clear();
        let mut pieces = Self { blank: json(&ListedThread::default()), system: Box::default() };
        pieces.system = pieces.up_to(&listed, b"\"threadID\":").expect("it differs in what is in front of that only");
        pieces
    }

    /// The beginning of a listed thread, up to a member: from there on it must be blank.
    ///
    /// # Errors
    /// It is not.
    pub(in crate::http) fn up_to(&self, listed: &ListedThread, member: &[u8]) -> Result<Box<[u8]>, Unshown> {
        let place = self.place_of(member)?;
        json(listed).strip_suffix(&self.blank[place..]).map(Into::into).ok_or(Unshown)
    }

    /// The newest message of a thread, from the member `ts` up to whether it was read, as it is shown to its sender (`own`) or to
    /// others.
    ///
    /// # Errors
    /// The types say otherwise.
    pub(in crate::http) fn newest(
        &self,
        thread: ThreadId,
        time: Timestamp,
        newest: Described,
        own: bool,
    ) -> Result<Box<[u8]>, Unshown> {
        self.end_from_ts(present::line(thread, time, newest, own))
    }

    /// The same of a message that has expired.
    ///
    /// # Errors
    /// The types say otherwise.
    pub(in crate::http) fn expired(&self, thread: ThreadId, time: Timestamp) -> Result<Box<[u8]>, Unshown> {
        self.end_from_ts(present::expired_line(thread, time))
    }

    fn end_from_ts(&self, mut listed: ListedThread) -> Result<Box<[u8]>, Unshown> {
        listed.thread_id.clear();
        let place = self.place_of(b"\"ts\":")?;
        let bytes = json(&listed);
        let piece = bytes.strip_prefix(&self.blank[..place]).and_then(|piece| piece.strip_suffix(UNREAD));
        piece.map(Into::into).ok_or(Unshown)
    }

    fn place_of(&self, member: &[u8]) -> Result<usize, Unshown> {
        self.blank.windows(member.len()).position(|window| window == member).ok_or(Unshown)
    }
}
