//! The first process of a container, and those exec'd into it, from fork to `execve`.
//!
//! The child reports over a message socket that closes on `execve`: `E` and a text when it fails, `T` and a
//! descriptor when it has opened a terminal, end of file when the program runs. The parent never waits: it reads
//! notices when they come.

use super::rootfs::Rootfs;
use super::{ContainerSpec, PidMode, ProcessSpec, process, terminal};
use linux::cgroup::Group;
use linux::namespace::Kind;
use linux::process::Child;
use linux::{Context, Error, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::thread::ThreadNameSpaceType;

/// The longest error text that a child reports, in bytes.
const MAX_TEXT: usize = 4096;

/// Descriptors that become a process's standard three. None for a process with a terminal, which opens its own.
#[derive(Debug)]
pub(crate) struct Stdio {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// A child on its way to `execve`.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) child: Child,
    /// Where [`read_notice`] reads.
    pub(crate) notices: OwnedFd,
}

/// What a child on its way reports.
#[derive(Debug)]
pub(crate) enum Notice {
    /// It could not.
    Failed(String),
    /// The controlling side of its terminal.
    Terminal(OwnedFd),
    /// Its program runs.
    Running,
}

/// Forks the first process of a container. `own_pids` is a handle to this process's pid namespace and `target` one
/// to that of the container named in [`PidMode::Of`].
pub(crate) fn launch(
    spec: &ContainerSpec,
    stdio: &Stdio,
    group: &Group,
    own_pids: BorrowedFd<'_>,
    target: Option<BorrowedFd<'_>>,
) -> Result<Launched> {
    let unified = linux::cgroup::Cgroups::detect()?.unified();
    fork_into(own_pids, target, spec.pids == PidMode::Own, |notices| {
        enter(&spec.process, stdio, group)?;
        let rootfs = Rootfs::open_sources(spec, group)?;
        linux::namespace::unshare(if unified { &[Kind::Mount, Kind::Cgroup] } else { &[Kind::Mount] })?;
        rootfs.build(spec)?;
        if spec.process.terminal {
            terminal::open(notices, true)?;
        }
        rootfs.seal(spec)?;
        process::run(&spec.process)
    })
}

/// Forks a process into a running container, whose first process is behind `init`.
pub(crate) fn launch_in(
    init: BorrowedFd<'_>,
    process: &ProcessSpec,
    stdio: &Stdio,
    group: &Group,
    own_pids: BorrowedFd<'_>,
    pids: Option<BorrowedFd<'_>>,
) -> Result<Launched> {
    fork_into(own_pids, pids, false, |notices| {
        enter(process, stdio, group)?;
        let kinds = ThreadNameSpaceType::MOUNT | ThreadNameSpaceType::CONTROL_GROUP;
        rustix::thread::move_into_thread_name_spaces(init, kinds)
            .context(|| "join the container's namespaces; has it ended?".to_owned())?;
        if process.terminal {
            terminal::open(notices, false)?;
        }
        process::run(process)
    })
}

fn fork_into(
    own_pids: BorrowedFd<'_>,
    pids: Option<BorrowedFd<'_>>,
    new_pids: bool,
    work: impl FnOnce(BorrowedFd<'_>) -> Result<std::convert::Infallible>,
) -> Result<Launched> {
    let (notices, theirs) = linux::socket::message_pair()?;
    if let Some(pids) = pids {
        linux::namespace::join(pids)?;
    }
    let child = linux::process::fork(new_pids, || {
        let Err(error) = work(theirs.as_fd());
        let mut text = format!("E{error}");
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        // The parent that would read it may be gone; the exit code still tells.
        let _ = linux::socket::send(&theirs, text.as_bytes(), &[]);
        128
    });
    if pids.is_some() {
        linux::namespace::join(own_pids)?;
    }
    rustix::io::ioctl_fionbio(&notices, true).context(|| "prepare to read notices".to_owned())?;
    Ok(Launched { child: child?, notices })
}

/// Reads one notice; `None` when none has come yet.
pub(crate) fn read_notice(notices: &OwnedFd) -> Option<Notice> {
    let (mut bytes, mut descriptors) = ([0; MAX_TEXT + 1], Vec::new());
    match linux::socket::receive(notices, &mut bytes, &mut descriptors) {
        Ok(0) => Some(Notice::Running),
        Ok(length) => match (bytes[0], descriptors.pop()) {
            (b'T', Some(terminal)) => Some(Notice::Terminal(terminal)),
            _ => Some(Notice::Failed(String::from_utf8_lossy(&bytes[1..length]).into_owned())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(error) => Some(Notice::Failed(format!("failed to hear of the process: {error}"))),
    }
}

// What every process does while the host's files are still in sight.
fn enter(process: &ProcessSpec, stdio: &Stdio, group: &Group) -> Result<()> {
    // Others in the container must not reach this program through /proc/<pid>/exe before it is gone.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .context(|| "hide from the container".to_owned())?;
    rustix::process::setsid().context(|| "start a session".to_owned())?;
    group.add(0)?;
    if let Some(score) = process.oom_score_adj {
        set_oom_score(score)?;
    }
    for (number, fd) in [(0, &stdio.stdin), (1, &stdio.stdout), (2, &stdio.stderr)] {
        let Some(fd) = fd else { continue };
        // So that the program may reopen /dev/stdout and the like as its own user.
        let owner = rustix::fs::Uid::from_raw(process.user.uid);
        match rustix::fs::fchown(fd, Some(owner), None) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM | rustix::io::Errno::ROFS) => {}
            Err(error) => return Err(error).context(|| "own standard input and output".to_owned()),
        }
        linux::process::replace_standard(fd, number)?;
    }
    Ok(())
}

// Lowering it below one's own needs CAP_SYS_RESOURCE, which a node inside a container may lack: then the
// process keeps what it inherits, which is never worse for others.
fn set_oom_score(score: i32) -> Result<()> {
    const FILE: &str = "/proc/self/oom_score_adj";
    match std::fs::write(FILE, score.to_string()) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        done => done.context(|| format!("write {score} to {FILE}")),
    }
}

/// An empty command is caught before anything is made.
pub(crate) fn check_command(process: &ProcessSpec) -> Result<()> {
    if process.args.first().is_none_or(String::is_empty) {
        return Err(Error::refused("start the container", "no command specified"));
    }
    Ok(())
}
