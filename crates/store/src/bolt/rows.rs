//! What the buckets hold, row by row: etcd's encoding of revisions, keys, leases and bookkeeping.

use crate::kv::{KeyValue, LeaseId, Revision};
use crate::maintenance::Frozen;
use crate::rpc;
use prost::Message;

/// Names of the buckets.
pub(super) const KEYS: &[u8] = b"key";
pub(super) const LEASES: &[u8] = b"lease";
pub(super) const BOOKKEEPING: &[u8] = b"meta";

/// Row of the bookkeeping with the revision that history starts at.
pub(super) const COMPACTED: &[u8] = b"finishedCompactRev";
/// The same, when the compaction was begun.
pub(super) const SCHEDULED: &[u8] = b"scheduledCompactRev";

/// Marks the row of a removal.
const TOMBSTONE: u8 = b't';

/// A bucket's rows, in order of key.
pub(super) trait Rows {
    fn len(&self) -> usize;
    fn key(&self, row: usize) -> Vec<u8>;
    fn value_len(&self, row: usize) -> usize;
    fn write_value(&self, row: usize, out: &mut Vec<u8>);
}

/// The row key of the change number `sub` of `revision`.
pub(super) fn revision_key(revision: Revision, sub: i64, is_removal: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.extend_from_slice(&revision.to_be_bytes());
    key.push(b'_');
    key.extend_from_slice(&sub.to_be_bytes());
    if is_removal {
        key.push(TOMBSTONE);
    }
    key
}

/// Revision and whether it is a removal.
pub(super) fn parse_revision(key: &[u8]) -> Option<(Revision, bool)> {
    let (revision, rest) = key.split_first_chunk::<8>()?;
    let is_removal = match rest {
        [b'_', sub @ ..] if sub.len() == 8 => false,
        [b'_', sub @ .., TOMBSTONE] if sub.len() == 8 => true,
        _ => return None,
    };
    Some((Revision::from_be_bytes(*revision), is_removal))
}

fn message(kv: &KeyValue) -> rpc::KeyValue {
    rpc::KeyValue {
        key: kv.key.clone(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value.clone(),
        lease: kv.lease,
    }
}

/// Bucket `key`.
pub(super) struct KeyRows<'a> {
    /// By revision, with a number among those of the same one.
    sorted: Vec<(&'a KeyValue, u32)>,
    /// Row of a removal that shows the latest revision to tools when no key does.
    last: Option<Revision>,
}

impl<'a> KeyRows<'a> {
    pub(super) fn new(frozen: &'a dyn Frozen) -> Self {
        let mut sorted: Vec<_> = frozen.keys().map(|kv| (kv, 0)).collect();
        sorted.sort_by_key(|(kv, _)| kv.mod_revision);
        let (mut revision, mut next) = (0, 0);
        for (kv, sub) in &mut sorted {
            if kv.mod_revision != revision {
                (revision, next) = (kv.mod_revision, 0);
            }
            *sub = next;
            next += 1;
        }
        let last = Some(frozen.revision()).filter(|last| *last > revision);
        Self { sorted, last }
    }

    fn removal(&self) -> rpc::KeyValue {
        // A key that cannot exist: whoever reads the row finds nothing to remove.
        rpc::KeyValue::default()
    }
}

impl Rows for KeyRows<'_> {
    fn len(&self) -> usize {
        self.sorted.len() + usize::from(self.last.is_some())
    }

    fn key(&self, row: usize) -> Vec<u8> {
        match (self.sorted.get(row), self.last) {
            (Some((kv, sub)), _) => revision_key(kv.mod_revision, i64::from(*sub), false),
            (None, last) => revision_key(last.unwrap_or(0), 0, true),
        }
    }

    fn value_len(&self, row: usize) -> usize {
        self.sorted.get(row).map_or_else(|| self.removal().encoded_len(), |(kv, _)| message(kv).encoded_len())
    }

    fn write_value(&self, row: usize, out: &mut Vec<u8>) {
        let message = self.sorted.get(row).map_or_else(|| self.removal(), |(kv, _)| message(kv));
        // Fails only without room, and a vector always has some.
        let _ = message.encode(out);
    }
}

/// A bucket with a few rows, ready made.
pub(super) struct FewRows(Vec<(Vec<u8>, Vec<u8>)>);

/// etcd's record of a lease.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct LeaseRow {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(int64, tag = "2")]
    pub(super) ttl: i64,
    #[prost(int64, tag = "3")]
    pub(super) remaining: i64,
}

impl FewRows {
    /// Bucket `lease`.
    pub(super) fn leases(mut leases: Vec<(LeaseId, i64)>) -> Self {
        leases.sort_by_key(|(id, _)| id.to_be_bytes());
        let row = |(id, ttl): (LeaseId, i64)| {
            (id.to_be_bytes().to_vec(), LeaseRow { id, ttl, remaining: 0 }.encode_to_vec())
        };
        Self(leases.into_iter().map(row).collect())
    }

    /// Bucket `meta`: history starts at `revision`.
    pub(super) fn bookkeeping(revision: Revision) -> Self {
        let at = revision_key(revision, 0, false);
        let index = revision.to_be_bytes().to_vec();
        Self(vec![
            (b"consistent_index".to_vec(), index),
            (COMPACTED.to_vec(), at.clone()),
            (SCHEDULED.to_vec(), at),
        ])
    }

    /// Other rows, in order.
    pub(super) fn of(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Self(rows)
    }
}

impl Rows for FewRows {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn key(&self, row: usize) -> Vec<u8> {
        self.0[row].0.clone()
    }
    fn value_len(&self, row: usize) -> usize {
        self.0[row].1.len()
    }
    fn write_value(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0[row].1);
    }
}
