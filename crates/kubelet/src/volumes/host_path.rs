//! `hostPath`: a file or directory of the node, as it is.

use super::{Mounted, Request, VolumeError, VolumePlugin, blocking};
use api::k8s_openapi::api::core::v1::{HostPathVolumeSource, Volume};
use async_trait::async_trait;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(super) struct HostPath;

fn make_dir(path: &Path) -> Result<(), VolumeError> {
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(VolumeError::io("make", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(VolumeError::io("open up", path))
}

fn make_file(path: &Path) -> Result<(), VolumeError> {
    if path.exists() {
        return Ok(());
    }
    fs::File::create(path).map_err(VolumeError::io("make", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(VolumeError::io("open up", path))
}

/// Checks (or makes) what the type asks for.
pub(super) fn check(path: &Path, kind: &str) -> Result<(), VolumeError> {
    match kind {
        "" => return Ok(()),
        "DirectoryOrCreate" => make_dir(path)?,
        "FileOrCreate" => make_file(path)?,
        _ => {}
    }
    let found = fs::metadata(path).map(|m| m.file_type());
    let is = |test: fn(&fs::FileType) -> bool| found.as_ref().is_ok_and(test);
    let (right, what) = match kind {
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (is(fs::FileType::is_file), "a file"),
        "Socket" => (is(FileTypeExt::is_socket), "a socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "a character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "a block device"),
        other => return Err(VolumeError(format!("{other:?} is an invalid volume type"))),
    };
    if right {
        return Ok(());
    }
    Err(VolumeError(format!("hostPath type check failed: {} is not {what}", path.display())))
}

/// Sets up a path of the node.
pub(super) async fn set_up(source: &HostPathVolumeSource) -> Result<Mounted, VolumeError> {
    let (path, kind) = (PathBuf::from(&source.path), source.type_.clone().unwrap_or_default());
    if path.components().any(|c| c == std::path::Component::ParentDir) {
        return Err(VolumeError(format!("path {:?} must not contain '..'", source.path)));
    }
    let checked = path.clone();
    blocking(move || check(&checked, &kind)).await?;
    Ok(Mounted::at(path))
}

#[async_trait]
impl VolumePlugin for HostPath {
    fn name(&self) -> &'static str {
        "kubernetes.io/host-path"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.host_path.is_some()
    }

    async fn set_up(&self, request: &Request<'_>) -> Result<Mounted, VolumeError> {
        set_up(&request.volume.host_path.clone().unwrap_or_default()).await
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn types_are_checked() {
        let dir = std::env::temp_dir().join(format!("windlass-hostpath-{}", std::process::id()));
        check(&dir.join("d/e"), "DirectoryOrCreate").unwrap();
        check(&dir.join("f"), "FileOrCreate").unwrap();
        check(&dir.join("f"), "File").unwrap();
        check(&dir.join("none"), "").unwrap();
        for (path, kind, want) in [
            ("f", "Directory", "not a directory"),
            ("d", "Socket", "not a socket"),
            ("none", "File", "not a file"),
        ] {
            assert!(check(&dir.join(path), kind).unwrap_err().0.contains(want), "{kind}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
