//! What is kept: entries by key, each with what it takes of memory and with the data keys that sealed what it shows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use be8_events::{AccId, GroupId, GroupVersion, Hash32, KeyId, MessageNo, Position, StayNo, ThreadId, Timestamp};
use be8_projections::{Counters, Ranges};

use super::presenter::{AccountShown, Line, Names, Shown};

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
    /// The same as text, which each answer has.
    pub name: Box<str>,
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

/// What an entry takes beside what its fact holds: its place in the list by use, and in the table, which is half empty at times.
const PLACE: usize = 232;

/// What an allocation of so many bytes takes: mimalloc rounds up to a class of sizes, of which there are four between two powers
/// of two, and at least 16 bytes.
const fn taken(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    let step = bytes.next_power_of_two() / 8;
    bytes.next_multiple_of(if step < 16 { 16 } else { step })
}

/// The two counts in front of what is shared.
const COUNTS: usize = 16;

/// What something takes that is shared.
const fn shared<T>() -> usize {
    taken(size_of::<T>() + COUNTS)
}

/// What a tree of so many entries takes: leaves of eleven, and above them nodes with as many and with the way to twelve.
const fn tree<K, V>(entries: usize) -> usize {
    const WIDTH: usize = 11;
    let leaf = WIDTH * (size_of::<K>() + size_of::<V>()) + 16;
    let mut nodes = if entries == 0 { 0 } else { (entries + 1).div_ceil(WIDTH + 1) };
    let mut bytes = nodes * taken(leaf);
    while nodes > 1 {
        nodes = nodes.div_ceil(WIDTH + 1);
        bytes += nodes * taken(leaf + (WIDTH + 1) * size_of::<usize>());
    }
    bytes
}

impl Fact {
    /// The bytes of memory that an entry with this fact takes.
    pub fn size(&self, sealers: &[KeyId]) -> usize {
        let held = match self {
            Self::Session(_) | Self::Insights(_) => 0,
            Self::Account(account) => {
                let AccountShown { own, partner, member, key } = &account.shown;
                let key = key.as_ref().map_or(0, |key| key.len());
                shared::<Account>() + taken(own.len()) + taken(partner.len()) + taken(member.len()) + taken(key)
            }
            Self::List(list) => shared::<BTreeMap<i64, ThreadId>>() + tree::<i64, ThreadId>(list.len()),
            Self::Newest(newest) => {
                let line = &newest.line;
                let own = line.own.as_ref().map_or(0, |own| own.len());
                shared::<Newest>()
                    + taken(newest.name.len())
                    + taken(line.other.len())
                    + taken(own)
                    + tree::<AccId, ()>(newest.marked.len())
            }
            Self::Thread(thread) => {
                let messages = thread.messages.iter().map(|message| taken(message.piece.len() + COUNTS));
                let names = thread.names.values().map(|name| taken(name.len() + COUNTS));
                let marks = thread.marks.values().map(|ranges| tree::<RangeInclusive<MessageNo>, ()>(ranges.len()));
                shared::<Thread>()
                    + taken(thread.messages.capacity() * size_of::<Shown>())
                    + tree::<Position, Arc<str>>(thread.names.len())
                    + tree::<AccId, Ranges>(thread.marks.len())
                    + messages.chain(names).chain(marks).sum::<usize>()
            }
            Self::Group(group) => {
                let members = tree::<AccId, (StayNo, MessageNo)>(group.members.len());
                shared::<Group>() + members + taken(group.shown.len())
            }
            Self::GroupKeys(keys) => taken(keys.len() + COUNTS),
        };
        PLACE + held + taken(size_of_val(sealers))
    }
}

#[cfg(test)]
mod tests {
    use be8_projections::Generation;

    use super::super::state::{Loaded, State, Taken};
    use super::*;

    /// So many bytes and some more, which differ from one to the next.
    fn bytes(least: usize, nth: i64) -> Box<[u8]> {
        vec![b'x'; least + (nth * 37 % 64) as usize].into()
    }

    fn accounts(count: i64) -> impl Iterator<Item = AccId> {
        (10_001..=10_000 + count).filter_map(AccId::new)
    }

    fn keys(count: i64) -> Vec<KeyId> {
        (1..=count).collect()
    }

    fn dialog(nth: i64) -> ThreadId {
        let [initiator, receiver] = [10_000, 20_000 + nth].map(|id| AccId::new(id).unwrap());
        ThreadId::Dialog { initiator, receiver }
    }

