//! Data keys and prepared ciphers that were used of late, in memory only.
//!
//! Made for this room, for one reason: forgetting a key must drop its bytes, and every cipher made
//! with it, at once; caches with deferred removal (`moka`) keep them for an unknown time, and one by
//! exact recency (`lru`) takes the lock for itself at every look, where many look at once. It bounds its
//! size by two halves: a full young half becomes the old one, and what is used of the old half
//! moves to the young one, so that what nobody uses is dropped after two changes.

use std::collections::HashMap;
use std::sync::Arc;

use aes_gcm::Aes256Gcm;
use be8_events::KeyId;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::key::DataKey;
use super::seal::{KeyIds, KeySet};

/// The most data keys that are kept: some 10 MiB.
const KEYS: usize = 65_536;

/// The most ciphers that are kept, of some 0.7 KiB each.
const CIPHERS: usize = 16_384;

/// The cache of a vault. A cipher is taken in only while each of its keys is here, so that one
/// whose key was forgotten never comes back, even if some code still holds the key.
#[derive(Default)]
pub(super) struct Cache(RwLock<State>);

#[derive(Default)]
struct State {
    keys: Recent<DataKey, KEYS>,
    ciphers: Recent<Arc<Aes256Gcm>, CIPHERS>,
    /// How often keys were forgotten.
    forgotten: u64,
}

/// The moment before a look at the database, for [`Cache::admit`].
#[derive(Clone, Copy)]
pub(super) struct Moment(u64);

impl Cache {
    /// Now: to be taken before the database is asked for keys.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.read().forgotten)
    }

    /// Takes in keys that the database named live after `moment`; nothing if any key was forgotten
    /// since, for it may have been one of these.
    pub(super) fn admit(&self, moment: Moment, keys: &[DataKey]) {
        let mut state = self.write();
        if state.forgotten == moment.0 {
            state.remember(keys);
        }
    }

    /// Takes in keys that are known to be live.
    pub(super) fn remember(&self, keys: &[DataKey]) {
        self.write().remember(keys);
    }

    /// Drops keys and all ciphers made with them.
    pub(super) fn forget(&self, ids: &[KeyId]) {
        let mut state = self.write();
        state.forgotten += 1;
        for &id in ids {
            state.keys.forget(id);
            state.ciphers.forget(id);
        }
    }

    /// A data key, if it is here.
    pub(super) fn key(&self, id: KeyId) -> Option<DataKey> {
        self.find(KeyIds::One(id), |state| &state.keys, |state| &mut state.keys)
    }

    /// The cipher of these keys, prepared now if need be. It is kept only if the keys that are here
    /// under their numbers are the same: a draft that loses to another node has made a key whose
    /// number is that node's key by now, and its cipher must not pass for that of the real one.
    pub(super) fn cipher(&self, keys: &KeySet) -> Arc<Aes256Gcm> {
        let ids = keys.ids();
        let real = |state: &State| keys.keys().into_iter().all(|key| state.keys.is_there(key));
        if real(&self.read())
            && let Some(cipher) = self.known_cipher(ids)
        {
            return cipher;
        }
        let cipher = Arc::new(keys.cipher());
        let mut state = self.write();
        if real(&state) {
            state.ciphers.insert(ids, cipher.clone());
        }
        cipher
    }

    /// The cipher of the keys with these ids, if it is here.
    pub(super) fn known_cipher(&self, ids: KeyIds) -> Option<Arc<Aes256Gcm>> {
        self.find(ids, |state| &state.ciphers, |state| &mut state.ciphers)
    }

    fn find<V: Clone, const MOST: usize>(
        &self,
        ids: KeyIds,
        part: impl Fn(&State) -> &Recent<V, MOST>,
        part_mut: impl Fn(&mut State) -> &mut Recent<V, MOST>,
    ) -> Option<V> {
        let state = self.read();
        let recent = part(&state);
        if let Some(value) = recent.young.entries.get(&ids) {
            return Some(value.clone());
        }
        if !recent.old.entries.contains_key(&ids) {
            return None;
        }
        drop(state);
        part_mut(&mut self.write()).refresh(ids)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write()
    }
}

impl State {
    fn remember(&mut self, keys: &[DataKey]) {
        for key in keys {
            self.keys.insert(KeyIds::One(key.id()), key.clone());
        }
    }
}

impl<const MOST: usize> Recent<DataKey, MOST> {
    /// Whether this very key is here, not only one of its number.
    fn is_there(&self, key: &DataKey) -> bool {
        let ids = KeyIds::One(key.id());
        let known = self.young.entries.get(&ids).or_else(|| self.old.entries.get(&ids));
        known.is_some_and(|known| known.is_same(key))
    }
}

/// At most `MOST` values in two halves.
struct Recent<V, const MOST: usize> {
    young: Half<V>,
    old: Half<V>,
}

struct Half<V> {
    entries: HashMap<KeyIds, V>,
    /// The message entries that name a key. It may name some that are gone.
    by_key: HashMap<KeyId, Vec<KeyIds>>,
}

impl<V: Clone, const MOST: usize> Recent<V, MOST> {
    #[cfg(test)]
    fn has(&self, ids: KeyIds) -> bool {
        self.young.entries.contains_key(&ids) || self.old.entries.contains_key(&ids)
    }

    fn insert(&mut self, ids: KeyIds, value: V) {
        if self.young.entries.len() >= MOST / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        if self.young.entries.insert(ids, value).is_none()
            && let KeyIds::Message(keys) = ids
        {
            for key in keys {
                self.young.by_key.entry(key).or_default().push(ids);
            }
        }
    }

