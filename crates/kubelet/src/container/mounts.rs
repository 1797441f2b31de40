//! A container's mounts: volumes and their sub-paths, the hosts file, the termination log.

use crate::container::{expand::expand, hosts};
use crate::kubelet::Kubelet;
use crate::pod::start::termination_path;
use crate::spec;
use crate::volumes::{Prepared, VolumeError, blocking};
use api::k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use cri::v1;
use linux::{beneath, mount};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const HOSTS: &str = "/etc/hosts";

fn propagation(mount: &VolumeMount) -> i32 {
    match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer as i32,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional as i32,
        _ => v1::MountPropagation::PropagationPrivate as i32,
    }
}

/// Sub-path of a mount, expanded; `None` without one.
fn sub_path(
    mount: &VolumeMount,
    known: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Option<String>, String> {
    let path = match (&mount.sub_path, &mount.sub_path_expr) {
        (Some(path), _) if !path.is_empty() => path.clone(),
        (_, Some(expression)) if !expression.is_empty() => {
            let expanded = expand(expression, known);
            if expanded.contains("$(") {
                return Err(format!("missing value for {expression:?} in the container's environment"));
            }
            expanded
        }
        _ => return Ok(None),
    };
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!("error SubPath `{path}` must be a relative path without '..'"));
    }
    Ok(Some(path))
}

/// A path that leads to what the descriptor is open on.
fn descriptor_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Makes the directories of a sub-path; those that are new are as open as the volume itself.
fn make_sub_path(root: &fs::File, path: &Path) -> Result<OwnedFd, VolumeError> {
    use rustix::fs::{Mode, OFlags};
    let text = |error: linux::Error| VolumeError(error.to_string());
    let permissions = root.metadata().map_err(VolumeError::io("look at", path))?.permissions();
    let mut walked = PathBuf::new();
    for part in path.components() {
        walked.push(part);
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        if beneath::open(root.as_fd(), &walked, flags, Mode::empty(), beneath::Links::Follow).is_ok() {
            continue;
        }
        let made = beneath::make_dirs(root.as_fd(), &walked, beneath::Links::Follow).map_err(text)?;
        fs::set_permissions(descriptor_path(&made), permissions.clone())
            .map_err(VolumeError::io("open up", &walked))?;
    }
    beneath::make_dirs(root.as_fd(), path, beneath::Links::Follow).map_err(text)
}

/// Binds what `path` names inside the volume (made as a directory if absent) on `target`, confined to the volume by
/// the kernel however the pod arranges links.
fn bind_sub_path(volume: &Path, path: &str, read_only: bool, target: &Path) -> Result<(), VolumeError> {
    use rustix::fs::{Mode, OFlags};
    let text = |error: linux::Error| VolumeError(error.to_string());
    let root = fs::File::open(volume).map_err(VolumeError::io("open", volume))?;
    let relative = Path::new(path);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = match beneath::open(root.as_fd(), relative, flags, Mode::empty(), beneath::Links::Follow) {
        Ok(found) => found,
        Err(error) if read_only => return Err(text(error)),
        Err(_) => make_sub_path(&root, relative)?,
    };
    let source = descriptor_path(&found);
    let is_dir = fs::metadata(&source).map_err(VolumeError::io("look at", relative))?.is_dir();
    let mounted = mount::mounts().map_err(text)?.iter().any(|m| m.target == target);
    if mounted {
        mount::unmount(target).map_err(text)?;
    }
    if is_dir {
        fs::create_dir_all(target).map_err(VolumeError::io("make", target))?;
    } else {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(VolumeError::io("make", parent))?;
        }
        fs::File::create(target).map_err(VolumeError::io("make", target))?;
    }
    mount::bind(&source, target).map_err(text)
}

