//! Unpacking a layer: a tar stream, perhaps compressed, into a directory in the form that overlayfs stacks.
//!
//! The stream is hostile. Every path is looked up under the kernel's confinement to the target directory, sizes and
//! counts are limited, and what overlayfs would take as instructions (its own attributes) is dropped.

use super::ImageError;
use super::digest::{Digest, Hashing};
use flate2::read::MultiGzDecoder;
use linux::beneath::{self, Links};
use linux::{Context, Error};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Entry, EntryType};

/// How much one layer may unpack to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of file content.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of one path.
    pub path: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 5_000_000, path: 4096 }
    }
}

/// What a layer unpacked to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Unpacked {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

/// The prefix of names that mean "not there any more" (OCI image specification, layers).
const WHITEOUT: &[u8] = b".wh.";
/// The name that means "nothing of the layers below".
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Undoes compression, whichever it is.
pub(super) fn decompress<'a>(from: impl Read + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
    let mut buffered = BufReader::with_capacity(1 << 16, from);
    let head = buffered.fill_buf()?;
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(buffered))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(zstd::stream::read::Decoder::with_buffer(buffered)?)
    } else {
        Box::new(buffered)
    })
}

/// Unpacks `stream` into the empty directory `target` and returns the digest of its uncompressed content.
pub(super) fn unpack(
    stream: impl Read,
    target: &Path,
    limits: Limits,
) -> Result<(Digest, Unpacked), ImageError> {
    let what = || format!("open {}", target.display());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(target, flags, Mode::empty()).context(what)?;
    let broken = |error: std::io::Error| ImageError::broken("a layer", error);
    let plain = decompress(stream).map_err(broken)?;
    // Padding and garbage behind the archive count into the digest too, and into the limits.
    let capped = plain.take(limits.bytes.saturating_add(limits.entries.saturating_mul(2048)));
    let mut hashing = Hashing::new(capped);
    let mut layer = Unpacker { root, limits, done: Unpacked::default(), directories: Vec::new() };
    {
        let mut archive = Archive::new(super::headers::Watched::new(&mut hashing));
        for entry in archive.entries().map_err(broken)? {
            layer.entry(&mut entry.map_err(broken)?)?;
        }
    }
    std::io::copy(&mut hashing, &mut std::io::sink()).map_err(broken)?;
    layer.finish()?;
    let (rest, digest, _) = hashing.finish();
    if rest.limit() == 0 {
        return Err(ImageError::broken("a layer", "it is larger than allowed"));
    }
    Ok((digest, layer.done))
}

