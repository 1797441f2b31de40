//! What processes use, from `/proc`, by the name of their program.

use std::collections::BTreeMap;
use std::time::Duration;

/// USER_HZ, which is 100 on every Linux that we know.
const TICKS_PER_SECOND: u64 = 100;

/// What a process uses.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Program and first argument.
    pub(crate) command: String,
    /// Resident memory, shared pages counted whole, in KiB.
    pub(crate) rss_kib: u64,
    /// Resident memory, shared pages divided among those that share them, in KiB.
    pub(crate) pss_kib: u64,
    /// CPU time so far, in units of USER_HZ.
    pub(crate) ticks: u64,
}

/// CPU time that these programs have used so far.
pub(crate) fn cpu(programs: &[String]) -> Duration {
    if programs.is_empty() {
        return Duration::ZERO;
    }
    let ticks: u64 = sample(programs).values().map(|process| process.ticks).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// CPU time that this process has used so far.
pub(crate) fn own_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    Duration::from_millis(ticks(&stat).unwrap_or(0) * 1000 / TICKS_PER_SECOND)
}

/// User and system time of a `stat`.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The processes of these programs.
pub(crate) fn sample(programs: &[String]) -> BTreeMap<u32, Sample> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, process(pid, programs)?))).collect()
}

fn process(pid: u32, programs: &[String]) -> Option<Sample> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let executable = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = executable.file_name()?.to_str()?.trim_end_matches(" (deleted)").to_owned();
    if !programs.contains(&name) {
        return None;
    }
    let arguments = read("cmdline")?;
    let command =
        arguments.split('\0').skip(1).take(1).fold(name, |name, argument| format!("{name} {argument}"));
    let ticks = ticks(&read("stat")?)?;
    let kib = |file: &str, key: &str| {
        let text = read(file)?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let rss_kib = kib("status", "VmRSS:")?;
    Some(Sample { command, rss_kib, pss_kib: kib("smaps_rollup", "Pss:").unwrap_or(rss_kib), ticks })
}
