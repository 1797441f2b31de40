//! What `/metrics` says about the process and the build, under the names that every Prometheus client uses.
//!
//! Read from `/proc`, so that nothing is counted before somebody asks. What cannot be read is left out.

use super::version;
use std::fmt::Write;

/// Ticks of `/proc/<pid>/stat` per second: fixed in what Linux shows to programs.
const TICKS: f64 = 100.0;

/// The text. Reads files of `/proc`: not for an async thread.
pub(super) fn render() -> String {
    let mut out = String::new();
    build(&mut out);
    let mut put = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
    };
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (cpu, start) = (cpu_seconds(&stat), start_seconds(&stat));
    put("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", cpu);
    put("process_max_fds", "gauge", "Maximum number of open file descriptors.", max_files());
    put("process_open_fds", "gauge", "Number of open file descriptors.", open_files());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size = |key| memory(&status, key);
    put("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", size("VmRSS:"));
    put(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        start,
    );
    put("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", size("VmSize:"));
    out
}

fn build(out: &mut String) {
    let info = version::info();
    let name = "kubernetes_build_info";
    let labels = [
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ]
    .map(|(label, key)| format!("{label}={:?}", info[key].as_str().unwrap_or_default()));
    let help = "A constant 1, with labels that say what was built.";
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{{}}} 1", labels.join(","));
}

/// Field `number` of a `stat` file, counted from 1 as proc(5) does. The second field is a name in parentheses that may
/// contain anything.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((field(stat, 14)? + field(stat, 15)?) / TICKS)
}

fn start_seconds(stat: &str) -> Option<f64> {
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + field(stat, 22)? / TICKS)
}

/// A line of `/proc/self/status` in bytes.
fn memory(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn open_files() -> Option<f64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that was just read.
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}

fn max_files() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 900";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(field(stat, 22), Some(900.0));
        assert_eq!(memory("VmSize:\t 8 kB\nVmRSS:\t  4 kB\n", "VmRSS:"), Some(4096.0));
    }

    #[test]
    fn this_process_can_be_read() {
        let text = render();
        for name in ["process_resident_memory_bytes ", "process_start_time_seconds ", "process_open_fds "] {
            assert!(text.contains(&format!("\n{name}")), "{name}: {text}");
        }
    }
}
