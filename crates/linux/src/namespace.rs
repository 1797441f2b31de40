//! Namespaces: leaving, joining, pinning them to a path.
//!
//! Everything here changes the calling thread only. Threads of an async runtime must not call [`unshare`] or
//! [`join`]; a pod's shim is single-threaded, and others use [`inside_network`], which has a thread of its own.

use crate::error::{Context, Error, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::thread::UnshareFlags;
use std::path::Path;

/// The kinds of namespaces a pod or container can have of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Network interfaces, routes, ports.
    Network,
    /// Process ids.
    Pid,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Mounts.
    Mount,
    /// The root of the cgroup tree.
    Cgroup,
}

impl Kind {
    /// Its name below `/proc/<pid>/ns`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Pid => "pid",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Mount => "mnt",
            Self::Cgroup => "cgroup",
        }
    }

    fn flag(self) -> UnshareFlags {
        match self {
            Self::Network => UnshareFlags::NEWNET,
            Self::Pid => UnshareFlags::NEWPID,
            Self::Ipc => UnshareFlags::NEWIPC,
            Self::Uts => UnshareFlags::NEWUTS,
            Self::Mount => UnshareFlags::NEWNS,
            Self::Cgroup => UnshareFlags::NEWCGROUP,
        }
    }
}

/// Moves the calling thread into new namespaces of these kinds ([`Kind::Pid`]: its future children).
pub fn unshare(kinds: &[Kind]) -> Result<()> {
    let flags = kinds.iter().fold(UnshareFlags::empty(), |all, kind| all | kind.flag());
    // SAFETY: the flags never contain FILES, the one that could take descriptors away from other threads.
    unsafe { rustix::thread::unshare_unsafe(flags) }.context(|| {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        format!("make namespaces ({})", names.join(", "))
    })
}

/// A handle to one namespace; it keeps the namespace alive.
pub fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open namespace {}", path.display()))
}

/// A handle to the calling thread's own namespace of this kind.
pub fn own(kind: Kind) -> Result<OwnedFd> {
    open(&Path::new("/proc/thread-self/ns").join(kind.name()))
}

/// Moves the calling thread into the namespace behind a handle ([`Kind::Pid`]: its future children).
pub fn join(namespace: impl AsFd) -> Result<()> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), None)
        .context(|| "join a namespace".to_owned())
}

/// Keeps the calling thread's namespace of `kind` alive at `path`, also after all its processes are gone.
pub fn pin(kind: Kind, path: &Path) -> Result<()> {
    let file = OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(path, file, Mode::from_raw_mode(0o600))
        .context(|| format!("make {}", path.display()))?;
    let source = Path::new("/proc/thread-self/ns").join(kind.name());
    crate::mount::bind(&source, path)
}

/// Undoes [`pin`]. Nothing there is not an error.
pub fn unpin(path: &Path) -> Result<()> {
    crate::mount::unmount(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes a network namespace pinned at `path`, without joining it.
pub fn make_network(path: &Path) -> Result<()> {
    on_thread("netns", || {
        unshare(&[Kind::Network])?;
        pin(Kind::Network, path)
    })
}

/// Runs `work` on a thread of its own inside the network namespace at `path`. Sockets made there stay there.
pub fn inside_network<T: Send>(path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = open(path)?;
    on_thread("netns", move || {
        join(&namespace)?;
        work()
    })
}

fn on_thread<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, work)
            .context(|| "start a thread".to_owned())?;
        thread.join().unwrap_or_else(|_| Err(Error::refused("work in a namespace", "it panicked")))
    })
}

/// Brings up `lo` in the calling thread's network namespace.
pub fn raise_loopback() -> Result<()> {
    let what = || "bring up the loopback interface".to_owned();
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .context(what)?;
    // SAFETY: a zeroed ifreq is valid; the name fits; both calls read and write only this structure.
    let done = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        let fd = rustix::fd::AsRawFd::as_raw_fd(&socket);
        let mut done = libc::ioctl(fd, libc::SIOCGIFFLAGS, &raw mut request);
        if done == 0 {
            request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
            done = libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw mut request);
        }
        done
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).context(what) }
}
