//! What is kept, at one position of the log: entries within a budget of memory, the newest events, and looking at both.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use be8_events::{AccId, GroupId, Hash32, KeyId, Position, Recorded, ThreadId};
use be8_projections::{Counters, Generation};
use lru::LruCache;
use tokio_util::sync::CancellationToken;

use super::facts::{Account, Fact, Group, Key, Newest, Thread};
use super::fold::{Content, Folded, touched};

/// What a thread of a hundred messages takes, more or less.
const LARGE_THREAD: usize = 64 * 1024;

/// Something that was loaded: a fact, and the data keys that sealed what it shows.
pub type Loaded = (Fact, Vec<KeyId>);

/// One entry.
#[derive(Debug)]
struct Entry {
    /// Where it was loaded: it holds everything up to here, and all events after it that were folded.
    at: Position,
    fact: Fact,
    /// The data keys that sealed what it shows, ascending.
    sealers: Vec<KeyId>,
    size: usize,
    /// It was found since its turn to be thrown out came last.
    used: AtomicBool,
}

/// What became of something that was loaded.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is kept, or too large for that.
    Yes,
    /// There is nothing of the kind.
    Absent,
    /// The log has moved on too far meanwhile: it has to be loaded again.
    Outdated,
}

/// Everything that is kept.
#[derive(Debug)]
pub struct State {
    /// Everything up to here is folded.
    pub position: Position,
    /// The generation that entries were loaded from.
    generation: Option<Generation>,
    /// The newest question that found that out.
    question: u64,
    /// Something in the log cannot be folded: nothing is answered from here any more.
    pub broken: bool,
    /// What is being loaded, with what says that it was.
    pub loading: HashMap<Key, CancellationToken>,
    /// Those whose turn to be thrown out comes first are the oldest. What was used since its last turn gets another one (CLOCK:
    /// Corbató, A Paging Experiment with the Multics System, 1968), so that finding an entry changes no order: reads share a lock.
    entries: LruCache<Key, Entry>,
    /// The threads that were asked for lately and are not kept, while there is little room.
    asked: LruCache<i64, ()>,
    bytes: usize,
    budget: usize,
    /// The newest events, without a gap up to `position`.
    tail: VecDeque<Recorded>,
    kept: usize,
    /// How many entries were thrown out to stay within the budget.
    pub evicted: u64,
}

impl State {
    /// Nothing, at a position. `budget` bytes are kept, and `tail` of the newest events.
    pub fn new(position: Position, budget: usize, tail: usize) -> Self {
        Self {
            position,
            generation: None,
            question: 0,
            broken: false,
            loading: HashMap::new(),
            entries: LruCache::unbounded(),
            asked: LruCache::unbounded(),
            bytes: 0,
            budget,
            tail: VecDeque::new(),
            kept: tail,
            evicted: 0,
        }
    }

    /// The bytes that are kept.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many entries are kept.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Whether entries come from this generation.
    pub fn is_of(&self, generation: Generation) -> bool {
        self.generation == Some(generation)
    }

    /// Takes note of the live generation, as the n-th question found it: what was loaded from another one is dropped.
    pub fn live(&mut self, generation: Generation, question: u64) {
        // Reads come here in another order than they asked.
        if question < self.question {
            return;
        }
        self.question = question;
        if self.generation != Some(generation) {
            self.clear();
            self.generation = Some(generation);
        }
    }

    /// Whether the log that is followed has another event than this at a position. What is no longer known agrees.
    pub fn contradicts(&self, position: Position, salt: Option<Hash32>) -> bool {
        self.after(Position(position.0 - 1))
            .and_then(|mut events| events.next())
            .is_some_and(|event| Some(event.salt) != salt)
    }

    /// Whether something of a thread is kept, or about to be.
    pub fn holds(&self, key: Key) -> bool {
        self.entries.contains(&key)
    }

    /// A thread that is kept.
    pub fn thread(&self, key: i64) -> Option<Arc<Thread>> {
        match &self.entries.peek(&Key::Thread(key))?.fact {
            Fact::Thread(thread) => Some(thread.clone()),
            _ => None,
        }
    }

    /// The events after a position; none if not all of them are known.
    fn after(&self, position: Position) -> Option<impl Iterator<Item = &Recorded>> {
        let missing = usize::try_from(self.position.0 - position.0).ok()?;
        Some(self.tail.range(self.tail.len().checked_sub(missing)?..))
    }

