//! Which objects the pods of a node refer to, so that a node can read these and no others.
//!
//! Fed with pods; volumes behind claims are resolved when asked. Deliberately absent: mirror pods, which a node
//! makes itself and which may therefore grant nothing.

use api::k8s_openapi::api::core::v1::{Pod, PodSpec, Volume};
use std::collections::HashMap;

/// What a pod can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// A PersistentVolumeClaim.
    Claim,
    /// A ServiceAccount.
    Account,
    /// A ResourceClaim.
    ResourceClaim,
    /// The pod itself.
    Pod,
}

/// Kind and name; the namespace is the pod's.
type Reference = (Kind, String);

/// Pods by node.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Namespace and name of a pod → its node and what it refers to.
    pods: HashMap<(String, String), (String, Vec<Reference>)>,
    /// Node → namespace → reference → number of pods.
    nodes: HashMap<String, HashMap<String, HashMap<Reference, usize>>>,
}

const MIRROR: &str = "kubernetes.io/config.mirror";

impl Graph {
    /// Adds or replaces a pod.
    pub(crate) fn set(&mut self, pod: &Pod) {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(spec) = &pod.spec else { return };
        let Some(node) = spec.node_name.clone().filter(|node| !node.is_empty()) else { return };
        let mut references = vec![(Kind::Pod, name.clone())];
        let mirror = pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR));
        if !mirror {
            collect(pod, spec, &mut references);
        }
        if self
            .pods
            .get(&(namespace.clone(), name.clone()))
            .is_some_and(|(n, r)| *n == node && *r == references)
        {
            return;
        }
        self.remove(&namespace, &name);
        let counts = self.nodes.entry(node.clone()).or_default().entry(namespace.clone()).or_default();
        for reference in &references {
            *counts.entry(reference.clone()).or_default() += 1;
        }
        self.pods.insert((namespace, name), (node, references));
    }

    /// Forgets a pod.
    pub(crate) fn remove(&mut self, namespace: &str, name: &str) {
        let Some((node, references)) = self.pods.remove(&(namespace.to_owned(), name.to_owned())) else {
            return;
        };
        let Some(namespaces) = self.nodes.get_mut(&node) else { return };
        if let Some(counts) = namespaces.get_mut(namespace) {
            for reference in references {
                if let Some(count) = counts.get_mut(&reference) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(&reference);
                    }
                }
            }
            if counts.is_empty() {
                namespaces.remove(namespace);
            }
        }
        if namespaces.is_empty() {
            self.nodes.remove(&node);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether a pod on `node` refers to the object.
    pub(crate) fn reaches(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        self.nodes
            .get(node)
            .and_then(|namespaces| namespaces.get(namespace))
            .is_some_and(|counts| counts.contains_key(&(kind, name.to_owned())))
    }

    /// Namespace and name of every object of `kind` that pods on `node` refer to.
    pub(crate) fn all(&self, node: &str, kind: Kind) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (namespace, counts) in self.nodes.get(node).into_iter().flatten() {
            let names = counts.keys().filter(|(k, _)| *k == kind);
            found.extend(names.map(|(_, name)| (namespace.clone(), name.clone())));
        }
        found
    }
}

fn collect(pod: &Pod, spec: &PodSpec, into: &mut Vec<Reference>) {
    let mut add = |kind: Kind, name: Option<&str>| {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let reference = (kind, name.to_owned());
            if !into.contains(&reference) {
                into.push(reference);
            }
        }
    };
    add(Kind::Account, spec.service_account_name.as_deref());
    for secret in spec.image_pull_secrets.iter().flatten() {
        add(Kind::Secret, Some(&secret.name));
    }
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let env = containers.map(|c| (c.env.as_ref(), c.env_from.as_ref()));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    for (env, env_from) in env.chain(ephemeral.map(|c| (c.env.as_ref(), c.env_from.as_ref()))) {
        for source in env.into_iter().flatten().filter_map(|var| var.value_from.as_ref()) {
            add(Kind::Secret, source.secret_key_ref.as_ref().map(|r| r.name.as_str()));
            add(Kind::ConfigMap, source.config_map_key_ref.as_ref().map(|r| r.name.as_str()));
        }
        for source in env_from.into_iter().flatten() {
            add(Kind::Secret, source.secret_ref.as_ref().map(|r| r.name.as_str()));
            add(Kind::ConfigMap, source.config_map_ref.as_ref().map(|r| r.name.as_str()));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        volume_references(pod, volume, &mut add);
    }
    let statuses = pod.status.iter().flat_map(|s| s.resource_claim_statuses.iter().flatten());
    for status in statuses {
        add(Kind::ResourceClaim, status.resource_claim_name.as_deref());
    }
    for claim in spec.resource_claims.iter().flatten() {
        add(Kind::ResourceClaim, claim.resource_claim_name.as_deref());
    }
}

