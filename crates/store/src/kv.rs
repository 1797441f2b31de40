//! [`Store`]: the trait that every backend implements, and the values that cross it.
//!
//! The model is etcd v3's: one revision counter for the whole store, multi-version keys, transactions with
//! compares, leases, watches that resume from a past revision, compaction.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// A point in the store's history. The first commit has revision 2, as an empty etcd is at 1.
pub type Revision = i64;

/// A lease; 0 is none.
pub type LeaseId = i64;

/// A key, its value and its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; shared with the store.
    pub value: Bytes,
    /// Revision of its creation.
    pub create_revision: Revision,
    /// Revision of its last change.
    pub mod_revision: Revision,
    /// Number of changes since its creation, from 1.
    pub version: i64,
    /// Lease that it is bound to.
    pub lease: LeaseId,
}

/// Which keys to read: `[start, end)`, or the single key `start` when `end` is `None`.
#[derive(Clone, Debug, Default)]
pub struct RangeOptions {
    /// At this revision; `None` is the latest.
    pub revision: Option<Revision>,
    /// At most so many; 0 is no limit.
    pub limit: usize,
    /// Count, but return no keys.
    pub count_only: bool,
    /// Leave values empty.
    pub keys_only: bool,
}

/// The answer to a range.
#[derive(Clone, Debug, Default)]
pub struct Range {
    /// Revision of the store when it answered.
    pub revision: Revision,
    /// Ordered by key.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut keys off.
    pub more: bool,
    /// Keys in the whole range.
    pub count: usize,
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key's last change; 0 means that it does not exist.
    ModRevision(Bytes, std::cmp::Ordering, Revision),
    /// The key's creation; 0 means that it does not exist.
    CreateRevision(Bytes, std::cmp::Ordering, Revision),
    /// The key's number of changes; 0 means that it does not exist.
    Version(Bytes, std::cmp::Ordering, i64),
    /// The key's value; never true when the key does not exist.
    Value(Bytes, std::cmp::Ordering, Bytes),
    /// The key's lease.
    Lease(Bytes, std::cmp::Ordering, LeaseId),
}

/// An operation of a transaction.
#[derive(Clone, Debug)]
pub enum Op {
    /// Writes a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// Lease to bind it to.
        lease: LeaseId,
    },
    /// Removes `[start, end)`, or the single key `start`.
    Delete {
        /// First key.
        start: Bytes,
        /// End of the range, exclusive.
        end: Option<Bytes>,
    },
    /// Reads, as the operations before it left the store.
    Range {
        /// First key.
        start: Bytes,
        /// End of the range, exclusive.
        end: Option<Bytes>,
        /// How to read.
        options: RangeOptions,
    },
}

/// If all of `compares` hold then `success`, else `failure`, as one commit at one revision.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// The conditions.
    pub compares: Vec<Compare>,
    /// What to do when all hold.
    pub success: Vec<Op>,
    /// What to do otherwise.
    pub failure: Vec<Op>,
}

/// The answer to one operation.
#[derive(Clone, Debug)]
pub enum OpResult {
    /// The key's previous state, if it existed.
    Put(Option<KeyValue>),
    /// The states that were removed.
    Delete(Vec<KeyValue>),
    /// What was read.
    Range(Range),
}

/// The answer to a transaction. Durable when it is returned.
#[derive(Clone, Debug)]
pub struct TxnResult {
    /// Whether all conditions held.
    pub succeeded: bool,
    /// Revision of the store: that of this commit if it wrote anything.
    pub revision: Revision,
    /// One answer per operation done.
    pub results: Vec<OpResult>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was removed; `kv` carries only the key and the revision of the removal.
    Delete,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The state after it.
    pub kv: KeyValue,
    /// The state before it, if the key existed and history still has it.
    pub previous: Option<KeyValue>,
}

/// All changes of one commit that a watch covers, or progress: no events, but everything up to `revision`
/// was delivered.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The commit's revision.
    pub revision: Revision,
    /// Its changes, in the order of the transaction; empty for progress.
    pub events: Vec<Event>,
}

/// Commits in order of revision, without gap or duplicate; ends after an error.
pub type WatchStream = BoxStream<'static, Result<Commit, StoreError>>;

