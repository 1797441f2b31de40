//! Volumes of pods and of pod templates, and the sources that persistent volumes share with them.

use super::writer::{Writer, list, text};
use serde_json::Value;

/// What is said of a source: its field, its type in words, and label and field of what is in it.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const SOURCES: &[Row] = &[
    ("hostPath", "HostPath (bare host directory volume)", &[("Path", "path"), ("HostPathType", "type")]),
    (
        "emptyDir",
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        &[("Medium", "medium"), ("SizeLimit", "sizeLimit")],
    ),
    (
        "secret",
        "Secret (a volume populated by a Secret)",
        &[("SecretName", "secretName"), ("Optional", "optional")],
    ),
    (
        "configMap",
        "ConfigMap (a volume populated by a ConfigMap)",
        &[("Name", "name"), ("Optional", "optional")],
    ),
    (
        "persistentVolumeClaim",
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        &[("ClaimName", "claimName"), ("ReadOnly", "readOnly")],
    ),
    (
        "nfs",
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        &[("Server", "server"), ("Path", "path"), ("ReadOnly", "readOnly")],
    ),
    ("local", "LocalVolume (a persistent volume backed by local storage on a node)", &[("Path", "path")]),
    (
        "image",
        "Image (a container image or OCI artifact)",
        &[("Reference", "reference"), ("PullPolicy", "pullPolicy")],
    ),
];

/// Booleans and sizes that are shown also when they are unset.
fn shown(source: &str, field: &str, value: &Value) -> String {
    match (field, value) {
        ("optional" | "readOnly", Value::Null) => "false".to_owned(),
        ("sizeLimit", Value::Null) => "<unset>".to_owned(),
        _ => {
            let _ = source;
            text(value)
        }
    }
}

/// The source in `holder`, a volume or a persistent volume's spec.
pub(super) fn source(out: &mut Writer, level: usize, holder: &Value) {
    for (name, kind, fields) in SOURCES {
        if holder[*name].is_object() {
            out.line(level, &format!("Type:\t{kind}"));
            for (label, field) in *fields {
                out.line(level, &format!("{label}:\t{}", shown(name, field, &holder[*name][*field])));
            }
            return;
        }
    }
    if holder["csi"].is_object() {
        return csi(out, level, &holder["csi"]);
    }
    if holder["ephemeral"].is_object() {
        return ephemeral(out, level, &holder["ephemeral"]["volumeClaimTemplate"]);
    }
    if holder["projected"].is_object() {
        return projected(out, level, &holder["projected"]);
    }
    if holder["downwardAPI"].is_object() {
        out.line(level, "Type:\tDownwardAPI (a volume populated by information about the pod)");
        out.line(level, "Items:");
        for item in list(&holder["downwardAPI"]["items"]) {
            let field =
                item["fieldRef"]["fieldPath"].as_str().or(item["resourceFieldRef"]["resource"].as_str());
            out.line(level + 1, &format!("{} -> {}", field.unwrap_or_default(), text(&item["path"])));
        }
        return;
    }
    out.line(level, "Type:\t<unknown>");
}

fn csi(out: &mut Writer, level: usize, csi: &Value) {
    out.line(level, "Type:\tCSI (a Container Storage Interface (CSI) volume source)");
    for (label, field) in [("Driver", "driver"), ("FSType", "fsType")] {
        out.line(level, &format!("{label}:\t{}", text(&csi[field])));
    }
    if csi["volumeHandle"].is_string() {
        out.line(level, &format!("VolumeHandle:\t{}", text(&csi["volumeHandle"])));
    }
    out.line(level, &format!("ReadOnly:\t{}", csi["readOnly"] == true));
    indented_map(out, level, "VolumeAttributes", &csi["volumeAttributes"]);
}

/// A map whose entries stand a little further right than other values.
fn indented_map(out: &mut Writer, level: usize, label: &str, map: &Value) {
    let mut pairs: Vec<String> =
        map.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    pairs.sort();
    if pairs.is_empty() {
        pairs.push("<none>".to_owned());
    }
    for (at, pair) in pairs.iter().enumerate() {
        let label = if at == 0 { format!("{label}:") } else { String::new() };
        out.line(level, &format!("{label}\t    {pair}"));
    }
}

fn ephemeral(out: &mut Writer, level: usize, claim: &Value) {
    let (meta, spec) = (&claim["metadata"], &claim["spec"]);
    out.line(
        level,
        "Type:\tEphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
    );
    out.line(level, &format!("StorageClass:\t{}", text(&spec["storageClassName"])));
    out.line(level, &format!("Volume:\t{}", text(&spec["volumeName"])));
    indented_map(out, level, "Labels", &meta["labels"]);
    indented_map(out, level, "Annotations", &meta["annotations"]);
    // Only a bound claim has a capacity and modes, and this one is a template.
    out.line(level, "Capacity:\t");
    out.line(level, "Access Modes:\t");
    out.line(level, &format!("VolumeMode:\t{}", super::writer::or(&spec["volumeMode"], "Filesystem")));
}

fn projected(out: &mut Writer, level: usize, projected: &Value) {
    out.line(level, "Type:\tProjected (a volume that contains injected data from multiple sources)");
    for source in list(&projected["sources"]) {
        if source["secret"].is_object() {
            out.line(level, &format!("SecretName:\t{}", text(&source["secret"]["name"])));
            out.line(
                level,
                &format!("SecretOptional:\t{}", shown("", "optional", &source["secret"]["optional"])),
            );
        } else if source["downwardAPI"].is_object() {
            out.line(level, "DownwardAPI:\ttrue");
        } else if source["configMap"].is_object() {
            out.line(level, &format!("ConfigMapName:\t{}", text(&source["configMap"]["name"])));
            out.line(
                level,
                &format!("Optional:\t{}", shown("", "optional", &source["configMap"]["optional"])),
            );
        } else if source["serviceAccountToken"].is_object() {
            let seconds = &source["serviceAccountToken"]["expirationSeconds"];
            out.line(level, &format!("TokenExpirationSeconds:\t{}", text(seconds)));
        }
    }
}

/// A list of volumes.
pub(super) fn volumes(out: &mut Writer, level: usize, all: &Value) {
    let all = list(all);
    if all.is_empty() {
        if level > 0 {
            out.line(level, "Volumes:\t<none>");
        }
        return;
    }
    out.line(level, "Volumes:");
    for volume in all {
        out.line(level + 1, &format!("{}:", text(&volume["name"])));
        source(out, level + 2, volume);
    }
}