    fn account(nth: i64) -> Loaded {
        let [own, partner, member] = [200, 150, 120].map(|least| bytes(least, nth));
        let shown = AccountShown { own, partner, member, key: (nth % 2 == 0).then(|| bytes(140, nth)) };
        let account = Account { until: Timestamp::from_micros(nth), codes: false, shown };
        (Fact::Account(Arc::new(account)), keys(2))
    }

    fn list(nth: i64) -> Loaded {
        (Fact::List(Arc::new((0..1 + nth % 40).map(|nth| (dialog(nth).key(), dialog(nth))).collect())), Vec::new())
    }

    fn newest(nth: i64) -> Loaded {
        let own = (nth % 3 == 0).then(|| bytes(400, nth));
        let line = Line { sender: accounts(1).next(), lasting: false, other: bytes(400, nth), own };
        let newest = Newest {
            thread: dialog(nth),
            name: dialog(nth).to_string().into(),
            id: 7,
            position: Position(nth),
            time: Timestamp::from_micros(nth),
            line,
            marked: accounts(nth % 8).collect(),
            ahead: false,
        };
        (Fact::Newest(Arc::new(newest)), keys(3))
    }

    fn thread(nth: i64) -> Loaded {
        let sender = accounts(1).next();
        let (position, time, last) = (Position(nth), Timestamp::from_micros(nth), (nth % 100) as MessageNo);
        let shown = |id: MessageNo| {
            let piece = bytes(300 + (id * 53 % 400) as usize, nth).into();
            Shown { id, position, time, sender, whole: true, lasting: false, piece }
        };
        let name = |name: i64| (Position(name), Arc::from("n".repeat(1 + name as usize)));
        let thread = Thread {
            thread: dialog(nth),
            messages: (1..=last).map(shown).collect(),
            names: (1..=1 + nth % 8).map(name).collect(),
            marks: accounts(2 + nth % 6).map(|reader| (reader, [1..=3, 5..=last + 5].into_iter().collect())).collect(),
        };
        (Fact::Thread(Arc::new(thread)), keys(20))
    }

    fn group(nth: i64) -> Loaded {
        let members = accounts(nth % 30).map(|member| (member, (1, 1))).collect();
        let admin = AccId::new(10_000).unwrap();
        let group = Group { admin, version: None, destroyed: false, members, shown: bytes(150, nth) };
        (Fact::Group(Arc::new(group)), keys(1))
    }

    /// What so many entries take by our own account, for each byte that they ask the allocator for.
    fn counted(key: impl Fn(i64) -> Key, loaded: impl Fn(i64) -> Loaded) -> f64 {
        let mut state = State::new(Position(1), usize::MAX, 1);
        state.live(Generation(1), 1);
        let asked = allocation_counter::measure(|| {
            for nth in 0..1_000 {
                assert_eq!(state.take(key(nth), Some(loaded(nth)), Position(1), Generation(1)), Taken::Yes);
            }
        });
        state.bytes() as f64 / asked.bytes_current as f64
    }

    #[test]
    fn entries_count_with_what_the_allocator_takes() {
        let id = |nth: i64| AccId::new(10_000 + nth).unwrap();
        let group_id = |nth: i64| GroupId::new(10_000 + nth).unwrap();
        let session = |nth: i64| Key::Session(Hash32::sha256(&nth.to_le_bytes()));
        let keys_of = |nth| (Fact::GroupKeys(Arc::from(bytes(900, nth))), keys(1));
        let kinds = [
            ("session", counted(session, |nth| (Fact::Session(id(nth)), Vec::new()))),
            ("account", counted(|nth| Key::Account(id(nth)), account)),
            ("list", counted(|nth| Key::List(id(nth)), list)),
            ("newest", counted(Key::Newest, newest)),
            ("thread", counted(Key::Thread, thread)),
            ("group", counted(|nth| Key::Group(group_id(nth)), group)),
            ("group-keys", counted(|nth| Key::GroupKeys(group_id(nth), id(nth)), keys_of)),
        ];
        // It rounds up what it is asked for, by a tenth on average.
        for (kind, ratio) in kinds {
            assert!((1.0..1.2).contains(&ratio), "{kind}: {ratio}; {kinds:?}");
        }
    }
}
