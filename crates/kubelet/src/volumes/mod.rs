//! Volumes of pods: a trait, a table of plugins (one file each) and the manager that calls them.
//!
//! A plugin makes a volume's files appear somewhere on the node and says where; `container/mounts.rs` tells the
//! runtime to mount that into containers. Plugins whose content follows API objects are asked again on every
//! sync of the pod; the others once. Deliberately absent: attaching devices and CSI (see GAPS.md).

mod atomic;
mod claim;
mod config_map;
mod content;
mod downward;
mod empty_dir;
mod host_path;
mod memory;
mod ownership;
mod projected;
mod secret;
mod teardown;
pub(crate) mod token;

use crate::container::env;
use crate::kubelet::Kubelet;
use crate::spec;
use api::k8s_openapi::api::core::v1::{Pod, Volume};
use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Why a volume is not there; the text ends up in a `FailedMount` event.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct VolumeError(pub(crate) String);

impl VolumeError {
    /// From an I/O error while doing `what`.
    pub(crate) fn io(what: &str, path: &Path) -> impl Fn(std::io::Error) -> Self {
        let text = format!("failed to {what} {}", path.display());
        move |error| Self(format!("{text}: {error}"))
    }
}

impl From<machinery::Status> for VolumeError {
    fn from(status: machinery::Status) -> Self {
        Self(status.message)
    }
}

/// A volume that is ready to be mounted into containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// Where its files are on the node.
    pub(crate) path: PathBuf,
    /// Whether no container may write to it.
    pub(crate) read_only: bool,
    /// When its content must be made anew, if ever.
    pub(crate) refresh: Option<Duration>,
}

impl Mounted {
    /// Files at `path`, for ever.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, read_only: false, refresh: None }
    }
}

/// What a plugin is called with.
pub(crate) struct Request<'a> {
    /// The kubelet.
    pub(crate) kubelet: &'a Kubelet,
    /// The pod.
    pub(crate) pod: &'a Arc<Pod>,
    /// The volume.
    pub(crate) volume: &'a Volume,
    /// Directory of the plugin's own, below the pod's directory. Not made yet.
    pub(crate) dir: PathBuf,
}

/// One kind of volume. Calls for different volumes run concurrently.
#[async_trait]
pub(crate) trait VolumePlugin: Send + Sync {
    /// Name as directories and messages spell it, such as `kubernetes.io/empty-dir`.
    fn name(&self) -> &'static str;
    /// Whether this plugin makes `volume`.
    fn takes(&self, volume: &Volume) -> bool;
    /// Whether content follows API objects, so that set-up is called on every sync.
    fn is_live(&self) -> bool {
        false
    }
    /// Makes the volume's files appear; must be idempotent, also across restarts of the kubelet.
    async fn set_up(&self, request: &Request<'_>) -> Result<Mounted, VolumeError>;
}

/// The table of plugins; the first that takes a volume makes it.
static PLUGINS: &[&dyn VolumePlugin] = &[
    &empty_dir::EmptyDir,
    &config_map::ConfigMapVolume,
    &secret::SecretVolume,
    &downward::Downward,
    &projected::Projected,
    &host_path::HostPath,
    &claim::Claim,
];

/// Volumes of one pod by name.
pub(crate) type Prepared = HashMap<String, Mounted>;

/// Why a pod's volumes are not ready: what to tell per volume.
#[derive(Debug)]
pub(crate) struct NotReady {
    /// Events, one per volume.
    pub(crate) events: Vec<String>,
}

/// Remembers what is set up, so that only live volumes are looked at again.
#[derive(Default)]
pub(crate) struct Volumes {
    done: Mutex<HashMap<String, Prepared>>,
}

/// Names of the volumes that containers mount; the others are not set up.
fn used(pod: &Pod) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, container) in spec::all(pod) {
        names.extend(container.volume_mounts.iter().flatten().map(|m| m.name.clone()));
        names.extend(container.volume_devices.iter().flatten().map(|d| d.name.clone()));
        // Not mounted, but read by the kubelet.
        names.extend(env::files(&container).into_iter().map(|(volume, _)| volume));
    }
    names
}

impl Volumes {
    /// Sets up every volume that the pod's containers mount.
    pub(crate) async fn prepare(&self, kubelet: &Kubelet, pod: &Arc<Pod>) -> Result<Prepared, NotReady> {
        let s = spec::spec(pod);
        let used = used(pod);
        let wanted: Vec<&Volume> =
            s.volumes.iter().flatten().filter(|v| used.contains(&v.name) && v.image.is_none()).collect();
        let results = join_all(wanted.iter().map(|volume| self.prepare_one(kubelet, pod, volume))).await;
        let mut prepared = Prepared::new();
        let mut events = Vec::new();
        for (volume, result) in wanted.iter().zip(results) {
            match result {
                Ok(mounted) => {
                    prepared.insert(volume.name.clone(), mounted);
                }
                Err(error) => {
                    events.push(format!("MountVolume.SetUp failed for volume {:?} : {error}", volume.name));
                }
            }
        }
        self.done.lock().insert(spec::uid(pod).to_owned(), prepared.clone());
        if events.is_empty() { Ok(prepared) } else { Err(NotReady { events }) }
    }

    async fn prepare_one(
        &self,
        kubelet: &Kubelet,
        pod: &Arc<Pod>,
        volume: &Volume,
    ) -> Result<Mounted, VolumeError> {
        let Some(plugin) = PLUGINS.iter().find(|p| p.takes(volume)) else {
            return Err(VolumeError(
                "no volume plugin matched: this kind of volume is not supported by this version of Windlass"
                    .to_owned(),
            ));
        };
        let uid = spec::uid(pod);
        let known = self.done.lock().get(uid).and_then(|p| p.get(&volume.name)).cloned();
        if let Some(known) = known.filter(|_| !plugin.is_live()) {
            return Ok(known);
        }
        let dir = kubelet
            .config
            .pod_dir(uid)
            .join("volumes")
            .join(plugin.name().replace('/', "~"))
            .join(&volume.name);
        plugin.set_up(&Request { kubelet, pod, volume, dir }).await
    }

    /// Unmounts and removes everything of the pod on this node.
    pub(crate) async fn tear_down(&self, kubelet: &Kubelet, uid: &str) -> Result<(), VolumeError> {
        let dir = kubelet.config.pod_dir(uid);
        blocking(move || teardown::volumes(&dir)).await?;
        self.done.lock().remove(uid);
        Ok(())
    }

    /// Removes the pod's directory.
    pub(crate) async fn remove_dir(&self, kubelet: &Kubelet, uid: &str) -> Result<(), VolumeError> {
        let dir = kubelet.config.pod_dir(uid);
        blocking(move || teardown::pod_dir(&dir)).await?;
        self.done.lock().remove(uid);
        Ok(())
    }
}

/// Runs file work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(VolumeError(format!("failed to work on files: {error}; the sync is tried again"))),
    }
}
