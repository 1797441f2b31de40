//! Environment variables, and the references to fields and resources that volumes share with them.

use crate::common::{amounts, items, names, text};
use k8s_openapi::api::core::v1::*;
use machinery::{FieldErrors, FieldPath};

/// Pod fields that environment variables may take.
pub(super) const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Pod fields that downward API files may take.
pub(super) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Pod fields that can be named at all.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.nominatedNodeName",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const ONE_SOURCE: &str = "may not have more than one field specified at a time";

/// Reports bad variables.
pub(super) fn validate(vars: &Option<Vec<EnvVar>>, path: &FieldPath, errors: &mut FieldErrors) {
    for (at, var) in items(vars).iter().enumerate() {
        let at = path.index(at);
        if var.name.is_empty() {
            errors.required(at.child("name"), "");
        } else {
            names::report(at.child("name"), &var.name, names::env_var_name(&var.name), errors);
        }
        if let Some(source) = &var.value_from {
            value_from(source, !text(&var.value).is_empty(), &at.child("valueFrom"), errors);
        }
    }
}

fn value_from(source: &EnvVarSource, has_value: bool, path: &FieldPath, errors: &mut FieldErrors) {
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        object_field(field, ENV_FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = &source.resource_field_ref {
        sources += 1;
        resource_field(resource, false, &path.child("resourceFieldRef"), errors);
    }
    if let Some(key) = &source.config_map_key_ref {
        sources += 1;
        config_key(&key.key, path.child("configMapKeyRef").child("key"), errors);
    }
    if let Some(key) = &source.secret_key_ref {
        sources += 1;
        config_key(&key.key, path.child("secretKeyRef").child("key"), errors);
    }
    sources += usize::from(source.file_key_ref.is_some());
    if sources == 0 {
        errors.invalid(
            path.clone(),
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if has_value {
        errors.invalid(path.clone(), "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(path.clone(), "", ONE_SOURCE);
    }
}

fn config_key(key: &str, path: FieldPath, errors: &mut FieldErrors) {
    if key.is_empty() {
        errors.required(path, "");
    } else {
        names::report(path, key, names::config_map_key(key), errors);
    }
}

/// Reports bad sources of whole sets of variables.
pub(super) fn validate_from(list: &Option<Vec<EnvFromSource>>, path: &FieldPath, errors: &mut FieldErrors) {
    for (at, source) in items(list).iter().enumerate() {
        let at = path.index(at);
        let prefix = text(&source.prefix);
        if !prefix.is_empty() {
            names::report(at.child("prefix"), prefix, names::env_var_name(prefix), errors);
        }
        let refs = [
            ("configMapRef", source.config_map_ref.as_ref().map(|r| &r.name)),
            ("secretRef", source.secret_ref.as_ref().map(|r| &r.name)),
        ];
        for (field, name) in refs {
            if name.is_some_and(String::is_empty) {
                errors.required(at.child(field).child("name"), "");
            }
        }
        match refs.iter().filter(|(_, name)| name.is_some()).count() {
            0 => errors.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(at, "", ONE_SOURCE),
        }
    }
}

/// Splits `metadata.labels['key']` into path and key.
fn subscript(path: &str) -> (&str, Option<&str>) {
    match path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        Some((path, key)) => (path, Some(key)),
        None => (path, None),
    }
}

/// Reports a reference to a pod's field that is none of `allowed`.
pub(super) fn object_field(
    field: &ObjectFieldSelector,
    allowed: &[&str],
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    if text(&field.api_version).is_empty() {
        errors.required(path.child("apiVersion"), "");
        return;
    }
    let at = path.child("fieldPath");
    if field.field_path.is_empty() {
        errors.required(at, "");
        return;
    }
    match subscript(&field.field_path) {
        ("metadata.annotations", Some(key)) => {
            names::report(at, key, names::qualified_name(&key.to_lowercase()), errors);
        }
        ("metadata.labels", Some(key)) => names::report(at, key, names::qualified_name(key), errors),
        (base, Some(_)) => errors.invalid(at, base, "does not support subscript"),
        (base, None) if !KNOWN_FIELDS.contains(&base) => {
            errors.invalid(at, base, format!("error converting fieldPath: field label not supported: {base}"))
        }
        (base, None) if !allowed.contains(&base) => errors.not_supported(at, base, allowed),
        _ => {}
    }
}

/// Reports a reference to a container's resource. Volumes must name the container.
pub(super) fn resource_field(
    field: &ResourceFieldSelector,
    volume: bool,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    if volume && text(&field.container_name).is_empty() {
        errors.required(path.child("containerName"), "");
    } else if field.resource.is_empty() {
        errors.required(path.child("resource"), "");
    } else if !RESOURCES.contains(&field.resource.as_str()) && !field.resource.contains(".hugepages-") {
        errors.not_supported(path.child("resource"), &field.resource, RESOURCES);
    } else {
        divisor(field, path.child("divisor"), errors);
    }
}

fn divisor(field: &ResourceFieldSelector, path: FieldPath, errors: &mut FieldErrors) {
    const CPU: &[&str] = &["1", "1m"];
    const SIZES: &[&str] =
        &["1", "1E", "1Ei", "1G", "1Gi", "1Ki", "1M", "1Mi", "1P", "1Pi", "1T", "1Ti", "1k"];
    let Some(divisor) = field.divisor.as_ref().map(amounts::canonical).filter(|d| d != "0") else {
        return;
    };
    let (_, resource) = field.resource.split_once('.').unwrap_or_default();
    let (allowed, words) = match resource {
        "cpu" => (CPU, "1m and 1 are supported with the cpu resource".to_owned()),
        other => (
            SIZES,
            format!(
                "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the {} resource",
                if other == "memory" { "memory" } else { "local ephemeral storage" }
            ),
        ),
    };
    if !allowed.contains(&divisor.as_str()) {
        errors.invalid(path, divisor, format!("only divisor's values {words}"));
    }
}
