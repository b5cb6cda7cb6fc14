//! What is kept: entries by key, each with what it takes of memory and with the data keys that sealed what it shows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use be8_events::{AccId, GroupId, GroupVersion, Hash32, KeyId, MessageNo, Position, StayNo, ThreadId, Timestamp};
use be8_projections::{Counters, Ranges};

use super::shape::{AccountShown, Line, Names, Shown};

/// What an entry is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A session, by the hash of its token.
    Session(Hash32),
    /// An account.
    Account(AccId),
    /// The threads in the list of an account.
    List(AccId),
    /// The newest message of a thread, by the thread's key.
    Newest(i64),
    /// The newest messages of a thread, by its key.
    Thread(i64),
    /// A group.
    Group(GroupId),
    /// The wrapped keys of an account in a group.
    GroupKeys(GroupId, AccId),
    /// The counters of the server.
    Insights,
}

impl Key {
    /// The names of the kinds, as measurements have them.
    pub const KINDS: [&'static str; 8] =
        ["session", "account", "list", "newest", "thread", "group", "group-keys", "insights"];

    /// Which of them this one is of.
    pub const fn kind(&self) -> usize {
        match self {
            Self::Session(_) => 0,
            Self::Account(_) => 1,
            Self::List(_) => 2,
            Self::Newest(_) => 3,
            Self::Thread(_) => 4,
            Self::Group(_) => 5,
            Self::GroupKeys(..) => 6,
            Self::Insights => 7,
        }
    }
}

/// An account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Until when it lives.
    pub until: Timestamp,
    /// Whether lock codes are set.
    pub codes: bool,
    /// How it is shown.
    pub shown: AccountShown,
}

/// A group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its admin.
    pub admin: AccId,
    /// The newest version of its key.
    pub version: Option<GroupVersion>,
    /// It is gone.
    pub destroyed: bool,
    /// The members, each with its present stay and the first message that it sees in it.
    pub members: BTreeMap<AccId, (StayNo, MessageNo)>,
    /// How it is shown in a list of threads.
    pub shown: Box<[u8]>,
}

/// The newest message of a thread.
#[derive(Debug, Clone)]
pub struct Newest {
    /// The thread, by its stored name.
    pub thread: ThreadId,
    /// The number of the message.
    pub id: MessageNo,
    /// The event behind it.
    pub position: Position,
    /// When it was sent.
    pub time: Timestamp,
    /// How it is shown.
    pub line: Line,
    /// Who has marked it as read.
    pub marked: BTreeSet<AccId>,
    /// Somebody has marked messages that are yet to come: the next one may be read already.
    pub ahead: bool,
}

/// The newest messages of a thread.
#[derive(Debug, Clone)]
pub struct Thread {
    /// The thread, by its stored name.
    pub thread: ThreadId,
    /// At most [`Thread::MOST`], ascending, without a gap.
    pub messages: VecDeque<Shown>,
    /// The names that are shown with them.
    pub names: Names,
    /// Who has read which messages.
    pub marks: BTreeMap<AccId, Ranges>,
}

impl Thread {
    /// How many messages an answer has at most.
    pub const MOST: usize = 100;
    /// How many names are kept with them: beyond that the thread is loaded again.
    pub const NAMES: usize = 2 * Self::MOST;
}

/// What is kept under a key.
#[derive(Debug, Clone)]
pub enum Fact {
    /// The account that a session is of.
    Session(AccId),
    /// An account.
    Account(Arc<Account>),
    /// The threads in an account's list, by their keys.
    List(Arc<BTreeMap<i64, ThreadId>>),
    /// The newest message of a thread.
    Newest(Arc<Newest>),
    /// The newest messages of a thread.
    Thread(Arc<Thread>),
    /// A group.
    Group(Arc<Group>),
    /// The wrapped keys of an account in a group: a whole answer.
    GroupKeys(Arc<[u8]>),
    /// The counters.
    Insights(Counters),
}

/// What an entry takes beside what its fact holds: its place in the list by use, and in the table.
const PLACE: usize = 320;
/// What a node of a tree takes, for each of its entries.
const NODE: usize = 24;

/// What an allocation of so many bytes takes: the allocator rounds up to a class of sizes, which are an eighth apart.
const fn taken(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes + bytes / 8 + 16 }
}

impl Fact {
    /// The bytes of memory that an entry with this fact takes.
    pub fn size(&self, sealers: &[KeyId]) -> usize {
        let held = match self {
            Self::Session(_) | Self::Insights(_) => 0,
            Self::Account(account) => {
                let AccountShown { own, partner, member, key } = &account.shown;
                let key = key.as_ref().map_or(0, |key| key.len());
                taken(size_of::<Account>()) + taken(own.len()) + taken(partner.len()) + taken(member.len()) + taken(key)
            }
            Self::List(list) => taken(list.len() * (size_of::<(i64, ThreadId)>() + NODE)),
            Self::Newest(newest) => {
                let line = &newest.line;
                let own = line.own.as_ref().map_or(0, |own| own.len());
                taken(size_of::<Newest>())
                    + taken(line.other.len())
                    + taken(own)
                    + taken(newest.marked.len() * (size_of::<AccId>() + NODE))
            }
            Self::Thread(thread) => {
                let messages = thread.messages.iter().map(|message| taken(message.piece.len() + 16));
                let names = thread
                    .names
                    .values()
                    .map(|name| size_of::<(Position, Arc<str>)>() + NODE + taken(name.len() + 2 * size_of::<usize>()));
                let marks = thread.marks.values().map(|ranges| taken(ranges.len() * NODE + 2 * NODE));
                taken(size_of::<Thread>())
                    + taken(thread.messages.capacity() * size_of::<Shown>())
                    + messages.chain(names).chain(marks).sum::<usize>()
            }
            Self::Group(group) => {
                let members = group.members.len() * (size_of::<(AccId, (StayNo, MessageNo))>() + NODE);
                taken(size_of::<Group>()) + taken(members) + taken(group.shown.len())
            }
            Self::GroupKeys(keys) => taken(keys.len()),
        };
        PLACE + held + taken(size_of_val(sealers))
    }
}
