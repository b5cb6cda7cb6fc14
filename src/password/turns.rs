//! Whose hash is computed next: networks take turns, the accounts of a network take turns within those of it, and an account that
//! had its turn comes after the others, from whichever address. So an account that wants many waits until all others had one.
//! No account has two computed at once.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use be8_events::AccId;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::Requester;

/// The workers and those who wait for one.
#[derive(Debug)]
pub(super) struct Turns(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Workers that compute nothing.
    free: usize,
    /// The number of the last one who came.
    last: u64,
    /// The accounts of what is computed.
    computed: HashSet<AccId>,
    waiting: Rotation<IpAddr, Rotation<Option<AccId>, VecDeque<Waiting>>>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    ready: oneshot::Sender<()>,
}

/// A worker, or somebody's place in the order until then; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    requester: Requester,
    number: u64,
}

impl Turns {
    /// The turns of this many workers, at least one.
    pub(super) fn new(workers: usize) -> Self {
        let (computed, waiting) = (HashSet::new(), Rotation::default());
        Self(Mutex::new(State { free: workers.max(1), last: 0, computed, waiting }))
    }

    /// Waits for a turn. A future that is dropped gives its place in the order, or its turn, back.
    pub(super) async fn wait(self: &Arc<Self>, requester: Requester) -> Turn {
        let (ready, started) = oneshot::channel();
        let turn = {
            let mut state = self.state();
            state.last += 1;
            let number = state.last;
            state.waiting.of(requester.network).of(requester.account).push_back(Waiting { number, ready });
            state.start();
            Turn { turns: Arc::clone(self), requester, number }
        };
        // The other end is kept until it sends.
        let _ = started.await;
        turn
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// How many workers compute nothing.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.state().free
    }
}

impl State {
    /// Starts those who are next, as long as there are workers.
    fn start(&mut self) {
        while self.free > 0 {
            let computed = &self.computed;
            let next = self.waiting.next(|_, accounts| {
                accounts.next(|account, waiting| {
                    let busy = account.is_some_and(|account| computed.contains(&account));
                    if busy { None } else { waiting.pop_front().map(|next| (*account, next)) }
                })
            });
            let Some((account, next)) = next else { return };
            self.free -= 1;
            if let Some(account) = account {
                self.computed.insert(account);
                self.waiting.defer(|_, accounts| {
                    accounts.defer(|other, _| *other == Some(account));
                    accounts.0.iter().all(|(other, _)| *other == Some(account))
                });
            }
            // One who has left meanwhile gives the turn back as it is dropped.
            let _ = next.ready.send(());
        }
    }

    /// Whether somebody was still waiting, and is no more.
    fn leave(&mut self, Requester { network, account }: Requester, number: u64) -> bool {
        let waiting = self.waiting.of(network).of(account);
        let found = waiting.iter().position(|waiting| waiting.number == number);
        let left = found.and_then(|index| waiting.remove(index)).is_some();
        self.waiting.of(network).tidy();
        self.waiting.tidy();
        left
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        if !state.leave(self.requester, self.number) {
            state.free += 1;
            if let Some(account) = self.requester.account {
                state.computed.remove(&account);
            }
            state.start();
        }
    }
}

/// What can be empty.
trait Emptied: Default {
    fn is_empty(&self) -> bool;
}

impl Emptied for VecDeque<Waiting> {
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl<K: PartialEq, V: Emptied> Emptied for Rotation<K, V> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Values by key in the order of their turns; none of them is empty.
#[derive(Debug)]
struct Rotation<K, V>(VecDeque<(K, V)>);

impl<K, V> Default for Rotation<K, V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: PartialEq, V: Emptied> Rotation<K, V> {
    /// The value of a key; a new one has its turn last.
    fn of(&mut self, key: K) -> &mut V {
        let index = self.0.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
            self.0.push_back((key, V::default()));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }

    /// What the first has that has anything; then its turn is last.
    fn next<T>(&mut self, mut take: impl FnMut(&K, &mut V) -> Option<T>) -> Option<T> {
        for index in 0..self.0.len() {
            let (key, value) = &mut self.0[index];
            if let Some(taken) = take(key, value) {
                let entry = self.0.remove(index);
                self.0.extend(entry.filter(|(_, value)| !value.is_empty()));
                return Some(taken);
            }
        }
        None
    }

