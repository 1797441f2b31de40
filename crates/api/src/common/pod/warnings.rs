//! What clients are warned of in pods and pod templates: deprecated labels, annotations and volumes, and settings that
//! are taken but do not do what they seem to.

use crate::common::{items, names, text};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::FieldPath;
use std::collections::BTreeSet;

/// Labels of nodes that have a successor: label, since when, successor.
const LABELS: &[(&str, &str, &str)] = &[
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];
/// Volume sources that nothing mounts any more, or soon will not.
const VOLUMES: &[(&str, &str)] = &[
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
];
/// Annotations that fields replaced.
const ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "seccomp.security.alpha.kubernetes.io/pod",
        "non-functional in v1.27+; use the \"seccompProfile\" field instead",
    ),
];
/// Annotations whose last part names a container.
const CONTAINER_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "container.seccomp.security.alpha.kubernetes.io/",
        "non-functional in v1.27+; use the \"seccompProfile\" field instead",
    ),
    (
        "container.apparmor.security.beta.kubernetes.io/",
        "deprecated since v1.30; use the \"appArmorProfile\" field instead",
    ),
];

/// The warning of a label of nodes, if it has a successor.
pub fn node_label(label: &str) -> Option<String> {
    let (_, since, successor) = LABELS.iter().find(|(name, ..)| *name == label)?;
    Some(format!("deprecated since {since}; use {successor:?} instead"))
}

/// The warning of a name that host names are made of.
pub fn host_name(name: &str, what: &str) -> Option<String> {
    let messages = names::dns1123_label(name);
    (!messages.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            messages.join(" ")
        )
    })
}

/// The warnings of a template of `owner`, whose metadata it brings.
pub fn template(template: &PodTemplateSpec, path: &FieldPath) -> Vec<String> {
    let meta = template.metadata.clone().unwrap_or_default();
    let empty = PodSpec::default();
    pod(&meta, template.spec.as_ref().unwrap_or(&empty), path)
}

/// The warnings of a workload: of its name, which its pods' names begin with, and its template. An update that changed
/// nothing has none.
pub fn workload(
    meta: &ObjectMeta,
    old: Option<&ObjectMeta>,
    template: &PodTemplateSpec,
    path: &FieldPath,
) -> Vec<String> {
    if old.is_some_and(|old| old.generation == meta.generation) {
        return Vec::new();
    }
    let of_name = if old.is_none() { host_name(text(&meta.name), "Pod names and hostnames") } else { None };
    of_name.into_iter().chain(self::template(template, path)).collect()
}

/// The warnings of a pod, or of a template at `path`.
pub fn pod(meta: &ObjectMeta, spec: &PodSpec, path: &FieldPath) -> Vec<String> {
    let mut all = Vec::new();
    let at = path.child("metadata").child("annotations");
    for key in meta.annotations.iter().flatten().map(|(key, _)| key) {
        let exact = ANNOTATIONS.iter().find(|(name, _)| name == key);
        let prefixed = || CONTAINER_ANNOTATIONS.iter().find(|(prefix, _)| key.starts_with(prefix));
        if let Some((_, why)) = exact.or_else(prefixed) {
            all.push(format!("{}: {why}", at.key(key)));
        }
    }
    let path = path.child("spec");
    for key in spec.node_selector.iter().flatten().map(|(key, _)| key) {
        if let Some(why) = node_label(key) {
            all.push(format!("{}: {why}", path.child("nodeSelector").key(key)));
        }
    }
    affinity(spec, &path, &mut all);
    for (at, volume) in items(&spec.volumes).iter().enumerate() {
        for source in super::volumes::sources(volume) {
            if let Some((_, why)) = VOLUMES.iter().find(|(name, _)| *name == source) {
                all.push(format!("{}: {why}", path.child("volumes").index(at).child(source)));
            }
        }
    }
    names_of(spec, &path, &mut all);
    containers(spec, &path, &mut all);
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        let at = path.child("terminationGracePeriodSeconds");
        all.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    all
}

fn affinity(spec: &PodSpec, path: &FieldPath, all: &mut Vec<String>) {
    let Some(node) = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref()) else {
        return;
    };
    let path = path.child("affinity").child("nodeAffinity");
    let mut term = |term: &k8s_openapi::api::core::v1::NodeSelectorTerm, at: FieldPath| {
        for (index, expression) in items(&term.match_expressions).iter().enumerate() {
            if let Some(why) = node_label(&expression.key) {
                let at = at.child("matchExpressions").index(index).child("key");
                all.push(format!("{at}: {} is {why}", expression.key));
            }
        }
    };
    if let Some(required) = &node.required_during_scheduling_ignored_during_execution {
        let path = path.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
        for (at, one) in required.node_selector_terms.iter().enumerate() {
            term(one, path.index(at));
        }
    }
    for (at, one) in items(&node.preferred_during_scheduling_ignored_during_execution).iter().enumerate() {
        let path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
        term(&one.preference, path.index(at).child("preference"));
    }
}

fn names_of(spec: &PodSpec, path: &FieldPath, all: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (at, alias) in items(&spec.host_aliases).iter().enumerate() {
        if !seen.insert(&alias.ip) {
            all.push(format!(
                "{}: duplicate ip {:?}",
                path.child("hostAliases").index(at).child("ip"),
                alias.ip
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for (at, secret) in items(&spec.image_pull_secrets).iter().enumerate() {
        let at = path.child("imagePullSecrets").index(at);
        if secret.name.is_empty() {
            all.push(format!("{}: invalid empty name {:?}", at.child("name"), secret.name));
        } else if !seen.insert(&secret.name) {
            all.push(format!("{}: duplicate name {:?}", at.child("name"), secret.name));
        }
    }
}

fn containers(spec: &PodSpec, path: &FieldPath, all: &mut Vec<String>) {
    for (field, list) in
        [("initContainers", items(&spec.init_containers)), ("containers", spec.containers.as_slice())]
    {
        for (at, container) in list.iter().enumerate() {
            let at = path.child(field).index(at);
            let mut seen = BTreeSet::new();
            for (index, variable) in items(&container.env).iter().enumerate() {
                // A variable may well be made of its own earlier value.
                let own = format!("$({})", variable.name);
                if !seen.insert(&variable.name) && !text(&variable.value).contains(&own) {
                    all.push(format!(
                        "{}: hides previous definition of {:?}, which may be dropped when using apply",
                        at.child("env").index(index),
                        variable.name
                    ));
                }
            }
            let Some(resources) = &container.resources else { continue };
            for (what, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
                for name in ["memory", "ephemeral-storage"] {
                    let Some(amount) = amounts.as_ref().and_then(|amounts| amounts.get(name)) else {
                        continue;
                    };
                    if amount.0.ends_with('m') {
                        all.push(format!(
                            "{}: fractional byte value {:?} is invalid, must be an integer",
                            at.child("resources").child(what).key(name),
                            amount.0
                        ));
                    }
                }
            }
        }
    }
}
