//! What a group uses now.

use super::{Group, read};
use crate::error::Result;
use std::path::Path;

/// Usage of a group and all below it. Fields that the host does not account stay `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Nanoseconds of CPU time since the group was made.
    pub cpu_nanoseconds: Option<u64>,
    /// Bytes in use, page cache included.
    pub memory_usage: Option<u64>,
    /// Bytes in use without what can be dropped at once (inactive file cache).
    pub memory_working_set: Option<u64>,
    /// Bytes of anonymous memory.
    pub memory_rss: Option<u64>,
    /// The limit in bytes, if there is one.
    pub memory_limit: Option<u64>,
    /// Bytes of swap in use.
    pub swap_usage: Option<u64>,
    /// Page faults, minor ones included.
    pub page_faults: Option<u64>,
    /// Page faults that needed a disk.
    pub major_page_faults: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// How many processes the kernel killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Stalls on CPU, memory and I/O, where the kernel keeps them.
    pub pressure: [Option<Pressure>; 3],
}

/// One resource's stalls (PSI).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// Some task waited.
    pub some: PressureLine,
    /// All tasks waited.
    pub full: PressureLine,
}

/// Averages in percent of time over a window, and the total.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureLine {
    /// Over 10 seconds.
    pub avg10: f64,
    /// Over 60 seconds.
    pub avg60: f64,
    /// Over 300 seconds.
    pub avg300: f64,
    /// Microseconds since the group was made.
    pub total: u64,
}

impl Group {
    /// Reads all of it. A group that is gone answers with every field `None`.
    pub fn stats(&self) -> Result<Stats> {
        if self.cgroups.unified() { Ok(self.stats_v2()) } else { Ok(self.stats_v1()) }
    }

    /// How many processes of it the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let Some(dir) = self.directory("memory") else { return 0 };
        let name = if self.cgroups.unified() { "memory.events" } else { "memory.oom_control" };
        flat(&dir.join(name), "oom_kill").unwrap_or(0)
    }

    fn stats_v2(&self) -> Stats {
        let Some(dir) = self.directory("") else { return Stats::default() };
        let usage = number(&dir.join("memory.current"));
        let stat = Table::read(&dir.join("memory.stat"));
        Stats {
            cpu_nanoseconds: flat(&dir.join("cpu.stat"), "usage_usec").map(|micros| micros * 1000),
            memory_usage: usage,
            memory_working_set: working_set(usage, stat.get("inactive_file")),
            memory_rss: stat.get("anon"),
            memory_limit: number(&dir.join("memory.max")),
            swap_usage: number(&dir.join("memory.swap.current")),
            page_faults: stat.get("pgfault"),
            major_page_faults: stat.get("pgmajfault"),
            pids: number(&dir.join("pids.current")),
            oom_kills: Some(self.oom_kills()),
            pressure: ["cpu", "memory", "io"].map(|name| pressure(&dir.join(format!("{name}.pressure")))),
        }
    }

    fn stats_v1(&self) -> Stats {
        let file = |controller: &str, name: &str| self.directory(controller).map(|dir| dir.join(name));
        let value = |controller, name| number(&file(controller, name)?);
        let usage = value("memory", "memory.usage_in_bytes");
        let stat = file("memory", "memory.stat").map(|path| Table::read(&path)).unwrap_or_default();
        // "No limit" is the largest number of whole pages.
        let limit = value("memory", "memory.limit_in_bytes").filter(|limit| *limit < 1 << 62);
        let with_swap = value("memory", "memory.memsw.usage_in_bytes");
        Stats {
            cpu_nanoseconds: value("cpuacct", "cpuacct.usage"),
            memory_usage: usage,
            memory_working_set: working_set(usage, stat.get("total_inactive_file")),
            memory_rss: stat.get("total_rss"),
            memory_limit: limit,
            swap_usage: with_swap.zip(usage).map(|(both, memory)| both.saturating_sub(memory)),
            page_faults: stat.get("total_pgfault"),
            major_page_faults: stat.get("total_pgmajfault"),
            pids: value("pids", "pids.current"),
            oom_kills: Some(self.oom_kills()),
            pressure: [None; 3],
        }
    }
}

fn working_set(usage: Option<u64>, inactive_file: Option<u64>) -> Option<u64> {
    usage.map(|usage| usage.saturating_sub(inactive_file.unwrap_or(0)))
}

fn number(file: &Path) -> Option<u64> {
    read(file).ok()?.parse().ok()
}

fn flat(file: &Path, key: &str) -> Option<u64> {
    Table::read(file).get(key)
}

/// A file of lines "key value".
#[derive(Default)]
struct Table(String);

impl Table {
    fn read(file: &Path) -> Self {
        Self(read(file).unwrap_or_default())
    }

    fn get(&self, key: &str) -> Option<u64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        value.trim().parse().ok()
    }
}

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=0"
fn pressure(file: &Path) -> Option<Pressure> {
    let text = read(file).ok()?;
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let mut parsed = PressureLine::default();
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => parsed.avg10 = value.parse().ok()?,
                "avg60" => parsed.avg60 = value.parse().ok()?,
                "avg300" => parsed.avg300 = value.parse().ok()?,
                "total" => parsed.total = value.parse().ok()?,
                _ => {}
            }
        }
        match kind {
            "some" => pressure.some = parsed,
            "full" => pressure.full = parsed,
            _ => {}
        }
    }
    Some(pressure)
}
