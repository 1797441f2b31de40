//! `VolumeBinding`: a pod goes where its volumes are or can be. Claims of a class with `WaitForFirstConsumer` are
//! bound now: to a volume that exists and fits, or by telling the provisioner which node was chosen.

use super::selectors::matches;
use crate::cache::NodeInfo;
use crate::framework::{
    ClusterEvent, Cycle, Filter, Framework, Handle, Plugin, PreBind, PreFilter, Rejection,
};
use async_trait::async_trait;
use client::{Client, Informer, Patch};
use component::SharedClock;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use machinery::quantity::Quantity;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const NAME: &str = "VolumeBinding";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// How long provisioning may take before the pod is tried again (VolumeBindingArgs.bindTimeoutSeconds).
const BIND_TIMEOUT: Duration = Duration::from_secs(600);

struct VolumeBinding {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    client: Client,
    clock: SharedClock,
    changed: Arc<Notify>,
}

/// The claims of the pod in this cycle.
#[derive(Default)]
struct Claims {
    /// Bound ones: their volumes.
    bound: Vec<Arc<PersistentVolume>>,
    /// Ones that wait for this decision.
    waiting: Vec<Arc<PersistentVolumeClaim>>,
}

pub(super) fn register(framework: &mut Framework, handle: &Handle) {
    let plugin = Arc::new(VolumeBinding {
        claims: handle.informers.informer(),
        volumes: handle.informers.informer(),
        classes: handle.informers.informer(),
        client: handle.client.clone(),
        clock: handle.clock.clone(),
        changed: Arc::new(Notify::new()),
    });
    let wake = |handle: &Handle, changed: &Arc<Notify>| {
        let (notify, changed) = (handle.notify.clone(), changed.clone());
        move || {
            changed.notify_waiters();
            notify.notify(ClusterEvent::Storage);
        }
    };
    let (a, b, c) =
        (wake(handle, &plugin.changed), wake(handle, &plugin.changed), wake(handle, &plugin.changed));
    plugin.claims.on_event(move |_| a());
    plugin.volumes.on_event(move |_| b());
    plugin.classes.on_event(move |_| c());
    framework.pre_filter.push(plugin.clone());
    framework.filter.push(plugin.clone());
    framework.pre_bind.push(plugin);
}

fn claim_names(pod: &Pod) -> Vec<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => Some(source.claim_name.clone()),
            (None, Some(_)) => Some(format!("{name}-{}", volume.name)),
            (None, None) => None,
        })
        .collect()
}

fn bound_volume(claim: &PersistentVolumeClaim) -> Option<&str> {
    let volume = claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())?;
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    (phase == Some("Bound")).then_some(volume)
}

/// Whether a volume may be used on a node.
fn reachable(volume: &PersistentVolume, node: &NodeInfo) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    affinity.and_then(|affinity| affinity.required.as_ref()).is_none_or(|required| matches(required, node))
}

/// Whether an unbound volume satisfies a claim.
fn satisfies(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (Some(have), Some(want)) = (&volume.spec, &claim.spec) else { return false };
    let available = volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Available");
    let size = |q: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
        q.and_then(|q| Quantity::parse(&q.0).ok()).map_or(0, |q| q.value())
    };
    let capacity = size(have.capacity.as_ref().and_then(|c| c.get("storage")));
    let requests = want.resources.as_ref().and_then(|r| r.requests.as_ref());
    let requested = size(requests.and_then(|r| r.get("storage")));
    let modes = have.access_modes.as_deref().unwrap_or_default();
    available
        && have.claim_ref.is_none()
        && have.storage_class_name.as_deref().unwrap_or_default()
            == want.storage_class_name.as_deref().unwrap_or_default()
        && capacity >= requested
        && want.access_modes.iter().flatten().all(|mode| modes.contains(mode))
}

impl VolumeBinding {
    fn class_of(&self, claim: &PersistentVolumeClaim) -> Option<Arc<StorageClass>> {
        let name = claim.spec.as_ref()?.storage_class_name.as_deref()?;
        self.classes.store().find("", name)
    }

