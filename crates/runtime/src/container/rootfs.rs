//! A container's root filesystem and everything mounted into it.
//!
//! Sources on the host are opened first, before the mount namespace is left, so that two-way propagation works and
//! nothing inside can influence what they mean. Targets are opened inside the root under the kernel's confinement.

use super::{ContainerSpec, MountKind, MountSpec, RootfsSpec, Spread};
use linux::beneath::{self, Links};
use linux::cgroup::Group;
use linux::mount::{self, Attributes, Propagation};
use linux::{Context, Error, Result};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Opened sources of one container, in the order of its mounts.
pub(super) struct Rootfs {
    sources: Vec<Source>,
}

enum Source {
    /// A detached tree.
    Tree(OwnedFd),
    /// Cgroup directories of version 1 by controller.
    Cgroups(Vec<(String, OwnedFd)>),
    /// Nothing of the host.
    New,
}

const QUIET: Attributes =
    Attributes { read_only: false, nosuid: true, nodev: true, noexec: true, propagation: None };

impl Rootfs {
    /// Opens every source, in the host's mount namespace.
    pub(super) fn open_sources(spec: &ContainerSpec, group: &Group) -> Result<Self> {
        let open = |mount: &MountSpec| -> Result<Source> {
            match &mount.kind {
                MountKind::Bind { source, propagation } => {
                    let tree = mount::clone_tree(source, true)?;
                    configure(&tree, mount, *propagation)?;
                    Ok(Source::Tree(tree))
                }
                MountKind::Cgroup => {
                    let mut found = Vec::new();
                    for (name, dir) in group.v1_directories() {
                        found.push((name, mount::clone_tree(&dir, false)?));
                    }
                    Ok(Source::Cgroups(found))
                }
                _ => Ok(Source::New),
            }
        };
        Ok(Self { sources: spec.mounts.iter().map(open).collect::<Result<_>>()? })
    }

