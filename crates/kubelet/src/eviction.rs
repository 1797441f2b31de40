//! Eviction under pressure: when memory, disk, inodes or process ids run short, one pod at a time is ended.
//!
//! Thresholds are hard ones. Ranking: pods above their memory request first, then lower priority, then the most
//! used above the request ("Node-pressure eviction"). Pods above limits of their own end whatever the node has left
//! (`eviction/storage.rs`). Soft thresholds, ranking by disk usage and reclaiming before eviction (other than unused
//! images) are not built (see GAPS.md).

mod storage;

use crate::config::Eviction;
use crate::container::resources;
use crate::kubelet::Kubelet;
use crate::model::labels;
use crate::node::Pressure;
use crate::node::machine::meminfo;
use crate::pod::worker::{Stage, Worker};
use crate::spec;
use crate::status::generate::{EVICTED, Verdict};
use client::EventType;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between looks; upstream's housekeeping interval. The kernel tells no one about free space.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long a shortage is reported after it was last seen, against flapping.
const LINGER: Duration = Duration::from_secs(300);

/// What is left of the node's resources; `None` where it cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Signals {
    /// Bytes of memory available.
    pub(crate) memory: Option<u64>,
    /// Share of the file system that is free, 0 to 1.
    pub(crate) disk: Option<f64>,
    /// Share of inodes that is free, 0 to 1.
    pub(crate) inodes: Option<f64>,
    /// Share of process ids that is free, 0 to 1.
    pub(crate) pids: Option<f64>,
}

#[allow(clippy::cast_precision_loss, reason = "shares are floats")]
fn share(free: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| free as f64 / all as f64)
}

/// Reads what is left. Blocks on small files.
fn read(root: &Path) -> Signals {
    let fs = rustix::fs::statvfs(root).ok();
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    // The fourth field of loadavg is "runnable/all threads".
    let loadavg = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let threads = loadavg.split_whitespace().nth(3).and_then(|f| f.split('/').nth(1)?.parse::<u64>().ok());
    let limit = number("/proc/sys/kernel/pid_max");
    Signals {
        memory: meminfo("MemAvailable").and_then(|bytes| u64::try_from(bytes).ok()),
        disk: fs.as_ref().and_then(|fs| share(fs.f_bavail, fs.f_blocks)),
        inodes: fs.as_ref().and_then(|fs| share(fs.f_ffree, fs.f_files)),
        pids: limit.zip(threads).and_then(|(limit, used)| share(limit.saturating_sub(used), limit)),
    }
}

/// What is short.
pub(crate) fn judge(signals: &Signals, limits: &Eviction) -> Pressure {
    let below = |value: Option<f64>, limit: f64| limit > 0.0 && value.is_some_and(|v| v < limit);
    Pressure {
        memory: signals.memory.is_some_and(|bytes| bytes < limits.memory_available),
        disk: below(signals.disk, limits.nodefs_available)
            || below(signals.inodes, limits.nodefs_inodes_free),
        pid: below(signals.pids, limits.pid_available),
    }
}

/// A pod that may be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// UID.
    pub(crate) uid: String,
    /// Priority.
    pub(crate) priority: i32,
    /// Bytes of memory requested.
    pub(crate) request: i64,
    /// Bytes of memory used.
    pub(crate) usage: i64,
}

/// The pod to end first.
pub(crate) fn choose(mut candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.sort_by_key(|c| {
        let above = c.usage - c.request;
        (above <= 0, c.priority, std::cmp::Reverse(above), c.uid.clone())
    });
    candidates.into_iter().next()
}

/// Critical and static pods are never ended for pressure.
fn is_protected(worker: &Worker) -> bool {
    const SYSTEM_CRITICAL: i32 = 2_000_000_000;
    let pod = worker.pod();
    spec::is_static(&pod) || spec::spec(&pod).priority.unwrap_or(0) >= SYSTEM_CRITICAL
}

