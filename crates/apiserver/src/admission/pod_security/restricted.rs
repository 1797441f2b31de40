//! The level *restricted*: current best practice for hardening pods.

use super::violations::{View, Violations, containers as those, quoted, views};
use api::common::items;
use api::k8s_openapi::api::core::v1::{PodSpec, Volume};

/// Adds what breaks the level beyond *baseline*.
pub(super) fn check(spec: &PodSpec, found: &mut Violations) {
    let containers = views(spec);
    let windows = spec.os.as_ref().is_some_and(|os| os.name == "windows");
    if !windows {
        let open = |c: &&View<'_>| c.security.and_then(|s| s.allow_privilege_escalation) != Some(false);
        let names: Vec<&str> = containers.iter().filter(open).map(|c| c.name).collect();
        let rest = "must set securityContext.allowPrivilegeEscalation=false";
        found.containers("allowPrivilegeEscalation != false", &names, rest);
        capabilities(&containers, found);
    }
    volumes(spec, found);
    run_as_non_root(spec, &containers, found);
    run_as_user(spec, &containers, found);
    if !windows {
        seccomp(spec, &containers, found);
    }
}

fn capabilities(containers: &[View<'_>], found: &mut Violations) {
    let mut not_dropping = Vec::new();
    let mut adding = Vec::new();
    let mut added: Vec<&str> = Vec::new();
    for container in containers {
        let capabilities = container.security.and_then(|s| s.capabilities.as_ref());
        if !capabilities.is_some_and(|c| items(&c.drop).iter().any(|c| c == "ALL")) {
            not_dropping.push(container.name);
        }
        let wrong = capabilities.map(|c| items(&c.add)).unwrap_or_default();
        let wrong: Vec<&str> =
            wrong.iter().map(String::as_str).filter(|c| *c != "NET_BIND_SERVICE").collect();
        if !wrong.is_empty() {
            adding.push(container.name);
            added.extend(wrong);
        }
    }
    let mut details = Vec::new();
    if !not_dropping.is_empty() {
        let who = those(&not_dropping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adding.is_empty() {
        added.sort_unstable();
        added.dedup();
        let (who, what) = (those(&adding), quoted(&added));
        details.push(format!("{who} must not include {what} in securityContext.capabilities.add"));
    }
    if !details.is_empty() {
        found.add("unrestricted capabilities", details.join("; "));
    }
}

/// The type of a volume that is not allowed; `None` for an allowed one.
fn restricted_type(volume: &Volume) -> Option<&'static str> {
    let refused = [
        (volume.host_path.is_some(), "hostPath"),
        (volume.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (volume.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (volume.git_repo.is_some(), "gitRepo"),
        (volume.nfs.is_some(), "nfs"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.glusterfs.is_some(), "glusterfs"),
        (volume.rbd.is_some(), "rbd"),
        (volume.flex_volume.is_some(), "flexVolume"),
        (volume.cinder.is_some(), "cinder"),
        (volume.cephfs.is_some(), "cephfs"),
        (volume.flocker.is_some(), "flocker"),
        (volume.fc.is_some(), "fc"),
        (volume.azure_file.is_some(), "azureFile"),
        (volume.vsphere_volume.is_some(), "vsphereVolume"),
        (volume.quobyte.is_some(), "quobyte"),
        (volume.azure_disk.is_some(), "azureDisk"),
        (volume.portworx_volume.is_some(), "portworxVolume"),
        (volume.scale_io.is_some(), "scaleIO"),
        (volume.storageos.is_some(), "storageos"),
    ];
    refused.iter().find(|(set, _)| *set).map(|(_, name)| *name)
}

fn volumes(spec: &PodSpec, found: &mut Violations) {
    let bad: Vec<(&str, &str)> = items(&spec.volumes)
        .iter()
        .filter_map(|volume| Some((volume.name.as_str(), restricted_type(volume)?)))
        .collect();
    if bad.is_empty() {
        return;
    }
    let names: Vec<&str> = bad.iter().map(|(name, _)| *name).collect();
    let mut types: Vec<&str> = bad.iter().map(|(_, kind)| *kind).collect();
    types.sort_unstable();
    types.dedup();
    let (word, verb) = if names.len() == 1 { ("volume", "uses") } else { ("volumes", "use") };
    let plural = if types.len() == 1 { "type" } else { "types" };
    found.add(
        "restricted volume types",
        format!("{word} {} {verb} restricted volume {plural} {}", quoted(&names), quoted(&types)),
    );
}

fn run_as_non_root(spec: &PodSpec, containers: &[View<'_>], found: &mut Violations) {
    let pod = spec.security_context.as_ref().and_then(|s| s.run_as_non_root);
    let set = |c: &View<'_>| c.security.and_then(|s| s.run_as_non_root);
    let explicit: Vec<&str> = containers.iter().filter(|c| set(c) == Some(false)).map(|c| c.name).collect();
    let implicit: Vec<&str> =
        containers.iter().filter(|c| set(c).is_none() && pod != Some(true)).map(|c| c.name).collect();
    let mut details = Vec::new();
    if pod == Some(false) && !(explicit.is_empty() && implicit.is_empty()) {
        details.push("pod must not set securityContext.runAsNonRoot=false".to_owned());
    }
    if !explicit.is_empty() {
        details.push(format!("{} must not set securityContext.runAsNonRoot=false", those(&explicit)));
    }
    if !implicit.is_empty() && pod.is_none() {
        details.push(format!("pod or {} must set securityContext.runAsNonRoot=true", those(&implicit)));
    }
    if !details.is_empty() {
        found.add("runAsNonRoot != true", details.join(" and "));
    }
}

fn run_as_user(spec: &PodSpec, containers: &[View<'_>], found: &mut Violations) {
    let pod = spec.security_context.as_ref().and_then(|s| s.run_as_user) == Some(0);
    let root = |c: &&View<'_>| c.security.and_then(|s| s.run_as_user) == Some(0);
    let names: Vec<&str> = containers.iter().filter(root).map(|c| c.name).collect();
    let who: Vec<String> =
        pod.then(|| "pod".to_owned()).into_iter().chain((!names.is_empty()).then(|| those(&names))).collect();
    if !who.is_empty() {
        found.add("runAsUser=0", format!("{} must not set runAsUser=0", who.join(" and ")));
    }
}

fn seccomp(spec: &PodSpec, containers: &[View<'_>], found: &mut Violations) {
    let good = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let pod = spec.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
    let pod = pod.map(|profile| profile.type_.as_str());
    let set = |c: &View<'_>| c.security.and_then(|s| s.seccomp_profile.as_ref()).map(|p| p.type_.clone());
    let explicit: Vec<&str> =
        containers.iter().filter(|c| set(c).is_some_and(|kind| !good(&kind))).map(|c| c.name).collect();
    let implicit: Vec<&str> =
        containers.iter().filter(|c| set(c).is_none() && !pod.is_some_and(good)).map(|c| c.name).collect();
    let mut details = Vec::new();
    if let Some(kind) = pod
        && !good(kind)
    {
        details.push(format!("pod must not set securityContext.seccompProfile.type to {kind:?}"));
    }
    if !explicit.is_empty() {
        let rest = "must not set securityContext.seccompProfile.type to \"Unconfined\"";
        details.push(format!("{} {rest}", those(&explicit)));
    }
    if !implicit.is_empty() && pod.is_none() {
        let rest = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
        details.push(format!("pod or {} {rest}", those(&implicit)));
    }
    if !details.is_empty() {
        found.add("seccompProfile", details.join(" and "));
    }
}
