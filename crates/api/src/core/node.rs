//! `v1` Node: taints, addresses of pods, and the row that tells its state and roles.

use crate::common::pod::scheduling::taint_effect;
use crate::common::print::or_none;
use crate::common::{amounts, conditions, items, names, net, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, Verb, meta};
use k8s_openapi::api::core::v1::{Node, NodeSpec};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath, GroupVersionKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;

crate::kind!(Node);

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE: &str = "kubernetes.io/role";

impl Rules for Node {
    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        // The first of the list and the lone field mirror each other.
        match (&spec.pod_cidr, items(&spec.pod_cidrs).first()) {
            (Some(one), None) if !one.is_empty() => spec.pod_cidrs = Some(vec![one.clone()]),
            (None, Some(first)) => spec.pod_cidr = Some(first.clone()),
            _ => {}
        }
        if let Some(status) = &mut self.status {
            amounts::normalize_all([&mut status.capacity, &mut status.allocatable]);
            if status.allocatable.is_none() {
                status.allocatable.clone_from(&status.capacity);
            }
        }
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        let (labels, annotations) = (self.metadata.labels.take(), self.metadata.annotations.take());
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
        // Agents annotate nodes through their status.
        self.metadata.labels = labels;
        self.metadata.annotations = annotations;
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        if let Some(spec) = &self.spec {
            validate_spec(spec, errors);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        let empty = NodeSpec::default();
        let (new, was) = (self.spec.as_ref().unwrap_or(&empty), old.spec.as_ref().unwrap_or(&empty));
        let path = FieldPath::new("spec");
        if !items(&was.pod_cidrs).is_empty() && was.pod_cidrs != new.pod_cidrs {
            errors.forbidden(
                path.child("podCIDRs"),
                "node updates may not change podCIDR except from \"\" to valid",
            );
        }
        if !text(&was.provider_id).is_empty() && text(&was.provider_id) != text(&new.provider_id) {
            errors.forbidden(
                path.child("providerID"),
                "node updates may not change providerID except from \"\" to valid",
            );
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Status", "string", "Whether the node is ready for pods."),
            Column::new("Roles", "string", "What the node is for."),
            Column::age(),
            Column::new("Version", "string", "Version of the kubelet."),
            Column::new("Internal-IP", "string", "Address within the cluster.").wide(),
            Column::new("External-IP", "string", "Address from outside.").wide(),
            Column::new("OS-Image", "string", "Operating system.").wide(),
            Column::new("Kernel-Version", "string", "Version of the kernel.").wide(),
            Column::new("Container-Runtime", "string", "Container runtime and its version.").wide(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let status = self.status.as_ref();
        let info = status.and_then(|status| status.node_info.as_ref());
        let unknown = |value: Option<&String>| match value.map(String::as_str) {
            None | Some("") => json!("<unknown>"),
            Some(value) => json!(value),
        };
        let address = |kind: &str| {
            let addresses = status.map(|status| items(&status.addresses)).unwrap_or_default();
            addresses.iter().find(|a| a.type_ == kind).map(|a| a.address.as_str()).unwrap_or_default()
        };
        vec![
            name_cell(self),
            json!(state(self)),
            or_none(&roles(self)),
            age_cell(self, now),
            json!(info.map(|info| info.kubelet_version.as_str()).unwrap_or_default()),
            or_none(address("InternalIP")),
            or_none(address("ExternalIP")),
            unknown(info.map(|info| &info.os_image)),
            unknown(info.map(|info| &info.kernel_version)),
            unknown(info.map(|info| &info.container_runtime_version)),
        ]
    }
}

/// `Ready` or `NotReady`, and whether pods may be scheduled.
fn state(node: &Node) -> String {
    let conditions = node.status.as_ref().map(|status| &status.conditions);
    let ready = conditions.and_then(|conditions| conditions::find(conditions, "Ready"));
    let mut words = vec![match ready.map(|condition| condition.status.as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        words.push("SchedulingDisabled");
    }
    words.join(",")
}

fn roles(node: &Node) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in node.metadata.labels.iter().flatten() {
        match key.strip_prefix(ROLE_PREFIX) {
            Some(role) if !role.is_empty() => roles.insert(role),
            None if key == ROLE && !value.is_empty() => roles.insert(value.as_str()),
            _ => false,
        };
    }
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn validate_spec(spec: &NodeSpec, errors: &mut FieldErrors) {
    let path = FieldPath::new("spec");
    let mut seen = BTreeSet::new();
    for (at, taint) in items(&spec.taints).iter().enumerate() {
        let at = path.child("taints").index(at);
        names::report(at.child("key"), &taint.key, names::qualified_name(&taint.key), errors);
        let value = text(&taint.value);
        let messages = names::label_value(value);
        if !messages.is_empty() {
            errors.invalid(at.child("value"), value, messages.join(";"));
        }
        taint_effect(&taint.effect, at.child("effect"), errors);
        if !seen.insert((&taint.key, &taint.effect)) {
            errors.duplicate(at, json!({"key": taint.key, "effect": taint.effect}));
        }
    }
    for (at, cidr) in items(&spec.pod_cidrs).iter().enumerate() {
        net::cidr(cidr, path.child("podCIDRs").index(at), errors);
    }
}

/// The resource `nodes`.
pub fn def() -> ResourceDef {
    let proxy = [Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
    ResourceDef::of::<Node>()
        .short(&["no"])
        .subresource("proxy", Some(GroupVersionKind::new("", "v1", "NodeProxyOptions")), &proxy)
        .status()
        .select::<Node>("spec.unschedulable", |node| {
            let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable);
            unschedulable.unwrap_or_default().to_string()
        })
}
