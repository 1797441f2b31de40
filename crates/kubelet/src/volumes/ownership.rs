//! Gives a volume's files to the pod's `fsGroup`: group ownership, group read (and write), setgid directories.

use crate::spec;
use api::k8s_openapi::api::core::v1::Pod;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;
use std::{fs, io};

/// The group that owns the pod's volumes, if it names one.
pub(crate) fn fs_group(pod: &Pod) -> Option<u32> {
    let s = spec::spec(pod);
    s.security_context.as_ref()?.fs_group.and_then(|g| u32::try_from(g).ok())
}

/// Whether the pod wants existing files left alone when the root of the volume is right already.
pub(crate) fn on_root_mismatch(pod: &Pod) -> bool {
    let s = spec::spec(pod);
    let policy = s.security_context.as_ref().and_then(|c| c.fs_group_change_policy.clone());
    policy.as_deref() == Some("OnRootMismatch")
}

/// The mode that a file or directory must have at least.
fn wanted(is_dir: bool, read_only: bool) -> u32 {
    let files = if read_only { 0o440 } else { 0o660 };
    if is_dir { files | 0o2110 } else { files }
}

fn apply(path: &Path, meta: &fs::Metadata, group: u32, read_only: bool) -> io::Result<()> {
    // Changing the owner clears setgid, so the mode comes second.
    lchown(path, None, Some(group))?;
    if meta.file_type().is_symlink() {
        return Ok(());
    }
    let mode = meta.permissions().mode() & 0o7777 | wanted(meta.is_dir(), read_only);
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Gives everything below `root` to `group`; with `only_on_mismatch`, nothing is done where group and mode of the
/// root are right already. Follows no symbolic links.
pub(crate) fn give(root: &Path, group: u32, read_only: bool, only_on_mismatch: bool) -> io::Result<()> {
    let meta = fs::symlink_metadata(root)?;
    let least = wanted(meta.is_dir(), read_only);
    let right = meta.gid() == group && meta.permissions().mode() & least == least;
    if only_on_mismatch && right {
        return Ok(());
    }
    if meta.is_dir() {
        for entry in fs::read_dir(root)? {
            match give(&entry?.path(), group, read_only, false) {
                // Another pod that has the volume too may be removing files.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
    }
    // The root last: an interrupted pass is started again.
    apply(root, &meta, group, read_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_root_is_left_alone_where_asked() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped a_right_root_is_left_alone_where_asked: needs root");
            return;
        }
        let root = std::env::temp_dir().join(format!("windlass-ownership-{}", std::process::id()));
        let file = root.join("sub/file");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("/nowhere", root.join("link")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let of = |path: &Path| {
            let meta = fs::metadata(path).unwrap();
            (meta.gid(), meta.permissions().mode() & 0o7777)
        };
        give(&root, 3000, false, true).unwrap();
        assert_eq!((of(&root), of(&file)), ((3000, 0o2775), (3000, 0o660)));
        assert_eq!(fs::symlink_metadata(root.join("link")).unwrap().gid(), 3000);
        // What came later stays as it is, until the root is wrong again.
        let later = root.join("later");
        fs::write(&later, "").unwrap();
        lchown(&later, None, Some(0)).unwrap();
        give(&root, 3000, false, true).unwrap();
        assert_eq!(of(&later).0, 0);
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        give(&root, 3000, false, true).unwrap();
        assert_eq!(of(&later), (3000, 0o664));
        fs::remove_dir_all(&root).unwrap();
    }
}
