//! What is mounted into a container: the standard filesystems, the pod's files, and its volumes.

use super::Ingredients;
use crate::container::{MountKind, MountSpec, Spread};
use crate::images::Store;
use cri::v1;
use linux::{Context, Error, Result};
use std::path::{Path, PathBuf};

/// Files of a pod that all its containers share.
#[derive(Clone, Debug)]
pub(crate) struct SandboxFiles {
    /// The pod's host name.
    pub(crate) hostname: String,
    /// Host path of `/etc/hostname`.
    pub(crate) hostname_file: PathBuf,
    /// Host path of `/etc/hosts`.
    pub(crate) hosts: PathBuf,
    /// Host path of `/etc/resolv.conf`.
    pub(crate) resolv_conf: PathBuf,
    /// Host path of `/dev/shm`.
    pub(crate) shm: PathBuf,
}

/// All mounts, in order.
pub(super) fn mounts(
    from: &Ingredients<'_>,
    security: &v1::LinuxContainerSecurityContext,
) -> Result<Vec<MountSpec>> {
    let taken =
        |path: &str| from.config.mounts.iter().any(|mount| clean(&mount.container_path) == Path::new(path));
    let plain = |target: &str, kind: MountKind, read_only: bool| MountSpec {
        target: PathBuf::from(target),
        kind,
        read_only,
        recursive_read_only: false,
    };
    let own = |path: &Path| MountKind::Bind { source: path.to_owned(), propagation: Spread::Private };
    let sealed = !security.privileged;
    let mut mounts = vec![
        plain("/proc", MountKind::Proc, false),
        plain("/dev", MountKind::Dev, false),
        plain("/dev/pts", MountKind::Terminals, false),
        plain("/dev/mqueue", MountKind::MessageQueues, false),
        plain("/dev/shm", own(&from.files.shm), false),
        plain("/sys", MountKind::Sysfs, sealed),
        plain("/sys/fs/cgroup", MountKind::Cgroup, sealed),
    ];
    mounts.retain(|mount| !mount.target.to_str().is_some_and(taken));
    for (target, source) in [
        ("/etc/hostname", &from.files.hostname_file),
        ("/etc/hosts", &from.files.hosts),
        ("/etc/resolv.conf", &from.files.resolv_conf),
    ] {
        if !taken(target) && source.exists() {
            mounts.push(plain(target, own(source), security.readonly_rootfs));
        }
    }
    let mut wished: Vec<&v1::Mount> = from.config.mounts.iter().collect();
    // Outer before inner, else in the order given.
    wished.sort_by_key(|mount| clean(&mount.container_path).components().count());
    for mount in wished {
        mounts.push(volume(from.store, mount)?);
    }
    Ok(mounts)
}

fn clean(path: &str) -> PathBuf {
    Path::new("/").join(path).components().collect()
}

fn volume(store: &Store, mount: &v1::Mount) -> Result<MountSpec> {
    let what = || format!("mount a volume at {}", mount.container_path);
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Err(Error::refused(what(), "user namespaces are not supported yet; set hostUsers to true"));
    }
    if mount.recursive_read_only
        && (!mount.readonly || mount.propagation() != v1::MountPropagation::PropagationPrivate)
    {
        return Err(Error::refused(what(), "recursive_read_only needs readonly and private propagation"));
    }
    let kind = match mount.image.as_ref().filter(|image| !image.image.is_empty()) {
        Some(wanted) => {
            let image = store.find(&wanted.image).ok_or_else(|| {
                Error::refused(what(), format!("image {:?} is not on this node", wanted.image))
            })?;
            MountKind::Layers { lower: Store::lower(&image), sub_path: mount.image_sub_path.clone() }
        }
        None => {
            let source = PathBuf::from(&mount.host_path);
            if !source.exists() {
                std::fs::create_dir_all(&source).context(|| format!("make {}", source.display()))?;
            }
            let propagation = match mount.propagation() {
                v1::MountPropagation::PropagationPrivate => Spread::Private,
                v1::MountPropagation::PropagationHostToContainer => Spread::FromHost,
                v1::MountPropagation::PropagationBidirectional => Spread::Both,
            };
            MountKind::Bind { source, propagation }
        }
    };
    Ok(MountSpec {
        target: clean(&mount.container_path),
        kind,
        read_only: mount.readonly,
        recursive_read_only: mount.recursive_read_only,
    })
}
