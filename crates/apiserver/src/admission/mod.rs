//! Admission plugins: one file each, and a row in [`ROWS`], which stands in upstream's order and says which run
//! by default.
//!
//! Deliberately absent: what belongs to a kind itself (its validation in `api`).

mod certificates;
mod configuration;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod event_rate_limit;
mod limit_ranger;
mod namespace_lifecycle;
pub(crate) mod node_restriction;
mod optional;
mod owner_references;
mod pod_node_selector;
mod pod_security;
mod pod_tolerations;
pub(crate) mod policy;
mod priority;
mod resource_quota;
mod runtime_class;
mod selection;
mod service_account;
mod storage_protection;
mod taint_nodes;
mod volume_claim_resize;
mod webhook;

pub(crate) use namespace_lifecycle::namespace as namespace_of;
pub(crate) use webhook::post as post_webhook;

use crate::authz::rbac::escalation::EscalationCheck;
use crate::contract::{Admission, AdmissionRequest, Context};
use crate::crd::CleanupFinalizer;
use api::k8s_openapi::api::core::v1::Pod;
use api::{Kind, StoredObject};
use machinery::{GroupResource, Status};
use serde_json::Value;
use std::sync::Arc;

/// A plugin of the table.
struct Row {
    name: &'static str,
    default: bool,
    make: Make,
}

/// How a plugin is made.
enum Make {
    Plain(fn(&Context) -> Arc<dyn Admission>),
    /// With its part of `--admission-control-config-file`.
    Configured(Configured),
}

type Configured = fn(&Context, Option<&Value>) -> Result<Arc<dyn Admission>, Status>;

const fn on(name: &'static str, make: fn(&Context) -> Arc<dyn Admission>) -> Row {
    Row { name, default: true, make: Make::Plain(make) }
}

const fn off(name: &'static str, make: fn(&Context) -> Arc<dyn Admission>) -> Row {
    Row { name, default: false, make: Make::Plain(make) }
}

const fn configured(name: &'static str, default: bool, make: Configured) -> Row {
    Row { name, default, make: Make::Configured(make) }
}

/// Every plugin, in the order in which they run.
const ROWS: &[Row] = &[
    off("AlwaysAdmit", |_| Arc::new(optional::AlwaysAdmit)),
    off("NamespaceAutoProvision", |c| Arc::new(optional::NamespaceAutoProvision(c.clone()))),
    on("NamespaceLifecycle", |c| Arc::new(namespace_lifecycle::NamespaceLifecycle(c.clone()))),
    off("NamespaceExists", |c| Arc::new(optional::NamespaceExists(c.clone()))),
    off("LimitPodHardAntiAffinityTopology", |_| Arc::new(optional::LimitPodHardAntiAffinityTopology)),
    on("LimitRanger", |c| Arc::new(limit_ranger::LimitRanger(c.clone()))),
    on("ServiceAccount", |c| Arc::new(service_account::ServiceAccounts(c.clone()))),
    on("NodeRestriction", |c| Arc::new(node_restriction::NodeRestriction(c.clone()))),
    on("TaintNodesByCondition", |_| Arc::new(taint_nodes::TaintNodesByCondition)),
    off("AlwaysPullImages", |_| Arc::new(optional::AlwaysPullImages)),
    configured("PodSecurity", true, |c, with| Ok(Arc::new(pod_security::PodSecurity::new(c, with)?))),
    configured("PodNodeSelector", false, |c, with| {
        Ok(Arc::new(pod_node_selector::PodNodeSelector::new(c, with)?))
    }),
    on("Priority", |c| Arc::new(priority::Priority(c.clone()))),
    on("DefaultTolerationSeconds", |_| Arc::new(default_toleration_seconds::DefaultTolerationSeconds)),
    configured("PodTolerationRestriction", false, |c, with| {
        Ok(Arc::new(pod_tolerations::PodTolerations::new(c, with)))
    }),
    configured("EventRateLimit", false, |c, with| {
        Ok(Arc::new(event_rate_limit::EventRateLimit::new(c, with)?))
    }),
    off("ExtendedResourceToleration", |_| Arc::new(optional::ExtendedResourceToleration)),
    on("DefaultStorageClass", |c| Arc::new(default_storage_class::DefaultStorageClass(c.clone()))),
    on("StorageObjectInUseProtection", |_| Arc::new(storage_protection::StorageObjectInUseProtection)),
    off("OwnerReferencesPermissionEnforcement", |c| Arc::new(owner_references::OwnerReferences(c.clone()))),
    on("PersistentVolumeClaimResize", |c| Arc::new(volume_claim_resize::ClaimResize(c.clone()))),
    on("RuntimeClass", |c| Arc::new(runtime_class::RuntimeClasses(c.clone()))),
    on("CertificateApproval", |c| Arc::new(certificates::CertificateApproval(c.clone()))),
    on("CertificateSigning", |c| Arc::new(certificates::CertificateSigning(c.clone()))),
    on("CertificateSubjectRestriction", |_| Arc::new(certificates::CertificateSubjectRestriction)),
    on("DefaultIngressClass", |c| Arc::new(default_ingress_class::DefaultIngressClass(c.clone()))),
    off("DenyServiceExternalIPs", |_| Arc::new(optional::DenyServiceExternalIps)),
    on("MutatingAdmissionPolicy", |c| Arc::new(policy::Mutating::new(c))),
    on("MutatingAdmissionWebhook", |c| Arc::new(webhook::Mutating(c.clone()))),
    on("ValidatingAdmissionPolicy", |c| Arc::new(policy::Validating::new(c))),
    on("ValidatingAdmissionWebhook", |c| Arc::new(webhook::Validating(c.clone()))),
    on("ResourceQuota", |c| Arc::new(resource_quota::ResourceQuotas::new(c))),
    off("AlwaysDeny", |_| Arc::new(optional::AlwaysDeny)),
];