async fn volume_mount(
    kubelet: &Kubelet,
    pod: &Pod,
    container: &Container,
    index: usize,
    mount: &VolumeMount,
    volumes: &Prepared,
    known: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<v1::Mount, String> {
    let Some(volume) = volumes.get(&mount.name) else {
        return Err(format!(
            "cannot find volume {:?} to mount into container {:?}",
            mount.name, container.name
        ));
    };
    let mut host_path = volume.path.clone();
    if let Some(path) = sub_path(mount, known)? {
        let target = kubelet
            .config
            .pod_dir(spec::uid(pod))
            .join("volume-subpaths")
            .join(&mount.name)
            .join(&container.name)
            .join(index.to_string());
        let (source, read_only, made) = (host_path, volume.read_only, target.clone());
        blocking(move || bind_sub_path(&source, &path, read_only, &made)).await.map_err(|error| {
            format!(
                "failed to prepare subPath for volumeMount {:?} of container {:?}: {error}",
                mount.name, container.name
            )
        })?;
        host_path = target;
    }
    let container_path = match mount.mount_path.starts_with('/') {
        true => mount.mount_path.clone(),
        false => format!("/{}", mount.mount_path),
    };
    Ok(v1::Mount {
        container_path,
        host_path: host_path.display().to_string(),
        readonly: mount.read_only.unwrap_or(false) || volume.read_only,
        propagation: propagation(mount),
        recursive_read_only: mount.recursive_read_only.as_deref() == Some("Enabled"),
        ..v1::Mount::default()
    })
}

fn write_if_changed(path: &Path, text: &str) -> Result<(), VolumeError> {
    if fs::read_to_string(path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(VolumeError::io("make", parent))?;
    }
    // In place: containers that run have this very file mounted.
    fs::write(path, text).map_err(VolumeError::io("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(VolumeError::io("open up", path))
}

/// Writes the pod's hosts file and returns where it is.
async fn hosts_file(kubelet: &Kubelet, pod: &Pod) -> Result<PathBuf, String> {
    let config = &kubelet.config;
    let path = config.pod_dir(spec::uid(pod)).join("etc-hosts");
    let s = spec::spec(pod);
    let aliases = s.host_aliases.clone().unwrap_or_default();
    let text = if spec::host_network(pod) {
        let node = tokio::fs::read_to_string(HOSTS).await.unwrap_or_default();
        hosts::host_network(&node, &aliases)
    } else {
        let (name, domain) =
            hosts::hostname_and_domain(pod, &config.cluster_domain, &kubelet.machine.hostname);
        hosts::managed(&kubelet.pod_ips(pod), &name, &domain, &aliases)
    };
    let file = path.clone();
    blocking(move || write_if_changed(&file, &text)).await.map_err(|error| error.to_string())?;
    Ok(path)
}

/// Makes the file in which the container may say why it ended.
async fn termination_log(kubelet: &Kubelet, pod: &Pod, container: &Container) -> Result<PathBuf, String> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let dir = kubelet.config.pod_dir(spec::uid(pod)).join("containers").join(&container.name);
    let path = dir.join(&id[..8]);
    let file = path.clone();
    blocking(move || {
        fs::create_dir_all(&dir).map_err(VolumeError::io("make", &dir))?;
        fs::File::create(&file).map_err(VolumeError::io("make", &file))?;
        // Any user may write to it.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666))
            .map_err(VolumeError::io("open up", &file))
    })
    .await
    .map_err(|error| error.to_string())?;
    Ok(path)
}

fn plain(container_path: &str, host_path: &Path) -> v1::Mount {
    v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        ..v1::Mount::default()
    }
}

/// Every mount of a container. `known` looks variables of its environment up.
pub(crate) async fn make(
    kubelet: &Kubelet,
    pod: &Pod,
    container: &Container,
    volumes: &Prepared,
    known: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Vec<v1::Mount>, String> {
    let mut mounts = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        mounts.push(volume_mount(kubelet, pod, container, index, mount, volumes, known).await?);
    }
    if container.volume_devices.as_ref().is_some_and(|d| !d.is_empty()) {
        return Err("block volumes are not supported by this version of Windlass".to_owned());
    }
    if !mounts.iter().any(|m| m.container_path == HOSTS) {
        mounts.push(plain(HOSTS, &hosts_file(kubelet, pod).await?));
    }
    mounts.push(plain(termination_path(container), &termination_log(kubelet, pod, container).await?));
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn sub_paths_are_made_as_open_as_the_volume_and_stay_inside() {
        let dir = std::env::temp_dir().join(format!("windlass-subpath-{}", std::process::id()));
        let volume = dir.join("volume");
        fs::create_dir_all(&volume).unwrap();
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
        let root = fs::File::open(&volume).unwrap();
        make_sub_path(&root, Path::new("a/b")).unwrap();
        let mode = fs::metadata(volume.join("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o777);
        // A link out of the volume leads to a place inside it.
        symlink("/", volume.join("out")).unwrap();
        make_sub_path(&root, Path::new("out/windlass-made")).unwrap();
        assert!(volume.join("windlass-made").is_dir() && !Path::new("/windlass-made").exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn sub_paths_expand_and_refuse_to_climb() {
        let known = |name: &str| (name == "POD").then(|| "p".to_owned());
        let mount = |path: &str, expression: &str| VolumeMount {
            sub_path: Some(path.to_owned()),
            sub_path_expr: Some(expression.to_owned()),
            ..VolumeMount::default()
        };
        assert_eq!(sub_path(&mount("", "x/$(POD)"), &known).unwrap().as_deref(), Some("x/p"));
        assert_eq!(sub_path(&mount("", ""), &known).unwrap(), None);
        for bad in [mount("../x", ""), mount("/x", ""), mount("", "$(NONE)")] {
            assert!(sub_path(&bad, &known).is_err());
        }
    }
}
