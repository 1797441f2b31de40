//! The machine below the node: sizes, names, versions. Read once at start; free space is read when asked.

use crate::container::resolv::{self, Dns};
use std::fs;
use std::path::{Path, PathBuf};

/// What does not change while the kubelet runs.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// CPUs.
    pub(crate) cpus: i64,
    /// Memory, bytes.
    pub(crate) memory_bytes: i64,
    /// Host name.
    pub(crate) hostname: String,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Architecture as Go names it.
    pub(crate) architecture: &'static str,
    /// Operating system in words.
    pub(crate) os_image: String,
    /// `/etc/machine-id`.
    pub(crate) machine_id: String,
    /// Id of this boot.
    pub(crate) boot_id: String,
    /// DNS of the node.
    pub(crate) dns: Dns,
    /// Directory of seccomp profiles.
    pub(crate) seccomp_dir: PathBuf,
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A value of `/proc/meminfo` in bytes.
pub(crate) fn meminfo(key: &str) -> Option<i64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.split(':').next() == Some(key))?;
    line.split_whitespace().nth(1)?.parse::<i64>().ok().map(|kib| kib * 1024)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn os_image() -> String {
    let text = line("/etc/os-release");
    let name = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

impl Machine {
    /// Reads the machine. `resolv_conf` is the node's, an empty path none. Blocks on small files.
    pub(crate) fn read(root_dir: &Path, resolv_conf: &Path) -> Self {
        let uname = rustix::system::uname();
        let cpus = fs::read_to_string("/proc/cpuinfo")
            .map(|text| text.lines().filter(|l| l.starts_with("processor")).count())
            .unwrap_or(0);
        Self {
            cpus: i64::try_from(cpus.max(1)).unwrap_or(1),
            memory_bytes: meminfo("MemTotal").unwrap_or(0),
            hostname: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            architecture: architecture(),
            os_image: os_image(),
            machine_id: line("/etc/machine-id"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            dns: fs::read_to_string(resolv_conf).map(|text| resolv::parse(&text)).unwrap_or_default(),
            seccomp_dir: root_dir.join("seccomp"),
        }
    }

    /// CPU in thousandths.
    pub(crate) fn milli_cpu(&self) -> i64 {
        self.cpus * 1000
    }

    /// Size of the file system that holds `dir`, bytes.
    pub(crate) fn storage_bytes(&self, dir: &Path) -> i64 {
        rustix::fs::statvfs(dir).map_or(0, |fs| i64::try_from(fs.f_blocks * fs.f_frsize).unwrap_or(0))
    }
}
