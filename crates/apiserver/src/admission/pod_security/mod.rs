//! PodSecurity: the Pod Security Standards, as the labels of a namespace ask for them.
//!
//! Source: "Pod Security Standards" and "Pod Security Admission". Deliberately absent: the rules of
//! earlier versions: every version label means the rules of this one.

mod baseline;
mod exemptions;
mod policy;
mod restricted;
mod violations;

use super::namespace_lifecycle::namespace;
use super::{forbidden, list};
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::common::text;
use api::k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use api::k8s_openapi::api::batch::v1::{CronJob, Job};
use api::k8s_openapi::api::core::v1::{
    Namespace, Pod, PodSpec, PodTemplate, PodTemplateSpec, ReplicationController,
};
use api::{Kind, Object, StoredObject};
use async_trait::async_trait;
use exemptions::Settings;
use machinery::{FieldErrors, GroupKind, Status};
use policy::{Level, Policy};
use serde_json::Value;
use std::sync::Arc;

pub(super) struct PodSecurity {
    context: Context,
    settings: Settings,
}

/// Pods of a namespace that are looked at when its level rises.
const PODS_SHOWN: usize = 3000;

impl PodSecurity {
    pub(super) fn new(context: &Context, configuration: Option<&Value>) -> Result<Self, Status> {
        Ok(Self { context: context.clone(), settings: Settings::read(configuration)? })
    }

    /// Whether the standards do not concern the request; the audit log says why.
    fn exempts(&self, request: &AdmissionRequest, spec: &PodSpec) -> bool {
        let class = text(&spec.runtime_class_name);
        let why = self.settings.exempts(&request.user.name, &request.namespace, class);
        if let Some(why) = why {
            crate::audit::annotate("pod-security.kubernetes.io/exempt", || why.to_owned());
        }
        why.is_some()
    }

    async fn policy(&self, name: &str) -> Result<Policy, Status> {
        let found = namespace(&self.context, name).await?;
        let of =
            |found: Arc<StoredObject>| Policy::with(found.meta().labels.as_ref(), &self.settings.defaults);
        Ok(found.map(of).unwrap_or_default())
    }

    async fn check_pod(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let Some(spec) =
            request.object.as_deref().and_then(|o| o.downcast_ref::<Pod>()).and_then(|p| p.spec.clone())
        else {
            return Ok(());
        };
        let old = request.old.as_deref().and_then(|o| o.downcast_ref::<Pod>()).and_then(|p| p.spec.as_ref());
        if request.operation == Operation::Update && old.is_some_and(|old| !matters(&spec, old)) {
            return Ok(());
        }
        if self.exempts(request, &spec) {
            return Ok(());
        }
        let policy = self.policy(&request.namespace).await?;
        crate::audit::annotate("pod-security.kubernetes.io/enforce-policy", || policy.enforce.to_string());
        let broken = violations(&policy.enforce.level, &spec);
        if !broken.is_empty() {
            return Err(forbidden(request, format!("violates PodSecurity \"{}\": {broken}", policy.enforce)));
        }
        warn(request, &policy, &spec);
        Ok(())
    }

    async fn check_workload(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let Some(spec) = request.object.as_deref().and_then(template).and_then(|t| t.spec.clone()) else {
            return Ok(());
        };
        let old = request.old.as_deref().and_then(template).and_then(|t| t.spec.as_ref());
        if old == Some(&spec) || self.exempts(request, &spec) {
            return Ok(());
        }
        let policy = self.policy(&request.namespace).await?;
        warn(request, &policy, &spec);
        Ok(())
    }

    async fn check_namespace(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let Some(new) = request.object.as_deref().and_then(|o| o.downcast_ref::<Namespace>()) else {
            return Ok(());
        };
        let old = request.old.as_deref().and_then(|o| o.downcast_ref::<Namespace>());
        let mut errors = FieldErrors::new();
        policy::validate(new.metadata.labels.as_ref(), &mut errors);
        let before = old
            .map(|old| Policy::with(old.metadata.labels.as_ref(), &self.settings.defaults))
            .unwrap_or_default();
        if !errors.is_empty() {
            // What was wrong before may stay, so that the rest of the namespace can be changed.
            let unchanged = old.is_some_and(|old| old.metadata.labels == new.metadata.labels);
            let kind = GroupKind::new("", Namespace::KIND);
            return if unchanged { Ok(()) } else { Err(Status::invalid(&kind, &request.name, &errors)) };
        }
        let policy = Policy::with(new.metadata.labels.as_ref(), &self.settings.defaults);
        let exempt = self.settings.exempts("", text(&new.metadata.name), "").is_some();
        if request.operation != Operation::Update || policy.enforce.level <= before.enforce.level || exempt {
            return Ok(());
        }
        let warnings = self.existing(text(&new.metadata.name), &policy).await?;
        request.warnings.extend(warnings);
        Ok(())
    }

