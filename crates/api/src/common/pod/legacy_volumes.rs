//! Volume sources of the in-tree drivers that CSI replaced, in pods and PersistentVolumes alike. Nothing mounts most of
//! them any more, but objects that name them are still checked.

use crate::common::names;
use machinery::{FieldErrors, FieldPath};
use serde_json::Value;

/// Fields that must not be empty, by source.
const REQUIRED: &[(&str, &[&str])] = &[
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("glusterfs", &["endpoints", "path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("quobyte", &["volume"]),
    ("rbd", &["monitors", "image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("vsphereVolume", &["volumePath"]),
];
/// Fields with a range, by source.
const RANGES: &[(&str, &str, i64, i64)] = &[
    ("awsElasticBlockStore", "partition", 0, 255),
    ("fc", "lun", 0, 255),
    ("gcePersistentDisk", "partition", 0, 255),
    ("iscsi", "lun", 0, 255),
];
/// Fields with few values, by source.
const CHOICES: &[(&str, &str, &[&str])] = &[
    ("azureDisk", "cachingMode", &["None", "ReadOnly", "ReadWrite"]),
    ("azureDisk", "kind", &["Dedicated", "Managed", "Shared"]),
];
/// Sources that this file knows.
const SOURCES: &[&str] = &["fc", "flocker", "storageos"];

/// Whether [`validate`] has anything to say of a source.
pub fn knows(source: &str) -> bool {
    SOURCES.contains(&source) || REQUIRED.iter().any(|(name, _)| *name == source)
}

fn empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

/// Reports what is wrong with the source called `name`; `value` is its JSON.
pub fn validate(name: &str, value: &Value, path: &FieldPath, errors: &mut FieldErrors) {
    for field in REQUIRED.iter().filter(|(source, _)| *source == name).flat_map(|(_, fields)| *fields) {
        if empty(value.get(field)) {
            errors.required(path.child(field), "");
        }
    }
    for (_, field, low, high) in RANGES.iter().filter(|(source, ..)| *source == name) {
        if let Some(number) = value.get(field).and_then(Value::as_i64)
            && !(*low..=*high).contains(&number)
        {
            errors.invalid(path.child(field), number, names::inclusive_range(*low, *high));
        }
    }
    for (_, field, allowed) in CHOICES.iter().filter(|(source, ..)| *source == name) {
        if let Some(choice) = value.get(field).and_then(Value::as_str)
            && !allowed.contains(&choice)
        {
            errors.not_supported(path.child(field), choice, allowed);
        }
    }
    match name {
        "azureDisk" => azure_disk(value, path, errors),
        "fc" => fibre_channel(value, path, errors),
        "flocker" => flocker(value, path, errors),
        "iscsi" => iscsi(value, path, errors),
        "quobyte" => quobyte(value, path, errors),
        "storageos" => {
            for field in ["volumeName", "volumeNamespace"] {
                if let Some(text) = value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()) {
                    names::report(path.child(field), text, names::dns1123_label(text), errors);
                }
            }
        }
        _ => {}
    }
}

fn azure_disk(value: &Value, path: &FieldPath, errors: &mut FieldErrors) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    let uri = value.get("diskURI").and_then(Value::as_str).unwrap_or_default();
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if kind == "Managed" && !uri.starts_with("/subscriptions") {
        errors.not_supported(path.child("diskURI"), uri, &[MANAGED]);
    }
    if ["Shared", "Dedicated"].contains(&kind) && !uri.starts_with("https://") && !uri.is_empty() {
        errors.not_supported(path.child("diskURI"), uri, &[BLOB]);
    }
}

fn fibre_channel(value: &Value, path: &FieldPath, errors: &mut FieldErrors) {
    let (names, ids) = (!empty(value.get("targetWWNs")), !empty(value.get("wwids")));
    const WHY: &str = "must specify either targetWWNs or wwids, but not both";
    if names == ids {
        if names {
            errors.invalid(path.child("targetWWNs"), value["targetWWNs"].clone(), WHY);
        } else {
            errors
                .required(path.child("targetWWNs"), "must specify either targetWWNs or wwids, but not both");
        }
    }
    if names && value.get("lun").is_none() {
        errors.required(path.child("lun"), "lun is required if targetWWNs is specified");
    }
}

fn flocker(value: &Value, path: &FieldPath, errors: &mut FieldErrors) {
    let (name, uuid) = (value.get("datasetName"), value.get("datasetUUID"));
    match (empty(name), empty(uuid)) {
        (true, true) => errors.required(path.clone(), "one of datasetName and datasetUUID is required"),
        (false, false) => errors.invalid(
            path.clone(),
            "resource",
            "datasetName and datasetUUID can not be specified simultaneously",
        ),
        _ => {}
    }
    if let Some(name) = name.and_then(Value::as_str).filter(|name| name.contains('/')) {
        errors.invalid(path.child("datasetName"), name, "must not contain '/'");
    }
}

fn iscsi(value: &Value, path: &FieldPath, errors: &mut FieldErrors) {
    for field in ["iqn", "initiatorName"] {
        let Some(name) = value.get(field).and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            continue;
        };
        if !["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix)) {
            errors.invalid(path.child(field), name, "must be valid format starting with iqn, eui, or naa");
        }
    }
    let chap = ["chapAuthDiscovery", "chapAuthSession"]
        .iter()
        .any(|field| value.get(field) == Some(&Value::Bool(true)));
    if chap && empty(value.get("secretRef")) {
        errors.required(path.child("secretRef"), "");
    }
}

fn quobyte(value: &Value, path: &FieldPath, errors: &mut FieldErrors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    match value.get("registry").and_then(Value::as_str).unwrap_or_default() {
        "" => errors.required(path.child("registry"), PAIRS),
        registry => {
            let is_pair = |pair: &str| {
                pair.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && !port.is_empty())
            };
            if !registry.split(',').all(is_pair) {
                errors.invalid(path.child("registry"), registry, PAIRS);
            }
        }
    }
    if value.get("tenant").and_then(Value::as_str).is_some_and(|tenant| tenant.len() > 64) {
        errors.required(path.child("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    }
}
