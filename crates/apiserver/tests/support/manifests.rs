//! A minimal valid object of every stored kind, and a change that every version of it allows.

use serde_json::{Value, json};

/// The least that a kind needs besides metadata; `None` for kinds that are computed, not stored.
#[allow(clippy::too_many_lines, reason = "a table")]
pub fn minimal(group: &str, version: &str, kind: &str) -> Option<Value> {
    let container = json!([{"name": "c", "image": "i"}]);
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": container}});
    let selector = json!({"matchLabels": {"a": "b"}});
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"});
    let hooks = json!([{
        "name": "h.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "failurePolicy": "Ignore", "clientConfig": {"url": "https://127.0.0.1:1/h"},
    }]);
    let metrics = json!([{"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 50}}}]);
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    Some(match (group, kind) {
        ("", "ConfigMap" | "LimitRange" | "ResourceQuota" | "Secret" | "ServiceAccount" | "Endpoints") => {
            json!({})
        }
        ("", "Namespace" | "Node") => json!({}),
        ("", "Event") => json!({"involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"}}),
        ("events.k8s.io", "Event") => json!({
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c.example.com/x",
            "reportingInstance": "i", "action": "a", "reason": "r", "type": "Normal",
            "regarding": {"namespace": "default", "kind": "Pod", "name": "p"},
        }),
        ("", "PersistentVolume") => {
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/tmp/x"}}})
        }
        ("", "PersistentVolumeClaim") => json!({"spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}),
        ("", "Pod") => json!({"spec": {"containers": container}}),
        ("", "PodTemplate") => json!({"template": template}),
        ("", "ReplicationController") => json!({"spec": {"selector": {"a": "b"}, "template": template}}),
        ("", "Service") => json!({"spec": {"ports": [{"port": 80}]}}),
        ("apiregistration.k8s.io", _) => json!({"spec": {"group": "g.example.com", "version": "v1",
            "groupPriorityMinimum": 100, "versionPriority": 100, "service": {"name": "s", "namespace": "default"},
            "insecureSkipTLSVerify": true}}),
        ("apps", "ControllerRevision") => json!({"revision": 1, "data": {}}),
        ("apps", "StatefulSet") => {
            json!({"spec": {"serviceName": "s", "selector": selector, "template": template}})
        }
        ("apps", _) => json!({"spec": {"selector": selector, "template": template}}),
        ("autoscaling", _) if version == "v1" => {
            json!({"spec": {"maxReplicas": 2, "scaleTargetRef": target}})
        }
        ("autoscaling", _) => {
            json!({"spec": {"maxReplicas": 2, "scaleTargetRef": target, "metrics": metrics}})
        }
        ("batch", "CronJob") => json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template":
            {"spec": {"restartPolicy": "Never", "containers": container}}}}}}),
        ("batch", "Job") => {
            json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": container}}}})
        }
        ("networking.k8s.io", "Ingress") => json!({"spec": {"defaultBackend": {"service":
            {"name": "s", "port": {"number": 80}}}}}),
        ("networking.k8s.io", "IngressClass") => json!({"spec": {"controller": "example.com/c"}}),
        ("networking.k8s.io", "NetworkPolicy") => json!({"spec": {"podSelector": {}}}),
        ("networking.k8s.io", "IPAddress") => json!({"spec": {"parentRef":
            {"resource": "services", "namespace": "default", "name": "s"}}}),
        ("networking.k8s.io", "ServiceCIDR") => json!({"spec": {"cidrs": ["10.200.0.0/24"]}}),
        ("policy", _) => json!({"spec": {"minAvailable": 1, "selector": selector}}),
        ("rbac.authorization.k8s.io", "ClusterRole" | "Role") => json!({"rules": []}),
        ("rbac.authorization.k8s.io", _) => json!({"roleRef": role_ref}),
        ("storage.k8s.io", "CSIDriver") => json!({"spec": {}}),
        ("storage.k8s.io", "CSINode") => json!({"spec": {"drivers": []}}),
        ("storage.k8s.io", "CSIStorageCapacity") => json!({"storageClassName": "s"}),
        ("storage.k8s.io", "StorageClass") => json!({"provisioner": "example.com/p"}),
        ("storage.k8s.io", "VolumeAttachment") => {
            json!({"spec": {"attacher": "a.example.com", "nodeName": "n",
            "source": {"persistentVolumeName": "v"}}})
        }
        ("storage.k8s.io", "VolumeAttributesClass") => {
            json!({"driverName": "d.example.com", "parameters": {"a": "b"}})
        }
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => {
            json!({"webhooks": hooks})
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => json!({"spec": {
            "validations": [{"expression": "true"}],
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["pods"]}]}}}),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}})
        }
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => json!({"spec": {
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": "Object{}"}}],
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["pods"]}]}}}),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => {
            json!({"spec": {"policyName": "p"}})
        }
        ("apiextensions.k8s.io", _) => json!({"spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
        ("scheduling.k8s.io", _) => json!({"value": 7}),
        ("coordination.k8s.io", _) => json!({"spec": {"holderIdentity": "me", "leaseDurationSeconds": 5}}),
        ("node.k8s.io", _) => json!({"handler": "runc"}),
        ("discovery.k8s.io", _) => json!({"addressType": "IPv4", "endpoints": []}),
        ("resource.k8s.io", "DeviceClass") => json!({"spec": {}}),
        ("resource.k8s.io", "ResourceClaim") => json!({"spec": {"devices": {"requests":
            [{"name": "r", "exactly": {"deviceClassName": "c.example.com"}}]}}}),
        ("resource.k8s.io", "ResourceClaimTemplate") => json!({"spec": {"spec": {"devices": {"requests":
            [{"name": "r", "exactly": {"deviceClassName": "c.example.com"}}]}}}}),
        ("resource.k8s.io", "ResourceSlice") => json!({"spec": {"driver": "d.example.com", "nodeName": "n",
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": []}}),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => json!({"spec": {"matchingPrecedence": 500,
            "priorityLevelConfiguration": {"name": "exempt"}}}),
        ("flowcontrol.apiserver.k8s.io", _) => json!({"spec": {"type": "Limited", "limited":
            {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}}}),
        ("certificates.k8s.io", _) => {
            json!({"spec": {"signerName": "example.com/s", "usages": ["digital signature"],
            "request": CSR}})
        }
        _ => return None,
    })
}

/// The name that a kind's object must or may have.
pub fn name(group: &str, kind: &str) -> &'static str {
    match (group, kind) {
        ("apiregistration.k8s.io", _) => "v1.g.example.com",
        ("apiextensions.k8s.io", _) => "widgets.example.com",
        ("networking.k8s.io", "IPAddress") => "10.200.0.7",
        _ => "contract-test",
    }
}

/// A certificate request of a key made for this file.
const CSR: &str = include_str!("request.b64");