    /// Builds the tree and makes it the root. Call in a mount namespace of its own.
    pub(super) fn build(&self, spec: &ContainerSpec) -> Result<()> {
        rustix::process::umask(Mode::empty());
        mount::propagate(Path::new("/"), Propagation::Slave)?;
        let target = overlay(&spec.rootfs)?;
        let root =
            rustix::fs::open(&target, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .context(|| format!("open {}", target.display()))?;
        for (mount, source) in spec.mounts.iter().zip(&self.sources) {
            place(root.as_fd(), spec, mount, source).map_err(|error| Error {
                what: format!("mount {} into the container: {}", mount.target.display(), error.what),
                why: error.why,
            })?;
        }
        for device in &spec.devices {
            make_device(root.as_fd(), device)?;
        }
        beneath::make_dirs(&root, &spec.process.cwd, Links::Follow)?;
        pivot(&root)
    }

    /// Takes write access away where it was not granted. Call inside, when nothing is left to be made.
    pub(super) fn seal(&self, spec: &ContainerSpec) -> Result<()> {
        for path in &spec.readonly_paths {
            match mount::clone_tree(path, true) {
                Err(error) if error.errno() == Some(libc_enoent()) => {}
                tree => {
                    let tree = tree?;
                    mount::set_attributes(&tree, Attributes { read_only: true, ..QUIET }, true)?;
                    mount::attach(tree, open_path(path)?)?;
                }
            }
        }
        for path in &spec.masked_paths {
            mask(path)?;
        }
        if spec.rootfs.read_only {
            mount::set_attributes(
                open_path(Path::new("/"))?,
                Attributes { read_only: true, ..Attributes::default() },
                false,
            )?;
        }
        Ok(())
    }
}

fn libc_enoent() -> i32 {
    rustix::io::Errno::NOENT.raw_os_error()
}

fn open_path(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open {}", path.display()))
}

fn configure(tree: &OwnedFd, mount: &MountSpec, spread: Spread) -> Result<()> {
    let propagation = match spread {
        Spread::Private => Some(Propagation::Private),
        Spread::FromHost => Some(Propagation::Slave),
        // The copy of a shared mount is already in its peer group.
        Spread::Both => None,
    };
    mount::set_attributes(tree, Attributes { propagation, ..Attributes::default() }, true)?;
    if mount.read_only {
        let attributes = Attributes { read_only: true, ..Attributes::default() };
        mount::set_attributes(tree, attributes, mount.recursive_read_only)?;
    }
    Ok(())
}

// Mounts the layers at <own>/rootfs, seen only in this mount namespace: nothing stays behind on the host.
fn overlay(spec: &RootfsSpec) -> Result<PathBuf> {
    let target = spec.own.join("rootfs");
    for dir in ["upper", "work", "rootfs"] {
        // The mode of "upper" is that of "/" in the container.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(spec.own.join(dir));
        made.context(|| format!("make {}/{dir}", spec.own.display()))?;
    }
    // The kernel takes commas and colons as separators; only the container's own path could bring some in.
    let own = spec.own.to_str().filter(|path| !path.contains([',', ':', '\\'])).ok_or_else(|| {
        Error::refused(
            "mount the root filesystem",
            "the data directory's path must not contain ',', ':' or '\\'",
        )
    })?;
    layers(&spec.layers, &spec.lower, &target, &format!("upperdir={own}/upper,workdir={own}/work"))?;
    Ok(target)
}

fn layers(dir: &Path, lower: &[String], target: &Path, writable: &str) -> Result<()> {
    // Relative names keep the option string within the kernel's one page.
    rustix::process::chdir(dir).context(|| format!("change to {}", dir.display()))?;
    let lower = lower.join(":");
    if writable.is_empty() && !lower.contains(':') {
        let tree = mount::clone_tree(Path::new(&lower), false)?;
        mount::set_attributes(&tree, Attributes { read_only: true, ..Attributes::default() }, false)?;
        return mount::attach(tree, open_path(target)?);
    }
    let comma = if writable.is_empty() { "" } else { "," };
    mount::filesystem("overlay", target, Attributes::default(), &format!("lowerdir={lower}{comma}{writable}"))
}

fn place(root: BorrowedFd<'_>, spec: &ContainerSpec, mount: &MountSpec, source: &Source) -> Result<()> {
    match (source, &mount.kind) {
        (Source::Tree(tree), _) => {
            let kind = rustix::fs::fstat(tree).context(|| "look at the source".to_owned())?.st_mode;
            let target = if FileType::from_raw_mode(kind) == FileType::Directory {
                beneath::make_dirs(root, &mount.target, Links::Follow)?
            } else {
                beneath::make_file(root, &mount.target)?
            };
            refuse_proc(&target, &mount.target)?;
            mount::attach(tree, target)
        }
        (Source::Cgroups(found), _) => place_cgroups(root, mount, found),
        (Source::New, MountKind::Layers { lower, sub_path }) => {
            place_layers(root, spec, mount, lower, sub_path)
        }
        (Source::New, kind) => {
            // A link here would be an image's attempt to make us mount over something else.
            let target = beneath::make_dirs(root, &mount.target, Links::Refuse)?;
            new_filesystem(&target, kind, mount.read_only)?;
            if *kind == MountKind::Dev {
                populate_dev(root, &mount.target)?;
            }
            Ok(())
        }
    }
}

fn new_filesystem(target: &OwnedFd, kind: &MountKind, read_only: bool) -> Result<()> {
    let attributes = Attributes { read_only, ..QUIET };
    let at = through(target);
    match kind {
        MountKind::Proc => mount::filesystem("proc", &at, attributes, ""),
        MountKind::Sysfs => mount::filesystem("sysfs", &at, attributes, ""),
        MountKind::MessageQueues => mount::filesystem("mqueue", &at, attributes, ""),
        MountKind::Terminals => {
            let attributes = Attributes { nodev: false, ..attributes };
            mount::filesystem("devpts", &at, attributes, "newinstance,ptmxmode=0666,mode=0620,gid=5")
        }
        MountKind::Dev => {
            let attributes = Attributes { nodev: false, ..attributes };
            mount::filesystem("tmpfs", &at, attributes, "mode=755,size=65536k")
        }
        MountKind::Tmpfs { options } => mount::filesystem("tmpfs", &at, attributes, options),
        MountKind::Cgroup | MountKind::Bind { .. } | MountKind::Layers { .. } => Err(Error::refused(
            "mount",
            "it has a source that was not opened; this is a bug, please report it",
        )),
    }
}

/// A path that leads to an open directory and nowhere else.
fn through(target: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", target.as_raw_fd()))
}

// Version 2: the namespace's own tree. Version 1: a directory of the container's groups.
fn place_cgroups(root: BorrowedFd<'_>, mount: &MountSpec, found: &[(String, OwnedFd)]) -> Result<()> {
    let target = beneath::make_dirs(root, &mount.target, Links::Refuse)?;
    if found.is_empty() {
        let attributes = Attributes { read_only: mount.read_only, ..QUIET };
        return mount::filesystem("cgroup2", &through(&target), attributes, "");
    }
    mount::filesystem("tmpfs", &through(&target), QUIET, "mode=755")?;
    for (name, tree) in found {
        let inside = beneath::make_dirs(root, &mount.target.join(name), Links::Refuse)?;
        let attributes =
            Attributes { read_only: mount.read_only, propagation: Some(Propagation::Private), ..QUIET };
        mount::set_attributes(tree, attributes, false)?;
        mount::attach(tree, inside)?;
    }
    let seal = beneath::open(root, &mount.target, OFlags::PATH, Mode::empty(), Links::Refuse)?;
    mount::set_attributes(seal, Attributes { read_only: mount.read_only, ..QUIET }, false)
}

fn place_layers(
    root: BorrowedFd<'_>,
    spec: &ContainerSpec,
    mount: &MountSpec,
    lower: &[String],
    sub_path: &str,
) -> Result<()> {
    // Assembled beside the root first, so that a part of it can be taken.
    let staging = spec.rootfs.own.join("image");
    std::fs::create_dir_all(&staging).context(|| format!("make {}", staging.display()))?;
    layers(&spec.rootfs.layers, lower, &staging, "")?;
    let whole = rustix::fs::open(&staging, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open {}", staging.display()))?;
    let part = beneath::open(&whole, Path::new(sub_path), OFlags::PATH, Mode::empty(), Links::Follow)?;
    let tree = mount::clone_tree(&through(&part), false)?;
    let attributes =
        Attributes { read_only: true, propagation: Some(Propagation::Private), ..Attributes::default() };
    mount::set_attributes(&tree, attributes, false)?;
    let target = beneath::make_dirs(root, &mount.target, Links::Follow)?;
    mount::attach(&tree, target)?;
    mount::unmount(&staging)
}

// What is mounted over /proc could deceive whoever writes a security label there.
fn refuse_proc(target: &OwnedFd, path: &Path) -> Result<()> {
    let on = rustix::fs::fstatfs(target).context(|| "look at the target".to_owned())?;
    if on.f_type == rustix::fs::PROC_SUPER_MAGIC {
        return Err(Error::refused(
            format!("mount on {}", path.display()),
            "it lies inside /proc; choose another path",
        ));
    }
    Ok(())
}

/// The devices of every container: name and minor number; all are character devices of major 1 but tty (5).
const STANDARD: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

fn populate_dev(root: BorrowedFd<'_>, dev: &Path) -> Result<()> {
    let dir = beneath::open(root, dev, OFlags::PATH | OFlags::DIRECTORY, Mode::empty(), Links::Refuse)?;
    for (name, major, minor) in STANDARD {
        let number = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(&dir, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), number)
            .context(|| format!("make /dev/{name}; is CAP_MKNOD held?"))?;
    }
    for (name, to) in LINKS {
        rustix::fs::symlinkat(to, &dir, name).context(|| format!("link /dev/{name}"))?;
    }
    Ok(())
}

fn make_device(root: BorrowedFd<'_>, device: &super::DeviceNode) -> Result<()> {
    let what = || format!("make device {}", device.path.display());
    let name = device.path.file_name().ok_or_else(|| Error::refused(what(), "the path has no name"))?;
    let dir = beneath::make_dirs(root, device.path.parent().unwrap_or(Path::new("/dev")), Links::Follow)?;
    let kind = if device.block { FileType::BlockDevice } else { FileType::CharacterDevice };
    let number = rustix::fs::makedev(device.major, device.minor);
    match rustix::fs::mknodat(&dir, name, kind, Mode::from_raw_mode(device.mode & 0o777), number) {
        // One of the standard ones, or named twice.
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error).context(what),
    }
    let (uid, gid) = (rustix::fs::Uid::from_raw(device.uid), rustix::fs::Gid::from_raw(device.gid));
    rustix::fs::chownat(&dir, name, Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW).context(what)
}

// Both arguments "." put the old root on top of the new one, from where it is detached (pivot_root(2), NOTES).
fn pivot(root: &OwnedFd) -> Result<()> {
    rustix::process::fchdir(root).context(|| "enter the root filesystem".to_owned())?;
    rustix::process::pivot_root(".", ".").context(|| "change the root filesystem".to_owned())?;
    mount::unmount(Path::new("."))?;
    rustix::process::chdir("/").context(|| "enter the new root".to_owned())
}

fn mask(path: &Path) -> Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if found.is_dir() {
        let attributes = Attributes { read_only: true, ..QUIET };
        return mount::filesystem("tmpfs", path, attributes, "size=0k");
    }
    let null = rustix::fs::openat(CWD, "/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .context(|| "open /dev/null in the container".to_owned())?;
    let status = rustix::fs::fstat(&null).context(|| "look at /dev/null".to_owned())?;
    if status.st_rdev != rustix::fs::makedev(1, 3) {
        return Err(Error::refused(
            format!("mask {}", path.display()),
            "/dev/null in the container is not the null device",
        ));
    }
    let tree = mount::clone_tree(Path::new("/dev/null"), false)?;
    mount::attach(tree, open_path(path)?)
}