    fn gather(&self, pod: &Pod) -> Result<Claims, Rejection> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut claims = Claims::default();
        for name in claim_names(pod) {
            let Some(claim) = self.claims.store().find(namespace, &name) else {
                return Err(Rejection::unresolvable(format!("persistentvolumeclaim {name:?} not found")));
            };
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(Rejection::unresolvable(format!(
                    "persistentvolumeclaim {name:?} is being deleted"
                )));
            }
            if let Some(volume) = bound_volume(&claim) {
                let Some(volume) = self.volumes.store().find("", volume) else {
                    return Err(Rejection::unresolvable(format!("persistentvolume {volume:?} not found")));
                };
                claims.bound.push(volume);
                continue;
            }
            let class = self.class_of(&claim);
            let waits = class.and_then(|class| class.volume_binding_mode.clone());
            if waits.as_deref() != Some("WaitForFirstConsumer") {
                return Err(Rejection::unresolvable("pod has unbound immediate PersistentVolumeClaims"));
            }
            claims.waiting.push(claim);
        }
        Ok(claims)
    }

    /// The smallest volume that exists, fits the claim and may be used on the node.
    fn existing(&self, claim: &PersistentVolumeClaim, node: &NodeInfo) -> Option<Arc<PersistentVolume>> {
        let volumes = self.volumes.store().list();
        let fitting =
            volumes.into_iter().filter(|volume| satisfies(volume, claim) && reachable(volume, node));
        fitting.min_by_key(|volume| {
            let capacity =
                volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()?.get("storage").cloned());
            capacity.and_then(|q| Quantity::parse(&q.0).ok()).map_or(i64::MAX, |q| q.value())
        })
    }

    fn provisionable(&self, claim: &PersistentVolumeClaim) -> bool {
        self.class_of(claim).is_some_and(|class| class.provisioner != NO_PROVISIONER)
    }

    /// Starts the binding of one claim on a node.
    async fn begin(&self, claim: &PersistentVolumeClaim, node: &NodeInfo) -> Result<(), String> {
        let (namespace, name) = (claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref());
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        if let Some(volume) = self.existing(claim, node) {
            let patch = serde_json::json!({
                "metadata": {"resourceVersion": volume.metadata.resource_version},
                "spec": {"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace,
                    "name": name, "uid": claim.metadata.uid}},
            });
            let volumes = self.client.all::<PersistentVolume>();
            let volume = volume.metadata.name.as_deref().unwrap_or_default();
            let patched = volumes.patch(volume, Patch::Merge(patch.to_string().into())).await;
            return patched.map(|_| ()).map_err(|error| error.to_string());
        }
        let patch = serde_json::json!({"metadata": {"annotations": {SELECTED_NODE: node.name()}}});
        let claims = self.client.namespaced::<PersistentVolumeClaim>(namespace);
        let patched = claims.patch(name, Patch::Merge(patch.to_string().into())).await;
        patched.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn all_bound(&self, pod: &Pod) -> Result<(), Rejection> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let bound = |name: &String| {
                self.claims.store().find(namespace, name).is_some_and(|claim| bound_volume(&claim).is_some())
            };
            if claim_names(pod).iter().all(bound) {
                return Ok(());
            }
            changed.await;
        }
    }
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        NAME
    }
    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded
                | ClusterEvent::NodeLabels
                | ClusterEvent::Storage
                | ClusterEvent::PodUpdated
        )
    }
}

impl PreFilter for VolumeBinding {
    fn pre_filter(&self, cycle: &mut Cycle) -> Result<(), Rejection> {
        let claims = self.gather(&cycle.pod.pod)?;
        if claims.bound.is_empty() && claims.waiting.is_empty() {
            cycle.skip(NAME);
        }
        cycle.put(NAME, claims);
        Ok(())
    }
}

impl Filter for VolumeBinding {
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(claims) = cycle.get::<Claims>(NAME) else { return Ok(()) };
        if !claims.bound.iter().all(|volume| reachable(volume, node)) {
            return Err(Rejection::unresolvable("node(s) didn't match PersistentVolume's node affinity"));
        }
        let found = |claim: &Arc<PersistentVolumeClaim>| {
            self.provisionable(claim) || self.existing(claim, node).is_some()
        };
        if !claims.waiting.iter().all(found) {
            return Err(Rejection::unresolvable("node(s) didn't find available persistent volumes to bind"));
        }
        Ok(())
    }
}

#[async_trait]
impl PreBind for VolumeBinding {
    async fn pre_bind(&self, cycle: &Cycle, node: &str) -> Result<(), Rejection> {
        let Some(claims) = cycle.get::<Claims>(NAME).filter(|claims| !claims.waiting.is_empty()) else {
            return Ok(());
        };
        let Some(node) = cycle.nodes.get(node) else { return Ok(()) };
        for claim in &claims.waiting {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let begun = self.begin(claim, node).await;
            begun
                .map_err(|why| Rejection::resolvable(format!("failed to bind the claim {name:?}: {why}")))?;
        }
        tokio::select! {
            bound = self.all_bound(&cycle.pod.pod) => bound,
            () = self.clock.sleep(BIND_TIMEOUT) => {
                Err(Rejection::resolvable("the pod's claims were not bound in time; see the claims' events"))
            }
        }
    }
}
