//! Limits: from CRI's words to the cgroup's.

use cri::v1::LinuxContainerResources;
use linux::cgroup::{HugePages, Resources};

/// Limits as the cgroup takes them, without devices.
pub(crate) fn resources(from: &LinuxContainerResources) -> Resources {
    Resources {
        cpu_shares: u64::try_from(from.cpu_shares).unwrap_or(0),
        cpu_quota: from.cpu_quota,
        cpu_period: u64::try_from(from.cpu_period).unwrap_or(0),
        memory_limit: from.memory_limit_in_bytes,
        memory_swap_limit: from.memory_swap_limit_in_bytes,
        pids_limit: 0,
        cpuset_cpus: from.cpuset_cpus.clone(),
        cpuset_mems: from.cpuset_mems.clone(),
        huge_pages: from
            .hugepage_limits
            .iter()
            .map(|pages| HugePages { size: pages.page_size.clone(), limit: pages.limit })
            .collect(),
        unified: from.unified.clone().into_iter().collect(),
        devices: None,
    }
}

/// `old` with what `new` says instead: an update names only what changes.
pub(crate) fn merged(old: LinuxContainerResources, new: &LinuxContainerResources) -> LinuxContainerResources {
    let number = |old: i64, new: i64| if new == 0 { old } else { new };
    let text = |old: String, new: &String| if new.is_empty() { old } else { new.clone() };
    let mut unified = old.unified;
    unified.extend(new.unified.clone());
    LinuxContainerResources {
        cpu_period: number(old.cpu_period, new.cpu_period),
        cpu_quota: number(old.cpu_quota, new.cpu_quota),
        cpu_shares: number(old.cpu_shares, new.cpu_shares),
        memory_limit_in_bytes: number(old.memory_limit_in_bytes, new.memory_limit_in_bytes),
        oom_score_adj: number(old.oom_score_adj, new.oom_score_adj),
        cpuset_cpus: text(old.cpuset_cpus, &new.cpuset_cpus),
        cpuset_mems: text(old.cpuset_mems, &new.cpuset_mems),
        hugepage_limits: if new.hugepage_limits.is_empty() {
            old.hugepage_limits
        } else {
            new.hugepage_limits.clone()
        },
        unified,
        memory_swap_limit_in_bytes: number(old.memory_swap_limit_in_bytes, new.memory_swap_limit_in_bytes),
    }
}
