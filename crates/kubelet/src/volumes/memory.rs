//! Directories in memory: what is secret or was asked to be in memory never reaches a disk.

use super::VolumeError;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether something is mounted on `dir` itself.
fn is_mounted(dir: &Path) -> Result<bool, VolumeError> {
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).map_err(VolumeError::io("look at", path));
    let Some(parent) = dir.parent() else { return Ok(true) };
    Ok(device(dir)? != device(parent)?)
}

/// Mounts memory on `dir`, which must exist, unless something is mounted there already. `options` are those of tmpfs.
pub(super) fn mount(dir: &Path, options: &str) -> Result<(), VolumeError> {
    if is_mounted(dir)? {
        return Ok(());
    }
    linux::mount::filesystem("tmpfs", dir, linux::mount::Attributes::default(), options)
        .map_err(|error| VolumeError(error.to_string()))
}
