//! Control groups on hosts of every kind: version 2, version 1, and the hybrid of both.
//!
//! A [`Group`] is a path below the roots of all hierarchies; on version 2 that is one directory, on version 1 one
//! for each controller. Groups are plain directories: nothing here remembers them, and a restarted process names
//! them again. Deliberately absent: systemd's interface (the `cgroupfs` driver is the only one).

mod devices;
mod limits;
mod stats;

pub use devices::{DeviceKind, DeviceRule};
pub use limits::{HugePages, Resources};
pub use stats::{Pressure, PressureLine, Stats};

use crate::error::{Context, Error, Result};
use crate::mount::MountPoint;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The controllers that containers use; others are left to their owners.
const CONTROLLERS: [&str; 8] =
    ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids", "hugetlb"];

/// How often [`Group::kill`] looks again for processes that were forking meanwhile, and how long it waits in each
/// round for one that it killed: on a busy machine dying takes a while.
const KILL_ROUNDS: usize = 100;
const KILL_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Where the hierarchies are mounted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cgroups {
    /// Version 1: each mounted hierarchy with the controllers on it (none for a named one).
    v1: Vec<Hierarchy>,
    /// Version 2: alone, or beside version 1 on hybrid hosts.
    v2: Option<PathBuf>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Hierarchy {
    root: PathBuf,
    controllers: Vec<String>,
}

impl Cgroups {
    /// What this host has.
    pub fn detect() -> Result<Self> {
        let found = Self::from_mounts(&crate::mount::mounts()?);
        if found.v1.is_empty() && found.v2.is_none() {
            let why = "no cgroup filesystem is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup";
            return Err(Error::refused("find control groups", why));
        }
        Ok(found)
    }

    /// A version 2 hierarchy at `root`, wherever that is.
    pub fn v2_at(root: impl Into<PathBuf>) -> Self {
        Self { v1: Vec::new(), v2: Some(root.into()) }
    }

    fn from_mounts(mounts: &[MountPoint]) -> Self {
        let mut found = Self { v1: Vec::new(), v2: None };
        for mount in mounts {
            if mount.kind == "cgroup2" && found.v2.is_none() {
                found.v2 = Some(mount.target.clone());
            }
            if mount.kind != "cgroup" {
                continue;
            }
            let named = mount.options.iter().any(|option| option.starts_with("name="));
            let controllers: Vec<String> = CONTROLLERS
                .iter()
                .filter(|known| mount.options.iter().any(|option| option == *known))
                .map(|known| (*known).to_owned())
                .collect();
            let seen =
                found.v1.iter().any(|other| other.controllers == controllers && !controllers.is_empty());
            if (named || !controllers.is_empty()) && !seen {
                found.v1.push(Hierarchy { root: mount.target.clone(), controllers });
            }
        }
        found
    }

    /// Whether version 2 manages resources here (not merely stands beside version 1).
    pub fn unified(&self) -> bool {
        self.v1.is_empty()
    }

    /// Whether a controller is there to be used.
    pub fn has(&self, controller: &str) -> bool {
        match &self.v2 {
            Some(root) if self.unified() => read(&root.join("cgroup.controllers"))
                .is_ok_and(|all| all.split_whitespace().any(|name| name == controller)),
            _ => self.hierarchy(controller).is_some(),
        }
    }

    /// What a node needs of control groups and this host lacks; empty when all is well.
    pub fn missing(&self) -> Vec<&'static str> {
        ["cpu", "memory", "pids", "cpuset"].into_iter().filter(|name| !self.has(name)).collect()
    }

    /// The group at `path` below all roots. Makes nothing.
    pub fn group(&self, path: &str) -> Result<Group> {
        let relative = path.trim_matches('/');
        if relative.is_empty()
            || relative.split('/').any(|part| part == ".." || part == "." || part.is_empty())
        {
            return Err(Error::refused(format!("use cgroup {path:?}"), "it is not a clean absolute path"));
        }
        Ok(Group { cgroups: self.clone(), path: PathBuf::from(relative) })
    }

    fn hierarchy(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1.iter().find(|each| each.controllers.iter().any(|name| name == controller))
    }
}

