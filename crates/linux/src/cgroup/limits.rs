//! Limits of a group, in the words of version 1 (as CRI and OCI have them), translated where version 2 differs.

use super::{DeviceRule, Group, write};
use crate::error::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What a group may use. Zero, empty and `None` leave a limit as it is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Relative weight, 2 to 262144; 1024 is one CPU's.
    pub cpu_shares: u64,
    /// Microseconds of CPU time in each period; negative lifts the limit.
    pub cpu_quota: i64,
    /// The period in microseconds.
    pub cpu_period: u64,
    /// Bytes of memory; negative lifts the limit.
    pub memory_limit: i64,
    /// Bytes of memory and swap together; negative lifts the limit.
    pub memory_swap_limit: i64,
    /// Processes and threads; negative lifts the limit.
    pub pids_limit: i64,
    /// Allowed CPUs, as in "0-3,5".
    pub cpuset_cpus: String,
    /// Allowed memory nodes.
    pub cpuset_mems: String,
    /// Huge pages of each size.
    pub huge_pages: Vec<HugePages>,
    /// Files of version 2 and their values, written last; ignored on version 1.
    pub unified: BTreeMap<String, String>,
    /// The only devices it may touch; `None` does not restrict.
    pub devices: Option<Vec<DeviceRule>>,
}

/// A limit of huge pages.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HugePages {
    /// As in "2MB".
    pub size: String,
    /// Bytes.
    pub limit: u64,
}

impl Group {
    /// Sets limits. The group must exist. A limit whose controller the host lacks is an error, except for huge
    /// pages of limit zero, which need none.
    pub fn set(&self, resources: &Resources) -> Result<()> {
        if self.cgroups.unified() { self.set_v2(resources) } else { self.set_v1(resources) }
    }

    fn file(&self, controller: &str, name: &str) -> Result<std::path::PathBuf> {
        let dir = self.directory(controller).ok_or_else(|| {
            let why = "the host has no such controller; mount it or boot with it enabled";
            Error::refused(format!("limit {controller} of cgroup {}", self.path()), why)
        })?;
        Ok(dir.join(name))
    }

    fn set_v1(&self, wanted: &Resources) -> Result<()> {
        let put = |controller: &str, name: &str, value: String| -> Result<()> {
            write(&self.file(controller, name)?, &value)
        };
        if wanted.cpu_shares != 0 {
            put("cpu", "cpu.shares", wanted.cpu_shares.to_string())?;
        }
        if wanted.cpu_period != 0 {
            put("cpu", "cpu.cfs_period_us", wanted.cpu_period.to_string())?;
        }
        if wanted.cpu_quota != 0 {
            put("cpu", "cpu.cfs_quota_us", wanted.cpu_quota.max(-1).to_string())?;
        }
        self.set_v1_memory(wanted)?;
        if wanted.pids_limit != 0 {
            put("pids", "pids.max", maximum(wanted.pids_limit))?;
        }
        for (name, value) in [("cpuset.cpus", &wanted.cpuset_cpus), ("cpuset.mems", &wanted.cpuset_mems)] {
            if !value.is_empty() {
                put("cpuset", name, value.clone())?;
            }
        }
        for pages in &wanted.huge_pages {
            let name = format!("hugetlb.{}.limit_in_bytes", checked(&pages.size)?);
            match self.file("hugetlb", &name) {
                Err(_) if pages.limit == 0 => {}
                file => write(&file?, &pages.limit.to_string())?,
            }
        }
        let Some(devices) = &wanted.devices else { return Ok(()) };
        if self.directory("devices").is_none() {
            return self.restrict_devices(devices);
        }
        put("devices", "devices.deny", "a".to_owned())?;
        devices.iter().try_for_each(|rule| put("devices", "devices.allow", rule.to_string()))
    }

    // Memory alone must never exceed memory with swap: the order depends on the direction.
    fn set_v1_memory(&self, wanted: &Resources) -> Result<()> {
        if wanted.memory_limit == 0 {
            return Ok(());
        }
        let memory = self.file("memory", "memory.limit_in_bytes")?;
        let swap = self.file("memory", "memory.memsw.limit_in_bytes")?;
        let limit = wanted.memory_limit.max(-1).to_string();
        if wanted.memory_swap_limit == 0 || !swap.exists() {
            return write(&memory, &limit);
        }
        let both = wanted.memory_swap_limit.max(-1).to_string();
        if write(&memory, &limit).is_ok() {
            return write(&swap, &both);
        }
        write(&swap, &both)?;
        write(&memory, &limit)
    }

    fn set_v2(&self, wanted: &Resources) -> Result<()> {
        let put = |name: &str, value: String| -> Result<()> { write(&self.file("", name)?, &value) };
        if wanted.cpu_shares != 0 {
            put("cpu.weight", weight(wanted.cpu_shares).to_string())?;
        }
        if wanted.cpu_quota != 0 || wanted.cpu_period != 0 {
            let quota = maximum(if wanted.cpu_quota == 0 { -1 } else { wanted.cpu_quota });
            let period = if wanted.cpu_period == 0 { 100_000 } else { wanted.cpu_period };
            put("cpu.max", format!("{quota} {period}"))?;
        }
        if wanted.memory_limit != 0 {
            put("memory.max", maximum(wanted.memory_limit))?;
            let swap = self.file("memory", "memory.swap.max")?;
            if wanted.memory_swap_limit != 0 && swap.exists() {
                // Version 1 counts memory into the swap limit, version 2 does not.
                let alone = match wanted.memory_swap_limit {
                    limit if limit < 0 => -1,
                    limit => (limit - wanted.memory_limit.max(0)).max(0),
                };
                write(&swap, &if alone < 0 { "max".to_owned() } else { alone.to_string() })?;
            }
        }
        if wanted.pids_limit != 0 {
            put("pids.max", maximum(wanted.pids_limit))?;
        }
        for (name, value) in [("cpuset.cpus", &wanted.cpuset_cpus), ("cpuset.mems", &wanted.cpuset_mems)] {
            if !value.is_empty() {
                put(name, value.clone())?;
            }
        }
        for pages in &wanted.huge_pages {
            let file = self.file("hugetlb", &format!("hugetlb.{}.max", checked(&pages.size)?))?;
            if pages.limit != 0 || file.exists() {
                write(&file, &pages.limit.to_string())?;
            }
        }
        if let Some(devices) = &wanted.devices {
            self.restrict_devices(devices)?;
        }
        wanted.unified.iter().try_for_each(|(name, value)| put(checked(name)?, value.clone()))
    }

    fn restrict_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        let Some(root) = &self.cgroups.v2 else {
            let why = "the host has neither the devices controller nor cgroup version 2; mount one of them";
            return Err(Error::refused(format!("restrict devices of cgroup {}", self.path()), why));
        };
        let dir =
            std::fs::File::open(root.join(&self.path)).context(|| format!("open cgroup {}", self.path()))?;
        super::devices::attach(&dir, rules)
    }
}

fn maximum(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

// From [2, 262144] to [1, 10000], linearly: what the kubelet does for pods, so that both agree.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

fn checked(name: &str) -> Result<&str> {
    if name.is_empty()
        || name.contains('/')
        || Path::new(name).components().count() != 1
        || name.contains("..")
    {
        return Err(Error::refused(format!("set cgroup limit {name:?}"), "that is not a file name"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn weights_span_the_range() {
        assert_eq!([2, 1024, 262_144, 0, u64::MAX].map(weight), [1, 39, 10_000, 1, 10_000]);
    }
}