    /// Moves an entry to the young half.
    fn refresh(&mut self, ids: KeyIds) -> Option<V> {
        if let Some(value) = self.young.entries.get(&ids) {
            return Some(value.clone());
        }
        let value = self.old.entries.remove(&ids)?;
        self.insert(ids, value.clone());
        Some(value)
    }

    /// Drops every entry that names the key.
    fn forget(&mut self, key: KeyId) {
        for half in [&mut self.young, &mut self.old] {
            half.entries.remove(&KeyIds::One(key));
            for ids in half.by_key.remove(&key).unwrap_or_default() {
                half.entries.remove(&ids);
            }
        }
    }
}

impl<V, const MOST: usize> Default for Recent<V, MOST> {
    fn default() -> Self {
        Self { young: Half::default(), old: Half::default() }
    }
}

impl<V> Default for Half<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), by_key: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use proptest::prelude::*;

    use super::*;

    fn message(account: &DataKey, stay: &DataKey, day: &DataKey) -> KeySet {
        KeySet::from_keys(vec![account.clone(), stay.clone(), day.clone()]).unwrap()
    }

    /// The prepared cipher, watched without keeping it.
    fn watch(cache: &Cache, keys: &KeySet) -> Weak<Aes256Gcm> {
        Arc::downgrade(&cache.cipher(keys))
    }

    #[test]
    fn a_cipher_is_kept_only_while_its_keys_are() {
        let cache = Cache::default();
        let [account, stay, day] = [1, 2, 3].map(DataKey::random);
        let keys = message(&account, &stay, &day);
        cache.remember(&[account.clone(), stay.clone()]);
        assert_eq!(watch(&cache, &keys).strong_count(), 0, "the day's key is not known");
        cache.remember(std::slice::from_ref(&day));
        assert_eq!(watch(&cache, &keys).strong_count(), 1);

        cache.forget(&[1]);
        assert!(cache.known_cipher(keys.ids()).is_none());
        assert_eq!(watch(&cache, &keys).strong_count(), 0, "a holder of the keys brings nothing back");
    }

    #[test]
    fn a_key_that_lost_its_number_to_another_one_leaves_no_cipher() {
        let cache = Cache::default();
        let [account, stay, day] = [1, 2, 3].map(DataKey::random);
        cache.remember(&[account.clone(), stay.clone(), day.clone()]);
        let lost = message(&account, &DataKey::random(2), &day);
        let lost_alone = KeySet::Lasting(DataKey::random(2));
        for keys in [&lost, &lost_alone] {
            assert_eq!(watch(&cache, keys).strong_count(), 0);
            assert!(cache.known_cipher(keys.ids()).is_none());
        }
        // Nor does it get the cipher of the real one.
        let real = cache.cipher(&message(&account, &stay, &day));
        assert!(!Arc::ptr_eq(&cache.cipher(&lost), &real));
        assert!(Arc::ptr_eq(&cache.cipher(&message(&account, &stay, &day)), &real));
    }

    #[test]
    fn what_was_read_before_a_key_was_forgotten_is_not_taken_in() {
        let cache = Cache::default();
        let key = DataKey::random(1);
        let before = cache.moment();
        cache.forget(&[1]);
        cache.admit(before, std::slice::from_ref(&key));
        assert!(cache.key(1).is_none());
        cache.admit(cache.moment(), &[key]);
        assert!(cache.key(1).is_some());
    }

    #[test]
    fn the_size_is_bounded_and_what_is_used_stays() {
        let mut recent = Recent::<i64, 100>::default();
        recent.insert(KeyIds::One(0), 0);
        for n in 1..10_000 {
            recent.insert(KeyIds::Message([n, n + 1, 0]), n);
            assert!(recent.young.entries.len() + recent.old.entries.len() <= 100);
            assert!(recent.young.by_key.len() + recent.old.by_key.len() <= 300);
            assert_eq!(recent.refresh(KeyIds::One(0)), Some(0));
            assert!(recent.has(KeyIds::Message([n, n + 1, 0])));
        }
        assert!(!recent.has(KeyIds::Message([1, 2, 0])));
        recent.forget(0);
        assert!(recent.young.entries.is_empty() && recent.old.entries.is_empty());
    }

    proptest! {
        /// Whatever the order: a forgotten key leaves no cipher behind, and no other one goes.
        #[test]
        fn forgetting_takes_exactly_what_names_the_key(
            messages in prop::collection::vec((0..4i64, 4..12i64, 12..15i64), 1..40),
            order in Just((0..15i64).collect::<Vec<_>>()).prop_shuffle(),
            count in 0..15usize,
        ) {
            let cache = Cache::default();
            let keys: Vec<DataKey> = (0..15).map(DataKey::random).collect();
            cache.remember(&keys);
            let at = |id: i64| &keys[usize::try_from(id).unwrap()];
            let sets: Vec<KeySet> =
                messages.iter().map(|&(a, s, d)| message(at(a), at(s), at(d))).collect();
            let ciphers: Vec<_> = sets.iter().map(|set| watch(&cache, set)).collect();
            let (gone, kept) = order.split_at(count);
            gone.iter().for_each(|&id| cache.forget(&[id]));
            for (set, cipher) in sets.iter().zip(&ciphers) {
                let lives = set.ids().as_slice().iter().all(|id| kept.contains(id));
                prop_assert_eq!(cipher.strong_count() > 0, lives);
                prop_assert_eq!(cache.known_cipher(set.ids()).is_some(), lives);
            }
            for id in 0..15 {
                prop_assert_eq!(cache.key(id).is_some(), kept.contains(&id));
            }
        }
    }
}
