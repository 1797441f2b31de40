//! Registers the node and keeps its status at the API: on change at once, else every five minutes.

use super::status;
use crate::kubelet::Kubelet;
use api::Object;
use api::k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use client::{EventType, Informer, Patch, Selection};
use machinery::Status;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause between looks while the runtime or its network is not ready: CRI cannot be waited on.
const EAGER: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(200);
const MAX_RETRY: Duration = Duration::from_secs(7);

fn labels(kubelet: &Kubelet) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = kubelet.config.node_labels.iter().cloned().collect();
    let arch = kubelet.machine.architecture;
    for (key, value) in [
        ("kubernetes.io/hostname", kubelet.config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

/// A taint written as `key=value:Effect` or `key:Effect`.
fn taint(text: &str) -> Option<Taint> {
    let (key, effect) = text.rsplit_once(':')?;
    let (key, value) = key.split_once('=').map_or((key, None), |(key, value)| (key, Some(value)));
    Some(Taint {
        key: key.to_owned(),
        value: value.filter(|v| !v.is_empty()).map(str::to_owned),
        effect: effect.to_owned(),
        ..Taint::default()
    })
}

fn object(kubelet: &Kubelet, status: NodeStatus) -> Node {
    let taints: Vec<Taint> =
        kubelet.config.register_with_taints.iter().filter_map(|text| taint(text)).collect();
    let mut node = Node {
        spec: Some(NodeSpec { taints: (!taints.is_empty()).then_some(taints), ..NodeSpec::default() }),
        status: Some(status),
        ..Node::default()
    };
    node.metadata.name = Some(kubelet.config.node_name.clone());
    node.metadata.labels = Some(labels(kubelet));
    node.metadata.annotations = Some(BTreeMap::from([(
        "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
        "true".to_owned(),
    )]));
    node
}

/// Makes the node object, or brings the labels of an existing one up to date.
async fn register(kubelet: &Kubelet, status: NodeStatus) -> Result<Arc<Node>, Status> {
    let nodes = kubelet.client.all::<Node>();
    let fresh = object(kubelet, status);
    match nodes.create(&fresh).await {
        Err(error) if error.is_already_exists() => {
            let patch = json!({"metadata": {"labels": labels(kubelet)}}).to_string();
            nodes.patch(&kubelet.config.node_name, Patch::Merge(patch.into())).await
        }
        other => other,
    }
}

async fn write(kubelet: &Kubelet, status: &NodeStatus) -> Result<(), Status> {
    let node = Node { status: Some(status.clone()), ..Node::default() };
    let parsed: Value = serde_json::from_slice(&node.to_json()).unwrap_or_default();
    let mut status = parsed.get("status").cloned().unwrap_or_default();
    if let Some(Value::Array(addresses)) = status.get_mut("addresses") {
        // Merged by type otherwise, so that an address that went would stay.
        addresses.insert(0, json!({"$patch": "replace"}));
    }
    let body = json!({"status": status}).to_string();
    let nodes = kubelet.client.all::<Node>();
    nodes.patch_status(&kubelet.config.node_name, Patch::Strategic(body.into())).await?;
    Ok(())
}

/// What the API knows about this node.
struct Told {
    status: NodeStatus,
    /// When the kubelet wrote it.
    at: Instant,
    /// When it was last seen to be there still.
    seen: Instant,
}

/// Registers the node and keeps its status until dropped.
pub(crate) async fn run(kubelet: Arc<Kubelet>, port: u16) {
    let mut told: Option<Told> = None;
    let mut registered = false;
    let mut pause = RETRY;
    loop {
        if kubelet.node.probe(&kubelet).await {
            // Pods that waited for the network need not wait longer.
            kubelet.workers.wake_all();
        }
        let now = client::time::time(&*kubelet.clock);
        let old = told.as_ref().and_then(|told| told.status.conditions.clone()).unwrap_or_default();
        let fresh = status::compute(&kubelet, &old, &now, port).await;
        let result = if registered { Ok(()) } else { first(&kubelet, &fresh, &mut told).await };
        let result = match result {
            Ok(()) => {
                registered = true;
                update(&kubelet, fresh, &mut told).await
            }
            failed => failed,
        };
        let delay = match result {
            Ok(()) => {
                pause = RETRY;
                let ready = kubelet.node.problems().is_empty();
                if ready { kubelet.config.node_status_update_frequency } else { EAGER }
            }
            Err(status) => {
                tracing::warn!("failed to tell the API about this node: {status}; trying again");
                // A node that was deleted registers anew.
                registered &= !status.is_not_found();
                if !registered {
                    told = None;
                }
                pause = (pause * 2).min(MAX_RETRY);
                pause
            }
        };
        tokio::select! {
            () = kubelet.node.again.notified() => {}
            () = kubelet.clock.sleep(delay) => {}
        }
    }
}

async fn first(kubelet: &Arc<Kubelet>, fresh: &NodeStatus, told: &mut Option<Told>) -> Result<(), Status> {
    let node = register(kubelet, fresh.clone()).await?;
    kubelet.node_event(EventType::Normal, "Starting", "Starting kubelet.");
    if let Some(status) = node.status.clone().filter(|s| s.conditions.is_some()) {
        // Old enough to be written again: an existing node's status is from another life.
        let now = kubelet.clock.instant();
        *told = Some(Told { status, at: now, seen: now });
    }
    follow_spec(kubelet);
    Ok(())
}

async fn update(kubelet: &Kubelet, fresh: NodeStatus, told: &mut Option<Told>) -> Result<(), Status> {
    let now = kubelet.clock.instant();
    let due = match told {
        None => true,
        Some(told) => {
            status::differs(&told.status, &fresh)
                || now.saturating_duration_since(told.at) >= kubelet.config.node_status_report_frequency
                || overruled(kubelet, told, now).await?
        }
    };
    if !due {
        return Ok(());
    }
    let was_ready = told.as_ref().is_some_and(|told| is_ready(&told.status));
    write(kubelet, &fresh).await?;
    match (was_ready, is_ready(&fresh)) {
        (false, true) => kubelet.node_event(
            EventType::Normal,
            "NodeReady",
            format!("Node {} status is now: NodeReady", kubelet.config.node_name),
        ),
        (true, false) => kubelet.node_event(
            EventType::Normal,
            "NodeNotReady",
            format!("Node {} status is now: NodeNotReady", kubelet.config.node_name),
        ),
        _ => {}
    }
    *told = Some(Told { status: fresh, at: now, seen: now });
    Ok(())
}

/// Whether somebody else changed the node's conditions since: the node lifecycle controller does when it has not
/// heard of the node for too long. Asks once per update period.
async fn overruled(kubelet: &Kubelet, told: &mut Told, now: Instant) -> Result<bool, Status> {
    if now.saturating_duration_since(told.seen) < kubelet.config.node_status_update_frequency {
        return Ok(false);
    }
    let node = kubelet.client.all::<Node>().get(&kubelet.config.node_name).await?;
    told.seen = now;
    let theirs = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ours = told.status.conditions.as_deref().unwrap_or_default();
    let kept = ours.iter().all(|own| theirs.iter().any(|c| c.type_ == own.type_ && c.status == own.status));
    if !kept {
        // Transitions count from what everybody saw.
        told.status.conditions = Some(theirs.to_vec());
    }
    Ok(!kept)
}

fn is_ready(status: &NodeStatus) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Follows the node object: the runtime learns the range of pod addresses as soon as it is assigned.
fn follow_spec(kubelet: &Arc<Kubelet>) {
    let selection = Selection::fields(&format!("metadata.name={}", kubelet.config.node_name));
    let informer: Informer<Node> =
        Informer::start(&kubelet.client, &selection, kubelet.clock.clone(), &kubelet.tasks);
    let mut events = informer.subscribe();
    let kubelet = kubelet.clone();
    kubelet.clone().tasks.spawn_until_stopped("node object", async move {
        let mut known = String::new();
        while let Some(event) = events.recv().await {
            if event.is_deleted() {
                // The next status write finds the node missing and registers anew.
                kubelet.node.look_again();
                continue;
            }
            let spec = event.object().spec.clone().unwrap_or_default();
            let cidr = spec.pod_cidrs.map(|c| c.join(",")).or(spec.pod_cidr).unwrap_or_default();
            if cidr.is_empty() || cidr == known {
                continue;
            }
            match kubelet.runtime.set_pod_cidr(&cidr).await {
                Ok(()) => known = cidr,
                Err(error) => tracing::warn!(cidr, "failed to tell the runtime the pod range: {error}; told again with the next change of the node"),
            }
            kubelet.node.look_again();
        }
        drop(informer);
    });
}