/// Why the store did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The revision was compacted away; the oldest one that can be read is in the message.
    #[error("required revision has been compacted; the oldest available is {oldest}")]
    Compacted {
        /// Oldest readable revision.
        oldest: Revision,
    },
    /// The revision lies in the future.
    #[error("required revision is a future revision; the store is at {current}")]
    Future {
        /// Current revision.
        current: Revision,
    },
    /// The lease does not exist.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// A lease with that id exists.
    #[error("lease already exists")]
    LeaseExists,
    /// The request makes no sense; nothing was done.
    #[error("{0}")]
    Invalid(String),
    /// The size quota is used up; reads and deletions still work.
    #[error(
        "database space exceeded: {used} of {quota} bytes are in use; delete data or restart with a larger \
         --quota-backend-bytes, then run 'windlass store alarm disarm'"
    )]
    NoSpace {
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        quota: u64,
    },
    /// A watcher fell too far behind and was cut off; resume from the last revision seen.
    #[error("watcher fell behind and was cut off; resume from the last revision seen")]
    Slow,
    /// A file is damaged; nothing was changed.
    #[error(
        "{file} is damaged at offset {offset}: {why}; restore its directory from a backup, or move it away to start with an empty cluster"
    )]
    Corrupt {
        /// Path of the file.
        file: String,
        /// Offset in bytes.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// Another process uses the directory.
    #[error("{0} is in use by another process; stop it first, or use another --data-dir")]
    Locked(String),
    /// Reading or writing failed; after a failed write the store stays read-only.
    #[error("{0}")]
    Io(String),
    /// No member of a remote store could take the request in time; nothing was done.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The request was sent, and whether it was done cannot be told; read before trying again.
    #[error("the outcome of the write is unknown: {0}; read before trying again")]
    Unknown(String),
    /// The store is shutting down.
    #[error("the store is shut down")]
    Closed,
}

/// A revisioned key-value store. Object-safe; share as `Arc<dyn Store>`. All methods may be called
/// concurrently; reads never wait for writes.
///
/// A range `[start, end)` whose `end` is the single byte 0 goes to the end of the key space, as in etcd; so
/// `Some(prefix_end(prefix).unwrap_or(Bytes::from_static(b"\0")))` always covers a prefix.
#[async_trait]
pub trait Store: Send + Sync {
    /// The latest revision.
    async fn revision(&self) -> Result<Revision, StoreError>;
    /// Reads `[start, end)`, or the key `start` when `end` is `None`.
    async fn range(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        options: RangeOptions,
    ) -> Result<Range, StoreError>;
    /// Runs a transaction; returns when it is durable.
    async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError>;
    /// Watches `[start, end)`, or one key, from revision `from` on (inclusive); `None` is from now. `progress`
    /// asks for progress commits (no events) whenever the store has moved on without a covered change, so that
    /// a consumer knows how far it has seen.
    async fn watch(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        from: Option<Revision>,
        progress: bool,
    ) -> Result<WatchStream, StoreError>;
    /// Forgets history before `revision`; the latest version of each key stays.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;
    /// Creates a lease of `ttl` seconds; `id` 0 lets the store choose.
    async fn lease_grant(&self, id: LeaseId, ttl: i64) -> Result<LeaseId, StoreError>;
    /// Ends a lease and removes its keys.
    async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError>;
    /// Renews a lease; returns its time to live in seconds.
    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, StoreError>;
    /// Whether the value of `key` should be written again though it did not change: a store that encrypts has another
    /// key by now.
    fn stale(&self, key: &[u8]) -> bool {
        let _ = key;
        false
    }
    /// Figures for `/metrics` in Prometheus' text format, under etcd's names; empty when there are none.
    fn metrics(&self) -> String {
        String::new()
    }
}

/// The end of the range of all keys that start with `prefix`; `None` means to the end of the key space.
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let keep = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn prefix_ends() {
        assert_eq!(prefix_end(b"a/").as_deref(), Some(&b"a0"[..]));
        assert_eq!(prefix_end(b"a\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(prefix_end(b"\xff"), None);
    }
}
