//! `v1` Pod: defaults of bare pods, initial status, printing. What templates share is in
//! [`common::pod`](crate::common::pod); what updates may change is in `update`, subresources of the spec in
//! [`partial`].
//!
//! Deliberately absent: priority, tolerations and service accounts, which admission sets.

mod create;
pub mod partial;
mod print;
#[cfg(test)]
mod tests;
mod update;

use crate::common::pod::warnings;
use crate::common::{items, text};
use crate::{Column, ResourceDef, Rules, Verb, meta};
use k8s_openapi::api::core::v1::{Pod, PodIP, PodStatus};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath, GroupVersionKind};
use serde_json::Value;

crate::kind!(Pod);

impl Rules for Pod {
    fn set_defaults(&mut self) {
        create::defaults(self);
    }

    fn prepare_create(&mut self) {
        create::prepare(self);
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        crate::common::next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        let (labels, annotations) = (self.metadata.labels.take(), self.metadata.annotations.take());
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
        // Agents label and annotate pods through their status.
        self.metadata.labels = labels;
        self.metadata.annotations = annotations;
        let qos = old.status.as_ref().and_then(|status| status.qos_class.clone());
        let status = self.status.get_or_insert_default();
        if text(&status.qos_class).is_empty() {
            status.qos_class = qos;
        }
        mirror_ip(status);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        create::validate(self, errors);
        let spec = self.spec.as_ref();
        if spec.is_some_and(|spec| !items(&spec.ephemeral_containers).is_empty()) {
            errors.forbidden(FieldPath::new("spec").child("ephemeralContainers"), "cannot be set on create");
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        create::validate(self, errors);
        update::validate(self, old, errors);
    }

    fn validate_status_update(&self, old: &Self, errors: &mut FieldErrors) {
        update::validate_status(self, old, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        // Who ends or reports on a pod did not write it.
        if self.metadata.deletion_timestamp.is_some() || old.is_some_and(|old| old.spec == self.spec) {
            return Vec::new();
        }
        let Some(spec) = &self.spec else { return Vec::new() };
        let name = text(&self.metadata.name);
        let of_name = if old.is_none() { warnings::host_name(name, "the Pod's hostname") } else { None };
        of_name.into_iter().chain(warnings::pod(&self.metadata, spec, &FieldPath::root())).collect()
    }

    fn columns() -> Vec<Column> {
        print::columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        print::cells(self, now)
    }
}

/// Keeps `podIP` and `podIPs` alike: the first of the list is the one; a lone one makes the list.
fn mirror_ip(status: &mut PodStatus) {
    let single = text(&status.pod_ip);
    let first = items(&status.pod_ips).first().map(|ip| ip.ip.as_str()).unwrap_or_default();
    if !single.is_empty() && first != single {
        status.pod_ips = Some(vec![PodIP { ip: single.to_owned() }]);
    } else if single.is_empty() && !first.is_empty() {
        status.pod_ip = Some(first.to_owned());
    }
}

/// The resource `pods`.
pub fn def() -> ResourceDef {
    const CONNECT: &[Verb] = &[Verb::Create, Verb::Get];
    const PROXY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
    const PARTIAL: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];
    let core = |kind: &'static str| Some(GroupVersionKind::new("", "v1", kind));
    let eviction = Some(GroupVersionKind::new("policy", "v1", "Eviction"));
    ResourceDef::of::<Pod>()
        .short(&["po"])
        .category("all")
        .subresource("attach", core("PodAttachOptions"), CONNECT)
        .subresource("binding", core("Binding"), &[Verb::Create])
        .subresource("ephemeralcontainers", None, PARTIAL)
        .subresource("eviction", eviction, &[Verb::Create])
        .subresource("exec", core("PodExecOptions"), CONNECT)
        .subresource("log", None, &[Verb::Get])
        .subresource("portforward", core("PodPortForwardOptions"), CONNECT)
        .subresource("proxy", core("PodProxyOptions"), PROXY)
        .subresource("resize", None, PARTIAL)
        .status()
        .select::<Pod>("spec.nodeName", |pod| spec(pod, |s| text(&s.node_name).to_owned()))
        .select::<Pod>("spec.restartPolicy", |pod| spec(pod, |s| text(&s.restart_policy).to_owned()))
        .select::<Pod>("spec.schedulerName", |pod| spec(pod, |s| text(&s.scheduler_name).to_owned()))
        .select::<Pod>("spec.serviceAccountName", |pod| {
            spec(pod, |s| text(&s.service_account_name).to_owned())
        })
        .select::<Pod>("spec.hostNetwork", |pod| {
            spec(pod, |s| s.host_network.unwrap_or_default().to_string())
        })
        .select::<Pod>("status.phase", |pod| status(pod, |s| text(&s.phase).to_owned()))
        .select::<Pod>("status.podIP", |pod| status(pod, |s| text(&s.pod_ip).to_owned()))
        .select::<Pod>("status.podIPs", |pod| status(pod, |s| text(&s.pod_ip).to_owned()))
        .select::<Pod>("status.nominatedNodeName", |pod| {
            status(pod, |s| text(&s.nominated_node_name).to_owned())
        })
}

fn spec(pod: &Pod, get: impl FnOnce(&k8s_openapi::api::core::v1::PodSpec) -> String) -> String {
    pod.spec.as_ref().map(get).unwrap_or_default()
}

fn status(pod: &Pod, get: impl FnOnce(&PodStatus) -> String) -> String {
    pod.status.as_ref().map(get).unwrap_or_default()
}
