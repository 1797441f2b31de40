//! Namespace, names, labels, annotations, replicas and images.

use super::fields::{containers, template, visit};
use super::patches::{self, When};
use super::resource::Resource;
use crate::error::{Result, fail};
use serde_json::{Map, Value};
use std::path::Path;

/// Kinds whose names mean something elsewhere and get no prefix.
const NAMED: &[&str] = &["Namespace", "CustomResourceDefinition", "APIService"];

/// Changes everything as a kustomization's fields say, in kustomize's order.
pub(super) fn run(file: &Value, all: &mut [Resource], root: &Path) -> Result<()> {
    if let Some(namespace) = file["namespace"].as_str().filter(|name| !name.is_empty()) {
        all.iter_mut().for_each(|resource| set_namespace(resource, namespace));
    }
    let (prefix, suffix) =
        (file["namePrefix"].as_str().unwrap_or_default(), file["nameSuffix"].as_str().unwrap_or_default());
    if !prefix.is_empty() || !suffix.is_empty() {
        for resource in all.iter_mut().filter(|resource| !NAMED.contains(&resource.kind())) {
            let name = format!("{prefix}{}{suffix}", resource.name());
            resource.rename(name);
        }
    }
    for entry in file["labels"].as_array().into_iter().flatten() {
        let selectors = entry["includeSelectors"] == true;
        let templates = selectors || entry["includeTemplates"] == true;
        labels(all, &entry["pairs"], selectors, templates);
    }
    labels(all, &file["commonLabels"], true, true);
    annotations(all, &file["commonAnnotations"]);
    patches::change(root, file, all, When::Late)?;
    for entry in file["replicas"].as_array().into_iter().flatten() {
        replicas(all, entry)?;
    }
    for entry in file["images"].as_array().into_iter().flatten() {
        for resource in all.iter_mut().filter(|resource| resource.kind() != "CustomResourceDefinition") {
            containers(&mut resource.value, 0, &mut |container| {
                if let Some(image) = container["image"].as_str().and_then(|old| image(old, entry)) {
                    container["image"] = image.into();
                }
            });
        }
    }
    Ok(())
}

fn set_namespace(resource: &mut Resource, namespace: &str) {
    if resource.kind() == "Namespace" {
        return resource.rename(namespace.to_owned());
    }
    if resource.is_namespaced() && resource.namespace() != namespace {
        resource.remember();
        resource.value["metadata"]["namespace"] = namespace.into();
    }
    if ["RoleBinding", "ClusterRoleBinding"].contains(&resource.kind()) {
        for subject in resource.value["subjects"].as_array_mut().into_iter().flatten() {
            if subject["kind"] == "ServiceAccount" && subject["name"] == "default" {
                subject["namespace"] = namespace.into();
            }
        }
    }
}

fn put(value: &mut Value, path: &str, create: bool, pairs: &Map<String, Value>) {
    visit(value, path, create, &mut |map| {
        if let Some(map) = map.as_object_mut() {
            map.extend(pairs.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
    });
}

/// Selectors of a kind, and whether one is made where there is none.
fn selectors(kind: &str) -> &'static [(&'static str, bool)] {
    match kind {
        "Service" | "ReplicationController" => &[("spec/selector", true)],
        "Deployment" => &[
            ("spec/selector/matchLabels", true),
            (
                "spec/template/spec/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels",
                false,
            ),
            (
                "spec/template/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels",
                false,
            ),
            (
                "spec/template/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels",
                false,
            ),
            (
                "spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels",
                false,
            ),
            ("spec/template/spec/topologySpreadConstraints/labelSelector/matchLabels", false),
        ],
        "StatefulSet" => &[
            ("spec/selector/matchLabels", true),
            (
                "spec/template/spec/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels",
                false,
            ),
            (
                "spec/template/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels",
                false,
            ),
            (
                "spec/template/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels",
                false,
            ),
            (
                "spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels",
                false,
            ),
            ("spec/template/spec/topologySpreadConstraints/labelSelector/matchLabels", false),
        ],
        "ReplicaSet" | "DaemonSet" => &[("spec/selector/matchLabels", true)],
        "Job" | "PodDisruptionBudget" => &[("spec/selector/matchLabels", false)],
        "CronJob" => &[("spec/jobTemplate/spec/selector/matchLabels", false)],
        "NetworkPolicy" => &[
            ("spec/podSelector/matchLabels", false),
            ("spec/ingress/from/podSelector/matchLabels", false),
            ("spec/egress/to/podSelector/matchLabels", false),
        ],
        _ => &[],
    }
}