async fn usage(kubelet: &Kubelet) -> HashMap<String, i64> {
    let mut used: HashMap<String, i64> = HashMap::new();
    for stats in kubelet.runtime.container_stats().await.unwrap_or_default() {
        let uid = stats.attributes.as_ref().and_then(|a| a.labels.get(labels::POD_UID)).cloned();
        let bytes = stats.memory.and_then(|m| m.working_set_bytes).map_or(0, |v| v.value);
        if let Some(uid) = uid {
            *used.entry(uid).or_default() += i64::try_from(bytes).unwrap_or(i64::MAX);
        }
    }
    used
}

async fn evict_one(kubelet: &Arc<Kubelet>, what: &str) {
    let used = usage(kubelet).await;
    let candidates = evictable(kubelet)
        .into_iter()
        .map(|w| {
            let pod = w.pod();
            Candidate {
                uid: w.uid.clone(),
                priority: spec::spec(&pod).priority.unwrap_or(0),
                request: resources::of_pod(&pod).memory_request,
                usage: used.get(&w.uid).copied().unwrap_or(0),
            }
        })
        .collect();
    let Some(worker) = choose(candidates).and_then(|c| kubelet.workers.get(&c.uid)) else { return };
    end(kubelet, &worker, format!("The node was low on resource: {what}. "));
}

/// Ends a pod for `message`.
fn end(kubelet: &Kubelet, worker: &Worker, message: String) {
    kubelet.pod_event(&worker.pod(), EventType::Warning, "Evicted", message.clone());
    tracing::warn!(pod = spec::describe(&worker.pod()), "evicting a pod: {message}");
    worker.terminate(Some(0), Some(Verdict { reason: EVICTED.to_owned(), message }));
}

/// Pods that may be ended.
fn evictable(kubelet: &Kubelet) -> Vec<Arc<Worker>> {
    let workers = kubelet.workers.list().into_iter();
    workers.filter(|w| w.stage() == Stage::Syncing && !is_protected(w)).collect()
}

fn lingering(seen: &mut Option<Instant>, now: bool, at: Instant) -> bool {
    if now {
        *seen = Some(at);
    }
    seen.is_some_and(|seen| at.saturating_duration_since(seen) < LINGER)
}

/// Looks after the node until dropped.
pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    let (mut memory, mut disk, mut pid) = (None, None, None);
    loop {
        let root = kubelet.config.root_dir.clone();
        let signals = tokio::task::spawn_blocking(move || read(&root)).await.unwrap_or_default();
        let pressure = judge(&signals, &kubelet.config.eviction);
        let now = kubelet.clock.instant();
        kubelet.node.set_pressure(Pressure {
            memory: lingering(&mut memory, pressure.memory, now),
            disk: lingering(&mut disk, pressure.disk, now),
            pid: lingering(&mut pid, pressure.pid, now),
        });
        if pressure.memory {
            evict_one(&kubelet, "memory").await;
        } else if pressure.disk && !crate::images::gc::collect(&kubelet, true).await {
            evict_one(&kubelet, "ephemeral-storage").await;
        } else if pressure.pid {
            evict_one(&kubelet, "pids").await;
        }
        storage::check(&kubelet, evictable(&kubelet)).await;
        kubelet.clock.sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_decide() {
        let limits = Eviction::default();
        let well = Signals { memory: Some(1 << 30), disk: Some(0.5), inodes: Some(0.5), pids: Some(0.5) };
        assert_eq!(judge(&well, &limits), Pressure::default());
        let short = Signals { memory: Some(1), inodes: Some(0.01), ..well };
        assert_eq!(judge(&short, &limits), Pressure { memory: true, disk: true, pid: false });
        assert_eq!(judge(&Signals::default(), &limits), Pressure::default());
    }

    #[test]
    fn those_above_their_request_go_first() {
        let pod =
            |uid: &str, priority, request, usage| Candidate { uid: uid.to_owned(), priority, request, usage };
        let chosen = choose(vec![
            pod("within", -10, 100, 50),
            pod("important", 10, 0, 900),
            pod("little", 0, 100, 150),
            pod("much", 0, 100, 300),
        ]);
        assert_eq!(chosen.unwrap().uid, "much");
        assert_eq!(choose(Vec::new()), None);
    }
}
