//! How things are shown, which the views are given: they keep the bytes of answers, and of what was unsealed only names.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use be8_events::{AccId, MessageNo, Position, ThreadId, Timestamp};
use be8_projections::{AccountRow, GroupRow, StoredSealed, ThreadMessage};

use crate::vault::Opener;

/// Something stored that cannot be shown. A read of it gets the error from PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unshown;

/// Names by the positions of the events that set them.
pub type Names = BTreeMap<Position, Arc<str>>;

/// Shows what was read, as pieces of answers.
pub trait Presenter: Debug + Send + Sync {
    /// An account, as it is shown in each of its places.
    ///
    /// # Errors
    /// [`Unshown`]
    fn account(&self, opener: &Opener, account: &AccountRow) -> Result<AccountShown, Unshown>;

    /// A group in a list of threads: all that does not depend on its messages.
    ///
    /// # Errors
    /// [`Unshown`]
    fn group(&self, opener: &Opener, group: &GroupRow) -> Result<Box<[u8]>, Unshown>;

    /// The newest message of a thread in a list of threads.
    ///
    /// # Errors
    /// [`Unshown`]
    fn line(&self, opener: &Opener, thread: ThreadId, newest: &ThreadMessage) -> Result<Line, Unshown>;

    /// The names that these events set.
    ///
    /// # Errors
    /// [`Unshown`]
    fn names(&self, opener: &Opener, events: &[StoredSealed]) -> Result<Names, Unshown>;

    /// Messages of a thread, with the names that are shown with them.
    ///
    /// # Errors
    /// [`Unshown`]
    fn messages(
        &self,
        opener: &Opener,
        thread: ThreadId,
        messages: &[ThreadMessage],
        names: &Names,
    ) -> Result<Vec<Shown>, Unshown>;

    /// A message that an account has just written, in a list of threads and, if its nickname is given, in its thread.
    ///
    /// # Errors
    /// [`Unshown`], also where its content is erased already.
    fn written(
        &self,
        opener: &Opener,
        thread: ThreadId,
        message: &ThreadMessage,
        nickname: Option<&str>,
    ) -> Result<(Line, Option<Shown>), Unshown>;

    /// The wrapped keys of an account in a group: a whole answer.
    ///
    /// # Errors
    /// [`Unshown`]
    fn group_keys(&self, opener: &Opener, keys: &[StoredSealed]) -> Result<Box<[u8]>, Unshown>;
}

/// An account, as it is shown in each of its places.
#[derive(Debug, Clone)]
pub struct AccountShown {
    /// To itself: a whole answer.
    pub own: Box<[u8]>,
    /// As the partner of a dialog, in front of what depends on the thread.
    pub partner: Box<[u8]>,
    /// As a member of a group.
    pub member: Box<[u8]>,
    /// Its public key, if it set one that can still be read.
    pub key: Option<Box<[u8]>>,
}

/// The newest message of a thread in a list of threads, up to whether it was read.
#[derive(Debug, Clone)]
pub struct Line {
    /// The account that wrote it; none for the system.
    pub sender: Option<AccId>,
    /// Whether it is shown for as long as its thread lives.
    pub lasting: bool,
    /// As others see it.
    pub other: Box<[u8]>,
    /// As its sender sees it, where that is not the same.
    pub own: Option<Box<[u8]>>,
}

/// A message as it is shown, up to the accounts that have read it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its number in the thread.
    pub id: MessageNo,
    /// The event behind it.
    pub position: Position,
    /// When it was sent.
    pub time: Timestamp,
    /// The account that wrote it; none for the system.
    pub sender: Option<AccId>,
    /// Whether its content is there: not that of one that was removed.
    pub whole: bool,
    /// Whether it is shown for as long as its thread lives.
    pub lasting: bool,
    /// The bytes.
    pub piece: Arc<[u8]>,
}
