//! The pod lifecycle event generator: turns the runtime's event stream into wake-ups of pod workers.
//!
//! Nothing is read from events but which pod they are about: workers read the truth themselves. When the stream
//! breaks, every pod is looked at once it is back. Runtimes without events are asked every second.

use crate::kubelet::Kubelet;
use crate::model::{RuntimePod, labels};
use crate::runtime::RuntimeError;
use cri::v1::ContainerEventResponse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;

/// Pause before a broken stream is opened again.
const RECONNECT: Duration = Duration::from_millis(500);
/// Time between lists of a runtime that has no events.
const RELIST: Duration = Duration::from_secs(1);

fn uid_of(event: &ContainerEventResponse) -> Option<&str> {
    let sandbox = event.pod_sandbox_status.as_ref().and_then(|s| s.metadata.as_ref()).map(|m| m.uid.as_str());
    let container =
        || event.containers_statuses.iter().find_map(|c| c.labels.get(labels::POD_UID).map(String::as_str));
    sandbox.filter(|uid| !uid.is_empty()).or_else(container)
}

async fn follow(kubelet: &Arc<Kubelet>) -> Result<(), RuntimeError> {
    let mut stream = kubelet.runtime.events().await?;
    // Whatever happened while nobody listened.
    kubelet.workers.wake_all();
    while let Some(event) = stream.message().await? {
        match uid_of(&event) {
            Some(uid) => kubelet.workers.wake(uid),
            None => kubelet.workers.wake_all(),
        }
    }
    Ok(())
}

async fn relist(kubelet: &Arc<Kubelet>) {
    let mut seen: HashMap<String, RuntimePod> = HashMap::new();
    loop {
        if let Ok(pods) = kubelet.runtime.pods().await {
            let now: HashMap<String, RuntimePod> = pods.into_iter().map(|p| (p.uid.clone(), p)).collect();
            for (uid, pod) in &now {
                if seen.get(uid) != Some(pod) {
                    kubelet.workers.wake(uid);
                }
            }
            for uid in seen.keys().filter(|uid| !now.contains_key(*uid)) {
                kubelet.workers.wake(uid);
            }
            seen = now;
        }
        kubelet.clock.sleep(RELIST).await;
    }
}

/// Runs until dropped.
pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    loop {
        match follow(&kubelet).await {
            Err(error) if error.code == Code::Unimplemented => {
                tracing::info!(
                    "the runtime has no container events; its pods are listed every second instead"
                );
                relist(&kubelet).await;
            }
            Err(error) => tracing::warn!("lost the runtime's events: {error}; connecting again"),
            Ok(()) => tracing::debug!("the runtime ended its events; connecting again"),
        }
        kubelet.node.look_again();
        kubelet.clock.sleep(RECONNECT).await;
    }
}