fn labels(all: &mut [Resource], pairs: &Value, with_selectors: bool, with_templates: bool) {
    let Some(pairs) = pairs.as_object().filter(|pairs| !pairs.is_empty()) else { return };
    for resource in all {
        let kind = resource.kind().to_owned();
        let value = &mut resource.value;
        put(value, "metadata/labels", true, pairs);
        if with_templates {
            metadata_of_templates(value, &kind, "labels", pairs);
            if kind == "StatefulSet" {
                put(value, "spec/volumeClaimTemplates/metadata/labels", true, pairs);
            }
        }
        if with_selectors {
            for (path, create) in selectors(&kind) {
                put(value, path, *create, pairs);
            }
        }
    }
}

fn metadata_of_templates(value: &mut Value, kind: &str, field: &str, pairs: &Map<String, Value>) {
    let Some(path) = template(kind) else { return };
    if kind == "CronJob" {
        put(value, &format!("spec/jobTemplate/metadata/{field}"), true, pairs);
    }
    put(value, &format!("{path}/metadata/{field}"), true, pairs);
}

fn annotations(all: &mut [Resource], pairs: &Value) {
    let Some(pairs) = pairs.as_object().filter(|pairs| !pairs.is_empty()) else { return };
    for resource in all {
        let kind = resource.kind().to_owned();
        put(&mut resource.value, "metadata/annotations", true, pairs);
        metadata_of_templates(&mut resource.value, &kind, "annotations", pairs);
    }
}

fn replicas(all: &mut [Resource], entry: &Value) -> Result<()> {
    let name = entry["name"].as_str().unwrap_or_default();
    let mut found = false;
    for resource in all.iter_mut().filter(|resource| resource.was_called(name, None)) {
        if ["Deployment", "ReplicationController", "ReplicaSet", "StatefulSet"].contains(&resource.kind()) {
            resource.value["spec"]["replicas"] = entry["count"].clone();
            found = true;
        }
    }
    if found {
        Ok(())
    } else {
        fail(format!("resource with name {name} does not match a config with a count of replicas"))
    }
}

/// An image after a change; `None` if the change is about another.
fn image(old: &str, entry: &Value) -> Option<String> {
    let (rest, digest) = old.split_once('@').map_or((old, None), |(rest, digest)| (rest, Some(digest)));
    let path = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[path..].find(':') {
        Some(colon) => (&rest[..path + colon], Some(&rest[path + colon + 1..])),
        None => (rest, None),
    };
    if name != entry["name"].as_str()? {
        return None;
    }
    let word = |field: &str| entry[field].as_str().filter(|text| !text.is_empty());
    let number = |field: &str| {
        word(field).map(str::to_owned).or_else(|| entry[field].as_i64().map(|tag| tag.to_string()))
    };
    let (new_tag, new_digest) = (number("newTag"), word("digest"));
    let name = word("newName").unwrap_or(name);
    let (tag, digest) = match (&new_tag, new_digest) {
        (None, None) => (tag.map(str::to_owned), digest),
        (tag, digest) => (tag.clone(), digest),
    };
    let tag = match (tag, word("tagSuffix")) {
        (Some(tag), Some(suffix)) => Some(tag + suffix),
        (tag, _) => tag,
    };
    let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
    Some(format!("{name}{tag}{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn images_are_changed_part_by_part() {
        let rows = [
            ("nginx:1", json!({"name": "nginx", "newTag": "2"}), Some("nginx:2")),
            ("r:5000/a/nginx", json!({"name": "r:5000/a/nginx", "newTag": "2"}), Some("r:5000/a/nginx:2")),
            ("nginx:1", json!({"name": "nginx", "newName": "x/y"}), Some("x/y:1")),
            ("nginx@sha256:a", json!({"name": "nginx", "newTag": "2"}), Some("nginx:2")),
            ("nginx:1", json!({"name": "nginx", "digest": "sha256:b"}), Some("nginx@sha256:b")),
            ("nginx:1", json!({"name": "ngin", "newTag": "2"}), None),
        ];
        for (old, entry, expected) in rows {
            assert_eq!(image(old, &entry).as_deref(), expected, "{old} {entry}");
        }
    }
}
