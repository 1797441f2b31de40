//! Mounts: binds as detached trees, overlay, tmpfs, proc; propagation and attributes; what is mounted now.
//!
//! Bind mounts go through the kernel's newer mount calls (5.12): the source is opened and cloned first, its
//! attributes are set while nobody sees it, and it is attached to an open descriptor, so that no path is looked up
//! twice and no half-configured mount ever shows.

use crate::error::{Context, Result};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::CWD;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// How mount events travel between a mount and its source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// From the source only.
    Slave,
    /// Both ways.
    Shared,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Self::Private => libc::MS_PRIVATE,
            Self::Slave => libc::MS_SLAVE,
            Self::Shared => libc::MS_SHARED,
        }
    }
}

/// Attributes to change on a mount; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    /// Refuse writes.
    pub read_only: bool,
    /// Ignore set-user-ID bits.
    pub nosuid: bool,
    /// Refuse device nodes.
    pub nodev: bool,
    /// Refuse execution.
    pub noexec: bool,
    /// New propagation.
    pub propagation: Option<Propagation>,
}

/// Changes attributes of the mount that `mount` refers to, and of every mount below when `recursive`.
pub fn set_attributes(mount: impl AsFd, attributes: Attributes, recursive: bool) -> Result<()> {
    let mut set = 0;
    for (wanted, bit) in [
        (attributes.read_only, libc::MOUNT_ATTR_RDONLY),
        (attributes.nosuid, libc::MOUNT_ATTR_NOSUID),
        (attributes.nodev, libc::MOUNT_ATTR_NODEV),
        (attributes.noexec, libc::MOUNT_ATTR_NOEXEC),
    ] {
        if wanted {
            set |= bit;
        }
    }
    let attr = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: attributes.propagation.map_or(0, Propagation::bits),
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, `attr` lives across the call and its size is passed along.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            std::mem::size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error()).context(|| "set attributes of a mount".to_owned())
}

/// A private copy of the mount tree at `path`, attached nowhere yet. Follows symbolic links.
pub fn clone_tree(path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, path, flags).context(|| format!("open {} to mount it", path.display()))
}

/// Attaches a detached tree on the file or directory that `target` refers to.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree.as_fd(), "", target.as_fd(), "", flags)
        .context(|| "attach a mount".to_owned())
}

/// Binds `source` on `target`, both paths of the caller's own making (nothing untrusted may own them).
pub fn bind(source: &Path, target: &Path) -> Result<()> {
    rustix::mount::mount_bind(source, target)
        .context(|| format!("bind {} on {}", source.display(), target.display()))
}

/// Mounts a new filesystem of `kind` at `target`.
pub fn filesystem(kind: &str, target: &Path, attributes: Attributes, data: &str) -> Result<()> {
    let mut flags = MountFlags::empty();
    for (wanted, flag) in [
        (attributes.read_only, MountFlags::RDONLY),
        (attributes.nosuid, MountFlags::NOSUID),
        (attributes.nodev, MountFlags::NODEV),
        (attributes.noexec, MountFlags::NOEXEC),
    ] {
        if wanted {
            flags |= flag;
        }
    }
    let data = CString::new(data).map_err(std::io::Error::from).context(|| format!("mount {kind}"))?;
    rustix::mount::mount(kind, target, kind, flags, Some(data.as_c_str()))
        .context(|| format!("mount {kind} at {}", target.display()))
}

/// Changes the propagation of the mount at `target` and of all below it.
pub fn propagate(target: &Path, propagation: Propagation) -> Result<()> {
    let kind = match propagation {
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        Propagation::Shared => MountPropagationFlags::SHARED,
    };
    rustix::mount::mount_change(target, kind | MountPropagationFlags::REC)
        .context(|| format!("change how mounts at {} propagate", target.display()))
}

/// Detaches the mount at `target`, with all below it. Nothing mounted there is not an error.
pub fn unmount(target: &Path) -> Result<()> {
    match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error).context(|| format!("unmount {}", target.display())),
    }
}

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MountPoint {
    /// Where it is mounted.
    pub target: PathBuf,
    /// What part of the filesystem is mounted.
    pub root: String,
    /// The filesystem's type.
    pub kind: String,
    /// Options of the filesystem.
    pub options: Vec<String>,
    /// Whether others see mounts made below it.
    pub shared: bool,
}

/// Everything mounted in this process's mount namespace, in mount order.
pub fn mounts() -> Result<Vec<MountPoint>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")
        .context(|| "read /proc/self/mountinfo; is /proc mounted?".to_owned())?;
    Ok(text.lines().filter_map(parse_mount).collect())
}

/// Unmounts everything at or below `dir`, innermost first. Returns how many mounts went.
pub fn unmount_below(dir: &Path) -> Result<usize> {
    let mut gone = 0;
    for mount in mounts()?.iter().rev().filter(|mount| mount.target.starts_with(dir)) {
        unmount(&mount.target)?;
        gone += 1;
    }
    Ok(gone)
}

// proc(5): "36 35 98:0 /root /target rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue"
fn parse_mount(line: &str) -> Option<MountPoint> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let mut right = right.split(' ');
    let kind = right.next()?.to_owned();
    let options = right.nth(1).unwrap_or("").split(',').map(str::to_owned).collect();
    let shared = left.get(6..)?.iter().any(|field| field.starts_with("shared:"));
    Some(MountPoint {
        target: PathBuf::from(unescape(left.get(4)?)),
        root: unescape(left.get(3)?),
        kind,
        options,
        shared,
    })
}

// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = text.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (bytes[at], octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines_are_understood() {
        let line = r"36 35 98:0 /a\040b /mnt/x\134y rw,noatime shared:7 master:1 - ext4 /dev/vda rw,x=1";
        let mount = parse_mount(line).unwrap();
        assert_eq!(mount.target, Path::new(r"/mnt/x\y"));
        assert_eq!((mount.root.as_str(), mount.kind.as_str(), mount.shared), ("/a b", "ext4", true));
        assert_eq!(mount.options, ["rw", "x=1"]);
        assert_eq!(parse_mount("nonsense"), None);
    }
}