struct Unpacker {
    root: OwnedFd,
    limits: Limits,
    done: Unpacked,
    /// Times are set last: making files inside would change them.
    directories: Vec<(PathBuf, i64)>,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), ImageError> {
        self.done.entries += 1;
        if self.done.entries > self.limits.entries {
            return Err(ImageError::broken(
                "a layer",
                format!("it has more than {} entries", self.limits.entries),
            ));
        }
        if matches!(entry.header().entry_type(), EntryType::XGlobalHeader) {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        let path = clean(&raw, self.limits.path)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The root itself: only its attributes.
            return self.root_attributes(entry);
        };
        let dir_path = path.parent().unwrap_or(Path::new(""));
        let dir = beneath::make_dirs(&self.root, dir_path, Links::Follow)?;
        if name.as_bytes().starts_with(WHITEOUT) {
            return whiteout(&dir, name.as_bytes());
        }
        let made = self.make(entry, &dir, &name, &path)?;
        if made {
            self.attributes(entry, &dir, &name, &path)?;
        }
        Ok(())
    }

    // False when attributes must not be touched (they belong to another name).
    fn make<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> Result<bool, ImageError> {
        let kind = entry.header().entry_type();
        let what = || format!("make {}", path.display());
        if !(kind.is_dir() && is_directory(dir, name)) {
            remove(dir, name).context(what)?;
        }
        match kind {
            EntryType::Directory => match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error).context(what)?,
            },
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)).context(what)?;
                self.copy(entry, std::fs::File::from(file), path)?;
            }
            EntryType::Symlink => {
                let to = link_target(entry, path)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&to), dir, name).context(what)?;
            }
            EntryType::Link => {
                let to = clean(&link_target(entry, path)?, self.limits.path)?;
                self.hard_link(&to, dir, name).context(what)?;
                return Ok(false);
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                make_node(entry, dir, name)
                    .map_err(|error| ImageError::broken(path.display().to_string(), error))?;
            }
            other => {
                let why = format!("unknown kind of entry {:?}", char::from(other.as_byte()));
                return Err(ImageError::broken(path.display().to_string(), why));
            }
        }
        Ok(true)
    }

    fn copy<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        mut file: std::fs::File,
        path: &Path,
    ) -> Result<(), ImageError> {
        let left = self.limits.bytes - self.done.bytes;
        if entry.size() > left {
            let why = format!("it unpacks to more than {} bytes", self.limits.bytes);
            return Err(ImageError::broken("a layer", why));
        }
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = entry
                .read(&mut buffer)
                .map_err(|error| ImageError::broken(path.display().to_string(), error))?;
            if length == 0 {
                return Ok(());
            }
            self.done.bytes += length as u64;
            file.write_all(&buffer[..length]).context(|| format!("write {}", path.display()))?;
        }
    }

    fn hard_link(&self, to: &Path, dir: &OwnedFd, name: &OsStr) -> Result<(), std::io::Error> {
        let parent = to.parent().unwrap_or(Path::new(""));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let source =
            beneath::open(&self.root, parent, flags, Mode::empty(), Links::Follow).map_err(|e| e.why)?;
        let old = to.file_name().ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(rustix::fs::linkat(&source, old, dir, name, AtFlags::empty())?)
    }

    fn attributes<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> Result<(), ImageError> {
        let what = || format!("set attributes of {}", path.display());
        let wrong = |error: std::io::Error| ImageError::broken(path.display().to_string(), error);
        let kind = entry.header().entry_type();
        let (uid, gid) = owner(entry).map_err(wrong)?;
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).context(what)?;
        if kind != EntryType::Symlink {
            let mode = Mode::from_raw_mode(blank(entry.header().mode()) & 0o7777);
            rustix::fs::chmodat(dir, name, mode, AtFlags::empty()).context(what)?;
        }
        // Links below this directory's own are not followed, and a name has no further part.
        let at = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
        extended(entry, &at, path)?;
        let seconds = i64::try_from(blank(entry.header().mtime())).unwrap_or(0);
        if kind == EntryType::Directory {
            self.directories.push((path.to_owned(), seconds));
        } else {
            rustix::fs::utimensat(dir, name, &times(seconds), AtFlags::SYMLINK_NOFOLLOW).context(what)?;
        }
        Ok(())
    }

    fn root_attributes<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), ImageError> {
        let what = || "set attributes of /".to_owned();
        let wrong = |error: std::io::Error| ImageError::broken("/", error);
        let (uid, gid) = owner(entry).map_err(wrong)?;
        let path = format!("/proc/self/fd/{}", self.root.as_raw_fd());
        rustix::fs::chownat(rustix::fs::CWD, &path, Some(uid), Some(gid), AtFlags::empty()).context(what)?;
        let mode = Mode::from_raw_mode(blank(entry.header().mode()) & 0o7777);
        rustix::fs::chmod(&path, mode).context(what)?;
        Ok(())
    }

    fn finish(&self) -> Result<(), ImageError> {
        for (path, seconds) in self.directories.iter().rev() {
            // Replaced by a later entry: then its times are that entry's.
            let Ok(dir) = beneath::open(
                &self.root,
                path,
                OFlags::RDONLY | OFlags::DIRECTORY,
                Mode::empty(),
                Links::Refuse,
            ) else {
                continue;
            };
            rustix::fs::futimens(&dir, &times(*seconds))
                .context(|| format!("set times of {}", path.display()))?;
        }
        Ok(())
    }
}

// Relative, without "." and "..": such a path names the same thing wherever links lead.
fn clean(raw: &[u8], longest: usize) -> Result<PathBuf, ImageError> {
    let shown = || String::from_utf8_lossy(&raw[..raw.len().min(200)]).into_owned();
    if raw.len() > longest || raw.contains(&0) {
        return Err(ImageError::broken(shown(), "the path is too long or contains a NUL byte"));
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(raw)).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => return Err(ImageError::broken(shown(), "the path leads out of the layer")),
        }
    }
    Ok(path)
}

