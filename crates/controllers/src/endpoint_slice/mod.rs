//! EndpointSlices of services with a selector: where the service proxy, DNS and ingress find the pods.

mod plan;

use crate::common::endpoints::{enqueue_services, selector_of};
use crate::common::expect::Expectations;
use crate::common::owners::enqueue;
use crate::context::Context;
use client::{DeleteOptions, EventType, Informer, ObjectKey, Requeue, run_workers};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use machinery::Status;
use plan::{MANAGER, MANAGER_LABEL, SERVICE_LABEL};
use std::sync::Arc;

const WORKERS: usize = 5;
const INDEX: &str = "service";

/// Declares the index of slices by `namespace/service`.
fn index(slices: &Informer<EndpointSlice>) {
    slices.add_index(INDEX, |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect());
}

/// The service that one of our slices belongs to.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = slice.metadata.labels.as_ref()?;
    if labels.get(MANAGER_LABEL).map(String::as_str) != Some(MANAGER) {
        return None;
    }
    let name = labels.get(SERVICE_LABEL)?;
    Some(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or(""), name))
}

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let services = context.informers.informer::<Service>();
    let pods = context.informers.informer::<Pod>();
    let nodes = context.informers.informer::<Node>();
    let slices = context.informers.informer::<EndpointSlice>();
    index(&slices);
    let queue = context.queue::<ObjectKey>();
    enqueue(&services, &queue);
    enqueue_services(&pods, &services, &queue);
    let changed = queue.clone();
    slices.on_event(move |event| {
        for slice in [Some(event.object()), event.old()].into_iter().flatten() {
            if let Some(key) = service_of(slice) {
                changed.add(key);
            }
        }
    });
    services.synced().await;
    pods.synced().await;
    nodes.synced().await;
    slices.synced().await;
    let expectations = Expectations::new(&slices);
    let worker = Arc::new(Worker { context: context.clone(), services, pods, nodes, slices, expectations });
    run_workers("endpointslice-controller", WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

struct Worker {
    context: Context,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    expectations: Expectations<EndpointSlice>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let service = self.services.store().get(key);
        let Some((service, selector)) =
            service.and_then(|service| selector_of(&service).map(|s| (service, s)))
        else {
            // The garbage collector removes the slices of a deleted service.
            self.expectations.forget(key);
            return Ok(Requeue::No);
        };
        if !self.expectations.settled(key) || service.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::No);
        }
        let mut pods = self.pods.store().list_in(&key.namespace);
        pods.retain(|pod| selector.matches(&pod.metadata.labels));
        let existing = self.slices.store().by_index(INDEX, &key.to_string());
        let plan = plan::plan(&service, &pods, &existing, |name| self.nodes.store().find("", name));
        let outcome = self.execute(key, plan, &existing).await;
        if let Err(status) = &outcome
            && !status.is_conflict()
            && !crate::common::pod_control::is_namespace_terminating(status)
        {
            let message = format!("Error updating Endpoint Slices for Service {key}: {status}");
            self.context.recorder.event(
                &*service,
                EventType::Warning,
                "FailedToUpdateEndpointSlices",
                message,
            );
        }
        outcome.map(|()| Requeue::No)
    }

    async fn execute(
        &self,
        key: &ObjectKey,
        plan: plan::Plan,
        existing: &[Arc<EndpointSlice>],
    ) -> Result<(), Status> {
        let api = self.context.client.namespaced::<EndpointSlice>(&key.namespace);
        for slice in &plan.create {
            match api.create(slice).await {
                Ok(created) => self.expectations.wrote(key, &*created),
                Err(status) if crate::common::pod_control::is_namespace_terminating(&status) => return Ok(()),
                Err(status) => return Err(status),
            }
        }
        for slice in &plan.update {
            self.expectations.wrote(key, &*api.update(slice).await?);
        }
        for name in &plan.delete {
            match api.delete_with(name, &DeleteOptions::default()).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
            let known = existing.iter().find(|slice| slice.metadata.name.as_ref() == Some(name));
            if let Some(slice) = known {
                self.expectations.deleted(key, &**slice);
            }
        }
        Ok(())
    }
}
