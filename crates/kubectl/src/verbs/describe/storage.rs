//! Persistent volumes and claims.

use super::volumes::source;
use super::writer::{Writer, list, or, text};
use crate::error::Result;
use crate::print::labels_text;
use crate::session::Session;
use serde_json::Value;

/// Access modes in their short form.
fn modes(value: &Value) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO".to_owned(),
        Some("ReadOnlyMany") => "ROX".to_owned(),
        Some("ReadWriteMany") => "RWX".to_owned(),
        Some("ReadWriteOncePod") => "RWOP".to_owned(),
        _ => text(mode),
    };
    list(value).iter().map(short).collect::<Vec<_>>().join(",")
}

fn finalizers(object: &Value) -> String {
    let all: Vec<String> = list(&object["metadata"]["finalizers"]).iter().map(text).collect();
    format!("[{}]", all.join(" "))
}

fn phase(object: &Value) -> String {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating".to_owned();
    }
    text(&object["status"]["phase"])
}

pub(super) async fn claim(session: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    out.field(0, "Name", &text(&meta["name"]));
    out.field(0, "Namespace", &text(&meta["namespace"]));
    out.line(0, &format!("StorageClass:\t{}", text(&spec["storageClassName"])));
    out.field(0, "Status", &phase(object));
    out.line(0, &format!("Volume:\t{}", text(&spec["volumeName"])));
    out.labels(object);
    out.field(0, "Finalizers", &finalizers(object));
    out.line(0, &format!("Capacity:\t{}", text(&status["capacity"]["storage"])));
    out.line(0, &format!("Access Modes:\t{}", modes(&status["accessModes"])));
    out.field(0, "VolumeMode", or(&spec["volumeMode"], "Filesystem"));
    if spec["dataSource"].is_object() {
        let from = &spec["dataSource"];
        out.field(0, "DataSource", &format!("{}/{}", text(&from["kind"]), text(&from["name"])));
    }
    let resource = session.discovery().await?.find("pods")?;
    let pods = session.rest().await?.get(&resource.path(meta["namespace"].as_str(), None)).await?;
    let users: Vec<String> = list(&pods["items"])
        .iter()
        .filter(|pod| {
            let mut volumes = list(&pod["spec"]["volumes"]).iter();
            volumes.any(|volume| volume["persistentVolumeClaim"]["claimName"] == meta["name"])
        })
        .map(|pod| text(&pod["metadata"]["name"]))
        .collect();
    let users = if users.is_empty() { vec!["<none>".to_owned()] } else { users };
    for (at, user) in users.iter().enumerate() {
        out.line(0, &format!("{}\t{user}", if at == 0 { "Used By:" } else { "" }));
    }
    Ok(())
}

pub(super) async fn volume(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let spec = &object["spec"];
    out.field(0, "Name", &text(&object["metadata"]["name"]));
    out.labels(object);
    out.field(0, "Finalizers", &finalizers(object));
    out.line(0, &format!("StorageClass:\t{}", text(&spec["storageClassName"])));
    out.field(0, "Status", &phase(object));
    let claim = &spec["claimRef"];
    let claim = if claim.is_object() {
        format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
    } else {
        String::new()
    };
    out.line(0, &format!("Claim:\t{claim}"));
    out.field(0, "Reclaim Policy", &text(&spec["persistentVolumeReclaimPolicy"]));
    out.line(0, &format!("Access Modes:\t{}", modes(&spec["accessModes"])));
    out.field(0, "VolumeMode", or(&spec["volumeMode"], "Filesystem"));
    out.line(0, &format!("Capacity:\t{}", text(&spec["capacity"]["storage"])));
    terms(out, &spec["nodeAffinity"]["required"]["nodeSelectorTerms"]);
    out.line(0, &format!("Message:\t{}", text(&object["status"]["message"])));
    out.line(0, "Source:");
    source(out, 2, spec);
    Ok(())
}

/// One `key in [a, b]` a line.
fn expressions(out: &mut Writer, label: &str, all: &Value) {
    for (at, expression) in list(all).iter().enumerate() {
        let values: Vec<String> = list(&expression["values"]).iter().map(text).collect();
        let operator = expression["operator"].as_str().unwrap_or("In").to_lowercase();
        let values = if values.is_empty() { String::new() } else { format!(" [{}]", values.join(", ")) };
        let label = if at == 0 { format!("{label}:") } else { String::new() };
        let margin = if at == 0 { 2 } else { 0 };
        out.line(margin, &format!("{label}\t{} {operator}{values}", text(&expression["key"])));
    }
}

fn terms(out: &mut Writer, terms: &Value) {
    let terms = list(terms);
    if terms.is_empty() {
        return out.line(0, "Node Affinity:\t<none>");
    }
    out.line(0, "Node Affinity:\t");
    out.line(1, "Required Terms:\t");
    for (at, term) in terms.iter().enumerate() {
        expressions(out, &format!("Term {at}"), &term["matchExpressions"]);
    }
}

pub(super) async fn class(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let annotations = &object["metadata"]["annotations"];
    out.field(0, "Name", &text(&object["metadata"]["name"]));
    let default = annotations["storageclass.kubernetes.io/is-default-class"] == "true"
        || annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true";
    out.field(0, "IsDefaultClass", if default { "Yes" } else { "No" });
    out.line(0, &format!("Annotations:\t{}", labels_text(annotations.as_object())));
    out.field(0, "Provisioner", &text(&object["provisioner"]));
    out.field(0, "Parameters", &labels_text(object["parameters"].as_object()));
    out.field(
        0,
        "AllowVolumeExpansion",
        match object["allowVolumeExpansion"].as_bool() {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        },
    );
    let options = list(&object["mountOptions"]);
    if options.is_empty() {
        out.line(0, "MountOptions:\t<none>");
    } else {
        out.line(0, "MountOptions:");
        options.iter().for_each(|option| out.line(1, &text(option)));
    }
    out.field(0, "ReclaimPolicy", &text(&object["reclaimPolicy"]));
    out.field(0, "VolumeBindingMode", &text(&object["volumeBindingMode"]));
    let topologies = list(&object["allowedTopologies"]);
    if topologies.is_empty() {
        out.line(0, "AllowedTopologies:\t<none>");
    } else {
        out.line(0, "AllowedTopologies:\t");
        for (at, term) in topologies.iter().enumerate() {
            for (number, expression) in list(&term["matchLabelExpressions"]).iter().enumerate() {
                let values: Vec<String> = list(&expression["values"]).iter().map(text).collect();
                let label = if number == 0 { format!("  Term {at}:") } else { String::new() };
                out.line(0, &format!("{label}\t{} in [{}]", text(&expression["key"]), values.join(", ")));
            }
        }
    }
    Ok(())
}
