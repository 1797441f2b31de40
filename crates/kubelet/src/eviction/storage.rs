//! Limits of local storage: `emptyDir.sizeLimit` and `ephemeral-storage`. Nothing stops a write in time, so a pod that
//! is found above its limit is ended.
//!
//! Only pods with such limits are measured. A pod's own directory is measured by walking it; the writable layers of its
//! containers by the runtime. Volumes in memory need no watching: the kernel holds them to their size.

use super::end;
use crate::kubelet::Kubelet;
use crate::model::labels;
use crate::pod::worker::Worker;
use crate::{quantity, spec};
use api::k8s_openapi::api::core::v1::{Container, Pod, Volume};
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most files looked at in one directory tree: a pod with more of them has trouble of another kind.
const MAX_FILES: u64 = 2_000_000;
const RESOURCE: &str = "ephemeral-storage";

/// What a pod uses, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Usage {
    /// Volumes of kind `emptyDir` on disk, by name.
    empty_dirs: HashMap<String, u64>,
    /// Writable layer and logs of each container.
    containers: HashMap<String, u64>,
}

fn limit(container: &Container) -> Option<&Quantity> {
    container.resources.as_ref()?.limits.as_ref()?.get(RESOURCE)
}

fn bytes(quantity: &Quantity) -> u64 {
    u64::try_from(quantity::units(&quantity.0)).unwrap_or(0)
}

/// Volumes of kind `emptyDir` that are on disk.
fn on_disk(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter(|v| v.empty_dir.as_ref().is_some_and(|e| e.medium.as_deref().unwrap_or("").is_empty()))
}

fn size_limit(volume: &Volume) -> Option<&Quantity> {
    volume.empty_dir.as_ref()?.size_limit.as_ref().filter(|limit| bytes(limit) > 0)
}

/// Whether the pod has a limit at all.
fn is_limited(pod: &Pod) -> bool {
    on_disk(pod).any(|volume| size_limit(volume).is_some())
        || spec::all(pod).iter().any(|(_, container)| limit(container).is_some())
}

/// Why the pod must end, if it is above a limit. The limit of the pod is that of its containers together; a container
/// without one adds nothing, as upstream counts.
fn excess(pod: &Pod, usage: &Usage) -> Option<String> {
    for volume in on_disk(pod) {
        let used = usage.empty_dirs.get(&volume.name).copied().unwrap_or(0);
        if let Some(limit) = size_limit(volume).filter(|limit| used > bytes(limit)) {
            let name = &volume.name;
            return Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit {:?}. ", limit.0));
        }
    }
    let limits: Vec<&Quantity> = spec::regular(pod).iter().filter_map(limit).collect();
    let total = limits.iter().fold(0_u64, |sum, limit| sum.saturating_add(bytes(limit)));
    let all = usage.containers.values().chain(usage.empty_dirs.values());
    let used = all.fold(0_u64, |sum, used| sum.saturating_add(*used));
    if !limits.is_empty() && used > total {
        let total = if let [one] = limits[..] { one.0.clone() } else { total.to_string() };
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
        ));
    }
    for (_, container) in spec::all(pod) {
        let used = usage.containers.get(&container.name).copied().unwrap_or(0);
        if let Some(limit) = limit(&container).filter(|limit| used > bytes(limit)) {
            let (name, limit) = (&container.name, &limit.0);
            return Some(format!("Container {name} exceeded its local ephemeral storage limit {limit:?}. "));
        }
    }
    None
}

/// Bytes on disk below `dir`. Follows no links; what vanishes meanwhile does not count.
fn measure(dir: &Path, files: &mut u64) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        *files += 1;
        if *files > MAX_FILES {
            break;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        sum += metadata.blocks() * 512;
        if metadata.is_dir() {
            sum += measure(&entry.path(), files);
        }
    }
    sum
}

/// The directories of a pod that are measured: those of its volumes and of its containers' logs, by name.
struct Places {
    volumes: Vec<(String, PathBuf)>,
    logs: Vec<(String, PathBuf)>,
}

fn places(kubelet: &Kubelet, pod: &Pod) -> Places {
    let uid = spec::uid(pod);
    let volumes = kubelet.config.pod_dir(uid).join("volumes/kubernetes.io~empty-dir");
    let logs = kubelet.config.log_dir(spec::namespace(pod), spec::name(pod), uid);
    Places {
        volumes: on_disk(pod).map(|v| (v.name.clone(), volumes.join(&v.name))).collect(),
        logs: spec::all(pod).iter().map(|(_, c)| (c.name.clone(), logs.join(&c.name))).collect(),
    }
}

