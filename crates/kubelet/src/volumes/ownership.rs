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

fn apply(path: &Path, meta: &fs::Metadata, group: u32, read_only: bool) -> io::Result<()> {
    if meta.file_type().is_symlink() {
        return lchown(path, None, Some(group));
    }
    lchown(path, None, Some(group))?;
    let mut mode = meta.permissions().mode() & 0o7777;
    mode |= if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        mode |= 0o2110;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Gives everything below `root` to `group`. Follows no symbolic links.
pub(crate) fn give(root: &Path, group: u32, read_only: bool, only_on_mismatch: bool) -> io::Result<()> {
    let meta = fs::symlink_metadata(root)?;
    let right = meta.gid() == group && meta.permissions().mode() & 0o2000 != 0;
    if only_on_mismatch && right {
        return Ok(());
    }
    if meta.is_dir() {
        for entry in fs::read_dir(root)? {
            give(&entry?.path(), group, read_only, false)?;
        }
    }
    // The root last: an interrupted pass is started again.
    apply(root, &meta, group, read_only)
}
