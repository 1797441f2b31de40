//! [`View`]: the keys as one revision left them. Cloning it is cheap and it never changes, so that readers need
//! no lock and writers never wait for them.

use super::alarm::Alarms;
use super::node::{Node, Slot};
use crate::kv::{Compare, KeyValue, LeaseId, Range, RangeOptions, Revision};
use bytes::Bytes;
use imbl::OrdSet;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

/// End of a range that goes to the end of the key space, as etcd writes it.
pub(crate) const TO_THE_END: &[u8] = b"\0";

/// A stretch of keys: `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Keys {
    pub(crate) start: Bytes,
    /// `None` is the end of the key space.
    pub(crate) end: Option<Bytes>,
    /// Only the key `start`.
    pub(crate) single: bool,
}

impl Keys {
    /// From the arguments of the trait's methods.
    pub(crate) fn new(start: Bytes, end: Option<Bytes>) -> Self {
        match end {
            None => Self { start, end: None, single: true },
            Some(end) if end == TO_THE_END => Self { start, end: None, single: false },
            Some(end) => Self { start, end: Some(end), single: false },
        }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        if self.single {
            return self.start == key;
        }
        key >= &self.start[..] && self.is_before_end(key)
    }

    fn is_before_end(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| key < &end[..])
    }
}

/// The keys as one revision left them.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The newest version of each key, removals that history still has included.
    pub(crate) index: OrdSet<Slot>,
    /// The revision.
    pub(crate) revision: Revision,
    /// Ids and times to live of the leases.
    pub(crate) leases: Arc<Vec<(LeaseId, i64)>>,
    /// Alarms that are set.
    pub(crate) alarms: Alarms,
}

impl View {
    /// The newest version of a key, if it exists.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<Node>> {
        self.index.get(key).map(|slot| &slot.0).filter(|node| !node.is_removal())
    }

    /// The slots of `keys`, in order, starting after `after` if given.
    pub(crate) fn slots<'a>(
        &'a self,
        keys: &'a Keys,
        after: Option<&'a [u8]>,
    ) -> impl Iterator<Item = &'a Slot> + 'a {
        let from = match after {
            Some(key) => Bound::Excluded(key),
            None => Bound::Included(&keys.start[..]),
        };
        let single = keys.single;
        self.index.range::<_, [u8]>((from, Bound::Unbounded)).take_while(move |slot| {
            let key = &slot.0.kv.key;
            if single { *key == keys.start } else { keys.is_before_end(key) }
        })
    }

    /// Whether `compare` holds.
    pub(crate) fn holds(&self, compare: &Compare) -> bool {
        let of = |key: &Bytes, read: fn(&KeyValue) -> i64| self.get(key).map_or(0, |node| read(&node.kv));
        match compare {
            Compare::ModRevision(key, want, than) => of(key, |kv| kv.mod_revision).cmp(than) == *want,
            Compare::CreateRevision(key, want, than) => of(key, |kv| kv.create_revision).cmp(than) == *want,
            Compare::Version(key, want, than) => of(key, |kv| kv.version).cmp(than) == *want,
            Compare::Lease(key, want, than) => of(key, |kv| kv.lease).cmp(than) == *want,
            Compare::Value(key, want, than) => {
                self.get(key).is_some_and(|node| compare_bytes(&node.kv.value, than) == *want)
            }
        }
    }
}

fn compare_bytes(left: &[u8], right: &[u8]) -> Ordering {
    left.cmp(right)
}

/// A range that is being read, in portions, so that a long one lets others run.
pub(crate) struct Scan {
    keys: Keys,
    options: RangeOptions,
    at: Revision,
    after: Option<Bytes>,
    result: Range,
}

impl Scan {
    /// Reads `keys` of `view`, which must have the revision asked for.
    pub(crate) fn new(keys: Keys, options: RangeOptions, view: &View) -> Self {
        let at = options.revision.filter(|revision| *revision > 0).unwrap_or(view.revision);
        let result = Range { revision: view.revision, ..Range::default() };
        Self { keys, options, at, after: None, result }
    }

    /// Visits at most `portion` slots; `true` when done.
    pub(crate) fn step(&mut self, view: &View, portion: usize) -> bool {
        let Self { keys, options, at, after, result } = self;
        let mut last = None;
        let mut visited = 0;
        let from = after.take();
        for slot in view.slots(keys, from.as_deref()) {
            visited += 1;
            let is_latest = slot.0.kv.mod_revision <= *at;
            if is_latest {
                if !slot.0.is_removal() {
                    add(result, options, &slot.0);
                }
            } else if let Some(node) = slot.at(*at) {
                add(result, options, &node);
            }
            if visited == portion {
                last = Some(slot.0.kv.key.clone());
                break;
            }
        }
        *after = last;
        after.is_none()
    }

    /// What was read.
    pub(crate) fn finish(self) -> Range {
        self.result
    }

    /// Reads all at once.
    pub(crate) fn all(mut self, view: &View) -> Range {
        while !self.step(view, usize::MAX) {}
        self.result
    }
}

fn add(result: &mut Range, options: &RangeOptions, node: &Node) {
    result.count += 1;
    if options.count_only {
        return;
    }
    if options.limit > 0 && result.kvs.len() >= options.limit {
        result.more = true;
        return;
    }
    let mut kv = node.kv.clone();
    if options.keys_only {
        kv.value = Bytes::new();
    }
    result.kvs.push(kv);
}
