//! The store's figures in Prometheus' text format. Names and units are etcd's, so that its dashboards and alerts work.
//!
//! Deliberately absent: figures of etcd that have no counterpart here (raft, peers, the backend's own commits).

use super::shared::{SYNC_BUCKETS, Stats};
use std::fmt::Write;

/// The text; `has_failed` says that the store is read-only.
pub(super) fn render(stats: &Stats, has_failed: bool) -> String {
    let mut out = String::new();
    let name = "etcd_disk_wal_fsync_duration_seconds";
    let help = "The latency distributions of fdatasync of the log.";
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
    for (bound, count) in SYNC_BUCKETS.iter().zip(stats.sync_buckets) {
        let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {}", stats.syncs);
    let _ = writeln!(out, "{name}_sum {}", stats.sync_nanoseconds as f64 / 1e9);
    let _ = writeln!(out, "{name}_count {}", stats.syncs);
    let size = stats.log_bytes + stats.checkpoint_bytes;
    let gauges: [(&str, &str, u64); 10] = [
        ("etcd_mvcc_db_total_size_in_bytes", "Bytes of the log and the checkpoint on the disk.", size),
        ("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of keys and history in memory.", stats.bytes),
        ("etcd_server_quota_backend_bytes", "Bytes that the keys may take; 0 is no quota.", stats.quota),
        ("etcd_debugging_mvcc_keys_total", "Keys that exist.", stats.keys),
        ("etcd_debugging_mvcc_watcher_total", "Watchers.", stats.watchers),
        ("etcd_debugging_mvcc_current_revision", "The latest revision.", stats.revision.unsigned_abs()),
        (
            "etcd_debugging_mvcc_compact_revision",
            "The oldest revision that can be read.",
            stats.compacted.unsigned_abs(),
        ),
        ("etcd_debugging_lease_total", "Leases.", stats.leases),
        ("etcd_server_has_leader", "Whether the store answers.", 1),
        (
            "etcd_server_is_read_only",
            "Whether a write failed, so that no more are taken.",
            u64::from(has_failed),
        ),
    ];
    let counters: [(&str, &str, u64); 9] = [
        ("etcd_disk_wal_write_bytes_total", "Bytes written to the log.", stats.written_bytes),
        ("etcd_server_slow_apply_total", "Group commits whose sync was slow.", stats.slow_syncs),
        ("etcd_debugging_snap_save_total", "Checkpoints written.", stats.checkpoints),
        ("etcd_mvcc_put_total", "Keys written.", stats.puts),
        ("etcd_mvcc_delete_total", "Keys removed.", stats.deletes),
        ("etcd_mvcc_range_total", "Ranges read.", stats.ranges),
        ("etcd_mvcc_txn_total", "Transactions.", stats.txns),
        (
            "windlass_store_read_only_total",
            "Times that a write failed, so that no more were taken.",
            stats.read_only,
        ),
        (
            "windlass_store_recovered_total",
            "Times that writes were taken again because there was room.",
            stats.recovered,
        ),
    ];
    let gauges = gauges.into_iter().map(|figure| ("gauge", figure));
    let counters = counters.into_iter().map(|figure| ("counter", figure));
    for (kind, (name, help, value)) in gauges.chain(counters) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    // What upstream's API server says about its storage.
    let name = "apiserver_storage_size_bytes";
    let _ = writeln!(out, "# HELP {name} Size of the storage database file physically allocated in bytes.");
    let _ = writeln!(out, "# TYPE {name} gauge\n{name}{{storage_cluster_id=\"embedded\"}} {size}");
    out
}