    /// Gives these their turns after the others.
    fn defer(&mut self, mut last: impl FnMut(&K, &mut V) -> bool) {
        let (last, first): (Vec<_>, Vec<_>) = self
            .0
            .drain(..)
            .map(|(key, mut value)| (last(&key, &mut value), (key, value)))
            .partition(|(last, _)| *last);
        self.0.extend(first.into_iter().chain(last).map(|(_, entry)| entry));
    }

    /// Removes what has become empty.
    fn tidy(&mut self) {
        self.0.retain(|(_, value)| !value.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    fn from(host: u8, account: i64) -> Requester {
        Requester { network: [192, 0, 2, host].into(), account: AccId::new(account) }
    }

    /// Somebody who waits, or has the turn.
    struct Person {
        requester: Requester,
        waits: Pin<Box<dyn Future<Output = Turn>>>,
        turn: Option<Turn>,
    }

    /// Comes and waits, or has the turn at once.
    fn comes(turns: &Arc<Turns>, requester: Requester) -> Person {
        let turns = Arc::clone(turns);
        let waits = Box::pin(async move { turns.wait(requester).await });
        let mut person = Person { requester, waits, turn: None };
        person.look();
        person
    }

    impl Person {
        /// Whether the turn has come.
        fn look(&mut self) -> bool {
            if self.turn.is_none()
                && let Poll::Ready(turn) = self.waits.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                self.turn = Some(turn);
            }
            self.turn.is_some()
        }
    }

    #[test]
    fn an_account_that_wants_many_waits_until_others_had_one() {
        let turns = Arc::new(Turns::new(1));
        // Given a network that wants many for one account, one that wants many for unknown ones,
        let mut people: Vec<Person> = (0..20).map(|_| comes(&turns, from(1, 10_001))).collect();
        people.extend((0..20).map(|number| comes(&turns, from(2, 20_000 + number))));
        // an account that comes from many networks, another account in the first of them, and one in a network of its own
        people.extend((100..120).map(|host| comes(&turns, from(host, 10_004))));
        people.extend([comes(&turns, from(1, 10_002)), comes(&turns, from(3, 10_003))]);
        // when one is done after the other, then the last two wait for no more than a few.
        let mut order = Vec::new();
        while !people.is_empty() {
            let index = people.iter_mut().position(Person::look).expect("somebody's turn");
            order.push(people.remove(index).requester);
        }
        let place = |requester| order.iter().position(|other| *other == requester).unwrap();
        assert!(place(from(3, 10_003)) <= 4, "{order:?}");
        assert!(place(from(1, 10_002)) <= 6, "{order:?}");
        assert!(turns.state().waiting.is_empty() && turns.free() == 1);
    }

    proptest! {
        /// People come, leave and are done: no worker is lost, none is idle while somebody could be served, and no account
        /// has two.
        #[test]
        fn workers_are_neither_lost_nor_idle(
            workers in 1_usize..4,
            steps in prop::collection::vec((any::<bool>(), 0_u8..3, 0_i64..4, any::<prop::sample::Index>()), 0..60),
        ) {
            let turns = Arc::new(Turns::new(workers));
            let mut people: Vec<Person> = Vec::new();
            for (come, host, account, who) in steps {
                if come || people.is_empty() {
                    people.push(comes(&turns, from(host, if account == 0 { 0 } else { 10_000 + account })));
                } else {
                    people.remove(who.index(people.len()));
                }
                let served = people.iter_mut().filter_map(|person| person.look().then_some(person.requester)).collect::<Vec<_>>();
                prop_assert_eq!(served.len() + turns.free(), workers);
                let accounts: Vec<_> = served.iter().filter_map(|requester| requester.account).collect();
                prop_assert_eq!(accounts.iter().collect::<HashSet<_>>().len(), accounts.len());
                let servable = |requester: Requester| requester.account.is_none_or(|account| !accounts.contains(&account));
                let idle = people.iter().any(|person| person.turn.is_none() && servable(person.requester));
                prop_assert!(turns.free() == 0 || !idle);
            }
            people.clear();
            prop_assert!(turns.state().waiting.is_empty() && turns.state().computed.is_empty());
            prop_assert_eq!(turns.free(), workers);
        }
    }
}