    /// Folds the next events of the log into everything that they touch. `contents` are those of messages, as far as they are
    /// to be had: an entry that would need one that is not is dropped.
    pub fn fold(&mut self, events: &[Recorded], contents: &HashMap<Position, Content>) {
        for recorded in events {
            let content = contents.get(&recorded.position);
            let mut keys = Vec::new();
            touched(recorded, |key| keys.push(key));
            for key in keys {
                self.fold_into(key, recorded, content);
            }
            if let Some(e) = recorded.event.deleted_keys() {
                let deleted: HashSet<KeyId> = e.keys.iter().map(|key| key.id).collect();
                self.erase(&deleted);
            }
            self.position = recorded.position;
        }
        let excess = events.len().saturating_sub(self.kept);
        self.tail.extend(events[excess..].iter().cloned());
        let excess = self.tail.len().saturating_sub(self.kept);
        self.tail.drain(..excess);
        self.keep_within();
    }

    fn fold_into(&mut self, key: Key, recorded: &Recorded, content: Option<&Content>) {
        let Some(entry) = self.entries.peek_mut(&key).filter(|entry| entry.at < recorded.position) else { return };
        let before = entry.size;
        match entry.fold(recorded, content) {
            Folded::Exact => self.bytes = self.bytes - before + entry.size,
            Folded::Forget => self.remove(key),
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.pop(&key) {
            self.bytes -= entry.size;
        }
    }

    /// Drops every entry that shows something which was sealed under one of these keys.
    fn erase(&mut self, deleted: &HashSet<KeyId>) {
        let shows = |entry: &Entry| entry.sealers.iter().any(|key| deleted.contains(key));
        let gone: Vec<Key> = self.entries.iter().filter(|(_, entry)| shows(entry)).map(|(key, _)| *key).collect();
        for key in gone {
            self.remove(key);
        }
    }

    /// Keeps what was loaded at a position from a generation, brought up to where this stands.
    pub fn take(&mut self, key: Key, loaded: Option<Loaded>, at: Position, generation: Generation) -> Taken {
        if self.generation != Some(generation) {
            return Taken::Outdated;
        }
        let mut entry = loaded.map(|(fact, mut sealers)| {
            sealers.sort_unstable();
            sealers.dedup();
            let size = fact.size(&sealers);
            Entry { at, fact, sealers, size, used: AtomicBool::new(false) }
        });
        if at < self.position {
            let Some(events) = self.after(at) else { return Taken::Outdated };
            for recorded in events {
                let mut touches = false;
                touched(recorded, |touched| touches |= touched == key);
                let exact = match &mut entry {
                    None => !touches,
                    Some(entry) => {
                        let erased = recorded.event.deleted_keys().is_some_and(|deleted| {
                            deleted.keys.iter().any(|key| entry.sealers.binary_search(&key.id).is_ok())
                        });
                        !erased && (!touches || entry.fold(recorded, None) == Folded::Exact)
                    }
                };
                if !exact {
                    return Taken::Outdated;
                }
            }
        }
        self.remove(key);
        let Some(entry) = entry else { return Taken::Absent };
        // One that alone is too large is answered from PostgreSQL.
        if entry.size <= self.budget {
            self.bytes += entry.size;
            self.entries.push(key, entry);
            self.keep_within();
        }
        Taken::Yes
    }

    fn keep_within(&mut self) {
        while self.bytes > self.budget {
            let Some((key, mut entry)) = self.entries.pop_lru() else { break };
            if std::mem::take(entry.used.get_mut()) {
                self.entries.push(key, entry);
                continue;
            }
            self.bytes -= entry.size;
            self.evicted += 1;
        }
    }

    /// Whether what is missing is worth loading. While there is room, all of it is. Without, a thread has to be asked for twice
    /// within as many threads as have room (2Q: Johnson and Shasha, VLDB 1994): loading it costs more than answering from
    /// PostgreSQL, and a hundred smaller entries would be thrown out for it.
    pub fn admits(&mut self, missing: &[Key]) -> bool {
        if self.bytes <= self.budget - self.budget / 8 {
            return true;
        }
        let mut all = true;
        for key in missing {
            if let Key::Thread(thread) = key
                && self.asked.pop(thread).is_none()
            {
                self.asked.push(*thread, ());
                all = false;
            }
        }
        while self.asked.len() > self.budget / LARGE_THREAD {
            self.asked.pop_lru();
        }
        all
    }
}

impl Entry {
    fn fold(&mut self, recorded: &Recorded, content: Option<&Content>) -> Folded {
        let folded = self.fact.fold(recorded, content);
        if folded == Folded::Exact {
            if let Some(content) = content {
                for sealer in &content.sealers {
                    if let Err(place) = self.sealers.binary_search(sealer) {
                        self.sealers.insert(place, *sealer);
                    }
                }
            }
            self.size = self.fact.size(&self.sealers);
        }
        folded
    }
}

/// Why looking ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Something has to be loaded, or waited for: then it is looked again.
    Missing,
    /// This cannot be answered from here: PostgreSQL can.
    Unserved,
}

