//! A manifest as a pod: the same file on the same node always gives the same UID, another content another. Pure.

use super::full_name;
use crate::spec;
use api::k8s_openapi::api::core::v1::{Pod, PodStatus, Toleration};
use api::{Kind, Object, Rules};
use machinery::FieldErrors;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Larger files are refused, in bytes; the API server's own limit.
pub(super) const MAX_BYTES: u64 = 3 << 20;

const HASH: &str = "kubernetes.io/config.hash";
const SOURCE: &str = "kubernetes.io/config.source";
const SEEN: &str = "kubernetes.io/config.seen";

/// Reads a manifest of `path` for `node`. `seen` is the time of now, RFC 3339. Errors say what is wrong with it.
pub(super) fn parse(text: &str, path: &str, node: &str, seen: &str) -> Result<Pod, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    if (field("apiVersion"), field("kind")) != ("v1", "Pod") {
        return Err(format!("expected v1 Pod, not {:?} {:?}", field("apiVersion"), field("kind")));
    }
    let mut pod = Pod::from_json(value.to_string().as_bytes()).map_err(|error| error.to_string())?;
    complete(&mut pod, path, node, seen);
    if let Some(why) = Pod::check_name(spec::name(&pod), false).first() {
        return Err(format!("invalid pod name {:?}: {why}", spec::name(&pod)));
    }
    let mut errors = FieldErrors::new();
    pod.validate_create(&mut errors);
    if !errors.is_empty() {
        return Err(format!("invalid pod {:?}: {errors}", full_name(&pod)));
    }
    match reference(&pod) {
        Some(what) => Err(format!("static pods may not reference {what}")),
        None => Ok(pod),
    }
}

/// Fills in what the API server would, and what makes it this node's.
fn complete(pod: &mut Pod, path: &str, node: &str, seen: &str) {
    if spec::uid(pod).is_empty() {
        let mut hash = Sha256::new();
        for part in [&pod.to_json()[..], b"\nhost:", node.as_bytes(), b"\nfile:", path.as_bytes()] {
            hash.update(part);
        }
        let digest = hash.finalize();
        pod.metadata.uid = Some(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect());
    }
    let uid = spec::uid(pod).to_owned();
    let suffix = format!("-{}", node.to_lowercase());
    pod.metadata.name = Some(format!("{}{suffix}", spec::name(pod)));
    if spec::namespace(pod).is_empty() {
        pod.metadata.namespace = Some("default".to_owned());
    }
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(HASH.to_owned(), uid);
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    annotations.insert(SEEN.to_owned(), seen.to_owned());
    pod.set_defaults();
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.to_owned());
    // Taints that drive others away say nothing to what belongs to the node.
    let tolerates = Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&tolerates) {
        tolerations.push(tolerates);
    }
    pod.status = Some(PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() });
}

/// The first kind of API object that the pod needs: it must run without the API.
fn reference(pod: &Pod) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    let text = |name: Option<&String>| name.is_some_and(|name| !name.is_empty());
    if text(spec.service_account_name.as_ref()) {
        return Some("serviceaccounts");
    }
    if spec.image_pull_secrets.iter().flatten().next().is_some() {
        return Some("secrets");
    }
    for volume in spec.volumes.iter().flatten() {
        let projected = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
        let mut kinds = vec![
            (volume.secret.is_some(), "secrets"),
            (volume.config_map.is_some(), "configmaps"),
            (
                volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some(),
                "persistentvolumeclaims",
            ),
        ];
        for source in projected {
            kinds.push((source.secret.is_some(), "secrets"));
            kinds.push((source.config_map.is_some(), "configmaps"));
            kinds.push((source.service_account_token.is_some(), "serviceaccounts"));
        }
        if let Some((_, kind)) = kinds.into_iter().find(|(uses, _)| *uses) {
            return Some(kind);
        }
    }
    for (_, container) in spec::all(pod) {
        let (maps, secrets) = crate::container::env::names(&container);
        if !maps.is_empty() {
            return Some("configmaps");
        }
        if !secrets.is_empty() {
            return Some("secrets");
        }
    }
    spec.resource_claims.iter().flatten().next().map(|_| "resourceclaims")
}

/// Puts pods by their full names; the first of a name counts, the others are told.
pub(super) fn by_name(pods: Vec<(String, Pod)>) -> (BTreeMap<String, Pod>, Vec<String>) {
    let (mut kept, mut errors) = (BTreeMap::new(), Vec::new());
    for (path, pod) in pods {
        match kept.entry(full_name(&pod)) {
            Entry::Vacant(free) => {
                free.insert(pod);
            }
            Entry::Occupied(taken) => {
                errors.push(format!("{path}: another file describes pod {} already", taken.key()));
            }
        }
    }
    (kept, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: c, image: 'i:1'}]\n";

    #[test]
    fn a_file_always_gives_the_same_pod() {
        let read = |text: &str, path: &str| parse(text, path, "node-1", "2026-01-01T00:00:00Z").unwrap();
        let pod = read(MANIFEST, "/m/a.yaml");
        assert_eq!(full_name(&pod), "default/web-node-1");
        assert_eq!(spec::uid(&pod).len(), 32);
        assert!(spec::is_static(&pod));
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.node_name.as_deref(), Some("node-1"));
        assert_eq!(spec.restart_policy.as_deref(), Some("Always"));
        assert!(spec.tolerations.iter().flatten().any(|t| t.effect.as_deref() == Some("NoExecute")));
        assert_eq!(spec::uid(&read(MANIFEST, "/m/a.yaml")), spec::uid(&pod));
        assert_ne!(spec::uid(&read(MANIFEST, "/m/b.yaml")), spec::uid(&pod));
        assert_ne!(spec::uid(&read(&MANIFEST.replace("i:1", "i:2"), "/m/a.yaml")), spec::uid(&pod));
        let (kept, errors) = by_name(vec![("a".into(), pod.clone()), ("b".into(), pod)]);
        assert_eq!((kept.len(), errors.len()), (1, 1));
    }

    #[test]
    fn what_cannot_be_a_static_pod_is_refused() {
        let volume = |source: &str| format!("{MANIFEST}  volumes: [{{name: v, {source}}}]\n");
        for (text, why) in [
            ("kind: Pod".to_owned(), "expected v1 Pod"),
            ("a: [".to_owned(), ""),
            (MANIFEST.replace("web", "Web"), "invalid pod"),
            (volume("secret: {secretName: s}"), "may not reference secrets"),
            (volume("configMap: {name: s}"), "may not reference configmaps"),
            (volume("persistentVolumeClaim: {claimName: s}"), "may not reference persistentvolumeclaims"),
            (format!("{MANIFEST}  serviceAccountName: robot\n"), "may not reference serviceaccounts"),
        ] {
            let error = parse(&text, "/m/a", "n", "").unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
