//! Validation messages of kinds whose groups have few.

use crate::meta;
use crate::testing::{check, check_row, check_update, created};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::FieldErrors;
use serde_json::{Value, json};

fn meta_errors(fields: Value, namespaced: bool) -> Vec<String> {
    let meta: ObjectMeta = serde_json::from_value(fields).unwrap();
    let mut errors = FieldErrors::new();
    meta::validate_create(&meta, namespaced, crate::common::names::subdomain, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn metadata() {
    assert_eq!(
        meta_errors(json!({}), true),
        [
            "metadata.name: Required value: name or generateName is required",
            "metadata.namespace: Required value"
        ]
    );
    assert_eq!(
        meta_errors(json!({"name": "a", "namespace": "x"}), false),
        ["metadata.namespace: Forbidden: not allowed on this type"]
    );
    assert_eq!(
        meta_errors(json!({"name": "a", "finalizers": ["mine"]}), false),
        [
            "metadata.finalizers: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified"
        ]
    );
    let owner =
        |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u", "controller": true});
    let errors = meta_errors(json!({"name": "a", "ownerReferences": [owner("p"), owner("q")]}), false);
    assert!(
        errors[0].ends_with(
            "Only one reference can have Controller set to true. Found \"true\" in references for Pod/p and Pod/q"
        ),
        "{errors:?}"
    );
}

#[test]
fn metadata_of_updates() {
    let old: ObjectMeta = serde_json::from_value(json!({"name": "a", "uid": "1", "generation": 2,
        "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z"}))
    .unwrap();
    let mut kept: ObjectMeta = serde_json::from_value(json!({"name": "a"})).unwrap();
    meta::prepare_update(&mut kept, &old);
    let mut errors = FieldErrors::new();
    meta::validate_update(&kept, &old, &mut errors);
    assert!(errors.is_empty(), "{errors}");

    let mut changed: ObjectMeta =
        serde_json::from_value(json!({"name": "a", "uid": "2", "creationTimestamp": "2025-01-01T00:00:00Z",
            "finalizers": ["x.io/y"]}))
        .unwrap();
    meta::prepare_update(&mut changed, &old);
    meta::validate_update(&changed, &old, &mut errors);
    let errors: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
             finalizers sets.Set[string]{\"x.io/y\":sets.Empty{}}",
            "metadata.uid: Invalid value: \"2\": field is immutable",
            "metadata.creationTimestamp: Invalid value: \"2025-01-01T00:00:00Z\": field is immutable",
        ]
    );
}

#[test]
fn roles_and_bindings() {
    check::<Role>(
        json!({"rules": [{"verbs": [], "resources": ["pods"]}]}),
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
        ],
    );
    let binding = |role: &str| {
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
            "subjects": [{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]})
    };
    check::<RoleBinding>(binding("a"), &[]);
    check_update::<RoleBinding>(
        binding("a"),
        binding("b"),
        &[
            "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"b\"}: cannot \
           change roleRef",
        ],
    );
    check_row::<RoleBinding>(
        binding("a"),
        &[("Role", "Role/a"), ("Users", "jane"), ("Groups", ""), ("ServiceAccounts", "n/s")],
    );
}

#[test]
fn priority_classes() {
    check::<PriorityClass>(
        json!({"value": 1_000_000_001}),
        &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    );
    check_update::<PriorityClass>(
        json!({"value": 1}),
        json!({"value": 2}),
        &["value: Forbidden: may not be changed in an update."],
    );
    check::<PriorityClass>(
        json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000}),
        &[],
    );
}

#[test]
fn disruption_budgets() {
    check::<PodDisruptionBudget>(
        json!({"spec": {"minAvailable": "120%"}}),
        &["spec.minAvailable: Invalid value: \"120%\": must not be greater than 100%"],
    );
    check_row::<PodDisruptionBudget>(
        json!({"spec": {"minAvailable": 2}, "status": {"disruptionsAllowed": 1}}),
        &[("Min Available", "2"), ("Max Unavailable", "N/A"), ("Allowed Disruptions", "1")],
    );
}

#[test]
fn storage_classes() {
    check_update::<StorageClass>(
        json!({"provisioner": "a.io/b"}),
        json!({"provisioner": "a.io/c"}),
        &["provisioner: Forbidden: updates to provisioner are forbidden."],
    );
    check_row::<StorageClass>(
        json!({"metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "a.io/b"}),
        &[("Name", "fast (default)"), ("AllowVolumeExpansion", "false")],
    );
}

#[test]
fn network_kinds() {
    check::<Ingress>(
        json!({"spec": {"rules": [{"host": "*.a.b", "http": {"paths": [{"path": "x", "pathType": "Prefix",
            "backend": {"service": {"name": "s", "port": {}}}}]}}]}}),
        &[
            "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path",
            "spec.rules[0].http.paths[0].backend: Required value: port name or number is required",
        ],
    );
    check::<NetworkPolicy>(
        json!({"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8",
            "except": ["11.0.0.0/16"]}}]}]}}),
        &[
            "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
        ],
    );
    let policy: NetworkPolicy = created(json!({"spec": {"podSelector": {}, "egress": [{}]}}));
    assert_eq!(policy.spec.unwrap().policy_types.unwrap(), ["Ingress", "Egress"]);
}

#[test]
fn custom_resource_definitions() {
    let crd = |schema: Value| {
        json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
    };
    let good: CustomResourceDefinition = created(crd(json!({"type": "object"})));
    assert_eq!(good.spec.names.singular.as_deref(), Some("widget"));
    assert_eq!(good.spec.names.list_kind.as_deref(), Some("WidgetList"));
    assert_eq!(good.status.unwrap().stored_versions.unwrap(), ["v1"]);
    let at = "spec.versions[0].schema.openAPIV3Schema";
    check::<CustomResourceDefinition>(
        crd(json!({"type": "object", "properties": {"a": {}, "b": {"type": "array"}}})),
        &[
            &format!(
                "{at}.properties[a].type: Required value: must not be empty for specified object fields"
            ),
            &format!("{at}.properties[b].items: Required value: must be specified"),
        ],
    );
    let mut misnamed = crd(json!({"type": "object"}));
    misnamed["metadata"]["name"] = json!("w.example.com");
    check::<CustomResourceDefinition>(
        misnamed,
        &["metadata.name: Invalid value: \"w.example.com\": must be spec.names.plural+\".\"+spec.group"],
    );
}
