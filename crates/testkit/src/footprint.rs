//! [`Footprint`]: what a cluster has made on this machine, found without asking the cluster.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Traces of a cluster outside its data directory.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    dir: PathBuf,
    program: PathBuf,
    /// Control groups directly below the hierarchies' roots that hold the cluster's processes.
    pub cgroups: BTreeSet<PathBuf>,
    /// Mount points below the data directory.
    pub mounts: BTreeSet<PathBuf>,
    /// Processes: those of the program that name the data directory, and everything in the cluster's cgroups.
    pub processes: BTreeSet<u32>,
}

impl Footprint {
    /// Takes it for the cluster of `program` in `dir`.
    pub fn take(program: &Path, dir: &Path) -> Result<Self> {
        let mut found = Self { dir: dir.to_owned(), program: program.to_owned(), ..Self::default() };
        found.mounts = mounts(dir)?;
        let processes = processes(program, dir)?;
        for pid in &processes {
            found.cgroups.extend(cgroups(*pid));
        }
        found.processes = processes;
        for group in &found.cgroups {
            members(group, &mut found.processes);
        }
        Ok(found)
    }

    /// What of it is still there, or has come since, a line for each; empty when all is gone.
    pub fn remains(&self) -> Result<Vec<String>> {
        let now = Self::take(&self.program, &self.dir)?;
        let mut left: Vec<String> = now.mounts.iter().map(|m| format!("mount {}", m.display())).collect();
        let alive = |pid: &&u32| runs(**pid);
        left.extend(self.processes.union(&now.processes).filter(alive).map(|pid| describe(*pid)));
        let groups = self.cgroups.union(&now.cgroups).filter(|group| group.exists());
        left.extend(groups.map(|group| format!("cgroup {}", group.display())));
        Ok(left)
    }
}

/// Whether a process runs. One that has ended stays listed until its parent, often the machine's first process, has
/// taken note.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X' | 'x'))
}

fn describe(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("process {pid}: {}", String::from_utf8_lossy(&line).replace('\0', " "))
}

fn mounts(dir: &Path) -> Result<BTreeSet<PathBuf>> {
    let text = std::fs::read_to_string("/proc/self/mounts").context("failed to read the mounts")?;
    let targets = text.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    Ok(targets.filter(|target| target.starts_with(dir)).collect())
}

/// Processes whose executable is `program` and whose command line names `dir`.
fn processes(program: &Path, dir: &Path) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    let name = dir.to_string_lossy();
    for entry in std::fs::read_dir("/proc").context("failed to read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes end while they are looked at.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let own = std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program);
        if own && String::from_utf8_lossy(&line).contains(name.as_ref()) {
            found.insert(pid);
        }
    }
    Ok(found)
}

fn cgroups(pid: u32) -> BTreeSet<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let tops: BTreeSet<&str> =
        paths.filter_map(|path| path.trim_start_matches('/').split('/').next()).collect();
    let tops = tops.into_iter().filter(|top| top.starts_with("windlass-"));
    let roots: Vec<PathBuf> = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .chain([PathBuf::from("/sys/fs/cgroup")])
        .collect();
    let below = tops.flat_map(|top| roots.iter().map(move |root| root.join(top)));
    below.filter(|group| group.is_dir()).collect()
}

fn members(group: &Path, found: &mut BTreeSet<u32>) {
    let listed = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    found.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            members(&entry.path(), found);
        }
    }
}