fn link_target<R: Read>(entry: &Entry<'_, R>, path: &Path) -> Result<Vec<u8>, ImageError> {
    let to = entry.link_name_bytes().filter(|to| !to.is_empty());
    Ok(to.ok_or_else(|| ImageError::broken(path.display().to_string(), "a link leads nowhere"))?.into_owned())
}

fn owner<R: Read>(entry: &Entry<'_, R>) -> std::io::Result<(Uid, Gid)> {
    let id = |id: u64| u32::try_from(id).map_err(|_| std::io::Error::other("an owner's number is too large"));
    let header = entry.header();
    Ok((Uid::from_raw(id(blank(header.uid()))?), Gid::from_raw(id(blank(header.gid()))?)))
}

// Archivers may leave a number's field empty, which means 0.
fn blank<T: Default>(field: std::io::Result<T>) -> T {
    field.unwrap_or_default()
}

fn times(seconds: i64) -> Timestamps {
    let at = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: at, last_modification: at }
}

fn is_directory(dir: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}

// A later entry replaces an earlier one, whatever it was.
fn remove(dir: &OwnedFd, name: &OsStr) -> std::io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {
            std::fs::remove_dir_all(PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name))
        }
        Err(error) => Err(error.into()),
    }
}

fn make_node<R: Read>(entry: &Entry<'_, R>, dir: &OwnedFd, name: &OsStr) -> std::io::Result<()> {
    let header = entry.header();
    let kind = match header.entry_type() {
        EntryType::Char => FileType::CharacterDevice,
        EntryType::Block => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let number = if kind == FileType::Fifo {
        0
    } else {
        let (major, minor) = (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
        if (major, minor) == (0, 0) {
            return Err(std::io::Error::other("device 0:0 would hide files of other layers"));
        }
        rustix::fs::makedev(major, minor)
    };
    Ok(rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), number)?)
}

// overlayfs: a character device 0:0 hides a name, an attribute hides what a directory has below.
fn whiteout(dir: &OwnedFd, name: &[u8]) -> Result<(), ImageError> {
    if name == OPAQUE {
        let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
        rustix::fs::setxattr(&path, "trusted.overlay.opaque", b"y", XattrFlags::empty())
            .context(|| "hide a directory's former content".to_owned())?;
        return Ok(());
    }
    let hidden = &name[WHITEOUT.len()..];
    if hidden.starts_with(WHITEOUT) {
        // Bookkeeping of a filesystem of old.
        return Ok(());
    }
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(ImageError::broken(String::from_utf8_lossy(name), "it hides nothing that has a name"));
    }
    let hidden = OsStr::from_bytes(hidden);
    remove(dir, hidden).context(|| "hide a file".to_owned())?;
    rustix::fs::mknodat(dir.as_fd(), hidden, FileType::CharacterDevice, Mode::empty(), 0)
        .context(|| "hide a file".to_owned())?;
    Ok(())
}

// PAX records SCHILY.xattr.<name>. What overlayfs itself would read is left out.
fn extended<R: Read>(entry: &mut Entry<'_, R>, at: &Path, path: &Path) -> Result<(), ImageError> {
    let Some(records) =
        entry.pax_extensions().map_err(|error| ImageError::broken(path.display().to_string(), error))?
    else {
        return Ok(());
    };
    for record in records {
        let record = record.map_err(|error| ImageError::broken(path.display().to_string(), error))?;
        let Some(name) = record.key_bytes().strip_prefix(b"SCHILY.xattr.") else { continue };
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        match rustix::fs::lsetxattr(at, OsStr::from_bytes(name), record.value_bytes(), XattrFlags::empty()) {
            // The filesystem keeps none of this kind: the file works without.
            Ok(())
            | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => {}
            Err(error) => {
                let error: Result<(), Error> =
                    Err(error).context(|| format!("set attributes of {}", path.display()));
                error?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
