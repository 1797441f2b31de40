//! Writes a set of files so that a reader sees all of the old or all of the new ones.
//!
//! Layout, which applications rely on: `name -> ..data/name`, `..data -> ..<time>.<n>/`; an update writes a new
//! directory and renames the `..data` link over the old one.

use super::VolumeError;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Component, Path};
use std::{fs, io};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileContent {
    /// Content.
    pub(crate) data: Vec<u8>,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner, where it is not root.
    pub(crate) uid: Option<u32>,
}

/// Files by relative path.
pub(crate) type Payload = BTreeMap<String, FileContent>;

/// Refuses paths that lead out of the volume or into its machinery.
fn check_path(path: &str) -> Result<(), VolumeError> {
    let bad = |why: &str| Err(VolumeError(format!("invalid path {path:?}: {why}")));
    if path.is_empty() || path.len() > 4096 || path.starts_with('/') {
        return bad("it must be relative, not empty and at most 4096 bytes");
    }
    if path.starts_with("..") || Path::new(path).components().any(|c| c == Component::ParentDir) {
        return bad("it must not start with or contain '..'");
    }
    Ok(())
}

fn same_as_disk(dir: &Path, payload: &Payload) -> bool {
    let Ok(current) = fs::read_link(dir.join("..data")) else { return false };
    let current = dir.join(current);
    let mut found = BTreeSet::new();
    if walk(&current, &current, &mut found).is_err() || found.len() != payload.len() {
        return false;
    }
    payload.iter().all(|(path, file)| {
        let at = current.join(path);
        found.contains(path)
            && fs::read(&at).is_ok_and(|data| data == file.data)
            // Groups may have been given more by the volume's fsGroup.
            && fs::metadata(&at).is_ok_and(|m| m.permissions().mode() & file.mode == file.mode)
    })
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            walk(root, &path, found)?;
        } else if let Ok(relative) = path.strip_prefix(root) {
            found.insert(relative.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// Brings the files in `dir` to `payload`; returns whether anything changed. `stamp` names the new directory.
/// `own` is called on the new directory before it becomes visible.
pub(crate) fn write(
    dir: &Path,
    payload: &Payload,
    stamp: &str,
    own: impl Fn(&Path) -> io::Result<()>,
) -> Result<bool, VolumeError> {
    for path in payload.keys() {
        check_path(path)?;
    }
    if same_as_disk(dir, payload) {
        return Ok(false);
    }
    replace(dir, payload, stamp, own).map_err(VolumeError::io("write the files of", dir))?;
    Ok(true)
}

fn replace(
    dir: &Path,
    payload: &Payload,
    stamp: &str,
    own: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let old = fs::read_link(dir.join("..data")).ok();
    let name = (0..u32::MAX)
        .map(|n| format!("..{stamp}.{n}"))
        .find(|name| !dir.join(name).exists())
        .ok_or_else(|| io::Error::other("no free name for a new version"))?;
    let fresh = dir.join(&name);
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        let at = fresh.join(path);
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&at, &file.data)?;
        fs::set_permissions(&at, fs::Permissions::from_mode(file.mode))?;
        if let Some(uid) = file.uid {
            lchown(&at, Some(uid), None)?;
        }
    }
    own(&fresh)?;
    let link = dir.join("..data_tmp");
    let _ = fs::remove_file(&link);
    symlink(&name, &link)?;
    fs::rename(&link, dir.join("..data"))?;
    link_names(dir, payload)?;
    if let Some(old) = old.filter(|old| old.as_os_str() != name.as_str()) {
        fs::remove_dir_all(dir.join(old))?;
    }
    Ok(())
}

/// Makes the visible links and removes those of files that are gone.
fn link_names(dir: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(&*name) {
            fs::remove_file(entry.path())?;
        }
    }
    for name in wanted {
        let link = dir.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(name), link)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let content = |data: &str| FileContent { data: data.as_bytes().to_vec(), mode: 0o644, uid: None };
        files.iter().map(|(path, data)| ((*path).to_owned(), content(data))).collect()
    }

    #[test]
    fn updates_swap_one_link() {
        let dir = std::env::temp_dir().join(format!("windlass-atomic-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let nothing = |_: &Path| Ok(());
        assert!(write(&dir, &payload(&[("a", "1"), ("sub/b", "2")]), "t", nothing).unwrap());
        assert!(!write(&dir, &payload(&[("a", "1"), ("sub/b", "2")]), "t", nothing).unwrap());
        let first = fs::read_link(dir.join("..data")).unwrap();
        assert_eq!(fs::read_to_string(dir.join("sub/b")).unwrap(), "2");
        assert!(write(&dir, &payload(&[("a", "3")]), "t", nothing).unwrap());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert_eq!(fs::read_link(dir.join("a")).unwrap(), Path::new("..data/a"));
        assert!(!dir.join("sub").exists() && !dir.join(first).exists());
        for bad in ["../x", "/x", "..x", "a/../b", ""] {
            assert!(write(&dir, &payload(&[(bad, "")]), "t", nothing).is_err(), "{bad}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
