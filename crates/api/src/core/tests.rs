use crate::Object;
use crate::testing::{check, check_row, check_update, created};
use k8s_openapi::api::core::v1::*;
use serde_json::json;

#[test]
fn config_maps() {
    check::<ConfigMap>(
        json!({"data": {"a/b": "x", "k": "v"}, "binaryData": {"k": "AA=="}}),
        &[
            "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or \
             '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
            "data[k]: Invalid value: \"k\": duplicate of key present in binaryData",
        ],
    );
    check_update::<ConfigMap>(
        json!({"immutable": true, "data": {"a": "1"}}),
        json!({"immutable": true, "data": {"a": "2"}}),
        &["data: Forbidden: field is immutable when `immutable` is set"],
    );
    check_row::<ConfigMap>(json!({"data": {"a": "1", "b": "2"}}), &[("Data", "2"), ("Age", "<unknown>")]);
}

#[test]
fn secrets() {
    let secret: Secret = created(json!({"stringData": {"a": "hi"}}));
    assert_eq!(secret.data.unwrap()["a"].0, b"hi");
    assert!(secret.string_data.is_none());
    check::<Secret>(
        json!({"type": "kubernetes.io/tls"}),
        &["data[tls.crt]: Required value", "data[tls.key]: Required value"],
    );
    check_update::<Secret>(
        json!({"type": "a"}),
        json!({"type": "b"}),
        &["type: Invalid value: \"b\": field is immutable"],
    );
    check_row::<Secret>(json!({"type": "Opaque", "data": {"a": ""}}), &[("Type", "Opaque"), ("Data", "1")]);
}

#[test]
fn namespaces() {
    let namespace: Namespace = created(json!({"metadata": {"name": "team"}}));
    assert_eq!(namespace.metadata.labels.as_ref().unwrap()["kubernetes.io/metadata.name"], "team");
    assert_eq!(namespace.spec.unwrap().finalizers.unwrap(), ["kubernetes"]);
    check_row::<Namespace>(json!({"status": {"phase": "Active"}}), &[("Status", "Active")]);
}

#[test]
fn nodes() {
    check::<Node>(
        json!({"spec": {"taints": [{"key": "a", "effect": "X"}]}}),
        &[
            "spec.taints[0].effect: Unsupported value: \"X\": supported values: \"NoExecute\", \"NoSchedule\", \
             \"PreferNoSchedule\"",
        ],
    );
    check_row::<Node>(
        json!({
            "metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "worker"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "False"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
        }),
        &[
            ("Status", "NotReady,SchedulingDisabled"),
            ("Roles", "control-plane,worker"),
            ("Internal-IP", "10.0.0.1"),
            ("External-IP", "<none>"),
            ("OS-Image", "<unknown>"),
        ],
    );
}

#[test]
fn claims_and_volumes() {
    let claim = |size: &str| json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}});
    check::<PersistentVolumeClaim>(
        json!({"spec": {}}),
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
        ],
    );
    check_update::<PersistentVolumeClaim>(
        claim("1Gi"),
        claim("2Gi"),
        &[
            "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName \
           for bound claims\n  core.PersistentVolumeClaimSpec{\n- \tresources.requests.storage: \"1Gi\",\n\
           + \tresources.requests.storage: \"2Gi\",\n  }\n",
        ],
    );
    let volume = json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
        "local": {"path": "/a"}}});
    check::<PersistentVolume>(
        volume.clone(),
        &["spec.nodeAffinity: Required value: Local volume requires node affinity"],
    );
    check_row::<PersistentVolume>(volume, &[("Capacity", "1Gi"), ("Access Modes", "RWO,ROX"), ("Claim", "")]);
}

#[test]
fn events_belong_to_their_object() {
    check::<Event>(
        json!({"involvedObject": {"kind": "Pod", "namespace": "other"}}),
        &["involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"],
    );
    check_row::<Event>(
        json!({"involvedObject": {"kind": "Pod", "name": "web"}, "type": "Normal", "reason": "Pulled",
            "message": "done\n", "lastTimestamp": "2026-01-01T00:00:00Z", "count": 4,
            "source": {"component": "kubelet", "host": "n"}}),
        &[
            ("Last Seen", "60s"),
            ("Object", "pod/web"),
            ("Message", "done"),
            ("Source", "kubelet, n"),
            ("Count", "4"),
        ],
    );
}

#[test]
fn controllers_take_the_labels_of_their_pods() {
    let controller: ReplicationController = created(json!({"spec": {"template":
        {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}));
    assert_eq!(controller.spec.as_ref().unwrap().selector.as_ref().unwrap()["a"], "b");
    assert_eq!(controller.meta().labels.as_ref().unwrap()["a"], "b");
}
