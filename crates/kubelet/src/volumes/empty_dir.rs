//! `emptyDir`: an empty directory that lives as long as the pod, on disk or in memory.
//!
//! Huge pages are not supported. The size limit of one on disk is not enforced yet (see GAPS.md).

use super::{Mounted, Request, VolumeError, VolumePlugin, blocking, memory, ownership};
use crate::container::resources;
use crate::quantity;
use api::k8s_openapi::api::core::v1::Volume;
use async_trait::async_trait;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(super) struct EmptyDir;

fn make(dir: &Path, memory: Option<i64>, group: Option<u32>) -> Result<(), VolumeError> {
    let fresh = !dir.exists();
    fs::create_dir_all(dir).map_err(VolumeError::io("make", dir))?;
    if let Some(bytes) = memory {
        memory::mount(dir, &format!("size={bytes}"))?;
    }
    // Ready for any user, whatever the kubelet's umask.
    let mode = fs::metadata(dir).map_err(VolumeError::io("look at", dir))?.permissions().mode();
    if mode & 0o777 != 0o777 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777))
            .map_err(VolumeError::io("open up", dir))?;
    }
    match group {
        Some(group) => ownership::give(dir, group, false, !fresh).map_err(VolumeError::io("give away", dir)),
        None => Ok(()),
    }
}

#[async_trait]
impl VolumePlugin for EmptyDir {
    fn name(&self) -> &'static str {
        "kubernetes.io/empty-dir"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.empty_dir.is_some()
    }

    async fn set_up(&self, request: &Request<'_>) -> Result<Mounted, VolumeError> {
        let source = request.volume.empty_dir.clone().unwrap_or_default();
        let memory = match source.medium.as_deref().unwrap_or_default() {
            "" => None,
            "Memory" => {
                // The smallest of the volume's limit, the pod's limit and the node's memory.
                let node = request.kubelet.machine.memory_bytes;
                let pod = resources::of_pod(request.pod).memory_limit.filter(|l| *l > 0).unwrap_or(node);
                let own = source.size_limit.as_ref().map(|q| quantity::units(&q.0)).filter(|l| *l > 0);
                Some(own.unwrap_or(node).min(pod).min(node))
            }
            medium => return Err(VolumeError(format!("unknown storage medium {medium:?}"))),
        };
        let (dir, group) = (request.dir.clone(), ownership::fs_group(request.pod));
        let path = dir.clone();
        blocking(move || make(&dir, memory, group)).await?;
        Ok(Mounted::at(path))
    }
}
