//! [`Resource`]: an object on its way through kustomizations, with the names that it had.

use serde_json::Value;

/// Kinds that are printed first, in this order.
const FIRST: &[&str] = &[
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];
/// Kinds that are printed last.
const LAST: &[&str] = &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Kinds that live in no namespace.
const CLUSTER: &[&str] = &[
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "CustomResourceDefinition",
    "DeviceClass",
    "FlowSchema",
    "IPAddress",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "RuntimeClass",
    "ServiceCIDR",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
];

/// An object, and what is known of it beside its manifest.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) value: Value,
    /// Names and namespaces that it had, oldest first.
    pub(super) before: Vec<(String, String)>,
    /// Made by a generator, so that its content becomes part of its name.
    pub(super) hashed: bool,
}

impl Resource {
    pub(super) fn new(value: Value) -> Self {
        Self { value, before: Vec::new(), hashed: false }
    }

    pub(super) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    /// Group and version.
    pub(super) fn version(&self) -> (&str, &str) {
        let text = self.value["apiVersion"].as_str().unwrap_or_default();
        text.split_once('/').unwrap_or(("", text))
    }

    pub(super) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.value["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    pub(super) fn is_namespaced(&self) -> bool {
        !CLUSTER.contains(&self.kind())
    }

    /// Whether two are the same object.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kind() == other.kind()
            && self.version().0 == other.version().0
            && self.name() == other.name()
            && self.namespace() == other.namespace()
    }

    /// Whether it is or was called so, in this namespace (`None` for any; none given means `default`).
    pub(super) fn was_called(&self, name: &str, namespace: Option<&str>) -> bool {
        let place =
            |namespace: &str| if namespace.is_empty() { "default".to_owned() } else { namespace.to_owned() };
        let now = (self.name().to_owned(), self.namespace().to_owned());
        self.before.iter().chain([&now]).any(|(known, at)| {
            known == name
                && namespace.is_none_or(|wanted| !self.is_namespaced() || place(wanted) == place(at))
        })
    }

    /// Remembers what it is called now, before that changes.
    pub(super) fn remember(&mut self) {
        let now = (self.name().to_owned(), self.namespace().to_owned());
        if !self.before.contains(&now) {
            self.before.push(now);
        }
    }

    pub(super) fn rename(&mut self, name: String) {
        if name != self.name() {
            self.remember();
            self.value["metadata"]["name"] = name.into();
        }
    }

    /// What errors call it.
    pub(super) fn id(&self) -> String {
        let (group, version) = self.version();
        let group = if group.is_empty() { "[noGrp]" } else { group };
        let namespace = if self.namespace().is_empty() { "[noNs]" } else { self.namespace() };
        format!("{}.{version}.{group}/{}.{namespace}", self.kind(), self.name())
    }

    /// Where it is printed.
    pub(super) fn order(&self) -> (usize, String, String, String) {
        let kind = self.kind();
        let place =
            match (FIRST.iter().position(|first| *first == kind), LAST.iter().position(|last| *last == kind))
            {
                (Some(at), _) => at,
                (_, Some(at)) => FIRST.len() + 1 + at,
                _ => FIRST.len(),
            };
        let (group, version) = self.version();
        // What lacks a group or a namespace is sorted by a word for that.
        let or = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        (
            place,
            format!("{}_{version}_{kind}", or(group, "~G")),
            or(self.namespace(), "~X"),
            self.name().to_owned(),
        )
    }
}
