//! Where things are in a cluster's directory, and the lock that makes it one process' own.

use crate::files;
use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The directory of a cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`. Made absolute: mounts and cgroups are named after it, however it is written.
    pub fn new(root: &Path) -> Self {
        Self { root: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()) }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The embedded store.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// The socket over which `windlass store` asks the running cluster.
    pub fn store_socket(&self) -> PathBuf {
        self.root.join("store.sock")
    }

    /// Certificates and keys.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The administrator's kubeconfig.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.root.join("admin.kubeconfig")
    }

    /// Everything of one node.
    pub fn node(&self, name: &str) -> NodeLayout {
        NodeLayout { root: self.root.join("nodes").join(name) }
    }

    /// The nodes that have a directory, sorted.
    pub fn nodes(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join("nodes")).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Network namespaces that `--isolated` made, pinned here.
    pub fn namespaces(&self) -> PathBuf {
        self.root.join("netns")
    }

    /// The running process' id, and the lock.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("windlass.lock")
    }
}

/// The directory of one node.
#[derive(Clone, Debug)]
pub struct NodeLayout {
    root: PathBuf,
}

impl NodeLayout {
    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// State of the container runtime.
    pub fn runtime(&self) -> PathBuf {
        self.root.join("runtime")
    }

    /// Sockets and namespaces of pods; a short path, because sockets' paths may have 107 bytes.
    pub fn sandboxes(&self) -> PathBuf {
        self.root.join("run")
    }

    /// How registries are reached, a directory for each registry: the node's own settings, the cluster's
    /// (`DIR/certs.d`), then what the machine has for other runtimes.
    pub fn registry_dirs(&self) -> Vec<PathBuf> {
        let cluster = self.root.ancestors().nth(2).unwrap_or(&self.root);
        let machine = ["/etc/containerd/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
        [self.root.join("certs.d"), cluster.join("certs.d")].into_iter().chain(machine).collect()
    }

    /// Manifests of static pods.
    pub fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// State of the kubelet.
    pub fn kubelet(&self) -> PathBuf {
        self.root.join("kubelet")
    }

    /// The CRI socket.
    pub fn cri_socket(&self) -> PathBuf {
        self.root.join("cri.sock")
    }

    /// CNI configuration.
    pub fn cni_conf(&self) -> PathBuf {
        self.root.join("cni/net.d")
    }

    /// CNI plugins: links to our own program.
    pub fn cni_bin(&self) -> PathBuf {
        self.root.join("cni/bin")
    }

    /// State of address management.
    pub fn cni_state(&self) -> PathBuf {
        self.root.join("cni/networks")
    }

    /// Volumes of the built-in local-path provisioner.
    pub fn local_path(&self) -> PathBuf {
        self.root.join("local-path")
    }

    /// The node's identity.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubelet.kubeconfig")
    }

    /// The lock of the process that runs the node.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("node.lock")
    }
}

/// An exclusive lock on a file that names the holder; released when dropped, also by a crash.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at once, or says who has it.
    pub fn take(path: &Path) -> Result<Self> {
        match Self::attempt(path)? {
            Ok(lock) => Ok(lock),
            Err(holder) => bail!(
                "{} is in use by process {holder}; stop that one first, or use another --data-dir",
                path.parent().unwrap_or(path).display()
            ),
        }
    }

    /// Waits for the lock. Blocks the thread.
    pub fn wait(path: &Path) -> Result<Self> {
        let file = open(path)?;
        flock(&file, FlockOperation::LockExclusive)
            .with_context(|| format!("failed to lock {}", path.display()))?;
        Self::sign(file, path)
    }

    /// The id of the process that holds the lock, if one does.
    pub fn holder(path: &Path) -> Result<Option<u32>> {
        if !path.exists() {
            return Ok(None);
        }
        Ok(Self::attempt(path)?.err().and_then(|holder| holder.parse().ok()))
    }

    fn attempt(path: &Path) -> Result<Result<Self, String>> {
        let mut file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Self::sign(file, path).map(Ok),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)
                    .with_context(|| format!("failed to read {}", path.display()))?;
                Ok(Err(holder.trim().to_owned()))
            }
            Err(error) => Err(error).with_context(|| format!("failed to lock {}", path.display())),
        }
    }

    fn sign(mut file: File, path: &Path) -> Result<Self> {
        let mut write = || -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write().with_context(|| format!("failed to write {}; is the disk full?", path.display()))?;
        Ok(Self { _file: file })
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        files::make_dir(parent)?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("failed to open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("windlass.lock");
        let lock = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        assert_eq!(Lock::holder(&path).unwrap(), Some(std::process::id()));
        drop(lock);
        Lock::take(&path).unwrap();
    }
}
