//! The bounded places of a kind of hashes: a limited number may be computed or wait, and no network and no account has more
//! than a share of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use be8_events::AccId;
use parking_lot::{Mutex, MutexGuard};

use super::Requester;

/// The part of all places that one network, and one account, may have.
const SHARE: usize = 4;

/// The places. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Places {
    capacity: usize,
    taken: Arc<Mutex<Taken>>,
}

/// How many are taken, and by whom.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    networks: HashMap<IpAddr, usize>,
    accounts: HashMap<AccId, usize>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Taking {
    places: Places,
    requester: Requester,
}

impl Places {
    /// This many places, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), taken: Arc::default() }
    }

    /// How many of them are taken, from 0 to 1.
    pub(super) fn fullness(&self) -> f64 {
        self.taken().all as f64 / self.capacity as f64
    }

    /// A place; none if all are taken, or the share of the network or of the account is.
    pub(super) fn take(&self, requester: Requester) -> Option<Taking> {
        let share = self.capacity.div_ceil(SHARE);
        let mut taken = self.taken();
        let Requester { network, account } = requester;
        let by_network = taken.networks.get(&network).copied().unwrap_or_default();
        let by_account = account.and_then(|account| taken.accounts.get(&account)).copied().unwrap_or_default();
        if taken.all >= self.capacity || by_network >= share || by_account >= share {
            return None;
        }
        taken.all += 1;
        taken.networks.insert(network, by_network + 1);
        if let Some(account) = account {
            taken.accounts.insert(account, by_account + 1);
        }
        Some(Taking { places: self.clone(), requester })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Requester { network, account } = self.requester;
        one_less(taken.networks.entry(network));
        if let Some(account) = account {
            one_less(taken.accounts.entry(account));
        }
    }
}

fn one_less<K: Hash + Eq>(entry: Entry<'_, K, usize>) {
    if let Entry::Occupied(mut count) = entry {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(host: u8, account: Option<i64>) -> Requester {
        Requester { network: [192, 0, 2, host].into(), account: account.and_then(AccId::new) }
    }

    #[test]
    fn a_network_and_an_account_have_a_quarter_of_the_places() {
        let places = Places::new(8);
        // Given two places of a network, for whichever accounts, then it gets no third one
        let first = places.take(from(1, None)).unwrap();
        let second = places.take(from(1, Some(10_001))).unwrap();
        assert!(places.take(from(1, Some(10_002))).is_none());
        // and the same account gets one more from elsewhere, and no third one,
        let third = places.take(from(2, Some(10_001))).unwrap();
        assert!(places.take(from(3, Some(10_001))).is_none());
        assert!(places.take(from(3, Some(10_002))).is_some());
        // until one of them is given back.
        drop(second);
        let others = [from(1, None), from(3, Some(10_001)), from(3, None), from(4, None), from(4, None), from(5, None)];
        let others = others.map(|requester| places.take(requester).unwrap());
        assert!((places.fullness() - 1.0).abs() < f64::EPSILON);
        assert!(places.take(from(6, None)).is_none(), "all are taken");
        drop((first, third, others));
        let taken = places.taken();
        assert_eq!((taken.all, taken.networks.len(), taken.accounts.len()), (0, 0, 0), "nothing is left of them");
    }

    #[test]
    fn there_is_always_a_place_for_each() {
        let places = Places::new(0);
        let only = places.take(from(1, None)).unwrap();
        assert!(places.take(from(2, None)).is_none());
        drop(only);
        assert!(places.take(from(2, None)).is_some());
    }
}