/// Plugins of upstream that do not exist here yet; asking for them is an error, leaving them out is not.
const MISSING: &[&str] =
    &["ClusterTrustBundleAttest", "ImagePolicyWebhook", "NodeDeclaredFeatureValidator", "PodTopologyLabels"];

/// The configured plugins in order, what upstream's registries do themselves first.
///
/// Fails when the configuration names a plugin that is not known.
pub fn chain(context: &Context) -> Result<Vec<Arc<dyn Admission>>, Status> {
    let (enable, disable) = (&context.config.enable_admission, &context.config.disable_admission);
    for name in enable.iter().chain(disable) {
        let known = ROWS.iter().any(|row| row.name == name);
        let missing = MISSING.contains(&name.as_str());
        if !known && !missing {
            return Err(Status::bad_request(format!(
                "failed to start admission: {name:?} is not an admission plugin; see --help for their names"
            )));
        }
        if missing && enable.contains(name) {
            return Err(Status::not_supported(format!("the admission plugin {name}")));
        }
    }
    let mut chain: Vec<Arc<dyn Admission>> =
        vec![Arc::new(EscalationCheck(context.clone())), Arc::new(CleanupFinalizer)];
    let wanted = |row: &&Row| {
        let listed = |list: &[String]| list.iter().any(|name| name == row.name);
        (row.default || listed(enable)) && !listed(disable)
    };
    let configurations = configuration::Configurations::read(context.config.admission_config.as_deref())?;
    for row in ROWS.iter().filter(wanted) {
        chain.push(match row.make {
            Make::Plain(make) => make(context),
            Make::Configured(make) => make(context, configurations.of(row.name))?,
        });
    }
    Ok(chain)
}

/// The pod that a request is about, not one of its subresources.
fn pod(request: &AdmissionRequest) -> Option<&Pod> {
    if !request.is("", "pods") {
        return None;
    }
    request.object.as_deref()?.downcast_ref()
}

/// The same, to change.
fn pod_mut(request: &mut AdmissionRequest) -> Option<&mut Pod> {
    if !request.is("", "pods") {
        return None;
    }
    request.object.as_deref_mut()?.downcast_mut()
}

/// 403 about the object of a request.
fn forbidden(request: &AdmissionRequest, why: impl std::fmt::Display) -> Status {
    Status::forbidden(&request.group_resource(), &request.name, why)
}

/// One object of a kind from the cache.
async fn find<K: Kind>(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<(Arc<StoredObject>, Arc<K>)>, Status> {
    let storage = GroupResource::new(K::GROUP, K::PLURAL);
    let Some(stored) = context.lookup.get(&storage, namespace, name).await? else { return Ok(None) };
    let typed = stored.get::<K>().map_err(Status::internal)?;
    Ok(Some((stored, typed)))
}

/// All objects of a kind from the cache.
async fn list<K: Kind>(context: &Context, namespace: &str) -> Result<Vec<Arc<K>>, Status> {
    let storage = GroupResource::new(K::GROUP, K::PLURAL);
    let all = context.lookup.list(&storage, namespace).await?;
    all.iter().map(|object| object.get::<K>().map_err(Status::internal)).collect()
}
