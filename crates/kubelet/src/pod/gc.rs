//! Removes dead containers, sandboxes and directories that nothing needs any more.
//!
//! A pod keeps the newest attempt at each container and the one before it, for `kubectl logs -p`.

use crate::kubelet::Kubelet;
use crate::model::{RuntimePod, State};
use crate::pod::worker::Worker;
use crate::pod::workers::Workers;
use crate::spec;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Dead attempts kept besides the newest attempt (upstream's `MaxPerPodContainer`).
const KEEP: usize = 1;

async fn remove_log(path: &str) {
    if path.is_empty() {
        return;
    }
    if let Err(error) = tokio::fs::remove_file(path).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(path, "failed to remove a log: {error}; it goes with its pod");
    }
}

/// Removes attempts of a living pod that are too old.
pub(crate) async fn old_attempts(kubelet: &Kubelet, runtime: &RuntimePod) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for container in &runtime.containers {
        let count = seen.entry(&container.name).or_default();
        *count += 1;
        if *count <= KEEP + 1 || !matches!(container.state, State::Exited | State::Created) {
            continue;
        }
        match kubelet.runtime.remove_container(&container.id).await {
            Ok(()) => remove_log(&container.log_path).await,
            Err(error) => {
                tracing::debug!(id = container.id, "failed to remove a container: {error}; trying again");
            }
        }
    }
    let used: HashSet<&str> = runtime.containers.iter().map(|c| c.sandbox_id.as_str()).collect();
    for sandbox in runtime.sandboxes.iter().skip(1) {
        if !sandbox.ready
            && !used.contains(sandbox.id.as_str())
            && let Err(error) = kubelet.runtime.remove_sandbox(&sandbox.id).await
        {
            tracing::debug!(id = sandbox.id, "failed to remove a sandbox: {error}; trying again");
        }
    }
}

/// Removes everything of a pod that is gone.
pub(crate) async fn remove_pod(kubelet: &Kubelet, worker: &Worker) -> Result<(), String> {
    let runtime = kubelet.runtime.pod(&worker.uid).await.map_err(|e| e.to_string())?;
    for container in &runtime.containers {
        kubelet.runtime.remove_container(&container.id).await.map_err(|e| e.to_string())?;
    }
    for sandbox in &runtime.sandboxes {
        kubelet.runtime.remove_sandbox(&sandbox.id).await.map_err(|e| e.to_string())?;
    }
    kubelet.volumes.remove_dir(kubelet, &worker.uid).await.map_err(|e| e.to_string())?;
    let pod = worker.pod();
    let logs = kubelet.config.log_dir(spec::namespace(&pod), spec::name(&pod), &worker.uid);
    match tokio::fs::remove_dir_all(&logs).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("failed to remove {}: {error}", logs.display()))
        }
        _ => Ok(()),
    }
}

/// After a start: ends pods that the runtime knows and the API does not, and removes their directories.
pub(crate) async fn orphans(kubelet: &Arc<Kubelet>) {
    match kubelet.runtime.pods().await {
        Ok(pods) => {
            for pod in pods.into_iter().filter(|p| kubelet.workers.get(&p.uid).is_none()) {
                tracing::info!(pod = pod.name, uid = pod.uid, "ending a pod that the API no longer has");
                let mut object = api::k8s_openapi::api::core::v1::Pod::default();
                object.metadata.name = Some(pod.name);
                object.metadata.namespace = Some(pod.namespace);
                object.metadata.uid = Some(pod.uid);
                object.metadata.deletion_grace_period_seconds = Some(1);
                Workers::start(kubelet, Arc::new(object), true);
            }
        }
        Err(error) => {
            tracing::warn!("failed to list pods of the runtime: {error}; leftovers stay until the next start")
        }
    }
    let Ok(mut entries) = tokio::fs::read_dir(kubelet.config.root_dir.join("pods")).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let uid = entry.file_name().to_string_lossy().into_owned();
        if kubelet.workers.get(&uid).is_some() {
            continue;
        }
        if let Err(error) = kubelet.volumes.remove_dir(kubelet, &uid).await {
            tracing::warn!(
                uid,
                "failed to remove the directory of a pod that is gone: {error}; it is tried at the next start"
            );
        }
    }
}
