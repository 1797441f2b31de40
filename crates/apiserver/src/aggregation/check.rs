//! Whether a remote API server can be used, and the condition `Available` that says so (upstream's reasons).

use super::remote::{Remote, ServiceName};
use super::{discovery, openapi, target};
use crate::contract::Context;
use api::common::{items, text};
use api::k8s_openapi::api::core::v1::Service;
use api::k8s_openapi::api::discovery::v1::EndpointSlice;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::k8s_openapi::jiff::Timestamp;
use api::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceCondition};
use api::transport::WriteOptions;
use api::{Kind, Object};
use futures::{StreamExt, TryStreamExt, stream};
use machinery::{GroupResource, Status};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Writes at once.
const PARALLEL: usize = 32;

/// Status, reason and message of the condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) available: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

fn no(reason: &'static str, message: String) -> Verdict {
    Verdict { available: false, reason, message }
}

fn local() -> Verdict {
    let message = "Local APIServices are always available".to_owned();
    Verdict { available: true, reason: "Local", message }
}

impl Remote {
    /// Looks whether the server can be used and, if so, what it says of itself.
    pub(super) async fn check(&self, context: &Context) {
        let verdict = self.verdict(context).await;
        let available = verdict.available;
        self.seen.lock().verdict = Some(verdict);
        if available {
            discovery::refresh(self, context).await;
            openapi::refresh(self, context).await;
        }
        self.set_available(available);
    }

    async fn verdict(&self, context: &Context) -> Verdict {
        if let Some(missing) = self.missing(context).await {
            return missing;
        }
        let path = format!("/apis/{}/{}", self.group, self.version);
        let url = format!("https://{}:{}{path}", self.host(), self.service.port);
        let failed = |why: String| {
            no("FailedDiscoveryCheck", format!("failing or missing response from {url}: {why}"))
        };
        match self.get(context, &path, "application/json").await {
            Ok((code, ..)) if code.is_success() => {
                Verdict { available: true, reason: "Passed", message: "all checks passed".to_owned() }
            }
            Ok((code, ..)) => failed(format!("bad status from {url}: {}", code.as_u16())),
            Err(why) => failed(why),
        }
    }

    /// What of Service and endpoints is not there.
    async fn missing(&self, context: &Context) -> Option<Verdict> {
        let ServiceName { namespace, name, port } = &self.service;
        let storage = GroupResource::new("", Service::PLURAL);
        let service = match context.lookup.get(&storage, namespace, name).await {
            Ok(Some(found)) => found.get::<Service>().ok()?,
            Ok(None) => {
                let message = format!("service/{name} in {namespace:?} is not present");
                return Some(no("ServiceNotFound", message));
            }
            Err(error) => {
                let message = format!("service/{name} in {namespace:?} cannot be checked due to: {error}");
                return Some(no("ServiceAccessError", message));
            }
        };
        let spec = service.spec.as_ref()?;
        let Some(found) = items(&spec.ports).iter().find(|known| known.port == *port) else {
            let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
            return Some(no("ServicePortError", message));
        };
        let storage = GroupResource::new("discovery.k8s.io", EndpointSlice::PLURAL);
        let slices = context.lookup.list(&storage, namespace).await.ok()?;
        let mut any = false;
        for stored in slices {
            let labels = stored.meta().labels.as_ref();
            if labels.and_then(|labels| labels.get("kubernetes.io/service-name")) != Some(name) {
                continue;
            }
            any = true;
            let Ok(slice) = stored.get::<EndpointSlice>() else { continue };
            let named = items(&slice.ports).iter().any(|p| text(&p.name) == text(&found.name));
            let ready = slice.endpoints.iter().flatten().any(|endpoint| {
                let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
                ready && !endpoint.addresses.is_empty()
            });
            if named && ready {
                return None;
            }
        }
        if !any {
            let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
            return Some(no("EndpointsNotFound", message));
        }
        let message = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {:?}",
            text(&found.name)
        );
        Some(no("MissingEndpoints", message))
    }
}

/// The object with another condition; `None` when it has the right one.
fn with_condition(service: &APIService, verdict: &Verdict, now: Timestamp) -> Option<APIService> {
    let status = if verdict.available { "True" } else { "False" };
    let mut changed = service.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    let known = conditions.iter().position(|condition| condition.type_ == "Available");
    let mut since = Some(Time(now));
    if let Some(known) = known.map(|at| &conditions[at]) {
        let same = known.status == status
            && text(&known.reason) == verdict.reason
            && text(&known.message) == verdict.message;
        if same {
            return None;
        }
        if known.status == status {
            since.clone_from(&known.last_transition_time);
        }
    }
    let condition = APIServiceCondition {
        type_: "Available".to_owned(),
        status: status.to_owned(),
        reason: Some(verdict.reason.to_owned()),
        message: Some(verdict.message.clone()),
        last_transition_time: since,
    };
    match known {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    Some(changed)
}

/// Writes the conditions that are not as they should be.
pub(super) async fn write(
    context: &Context,
    services: &BTreeMap<String, Arc<APIService>>,
    remotes: &[Arc<Remote>],
) -> Result<(), Status> {
    let now = crate::authn::service_account::now(context);
    let now = Timestamp::from_second(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut changed = Vec::new();
    for (name, service) in services {
        let verdict = if service.spec.as_ref().is_some_and(|spec| spec.service.is_some()) {
            let remote = remotes.iter().find(|remote| remote.object == *name);
            remote.and_then(|remote| remote.seen.lock().verdict.clone())
        } else {
            Some(local())
        };
        let Some(verdict) = verdict else { continue };
        changed.extend(with_condition(service, &verdict, now));
    }
    let writes = changed.into_iter().map(|service| async move {
        let target = target(text(&service.metadata.name)).sub("status");
        match context.loopback.update(&target, service.to_json().into(), &WriteOptions::default()).await {
            // It changed, which is seen soon.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    });
    stream::iter(writes).buffer_unordered(PARALLEL).try_collect::<()>().await
}