    /// Warnings about pods that would not be admitted any more.
    async fn existing(&self, namespace: &str, policy: &Policy) -> Result<Vec<String>, Status> {
        let mut found: Vec<(String, String, usize)> = Vec::new();
        for pod in list::<Pod>(&self.context, namespace).await?.iter().take(PODS_SHOWN) {
            let Some(spec) = &pod.spec else { continue };
            let broken = violations(&policy.enforce.level, spec);
            if broken.is_empty() {
                continue;
            }
            let reasons = broken.reasons();
            match found.iter_mut().find(|(_, known, _)| *known == reasons) {
                Some((_, _, more)) => *more += 1,
                None => found.push((text(&pod.metadata.name).to_owned(), reasons, 0)),
            }
        }
        if found.is_empty() {
            return Ok(found.into_iter().map(|(name, ..)| name).collect());
        }
        let mut warnings = vec![format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{}\"",
            policy.enforce
        )];
        warnings.extend(found.into_iter().map(|(name, reasons, more)| match more {
            0 => format!("{name}: {reasons}"),
            1 => format!("{name} (and 1 other pod): {reasons}"),
            more => format!("{name} (and {more} other pods): {reasons}"),
        }));
        Ok(warnings)
    }
}

#[async_trait]
impl Admission for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        match (request.def.plural.as_ref(), request.subresource.as_ref()) {
            ("pods", "" | "ephemeralcontainers") => self.check_pod(request).await,
            ("namespaces", "") => self.check_namespace(request).await,
            (_, "") => self.check_workload(request).await,
            _ => Ok(()),
        }
    }
}

/// What breaks `level`.
fn violations(level: &Level, spec: &PodSpec) -> violations::Violations {
    let mut found = violations::Violations::default();
    if *level >= Level::Baseline {
        baseline::check(spec, *level, &mut found);
    }
    if *level >= Level::Restricted {
        restricted::check(spec, &mut found);
    }
    found
}

fn warn(request: &mut AdmissionRequest, policy: &Policy, spec: &PodSpec) {
    let broken = violations(&policy.warn.level, spec);
    if !broken.is_empty() {
        request.warnings.push(format!("would violate PodSecurity \"{}\": {broken}", policy.warn));
    }
    let audited = violations(&policy.audit.level, spec);
    if !audited.is_empty() {
        crate::audit::annotate("pod-security.kubernetes.io/audit-violations", || {
            format!("would violate PodSecurity \"{}\": {audited}", policy.audit)
        });
    }
}

/// Whether an update changes anything but what may change without being judged again.
fn matters(new: &PodSpec, old: &PodSpec) -> bool {
    let strip = |spec: &PodSpec| {
        let mut spec = spec.clone();
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            container.image = None;
            container.resources = None;
        }
        spec.active_deadline_seconds = None;
        spec.tolerations = None;
        spec.scheduling_gates = None;
        spec.node_name = None;
        spec.termination_grace_period_seconds = None;
        spec
    };
    strip(new) != strip(old)
}

fn template(object: &dyn Object) -> Option<&PodTemplateSpec> {
    macro_rules! of {
        ($($kind:ty),+) => { $(
            if let Some(object) = object.downcast_ref::<$kind>() {
                return object.spec.as_ref().map(|spec| &spec.template);
            }
        )+ };
    }
    of!(DaemonSet, Deployment, Job, StatefulSet);
    if let Some(set) = object.downcast_ref::<ReplicaSet>() {
        return set.spec.as_ref()?.template.as_ref();
    }
    if let Some(controller) = object.downcast_ref::<ReplicationController>() {
        return controller.spec.as_ref()?.template.as_ref();
    }
    if let Some(template) = object.downcast_ref::<PodTemplate>() {
        return template.template.as_ref();
    }
    let cron = object.downcast_ref::<CronJob>()?;
    cron.spec.job_template.spec.as_ref().map(|spec| &spec.template)
}

#[cfg(test)]
mod tests;
