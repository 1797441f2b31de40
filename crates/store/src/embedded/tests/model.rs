//! [`Model`]: what a store has to look like, said again as simply as possible: one map per revision.

use crate::kv::{Compare, KeyValue, LeaseId, Op, Revision, Txn};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

type Keys = BTreeMap<Bytes, KeyValue>;

/// The expected state after some requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// The state at each revision, from 1.
    pub(super) states: Vec<Keys>,
    /// Id to (time to live, deadline).
    pub(super) leases: BTreeMap<LeaseId, (i64, Duration)>,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { states: vec![Keys::new()], leases: BTreeMap::new() }
    }

    pub(super) fn revision(&self) -> Revision {
        self.states.len() as Revision
    }

    pub(super) fn at(&self, revision: Revision) -> &Keys {
        &self.states[revision as usize - 1]
    }

    /// The keys that changed at a revision: the new state, or `None` when removed.
    pub(super) fn changed(&self, revision: Revision) -> BTreeMap<Bytes, Option<KeyValue>> {
        let (before, after) = (self.at(revision - 1), self.at(revision));
        let written = after.iter().filter(|(_, kv)| kv.mod_revision == revision);
        let removed = before.keys().filter(|key| !after.contains_key(*key));
        written
            .map(|(k, kv)| (k.clone(), Some(kv.clone())))
            .chain(removed.map(|k| (k.clone(), None)))
            .collect()
    }

    fn holds(&self, compare: &Compare) -> bool {
        let keys = self.at(self.revision());
        match compare {
            Compare::ModRevision(key, order, revision) => {
                keys.get(key).map_or(0, |kv| kv.mod_revision).cmp(revision) == *order
            }
            other => panic!("not used here: {other:?}"),
        }
    }

    /// Applies a transaction; whether the compares held, or `None` when it is refused.
    pub(super) fn txn(&mut self, txn: &Txn) -> Option<bool> {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let is_bad =
            |op: &Op| matches!(op, Op::Put { lease, .. } if *lease != 0 && !self.leases.contains_key(lease));
        if ops.iter().any(is_bad) {
            return None;
        }
        let next = self.revision() + 1;
        let mut keys = self.at(self.revision()).clone();
        let mut has_changed = false;
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    let old = keys.get(key);
                    let kv = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: old.map_or(next, |old| old.create_revision),
                        mod_revision: next,
                        version: old.map_or(1, |old| old.version + 1),
                        lease: *lease,
                    };
                    keys.insert(key.clone(), kv);
                    has_changed = true;
                }
                Op::Delete { start, end } => {
                    let before = keys.len();
                    keys.retain(|key, _| match end {
                        None => key != start,
                        Some(end) => key < start || key >= end,
                    });
                    has_changed |= keys.len() != before;
                }
                Op::Range { .. } => {}
            }
        }
        if has_changed {
            self.states.push(keys);
        }
        Some(succeeded)
    }

    pub(super) fn revoke(&mut self, id: LeaseId) -> bool {
        if self.leases.remove(&id).is_none() {
            return false;
        }
        let mut keys = self.at(self.revision()).clone();
        let before = keys.len();
        keys.retain(|_, kv| kv.lease != id);
        if keys.len() != before {
            self.states.push(keys);
        }
        true
    }

    /// Ends the leases that are due.
    pub(super) fn expire(&mut self, now: Duration) {
        let due: Vec<_> =
            self.leases.iter().filter(|(_, (_, deadline))| *deadline <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.revoke(id);
        }
    }
}