/// One control group. See the module.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    cgroups: Cgroups,
    path: PathBuf,
}

impl Group {
    /// Its path below the roots, with a leading slash.
    pub fn path(&self) -> String {
        format!("/{}", self.path.display())
    }

    /// The group `name` inside this one.
    pub fn child(&self, name: &str) -> Result<Self> {
        self.cgroups.group(&format!("{}/{name}", self.path.display()))
    }

    /// Its directories, one for each hierarchy. They need not exist.
    pub fn directories(&self) -> Vec<PathBuf> {
        let roots = self.cgroups.v1.iter().map(|each| &each.root).chain(&self.cgroups.v2);
        roots.map(|root| root.join(&self.path)).collect()
    }

    /// Its directory for one version 1 controller, for mounting it into a container.
    pub fn v1_directories(&self) -> impl Iterator<Item = (String, PathBuf)> + '_ {
        self.cgroups.v1.iter().filter(|each| !each.controllers.is_empty()).map(|each| {
            let name = each.root.file_name().map(|name| name.to_string_lossy().into_owned());
            (name.unwrap_or_else(|| each.controllers.join(",")), each.root.join(&self.path))
        })
    }

    fn directory(&self, controller: &str) -> Option<PathBuf> {
        match &self.cgroups.v2 {
            Some(root) if self.cgroups.unified() => Some(root.join(&self.path)),
            _ => self.cgroups.hierarchy(controller).map(|each| each.root.join(&self.path)),
        }
    }

    /// Whether it exists (in its first hierarchy).
    pub fn exists(&self) -> bool {
        self.directories().first().is_some_and(|dir| dir.is_dir())
    }

    /// Makes it and its parents, and turns on every controller for it. Already there is not an error.
    pub fn create(&self) -> Result<()> {
        for each in &self.cgroups.v1 {
            let dir = each.root.join(&self.path);
            make(&dir)?;
            if each.controllers.iter().any(|name| name == "cpuset") {
                inherit_cpuset(&each.root, &self.path)?;
            }
        }
        let Some(root) = &self.cgroups.v2 else { return Ok(()) };
        if self.cgroups.unified() {
            let mut dir = root.clone();
            enable_controllers(&dir)?;
            let parents: Vec<_> = self.path.parent().into_iter().flat_map(Path::components).collect();
            for part in parents {
                dir.push(part);
                make(&dir)?;
                enable_controllers(&dir)?;
            }
        }
        make(&root.join(&self.path))
    }

    /// Moves the process `pid` in; 0 is the calling one.
    pub fn add(&self, pid: i32) -> Result<()> {
        for dir in self.directories() {
            write(&dir.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// The processes in it and in the groups below, each once.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        for dir in self.directories() {
            collect(&dir, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Kills every process in it and below. Returns when none is left that could fork; a killed process may still
    /// be on its way out.
    pub fn kill(&self) -> Result<()> {
        if let Some(root) = &self.cgroups.v2 {
            let file = root.join(&self.path).join("cgroup.kill");
            if file.exists() {
                write(&file, "1")?;
            }
        }
        // Version 1 has no such file, and a process may sit in one hierarchy only.
        for _ in 0..KILL_ROUNDS {
            let mut alive = None;
            for pid in self.processes()?.into_iter().filter(|pid| still_runs(*pid)) {
                // One that cannot be opened or signalled has just ended.
                if let Ok(handle) = crate::process::open(pid)
                    && crate::process::signal(&handle, libc::SIGKILL).unwrap_or(false)
                {
                    alive = Some(handle);
                }
            }
            let Some(handle) = alive else { return Ok(()) };
            // Readable once it has ended, reaped or not. A signal that interrupts the wait only shortens it.
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&KILL_PAUSE));
        }
        Err(Error::refused(
            format!("kill the processes of cgroup {}", self.path()),
            "some do not die; they may wait for a device or a network filesystem",
        ))
    }

    /// Removes it unless it holds processes or other groups; whether it is gone.
    pub fn remove_if_empty(&self) -> bool {
        self.directories().iter().all(|dir| match std::fs::remove_dir(dir) {
            Ok(()) => true,
            Err(error) => gone(&error),
        })
    }

    /// Removes it and the groups below; they must be empty of processes. Not there is not an error.
    pub fn remove(&self) -> Result<()> {
        for dir in self.directories() {
            remove_tree(&dir).context(|| format!("remove cgroup {}", dir.display()))?;
        }
        Ok(())
    }
}

// A killed process stays listed, as a zombie or while it exits, until its parent or the kernel is done with it.
fn still_runs(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X' | 'x') | None)
}

fn make(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let what = || format!("make cgroup {}", dir.display());
    std::fs::create_dir_all(dir).context(what)?;
    // Whatever the umask: a container shall see its own limits, as any user.
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).context(what)
}

