//! Taking everything away that a runtime made on the host: processes, cgroups, namespaces, mounts, networks. Works
//! without the runtime, also after it was killed.

use super::records::{self, ContainerRecord, SandboxRecord};
use super::sandboxes::{cgroup_parent, shim_cgroup};
use super::{Config, Error, blocking};
use crate::cni::{Attachment, Cni};
use crate::shim::protocol::{NETNS, SHM};
use linux::Context;
use linux::cgroup::{Cgroups, Group};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use std::path::{Path, PathBuf};

const FILE: &str = "runtime.json";

/// What a later clean-up must know of a runtime's configuration.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Remembered {
    state: PathBuf,
    socket: PathBuf,
    cni_conf_dir: PathBuf,
    cni_bin_dirs: Vec<PathBuf>,
}

/// Writes down what [`cleanup`] will need.
pub(crate) fn remember(config: &Config) -> Result<(), Error> {
    let file = config.root.join(FILE);
    let remembered = Remembered {
        state: config.state.clone(),
        socket: config.socket.clone(),
        cni_conf_dir: config.cni_conf_dir.clone(),
        cni_bin_dirs: config.cni_bin_dirs.clone(),
    };
    let what = || format!("write {}", file.display());
    let text = serde_json::to_vec(&remembered).map_err(std::io::Error::from).context(what)?;
    Ok(std::fs::write(&file, text).context(what)?)
}

/// Ends every pod of the runtime whose root directory is `root` and removes every process, cgroup, namespace, mount
/// and network that it made, and the records of its pods. Images stay. A root that never held a runtime is not an
/// error. The runtime must not be running.
pub async fn cleanup(root: &Path) -> Result<(), Error> {
    let Ok(text) = tokio::fs::read(root.join(FILE)).await else { return Ok(()) };
    let remembered: Remembered = serde_json::from_slice(&text)
        .map_err(std::io::Error::from)
        .context(|| format!("understand {}", root.join(FILE).display()))?;
    let cni = Cni {
        conf_dir: remembered.cni_conf_dir.clone(),
        bin_dirs: remembered.cni_bin_dirs.clone(),
        cache_dir: root.join("cni-results"),
    };
    let sandboxes: Vec<SandboxRecord> =
        records::load_all(&root.join("sandboxes")).into_iter().map(|(_, record)| record).collect();
    for sandbox in &sandboxes {
        let netns = remembered.state.join(&sandbox.id).join(NETNS);
        let of = Attachment { id: &sandbox.id, netns: &netns, args: Vec::new(), capabilities: Map::new() };
        if let Err(error) = cni.delete(&of).await {
            // The namespace goes all the same, and its interfaces with it.
            tracing::warn!(sandbox = sandbox.id, %error, "the network of a sandbox could not be taken away by its plugins");
        }
    }
    let root = root.to_owned();
    blocking(move || remove_all(&root, &remembered, &sandboxes)).await
}

fn remove_all(root: &Path, remembered: &Remembered, sandboxes: &[SandboxRecord]) -> Result<(), Error> {
    let cgroups = Cgroups::detect()?;
    let containers: Vec<ContainerRecord> =
        records::load_all(&root.join("containers")).into_iter().map(|(_, record)| record).collect();
    let mut groups: Vec<Group> = Vec::new();
    let mut parents: Vec<Group> = Vec::new();
    for sandbox in sandboxes {
        let config = sandbox.config.clone().unwrap_or_default();
        let parent = cgroups.group(&cgroup_parent(&config))?;
        for container in containers.iter().filter(|each| each.sandbox_id == sandbox.id) {
            groups.push(parent.child(&container.id)?);
        }
        // Last: while the shim lives it reaps its children.
        groups.push(cgroups.group(&shim_cgroup(&config, &sandbox.id))?);
        parents.push(parent);
    }
    for group in &groups {
        group.kill()?;
    }
    for group in &groups {
        super::sandboxes::remove_group(group)?;
    }
    for parent in parents {
        // Not empty, or in use by others: theirs to remove.
        parent.remove_if_empty();
    }
    if let Ok(entries) = std::fs::read_dir(&remembered.state) {
        for dir in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            linux::namespace::unpin(&dir.join(NETNS))?;
            linux::mount::unmount(&dir.join(SHM))?;
        }
    }
    for dir in [&remembered.state, root] {
        linux::mount::unmount_below(dir)?;
    }
    for dir in
        [remembered.state.clone(), root.join("sandboxes"), root.join("containers"), root.join("cni-results")]
    {
        gone(std::fs::remove_dir_all(&dir)).context(|| format!("remove {}", dir.display()))?;
    }
    for file in [remembered.socket.clone(), root.join(FILE)] {
        gone(std::fs::remove_file(&file)).context(|| format!("remove {}", file.display()))?;
    }
    Ok(())
}

fn gone(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
