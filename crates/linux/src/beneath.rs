//! Paths inside a directory that its owner may have filled with traps: every lookup is confined by the kernel
//! (`openat2`), so that no `..`, absolute link or `/proc` magic link leads out of it.

use crate::error::{Context, Error, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::ffi::OsStr;
use std::path::{Component, Path};

/// How symbolic links inside the root are treated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Links {
    /// They are followed, with the root standing for `/`.
    Follow,
    /// Meeting one is an error.
    Refuse,
}

const READ_PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Opens `path` below `root`.
pub fn open(root: impl AsFd, path: &Path, flags: OFlags, mode: Mode, links: Links) -> Result<OwnedFd> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refuse {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    // A rename that races with a lookup of ".." makes the kernel give up with EAGAIN: try again, not for ever.
    for _ in 0..32 {
        match rustix::fs::openat2(root.as_fd(), relative, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(rustix::io::Errno::AGAIN) => {}
            done => return done.context(|| format!("open {}", path.display())),
        }
    }
    Err(Error::refused(format!("open {}", path.display()), "it keeps being renamed"))
}

/// Opens the directory `path` below `root`, making it and its parents (0755) where they are missing.
pub fn make_dirs(root: impl AsFd, path: &Path, links: Links) -> Result<OwnedFd> {
    if let Ok(found) = open(root.as_fd(), path, READ_PATH | OFlags::DIRECTORY, Mode::empty(), links) {
        return Ok(found);
    }
    let mut walked = std::path::PathBuf::new();
    let mut at = open(root.as_fd(), Path::new(""), READ_PATH | OFlags::DIRECTORY, Mode::empty(), links)?;
    for part in parts(path)? {
        walked.push(part);
        at = match open(root.as_fd(), &walked, READ_PATH | OFlags::DIRECTORY, Mode::empty(), links) {
            Ok(found) => found,
            Err(error) if error.errno() == Some(libc::ENOENT) => {
                make_dir(at.as_fd(), part, path)?;
                open(root.as_fd(), &walked, READ_PATH | OFlags::DIRECTORY, Mode::empty(), links)?
            }
            Err(error) => return Err(error),
        };
    }
    Ok(at)
}

fn make_dir(parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error).context(|| format!("make directory {}", path.display())),
    }
}

/// Opens the file `path` below `root` as a place to mount on, making it (empty) where it is missing.
pub fn make_file(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    match open(root.as_fd(), path, READ_PATH, Mode::empty(), Links::Follow) {
        Err(error) if error.errno() == Some(libc::ENOENT) => {}
        done => return done,
    }
    let parent = make_dirs(root.as_fd(), path.parent().unwrap_or(Path::new("/")), Links::Follow)?;
    let name = path.file_name().ok_or_else(|| {
        Error::refused(format!("mount on {}", path.display()), "the path does not end in a name")
    })?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))
        .context(|| format!("make file {}", path.display()))?;
    open(root, path, READ_PATH, Mode::empty(), Links::Follow)
}

fn parts(path: &Path) -> Result<Vec<&OsStr>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::refused(format!("use path {}", path.display()), "it contains \"..\""));
            }
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempdir::Dir, OwnedFd) {
        let dir = tempdir::Dir::new("beneath");
        let fd = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    // A throw-away directory without a dependency.
    mod tempdir {
        pub(super) struct Dir(std::path::PathBuf);
        impl Dir {
            pub(super) fn new(name: &str) -> Self {
                let path = std::env::temp_dir().join(format!("windlass-{name}-{}", std::process::id()));
                let _ = std::fs::remove_dir_all(&path);
                std::fs::create_dir_all(&path).unwrap();
                Self(path)
            }
            pub(super) fn path(&self) -> &std::path::Path {
                &self.0
            }
        }
        impl Drop for Dir {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
    }

    #[test]
    fn links_cannot_lead_out() {
        let (dir, fd) = root();
        symlink("/etc", dir.path().join("abs")).unwrap();
        symlink("../../../../etc", dir.path().join("rel")).unwrap();
        make_dirs(&fd, Path::new("/abs/made"), Links::Follow).unwrap_err();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        make_dirs(&fd, Path::new("/abs/made"), Links::Follow).unwrap();
        make_file(&fd, Path::new("/rel/deep/file")).unwrap();
        assert!(dir.path().join("etc/made").is_dir());
        assert!(dir.path().join("etc/deep/file").is_file());
        assert!(!Path::new("/etc/made").exists());
        let refused = make_dirs(&fd, Path::new("/abs/x"), Links::Refuse).unwrap_err();
        assert_eq!(refused.errno(), Some(libc::ELOOP));
        let dots = make_dirs(&fd, Path::new("/new/../../x"), Links::Follow).unwrap_err().to_string();
        assert!(dots.contains("contains \"..\""), "{dots}");
    }
}
