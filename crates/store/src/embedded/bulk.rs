//! [`Overlay`]: the index while a log is replayed. Keys come in the order of time, and looking up and inserting each of
//! them in a tree of a million keys means some forty misses of the processor's caches; here it is about three. At the end
//! the keys are sorted and go into the tree in order, which is quick, as neighbours share their path.
//!
//! The table is by hash, which is computed once, so that growing it touches no key.

use super::node::{Node, Slot};
use imbl::OrdSet;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

/// Bytes of a key that are compared at once.
const PART: usize = 16;

/// Beyond so many equal bytes keys are compared as they are: no recursion deeper than that.
const MOST: usize = 32 * PART;

/// A hash that is its own: it was made by a good function already.
#[derive(Clone, Copy, Debug, Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `u64` is hashed.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// What a replay has changed of an index.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    hash: RandomState,
    newest: HashMap<u64, Slot, BuildHasherDefault<Same>>,
    /// Keys whose hash another key has.
    others: BTreeSet<Slot>,
}

impl Overlay {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<Node>> {
        let slot = self.newest.get(&self.hash.hash_one(key)).filter(|slot| slot.0.kv.key == key);
        slot.or_else(|| self.others.get(key)).map(|slot| &slot.0)
    }

    /// Makes `node` the newest version of its key.
    pub(crate) fn set(&mut self, node: Arc<Node>) {
        match self.newest.entry(self.hash.hash_one(&node.kv.key[..])) {
            Entry::Vacant(entry) if !self.others.contains(&node.kv.key[..]) => drop(entry.insert(Slot(node))),
            Entry::Occupied(mut entry) if entry.get().0.kv.key == node.kv.key => {
                entry.insert(Slot(node));
            }
            _ => drop(self.others.replace(Slot(node))),
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        match self.newest.entry(self.hash.hash_one(key)) {
            Entry::Occupied(entry) if entry.get().0.kv.key == key => drop(entry.remove()),
            _ => drop(self.others.take(key)),
        }
    }

    fn sorted(self) -> Vec<(u128, Slot)> {
        let mut slots: Vec<(u128, Slot)> =
            self.newest.into_values().chain(self.others).map(|slot| (0, slot)).collect();
        sort(&mut slots, 0);
        slots
    }

    /// Puts everything into the index.
    pub(crate) fn apply(self, index: &mut OrdSet<Slot>) {
        self.sorted().into_iter().for_each(|(_, slot)| drop(index.insert(slot)));
    }
}

/// The bytes of a key from `from` on, as a number that is ordered like them; what is missing counts as 0.
fn part(key: &[u8], from: usize) -> u128 {
    let rest = key.get(from..).unwrap_or_default();
    let mut bytes = [0; PART];
    let len = rest.len().min(PART);
    bytes[..len].copy_from_slice(&rest[..len]);
    u128::from_be_bytes(bytes)
}

/// Sorts slots whose keys agree in the first `from` bytes. The keys are read part by part, and only where the parts before
/// are equal: comparing whole keys would fetch each of them twenty times.
fn sort(slots: &mut [(u128, Slot)], from: usize) {
    if from >= MOST {
        slots.sort_unstable_by(|left, right| left.1.cmp(&right.1));
        return;
    }
    for (number, slot) in slots.iter_mut() {
        *number = part(&slot.0.kv.key, from);
    }
    slots.sort_unstable_by_key(|(number, _)| *number);
    for equal in slots.chunk_by_mut(|left, right| left.0 == right.0) {
        if equal.len() < 2 {
            continue;
        }
        // Keys that end here differ in zeros only, and come before those that go on.
        equal.sort_unstable_by_key(|(_, slot)| slot.0.kv.key.len().min(from + PART + 1));
        let ended = equal.partition_point(|(_, slot)| slot.0.kv.key.len() <= from + PART);
        sort(&mut equal[ended..], from + PART);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::disk::memory::Random;
    use crate::kv::KeyValue;
    use bytes::Bytes;

    fn node(key: &[u8]) -> Arc<Node> {
        let key = Bytes::copy_from_slice(key);
        let value = Bytes::new();
        Node::new(KeyValue { key, value, create_revision: 1, mod_revision: 1, version: 1, lease: 0 }, None)
    }

    #[test]
    fn keys_of_every_shape_are_sorted() {
        let mut random = Random::new(7);
        let prefix = vec![b'p'; MOST + 3];
        for round in 0..50 {
            let mut keys: Vec<Vec<u8>> = (0..200)
                .map(|_| {
                    let shared = [0, 5, 8, 16, MOST + 3][random.below(5) as usize];
                    let mut key = prefix[..shared].to_vec();
                    let len = random.below(20) as usize;
                    // Zeros, so that ends and zeros are mixed up if they can be.
                    key.extend((0..len).map(|_| [0, 0, 1, b'p', 0xff][random.below(5) as usize]));
                    key
                })
                .collect();
            let mut overlay = Overlay::default();
            keys.iter().for_each(|key| overlay.set(node(key)));
            keys.sort();
            keys.dedup();
            assert!(keys.iter().all(|key| overlay.get(key).is_some_and(|node| node.kv.key == key[..])));
            let found: Vec<_> = overlay.sorted().iter().map(|(_, slot)| slot.0.kv.key.to_vec()).collect();
            assert_eq!(found, keys, "round {round}");
        }
    }

    #[test]
    fn two_keys_of_one_hash_are_two() {
        let mut overlay = Overlay::default();
        overlay.set(node(b"a"));
        // As if the hash of `b` were that of `a`.
        let slot = overlay.newest.remove(&overlay.hash.hash_one(&b"a"[..])).expect("was set");
        overlay.newest.insert(overlay.hash.hash_one(&b"b"[..]), slot);
        assert!(overlay.get(b"b").is_none());
        overlay.set(node(b"b"));
        overlay.set(node(b"b"));
        assert!(overlay.get(b"b").is_some_and(|node| &node.kv.key[..] == b"b"));
        assert_eq!(overlay.others.len(), 1);
        overlay.remove(b"b");
        assert!(overlay.get(b"b").is_none() && overlay.newest.len() == 1);
    }
}