/// A look at everything at one position.
#[derive(Debug)]
pub struct Look<'a> {
    state: &'a State,
    /// What is not there, each with the position at which it was not.
    absent: &'a HashMap<Key, Position>,
    /// What was looked for and is not kept.
    pub(super) missing: Vec<Key>,
    /// Up to where the log has to be followed before all that was found is of one moment.
    pub(super) ahead: Position,
    /// How many entries of each kind were found.
    pub(super) hits: [u64; Key::KINDS.len()],
}

impl<'a> Look<'a> {
    pub(super) fn new(state: &'a State, absent: &'a HashMap<Key, Position>) -> Self {
        let ahead = state.position;
        Self { state, absent, missing: Vec::new(), ahead, hits: [0; _] }
    }

    fn fact(&mut self, key: Key) -> Result<Option<&'a Fact>, Stop> {
        let state: &'a State = self.state;
        if let Some(entry) = state.entries.peek(&key) {
            // Written only once a turn: processors share the line for as long as nobody writes to it.
            if !entry.used.load(Ordering::Relaxed) {
                entry.used.store(true, Ordering::Relaxed);
            }
            self.hits[key.kind()] += 1;
            if entry.at <= self.state.position {
                return Ok(Some(&entry.fact));
            }
            self.ahead = self.ahead.max(entry.at);
            return Err(Stop::Missing);
        }
        let Some(at) = self.absent.get(&key).copied() else { return self.miss(key) };
        if at > self.state.position {
            self.ahead = self.ahead.max(at);
            return Err(Stop::Missing);
        }
        let Some(events) = self.state.after(at) else { return self.miss(key) };
        let mut touches = false;
        for recorded in events {
            touched(recorded, |touched| touches |= touched == key);
        }
        if touches { self.miss(key) } else { Ok(None) }
    }

    fn miss<T>(&mut self, key: Key) -> Result<T, Stop> {
        self.missing.push(key);
        Err(Stop::Missing)
    }
}

/// Looking for one kind of entry: none if there is nothing of that name.
macro_rules! looks {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $of:ty),*) $key:expr => $kind:ident($found:ty);)*) => {
        impl<'a> Look<'a> {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// [`Stop::Missing`] when it has to be loaded first.
                pub fn $name(&mut self, $($argument: $of),*) -> Result<Option<&'a $found>, Stop> {
                    match self.fact($key)? {
                        None => Ok(None),
                        Some(Fact::$kind(found)) => Ok(Some(found)),
                        Some(_) => Err(Stop::Unserved),
                    }
                }
            )*
        }
    };
}

looks! {
    /// The account that a session is of.
    session(session: Hash32) Key::Session(session) => Session(AccId);
    /// An account, whether it lives or not.
    account(account: AccId) Key::Account(account) => Account(Arc<Account>);
    /// The threads in the list of an account, by their keys.
    list(account: AccId) Key::List(account) => List(Arc<BTreeMap<i64, ThreadId>>);
    /// The newest message of a thread.
    newest(thread: i64) Key::Newest(thread) => Newest(Arc<Newest>);
    /// The newest messages of a thread.
    thread(thread: i64) Key::Thread(thread) => Thread(Arc<Thread>);
    /// A group, whether it is gone or not.
    group(group: GroupId) Key::Group(group) => Group(Arc<Group>);
    /// The wrapped keys of an account in a group.
    group_keys(group: GroupId, account: AccId) Key::GroupKeys(group, account) => GroupKeys(Arc<[u8]>);
    /// The counters.
    insights() Key::Insights => Insights(Counters);
}
