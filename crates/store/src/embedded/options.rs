//! [`Options`] of the embedded store.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Monotonic time since some fixed instant. Drives lease expiry and automatic compaction; a test hands in its
/// own and calls [`super::Embedded::tick`] after moving it.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How the embedded store behaves. The defaults are those of a cluster on one machine.
#[derive(Clone)]
pub struct Options {
    /// History is kept at least so long, unless one of the two limits below is reached first. Five minutes, as
    /// upstream's API server keeps in etcd.
    pub history: Duration,
    /// At most about so many revisions of history, whatever their age.
    pub history_revisions: usize,
    /// At most about so many bytes of superseded versions in memory, whatever their age.
    pub history_bytes: u64,
    /// Bytes of the keys that exist, with overhead, above which puts are refused with
    /// [`crate::StoreError::NoSpace`]; 0 is no quota. History does not count, so that a removal makes room at
    /// once; it has its own limit above. Memory in use is at most about both together.
    pub quota: u64,
    /// Size at which a new segment of the log is begun, in bytes.
    pub segment_bytes: u64,
    /// A checkpoint is written when so many bytes of the log could go with it, or half as many as the store
    /// holds, whichever is more: what is written is at most three times what changed.
    pub checkpoint_bytes: u64,
    /// Largest transaction, in bytes of keys and values.
    pub max_txn_bytes: usize,
    /// Commits that wait for a watcher at most; one that is further behind reads from history until it has
    /// caught up, and is cut off with [`crate::StoreError::Slow`] when history has gone on without it.
    pub watch_buffer: usize,
    /// Least time between two progress commits to a watcher. The first after a pause comes at once.
    pub progress_interval: Duration,
    /// A sync of the log that takes longer is logged.
    pub slow_sync: Duration,
    /// The time.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        let start = Instant::now();
        Self {
            history: Duration::from_secs(300),
            history_revisions: 2_000_000,
            history_bytes: 64 << 20,
            quota: 2 << 30,
            segment_bytes: 64 << 20,
            checkpoint_bytes: 64 << 20,
            max_txn_bytes: 16 << 20,
            watch_buffer: 256,
            progress_interval: Duration::from_millis(10),
            slow_sync: Duration::from_secs(1),
            clock: Arc::new(move || start.elapsed()),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("history", &self.history)
            .field("history_bytes", &self.history_bytes)
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}
