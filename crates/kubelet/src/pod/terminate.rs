//! The end of a pod: stop everything, settle the status, clean up, let go of the API object.

use crate::kubelet::Kubelet;
use crate::pod::worker::{Next, Worker};
use crate::pod::{cgroups, gc, kill};
use crate::spec;
use std::sync::Arc;
use std::time::Duration;

/// Stops everything of the pod.
pub(crate) async fn terminating(kubelet: &Arc<Kubelet>, worker: &Worker) -> Next {
    let pod = worker.pod();
    let runtime = match kubelet.runtime.pod(&worker.uid).await {
        Ok(runtime) => worker.set_runtime(runtime),
        Err(error) => {
            tracing::warn!(
                pod = spec::describe(&pod),
                "failed to read the pod from the runtime: {error}; trying again"
            );
            return Next::Retry(None);
        }
    };
    // While it ends a pod may still serve, and its readiness says whether.
    kubelet.probes.follow(kubelet, &pod, &runtime);
    kubelet.probes.stop_restarting(&worker.uid);
    if !worker.is_deleted() {
        kubelet.status.refresh(kubelet, worker, false);
    }
    if !runtime.is_dead() {
        let killing = kill::pod(kubelet, worker, &pod, &runtime, worker.grace());
        tokio::select! {
            result = killing => if let Err(error) = result {
                kubelet.pod_event(&pod, client::EventType::Warning, "FailedKillPod", format!("error killing pod: {error}"));
                return Next::Retry(Some(Duration::from_secs(10)));
            },
            // Less time is left than thought: stop again, with what is left.
            () = worker.hurry.notified() => return Next::Wait(Some(Duration::ZERO)),
        }
    }
    kubelet.probes.forget(&worker.uid);
    match kubelet.runtime.pod(&worker.uid).await {
        Ok(runtime) => {
            let runtime = worker.set_runtime(runtime);
            if !runtime.is_dead() {
                return Next::Retry(None);
            }
        }
        Err(_) => return Next::Retry(None),
    }
    if !worker.is_deleted() {
        kubelet.status.refresh(kubelet, worker, true);
    }
    Next::Advance
}

/// Cleans up what nothing uses any more.
pub(crate) async fn terminated(kubelet: &Arc<Kubelet>, worker: &Worker) -> Next {
    let pod = worker.pod();
    if let Err(error) = kubelet.volumes.tear_down(kubelet, &worker.uid).await {
        tracing::warn!(pod = spec::describe(&pod), "failed to tear volumes down: {error}; trying again");
        return Next::Retry(None);
    }
    if let Err(error) = cgroups::remove(kubelet, &pod).await {
        tracing::debug!(
            pod = spec::describe(&pod),
            "failed to remove the pod's cgroup: {error}; trying again"
        );
        return Next::Retry(None);
    }
    kubelet.references.forget(&worker.uid);
    kubelet.tokens.forget(&worker.uid);
    kubelet.crashes.forget(&format!("{}/", worker.uid));
    if !worker.is_deleted() {
        kubelet.status.refresh(kubelet, worker, true);
        if pod.metadata.deletion_timestamp.is_some() {
            kubelet.status.finish(&worker.uid);
        }
        return Next::Wait(None);
    }
    if let Err(error) = gc::remove_pod(kubelet, worker).await {
        tracing::warn!(
            pod = spec::describe(&pod),
            "failed to remove what is left of the pod: {error}; trying again"
        );
        return Next::Retry(None);
    }
    kubelet.status.forget(&worker.uid);
    Next::Finished
}
