//! Unmounts and removes what volumes of a pod left on the node. Never crosses a mount: what can not be unmounted
//! is not removed.

use super::VolumeError;
use linux::mount;
use std::fs;
use std::path::Path;

fn unmount_all(dir: &Path) -> Result<(), VolumeError> {
    mount::unmount_below(dir).map_err(|error| VolumeError(error.to_string()))?;
    let left = mount::mounts().map_err(|error| VolumeError(error.to_string()))?;
    match left.iter().find(|m| m.target.starts_with(dir)) {
        None => Ok(()),
        Some(mount) => Err(VolumeError(format!(
            "failed to unmount {}: it is still there; it is tried again",
            mount.target.display()
        ))),
    }
}

fn remove(dir: &Path) -> Result<(), VolumeError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(VolumeError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// Removes the volumes in a pod's directory.
pub(super) fn volumes(pod_dir: &Path) -> Result<(), VolumeError> {
    if !pod_dir.exists() {
        return Ok(());
    }
    unmount_all(pod_dir)?;
    remove(&pod_dir.join("volume-subpaths"))?;
    remove(&pod_dir.join("volumes"))
}

/// Removes a pod's directory.
pub(super) fn pod_dir(pod_dir: &Path) -> Result<(), VolumeError> {
    volumes(pod_dir)?;
    remove(pod_dir)
}