async fn usage(kubelet: &Kubelet, pod: &Pod, layers: &HashMap<(String, String), u64>) -> Usage {
    let places = places(kubelet, pod);
    let all = |list: Vec<(String, PathBuf)>| -> HashMap<String, u64> {
        list.into_iter().map(|(name, dir)| (name, measure(&dir, &mut 0))).collect()
    };
    let measured = tokio::task::spawn_blocking(move || (all(places.volumes), all(places.logs))).await;
    let (empty_dirs, mut containers) = measured.unwrap_or_default();
    for (name, used) in &mut containers {
        *used += layers.get(&(spec::uid(pod).to_owned(), name.clone())).copied().unwrap_or(0);
    }
    Usage { empty_dirs, containers }
}

/// Bytes of writable layers by pod and container.
async fn layers(kubelet: &Kubelet) -> HashMap<(String, String), u64> {
    let mut used = HashMap::new();
    for stats in kubelet.runtime.container_stats().await.unwrap_or_default() {
        let Some(attributes) = &stats.attributes else { continue };
        let label = |name: &str| attributes.labels.get(name).cloned().unwrap_or_default();
        let bytes = stats.writable_layer.and_then(|layer| layer.used_bytes).map_or(0, |bytes| bytes.value);
        *used.entry((label(labels::POD_UID), label(labels::CONTAINER_NAME))).or_insert(0) += bytes;
    }
    used
}

/// Ends the pods among `workers` that are above a limit.
pub(super) async fn check(kubelet: &Arc<Kubelet>, workers: Vec<Arc<Worker>>) {
    let limited: Vec<_> = workers.into_iter().filter(|worker| is_limited(&worker.pod())).collect();
    if limited.is_empty() {
        return;
    }
    let layers = layers(kubelet).await;
    for worker in limited {
        let pod = worker.pod();
        if let Some(message) = excess(&pod, &usage(kubelet, &pod, &layers).await) {
            end(kubelet, &worker, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;

    fn pod(limits: &[Option<&str>], size: &str) -> Pod {
        let containers: Vec<_> = limits
            .iter()
            .enumerate()
            .map(|(index, limit)| match limit {
                Some(limit) => serde_json::json!({"name": format!("c{index}"), "image": "i",
                    "resources": {"limits": {RESOURCE: limit}}}),
                None => serde_json::json!({"name": format!("c{index}"), "image": "i"}),
            })
            .collect();
        let volumes = serde_json::json!([{"name": "disk", "emptyDir": {"sizeLimit": size}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1"}}]);
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": containers, "volumes": volumes}});
        Pod::from_json(pod.to_string().as_bytes()).unwrap()
    }

    fn usage(volume: u64, containers: &[u64]) -> Usage {
        let of = containers.iter().enumerate().map(|(index, used)| (format!("c{index}"), *used));
        Usage { empty_dirs: HashMap::from([("disk".to_owned(), volume)]), containers: of.collect() }
    }

    #[test]
    fn who_is_above_a_limit_ends() {
        for (limits, size, used, expected) in [
            (vec![None], "0", usage(u64::MAX, &[1 << 40]), None),
            (vec![None], "1Mi", usage(1 << 20, &[0]), None),
            (
                vec![None],
                "1Mi",
                usage((1 << 20) + 1, &[0]),
                Some("Usage of EmptyDir volume \"disk\" exceeds the limit \"1Mi\". "),
            ),
            (
                vec![Some("1Mi")],
                "0",
                usage(1 << 19, &[(1 << 19) + 1]),
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "),
            ),
            (
                vec![Some("1Ki"), Some("1Mi")],
                "0",
                usage(0, &[1025, 0]),
                Some("Container c0 exceeded its local ephemeral storage limit \"1Ki\". "),
            ),
            (vec![Some("1Ki"), Some("1Mi")], "0", usage(0, &[1024, 1 << 20]), None),
        ] {
            assert_eq!(excess(&pod(&limits, size), &used).as_deref(), expected, "{limits:?} {used:?}");
        }
        assert!(!is_limited(&pod(&[None], "0")) && is_limited(&pod(&[None], "1")));
    }
}
