//! API aggregation: APIService objects say who serves a group and version; requests for those with a service are handed
//! to the API server behind it, whose discovery and OpenAPI appear among ours.
//!
//! Groups that this server serves itself, built-in or custom, have APIServices too, written here. Deliberately absent:
//! routing through cluster IPs (an endpoint is taken directly, as with upstream's `--enable-aggregator-routing`).

mod check;
mod discovery;
mod openapi;
mod proxy;
mod register;
mod remote;

use crate::authz::feed::{Sink, feed};
use crate::contract::Context;
use crate::registry::Registry;
use api::StoredObject;
use api::common::text;
use api::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use api::transport::Target;
use arc_swap::ArcSwap;
use futures::FutureExt;
use machinery::{GroupVersionResource, Status};
use parking_lot::Mutex;
use remote::Remote;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How often remote servers are looked at when nothing is known to have changed (upstream: 30 s).
const PERIOD: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);

/// The APIServices of a server.
#[derive(Default)]
pub struct Aggregator {
    /// By name.
    services: Mutex<BTreeMap<String, Arc<APIService>>>,
    /// Those that others serve.
    remotes: ArcSwap<Vec<Arc<Remote>>>,
    openapi: openapi::Cache,
    changed: Notify,
    /// Whether Services and their endpoints are followed.
    following: AtomicBool,
}

fn resource() -> GroupVersionResource {
    GroupVersionResource::new("apiregistration.k8s.io", "v1", "apiservices")
}

struct Services(Arc<Aggregator>, Context);

impl Sink for Services {
    fn replace(&self, objects: &[Arc<StoredObject>]) {
        let read = |object: &Arc<StoredObject>| {
            Some((object.meta().name.clone().unwrap_or_default(), object.get::<APIService>().ok()?))
        };
        *self.0.services.lock() = objects.iter().filter_map(read).collect();
        self.0.rebuild(&self.1);
    }

    fn set(&self, object: &StoredObject) {
        let Ok(service) = object.get::<APIService>() else { return };
        self.0.services.lock().insert(object.meta().name.clone().unwrap_or_default(), service);
        self.0.rebuild(&self.1);
    }

    fn remove(&self, object: &StoredObject) {
        self.0.services.lock().remove(object.meta().name.as_deref().unwrap_or_default());
        self.0.rebuild(&self.1);
    }
}

/// Tells when something behind a remote server's Service changed.
struct Endpoints(Arc<Aggregator>);

impl Endpoints {
    fn touch(&self, object: &StoredObject) {
        let meta = object.meta();
        let of = meta.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
        let (namespace, name) = (text(&meta.namespace), of.or(meta.name.as_ref()).map_or("", |name| name));
        let concerned =
            |remote: &Arc<Remote>| remote.service.namespace == namespace && remote.service.name == name;
        if self.0.remotes.load().iter().any(concerned) {
            self.0.changed.notify_one();
        }
    }
}

impl Sink for Endpoints {
    fn replace(&self, _: &[Arc<StoredObject>]) {
        self.0.changed.notify_one();
    }

    fn set(&self, object: &StoredObject) {
        self.touch(object);
    }

    fn remove(&self, object: &StoredObject) {
        self.touch(object);
    }
}

/// Follows the APIServices; returns when they are known.
pub(crate) async fn start(context: &Context, registry: &Arc<Registry>) {
    let aggregator = context.aggregator.clone();
    feed(context, resource(), Arc::new(Services(aggregator.clone(), context.clone()))).await;
    let (of, registry) = (context.clone(), registry.clone());
    context.tasks.spawn_until_stopped("aggregation", async move { aggregator.keep(&of, &registry).await });
}

impl Aggregator {
    fn rebuild(&self, context: &Context) {
        let known = self.remotes.load_full();
        let mut remotes: Vec<Arc<Remote>> = Vec::new();
        for service in self.services.lock().values() {
            let Some(spec) = service.spec.as_ref().filter(|spec| spec.service.is_some()) else { continue };
            let same = known.iter().find(|remote| remote.spec == *spec && remote.uid == service.metadata.uid);
            remotes.push(same.cloned().unwrap_or_else(|| Arc::new(Remote::new(service, spec, context))));
        }
        self.remotes.store(Arc::new(remotes));
        self.changed.notify_one();
    }

    /// The remote server of a path, if one serves it.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes.load();
        if remotes.is_empty() {
            return None;
        }
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        if segments.next() != Some("apis") {
            return None;
        }
        let (group, version) = (segments.next()?, segments.next()?);
        remotes.iter().find(|remote| remote.group == group && remote.version == version).cloned()
    }

    async fn keep(self: Arc<Self>, context: &Context, registry: &Registry) {
        loop {
            if let Err(error) = self.settle(context, registry).await {
                tracing::warn!(%error, "failed to keep APIServices; trying again");
                context.clock.sleep(RETRY).await;
                continue;
            }
            let idle = self.remotes.load().is_empty();
            let pause = if idle { std::future::pending().boxed() } else { context.clock.sleep(PERIOD) };
            tokio::select! {
                () = self.changed.notified() => {}
                () = registry.resources_changed() => {}
                () = pause => {}
            }
        }
    }

    async fn settle(self: &Arc<Self>, context: &Context, registry: &Registry) -> Result<(), Status> {
        let remotes = self.remotes.load_full();
        if !remotes.is_empty() && !self.following.swap(true, Ordering::Relaxed) {
            let (of, sink) = (context.clone(), Arc::new(Endpoints(self.clone())));
            context.tasks.spawn_until_stopped("aggregation endpoints", async move {
                feed(&of, GroupVersionResource::new("", "v1", "services"), sink.clone()).await;
                feed(&of, GroupVersionResource::new("discovery.k8s.io", "v1", "endpointslices"), sink).await;
            });
        }
        let services = self.services.lock().clone();
        register::local(context, &registry.resources(), &services).await?;
        let checks = remotes.iter().map(|remote| remote.check(context));
        futures::future::join_all(checks).await;
        self.openapi.forget();
        check::write(context, &services, &remotes).await
    }
}

/// One APIService.
fn target(name: &str) -> Target {
    Target::all(resource()).named(name)
}