fn volume_references(pod: &Pod, volume: &Volume, add: &mut impl FnMut(Kind, Option<&str>)) {
    add(Kind::Secret, volume.secret.as_ref().and_then(|s| s.secret_name.as_deref()));
    add(Kind::ConfigMap, volume.config_map.as_ref().map(|c| c.name.as_str()));
    add(Kind::Claim, volume.persistent_volume_claim.as_ref().map(|c| c.claim_name.as_str()));
    if volume.ephemeral.is_some() {
        let claim = format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name);
        add(Kind::Claim, Some(&claim));
    }
    for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
        add(Kind::Secret, source.secret.as_ref().map(|s| s.name.as_str()));
        add(Kind::ConfigMap, source.config_map.as_ref().map(|c| c.name.as_str()));
    }
    // Volumes of drivers that take a secret of the pod's namespace.
    let secrets = [
        volume.csi.as_ref().and_then(|v| v.node_publish_secret_ref.as_ref()).map(|r| r.name.as_str()),
        volume.cephfs.as_ref().and_then(|v| v.secret_ref.as_ref()).map(|r| r.name.as_str()),
        volume.cinder.as_ref().and_then(|v| v.secret_ref.as_ref()).map(|r| r.name.as_str()),
        volume.flex_volume.as_ref().and_then(|v| v.secret_ref.as_ref()).map(|r| r.name.as_str()),
        volume.iscsi.as_ref().and_then(|v| v.secret_ref.as_ref()).map(|r| r.name.as_str()),
        volume.rbd.as_ref().and_then(|v| v.secret_ref.as_ref()).map(|r| r.name.as_str()),
        volume.scale_io.as_ref().map(|v| v.secret_ref.name.as_str()),
        volume.storageos.as_ref().and_then(|v| v.secret_ref.as_ref()).map(|r| r.name.as_str()),
        volume.azure_file.as_ref().map(|v| v.secret_name.as_str()),
    ];
    for secret in secrets {
        add(Kind::Secret, secret);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind as _;

    fn pod(name: &str, node: &str, extra: &str) -> Pod {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"a"{extra}}},"spec":{{
                "nodeName":"{node}","serviceAccountName":"robot","containers":[{{"name":"c","env":[
                {{"name":"E","valueFrom":{{"secretKeyRef":{{"name":"s1","key":"k"}}}}}}]}}],
                "volumes":[{{"name":"v","configMap":{{"name":"c1"}}}},
                {{"name":"e","ephemeral":{{}}}}]}}}}"#
        );
        Pod::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_node_reaches_what_its_pods_name_and_only_while_they_do() {
        let mut graph = Graph::default();
        graph.set(&pod("p", "n1", ""));
        graph.set(&pod("q", "n1", ""));
        for (kind, name) in
            [(Kind::Secret, "s1"), (Kind::ConfigMap, "c1"), (Kind::Claim, "p-e"), (Kind::Account, "robot")]
        {
            assert!(graph.reaches("n1", kind, "a", name), "{kind:?} {name}");
            assert!(!graph.reaches("n2", kind, "a", name), "{kind:?} {name}");
            assert!(!graph.reaches("n1", kind, "b", name), "{kind:?} {name}");
        }
        graph.remove("a", "p");
        assert!(graph.reaches("n1", Kind::Secret, "a", "s1"));
        assert!(!graph.reaches("n1", Kind::Claim, "a", "p-e"));
        graph.remove("a", "q");
        assert!(graph.nodes.is_empty());
        graph.set(&pod("m", "n1", r#","annotations":{"kubernetes.io/config.mirror":"x"}"#));
        assert!(!graph.reaches("n1", Kind::Secret, "a", "s1"));
        assert!(graph.reaches("n1", Kind::Pod, "a", "m"));
    }
}