// A new cpuset is empty, and nothing may join it before it has CPUs and memory nodes: each takes its parent's.
fn inherit_cpuset(root: &Path, path: &Path) -> Result<()> {
    let mut dir = root.to_owned();
    for part in path.components() {
        let parent = dir.clone();
        dir.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if read(&dir.join(file)).is_ok_and(|text| text.is_empty()) {
                write(&dir.join(file), &read(&parent.join(file))?)?;
            }
        }
    }
    Ok(())
}

fn enable_controllers(dir: &Path) -> Result<()> {
    let Ok(available) = read(&dir.join("cgroup.controllers")) else { return Ok(()) };
    let enabled = read(&dir.join("cgroup.subtree_control")).unwrap_or_default();
    let wanted: Vec<String> = available
        .split_whitespace()
        .filter(|name| ["cpu", "cpuset", "memory", "pids", "hugetlb", "io"].contains(name))
        .filter(|name| !enabled.split_whitespace().any(|on| on == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    write(&dir.join("cgroup.subtree_control"), &wanted.join(" "))
}

fn collect(dir: &Path, pids: &mut Vec<i32>) -> Result<()> {
    match read(&dir.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        Err(error) if gone(&error.why) => return Ok(()),
        Err(error) => return Err(error),
    }
    for below in directories_in(dir).context(|| format!("list cgroup {}", dir.display()))? {
        collect(&below, pids)?;
    }
    Ok(())
}

/// How often, and after which pause, a group that is still busy is tried again: two seconds together.
const REMOVE_TRIES: u32 = 200;
const REMOVE_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

fn remove_tree(dir: &Path) -> io::Result<()> {
    for below in directories_in(dir)? {
        remove_tree(&below)?;
    }
    // A process that has ended counts for a moment longer, until the scheduler is done with it; v1 has no event
    // for that.
    for _ in 0..REMOVE_TRIES {
        match std::fs::remove_dir(dir) {
            Err(error) if gone(&error) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                let _ = poll(&mut [], Some(&REMOVE_PAUSE));
            }
            done => return done,
        }
    }
    std::fs::remove_dir(dir)
}

/// The groups below one; none when it went away meanwhile, as groups do whose processes end.
fn directories_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if gone(&error) => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        match entry {
            Ok(entry) if entry.file_type()?.is_dir() => found.push(entry.path()),
            Err(error) if !gone(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(found)
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn read(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).context(|| format!("read {}", file.display()))?;
    Ok(text.trim_end().to_owned())
}

fn write(file: &Path, value: &str) -> Result<()> {
    std::fs::write(file, value).context(|| format!("write {value:?} to {}", file.display()))
}

#[cfg(test)]
mod tests;
