//! Helper pods: what makes and removes directories on nodes, because controllers reach nodes only through the API.
//!
//! A helper's name follows from what it does and for which volume, so one that was under way before a restart is found
//! again. Deliberately absent: waiting; whoever asks is asked again when the pod changes.

use crate::common::pods;
use crate::context::Context;
use api::Kind;
use client::{Event, Informer};
use k8s_openapi::api::core::v1::Pod;
use machinery::Status;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// Where helpers run.
pub(crate) const NAMESPACE: &str = "kube-system";
/// The label by which helpers are known.
const LABEL: &str = "app.kubernetes.io/name";
const LABEL_VALUE: &str = "local-path-helper";
/// Annotations that say for whom a helper works.
const VOLUME: &str = "windlass.io/volume";
const CLAIM: &str = "windlass.io/claim";
/// Where a helper sees the directory of all volumes.
const MOUNT: &str = "/local-path";

/// What a helper does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Makes the directory.
    Make,
    /// Removes the directory and what is in it.
    Remove,
}

impl Work {
    fn verb(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Remove => "remove",
        }
    }
}

/// How far a helper is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Not there yet; its pod will tell.
    Waiting,
    /// Done; the pod is still there.
    Done,
    /// Failed, with what it said; the pod was removed, so that the next attempt starts anew.
    Failed(String),
}

/// The directory of one volume on one node.
#[derive(Clone, Debug)]
pub(crate) struct Directory<'a> {
    /// Name of the volume and of its directory.
    pub(crate) volume: &'a str,
    /// Node that has it.
    pub(crate) node: &'a str,
    /// Claim it is made for, as `<namespace>/<name>`; empty where that does not matter.
    pub(crate) claim: String,
    /// The directory of all volumes on the node.
    pub(crate) root: &'a Path,
}

/// The name of a helper.
pub(crate) fn name(work: Work, volume: &str) -> String {
    format!("helper-pod-{}-{volume}", work.verb())
}

/// The volume that a pod of ours works for, and its claim.
pub(crate) fn about(pod: &Pod) -> Option<(String, String)> {
    let ours = pod.metadata.labels.as_ref()?.get(LABEL)? == LABEL_VALUE;
    if !ours || pod.metadata.namespace.as_deref() != Some(NAMESPACE) {
        return None;
    }
    let annotations = pod.metadata.annotations.as_ref()?;
    Some((annotations.get(VOLUME)?.clone(), annotations.get(CLAIM).cloned().unwrap_or_default()))
}

fn object(image: &str, work: Work, directory: &Directory<'_>) -> Result<Pod, Status> {
    let root = directory.root.to_string_lossy();
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name(work, directory.volume), "namespace": NAMESPACE,
            "labels": {LABEL: LABEL_VALUE},
            "annotations": {VOLUME: directory.volume, CLAIM: directory.claim},
        },
        "spec": {
            // The scheduler has already chosen, and a node that is cordoned or tainted must still be cleaned.
            "nodeName": directory.node,
            "tolerations": [{"operator": "Exists"}],
            "priorityClassName": "system-node-critical",
            // It speaks to nobody, and starts sooner without a network of its own.
            "hostNetwork": true,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 5,
            "containers": [{
                "name": "helper", "image": image, "imagePullPolicy": "IfNotPresent",
                "args": ["local-path", work.verb(), format!("{MOUNT}/{}", directory.volume)],
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "runAsUser": 0, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    // What users leave behind belongs to whomever they ran as.
                    "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE", "FOWNER"]},
                },
                "volumeMounts": [{"name": "root", "mountPath": MOUNT}],
            }],
            "volumes": [{"name": "root", "hostPath": {"path": root, "type": "DirectoryOrCreate"}}],
        },
    });
    Pod::from_json(object.to_string().as_bytes())
        .map_err(|error| Status::internal(format!("failed to make a helper pod: {error}; this is a defect")))
}

/// Helpers of the cluster.
#[derive(Clone)]
pub(crate) struct Helpers {
    context: Context,
    pods: Informer<Pod>,
}

impl Helpers {
    /// Follows pods.
    pub(crate) fn new(context: &Context) -> Self {
        Self { context: context.clone(), pods: context.informers.informer::<Pod>() }
    }

    /// Calls `told` with volume and claim whenever a helper changes or goes.
    pub(crate) fn on_change(&self, told: impl Fn(&str, &str) + Send + Sync + 'static) {
        self.pods.on_event(move |event: &Event<Pod>| {
            if let Some((volume, claim)) = about(event.object()) {
                told(&volume, &claim);
            }
        });
    }

    /// Waits for the first list of pods.
    pub(crate) async fn synced(&self) {
        self.pods.synced().await;
    }

    /// The helper, if there is one.
    pub(crate) fn find(&self, work: Work, volume: &str) -> Option<Arc<Pod>> {
        self.pods.store().find(NAMESPACE, &name(work, volume)).filter(|pod| about(pod).is_some())
    }

    /// Brings the work on by one step: starts the helper, or says how far it is.
    pub(crate) async fn step(&self, work: Work, directory: &Directory<'_>) -> Result<Step, Status> {
        let Some(pod) = self.find(work, directory.volume) else {
            let pod = object(&self.context.config.local_path_image, work, directory)?;
            let made = self.context.client.namespaced::<Pod>(NAMESPACE).create(&pod).await;
            return match made {
                // The cache is behind: the pod's event brings us back.
                Err(status) if !status.is_already_exists() => Err(status),
                _ => Ok(Step::Waiting),
            };
        };
        if pods::is_terminating(&pod) {
            return Ok(Step::Waiting);
        }
        if pods::node_of(&pod) != directory.node {
            // Another node was chosen meanwhile.
            self.forget(work, directory.volume).await?;
            return Ok(Step::Waiting);
        }
        match pods::phase(&pod) {
            "Succeeded" => Ok(Step::Done),
            "Failed" => {
                self.forget(work, directory.volume).await?;
                Ok(Step::Failed(said(&pod)))
            }
            _ => Ok(Step::Waiting),
        }
    }

    /// Deletes the helper, if there is one.
    pub(crate) async fn forget(&self, work: Work, volume: &str) -> Result<(), Status> {
        if self.find(work, volume).is_none_or(|pod| pods::is_terminating(&pod)) {
            return Ok(());
        }
        match self.context.client.namespaced::<Pod>(NAMESPACE).delete(&name(work, volume)).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }
}

/// What a failed helper said.
fn said(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.unwrap_or_default().into_iter().next();
    let ended = container.and_then(|status| status.state).and_then(|state| state.terminated);
    let message = ended.and_then(|ended| ended.message).or(status.message).unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if message.trim().is_empty() {
        return format!("pod {NAMESPACE}/{name} failed without a word; is the node well?");
    }
    message.trim().to_owned()
}
