//! Checks before anything is changed: what this machine must have, each with what to do when it has not.

use anyhow::{Context, Result, bail};
use linux::cgroup::Cgroups;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

/// Cgroup controllers that pods' limits need.
const CONTROLLERS: &[&str] = &["cpu", "memory", "pids"];

/// One check: its name in messages, and the check.
type Check = (&'static str, fn() -> Result<()>);

const CHECKS: &[Check] = &[
    ("root", root),
    ("cgroup controllers", cgroups),
    ("overlayfs", overlayfs),
    ("network namespaces", || kernel_file("/proc/self/ns/net", "network namespaces (CONFIG_NET_NS)")),
    ("pid namespaces", || kernel_file("/proc/self/ns/pid", "pid namespaces (CONFIG_PID_NS)")),
];

/// Runs all checks; the error lists everything that is missing at once.
pub fn run() -> Result<()> {
    let problems: Vec<String> = CHECKS
        .iter()
        .filter_map(|(name, check)| check().err().map(|error| format!("  {name}: {error:#}")))
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    bail!("this machine cannot run a node yet:\n{}", problems.join("\n"))
}

fn root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!("windlass makes namespaces, mounts and cgroups; run it as root (sudo windlass up)")
}

fn kernel_file(path: &str, feature: &str) -> Result<()> {
    if Path::new(path).exists() {
        return Ok(());
    }
    bail!("the kernel lacks {feature}; use a kernel that has it")
}

fn overlayfs() -> Result<()> {
    let known = std::fs::read_to_string("/proc/filesystems").context("failed to read /proc/filesystems")?;
    if known.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
        return Ok(());
    }
    bail!("the kernel does not know it; load the module: modprobe overlay")
}

fn cgroups() -> Result<()> {
    let found = Cgroups::detect()?;
    let missing: Vec<&str> = CONTROLLERS.iter().copied().filter(|name| !found.has(name)).collect();
    let legacy = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    match advice(&missing, &legacy) {
        advice if advice.is_empty() => Ok(()),
        advice => bail!("{} missing; {}", missing.join(", "), advice.join("; ")),
    }
}

/// What to do about each missing controller, by what `/proc/cgroups` (name, hierarchy, groups, enabled) knows of it.
fn advice(missing: &[&str], legacy: &str) -> Vec<String> {
    let enabled = |name: &str| {
        legacy.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.first() == Some(&name) && fields.get(3) == Some(&"1")
        })
    };
    let what = |name: &&str| match enabled(name) {
        true => format!(
            "mount it: mkdir -p /sys/fs/cgroup/{name} && mount -t cgroup -o {name} cgroup /sys/fs/cgroup/{name}"
        ),
        false => format!("boot with cgroup_enable={name}"),
    };
    missing.iter().map(what).collect()
}

/// Binds the API server's port, or says what to do about it.
pub fn bind(address: Ipv4Addr, port: u16) -> Result<TcpListener> {
    let bound = TcpListener::bind((address, port)).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    match bound {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(
            "port {port} on {address} is taken; see who has it with 'ss -ltnp sport = :{port}', or use another --port"
        ),
        bound => bound.with_context(|| format!("failed to listen on {address}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_controller_comes_with_advice() {
        let legacy = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\nmemory\t0\t1\t0\n";
        let told = advice(&["cpu", "memory", "pids"], legacy);
        assert!(told[0].contains("mount -t cgroup -o cpu"), "{told:?}");
        assert_eq!(told[1..], ["boot with cgroup_enable=memory", "boot with cgroup_enable=pids"]);
        assert!(advice(&[], legacy).is_empty());
    }

    #[test]
    fn a_taken_port_says_what_to_do() {
        let taken = bind(Ipv4Addr::LOCALHOST, 0).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind(Ipv4Addr::LOCALHOST, port).unwrap_err().to_string();
        assert!(error.contains("--port") && error.contains(&port.to_string()), "{error}");
    }
}
