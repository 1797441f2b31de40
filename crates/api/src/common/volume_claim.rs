//! Claims for storage, as PersistentVolumeClaim, StatefulSet and ephemeral volumes write them.

use super::{amounts, default_text, items, names, selector, text};
use k8s_openapi::api::core::v1::PersistentVolumeClaimSpec;
use machinery::{FieldErrors, FieldPath};

/// How a volume may be mounted.
pub const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// What a volume looks like in a container.
pub const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// Fills a claim.
pub fn defaults(spec: &mut PersistentVolumeClaimSpec) {
    default_text(&mut spec.volume_mode, "Filesystem");
    let resources = spec.resources.get_or_insert_default();
    amounts::normalize_all([&mut resources.limits, &mut resources.requests]);
}

/// Reports bad access modes.
pub fn access_modes(modes: &[String], path: &FieldPath, errors: &mut FieldErrors) {
    if modes.is_empty() {
        errors.required(path.clone(), "at least 1 access mode is required");
    }
    for mode in modes {
        if !ACCESS_MODES.contains(&mode.as_str()) {
            errors.not_supported(path.clone(), mode, ACCESS_MODES);
        }
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        errors.forbidden(path.clone(), "may not use ReadWriteOncePod with other access modes");
    }
}

/// Reports what is wrong with a claim at `path`.
pub fn validate(spec: &PersistentVolumeClaimSpec, path: &FieldPath, errors: &mut FieldErrors) {
    access_modes(items(&spec.access_modes), &path.child("accessModes"), errors);
    if let Some(labels) = &spec.selector {
        selector::validate(labels, &path.child("selector"), errors);
    }
    let requests = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    let at = path.child("resources").key("storage");
    match requests.and_then(|requests| requests.get("storage")) {
        None => errors.required(at, ""),
        Some(size) => {
            if amounts::parse(size).is_none_or(|size| size.sign() <= 0) {
                errors.invalid(at, amounts::canonical(size), "must be greater than zero");
            }
        }
    }
    let class = text(&spec.storage_class_name);
    if !class.is_empty() {
        let at = path.child("storageClassName");
        names::report(at, class, names::dns1123_subdomain(class), errors);
    }
    if let Some(mode) = &spec.volume_mode
        && !VOLUME_MODES.contains(&mode.as_str())
    {
        errors.not_supported(path.child("volumeMode"), mode, VOLUME_MODES);
    }
    source(spec, path, errors);
}

fn source(spec: &PersistentVolumeClaimSpec, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(source) = &spec.data_source {
        let at = path.child("dataSource");
        if source.name.is_empty() {
            errors.required(at.child("name"), "");
        }
        if source.kind.is_empty() {
            errors.required(at.child("kind"), "");
        }
        if text(&source.api_group).is_empty() && source.kind != "PersistentVolumeClaim" {
            errors.invalid(
                at,
                &source.kind,
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            );
        }
    }
    if let Some(source) = &spec.data_source_ref {
        let at = path.child("dataSourceRef");
        if source.name.is_empty() {
            errors.required(at.child("name"), "");
        }
        if source.kind.is_empty() {
            errors.required(at.child("kind"), "");
        }
    }
}

/// Access modes as tables print them: `RWO,ROX`.
pub fn short_modes(modes: &Option<Vec<String>>) -> String {
    let order = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| items(modes).iter().any(|m| m == mode);
    let short: Vec<&str> = order.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    short.join(",")
}
