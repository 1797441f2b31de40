//! Names that one object has for another follow when the other is renamed.

use super::fields::{pod_spec, visit};
use super::resource::Resource;
use serde_json::Value;

/// What in a pod's spec names what.
const OF_PODS: &[(&str, &str)] = &[
    ("ConfigMap", "volumes/configMap/name"),
    ("ConfigMap", "volumes/projected/sources/configMap/name"),
    ("ConfigMap", "containers/env/valueFrom/configMapKeyRef/name"),
    ("ConfigMap", "containers/envFrom/configMapRef/name"),
    ("ConfigMap", "initContainers/env/valueFrom/configMapKeyRef/name"),
    ("ConfigMap", "initContainers/envFrom/configMapRef/name"),
    ("Secret", "volumes/secret/secretName"),
    ("Secret", "volumes/projected/sources/secret/name"),
    ("Secret", "containers/env/valueFrom/secretKeyRef/name"),
    ("Secret", "containers/envFrom/secretRef/name"),
    ("Secret", "initContainers/env/valueFrom/secretKeyRef/name"),
    ("Secret", "initContainers/envFrom/secretRef/name"),
    ("Secret", "imagePullSecrets/name"),
    ("PersistentVolumeClaim", "volumes/persistentVolumeClaim/claimName"),
    ("ServiceAccount", "serviceAccountName"),
    ("ServiceAccount", "serviceAccount"),
    ("PriorityClass", "priorityClassName"),
];

/// What in objects of a kind names what.
const OF_KINDS: &[(&str, &str, &str)] = &[
    ("StatefulSet", "Service", "spec/serviceName"),
    ("StatefulSet", "StorageClass", "spec/volumeClaimTemplates/spec/storageClassName"),
    ("PersistentVolume", "StorageClass", "spec/storageClassName"),
    ("PersistentVolumeClaim", "StorageClass", "spec/storageClassName"),
    ("PersistentVolumeClaim", "PersistentVolume", "spec/volumeName"),
    ("PersistentVolume", "PersistentVolumeClaim", "spec/claimRef/name"),
    ("PersistentVolume", "Secret", "spec/csi/nodePublishSecretRef/name"),
    ("ServiceAccount", "Secret", "secrets/name"),
    ("ServiceAccount", "Secret", "imagePullSecrets/name"),
    ("Ingress", "Service", "spec/rules/http/paths/backend/service/name"),
    ("Ingress", "Service", "spec/defaultBackend/service/name"),
    ("Ingress", "Secret", "spec/tls/secretName"),
    ("Ingress", "IngressClass", "spec/ingressClassName"),
    ("APIService", "Service", "spec/service/name"),
    ("ValidatingWebhookConfiguration", "Service", "webhooks/clientConfig/service/name"),
    ("MutatingWebhookConfiguration", "Service", "webhooks/clientConfig/service/name"),
    ("CustomResourceDefinition", "Service", "spec/conversion/webhook/clientConfig/service/name"),
    ("Role", "ConfigMap", "rules/resourceNames"),
    ("ClusterRole", "ConfigMap", "rules/resourceNames"),
];

/// Names by kind and name: `roleRef`, `scaleTargetRef`.
const BY_KIND: &[(&str, &str)] = &[
    ("RoleBinding", "roleRef"),
    ("ClusterRoleBinding", "roleRef"),
    ("HorizontalPodAutoscaler", "spec/scaleTargetRef"),
];

/// An object that may be meant.
struct Candidate {
    resource: Resource,
}

impl Candidate {
    fn is_meant(&self, kind: &str, name: &str, by: &str) -> bool {
        self.resource.kind() == kind
            && self.resource.was_called(name, None)
            && (by.is_empty()
                || !self.resource.is_namespaced()
                || self.resource.namespace().is_empty()
                || self.resource.was_called(name, Some(by))
                || self.resource.namespace() == by)
    }
}

/// Finds what `name` means to an object in namespace `by`: what is called so now, or else what was.
fn find<'c>(all: &'c [Candidate], kind: &str, name: &str, by: &str) -> Option<&'c Resource> {
    let meant = || {
        all.iter().filter(|candidate| candidate.is_meant(kind, name, by)).map(|candidate| &candidate.resource)
    };
    meant().find(|resource| resource.name() == name).or_else(|| meant().next())
}

/// Lets every reference follow.
pub(super) fn fix(all: &mut [Resource]) {
    let known: Vec<Candidate> = all
        .iter()
        .filter(|resource| !resource.before.is_empty())
        .map(|resource| Candidate { resource: resource.clone() })
        .collect();
    if known.is_empty() {
        return;
    }
    for resource in all {
        let (kind, namespace) = (resource.kind().to_owned(), resource.namespace().to_owned());
        let value = &mut resource.value;
        let follow = |value: &mut Value, target: &str, path: &str| {
            visit(value, path, false, &mut |name| {
                let new = name.as_str().and_then(|old| find(&known, target, old, &namespace));
                if let Some(new) = new {
                    *name = new.name().into();
                }
            });
        };
        if let Some(spec) = pod_spec(&kind) {
            for (target, path) in OF_PODS {
                follow(value, target, &format!("{spec}/{path}"));
            }
        }
        for (_, target, path) in OF_KINDS.iter().filter(|(of, ..)| *of == kind) {
            follow(value, target, path);
        }
        for (_, path) in BY_KIND.iter().filter(|(of, _)| *of == kind) {
            visit(value, path, false, &mut |reference| {
                let (target, name) = (reference["kind"].as_str(), reference["name"].as_str());
                if let (Some(target), Some(name)) = (target, name)
                    && let Some(new) = find(&known, target, name, &namespace)
                {
                    reference["name"] = new.name().into();
                }
            });
        }
        if kind == "RoleBinding" || kind == "ClusterRoleBinding" {
            value["subjects"]
                .as_array_mut()
                .into_iter()
                .flatten()
                .for_each(|subject| follow_subject(&known, subject));
        }
    }
}

/// Subjects name service accounts with their namespaces.
fn follow_subject(known: &[Candidate], subject: &mut Value) {
    if subject["kind"] != "ServiceAccount" {
        return;
    }
    let name = subject["name"].as_str().unwrap_or_default().to_owned();
    let namespace = subject["namespace"].as_str().unwrap_or_default().to_owned();
    let accounts = known
        .iter()
        .map(|candidate| &candidate.resource)
        .filter(|resource| resource.kind() == "ServiceAccount");
    let meant = accounts.clone().find(|account| account.was_called(&name, Some(&namespace)));
    if let Some(account) = meant {
        subject["name"] = account.name().into();
        if !account.namespace().is_empty() {
            subject["namespace"] = account.namespace().into();
        }
    }
}
