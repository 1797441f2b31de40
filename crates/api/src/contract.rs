//! What holds for every row of the table, and the table against the published discovery documents.

use crate::resource::ResourceDef;
use crate::table::builtin;
use crate::{Object, ResourceTable, Verb, meta};
use k8s_openapi::jiff::Timestamp;
use machinery::FieldErrors;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The smallest useful object of each kind that needs more than a name.
fn minimal(row: &ResourceDef) -> Value {
    let container = json!([{"name": "a", "image": "a"}]);
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": container}});
    let workload = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let job = json!({"template": {"spec": {"containers": container, "restartPolicy": "Never"}}});
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "a"});
    let about = json!({"kind": "Pod", "name": "a", "namespace": "default"});
    let rules = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
        "operations": ["CREATE"]}]});
    let access = json!({"user": "a", "resourceAttributes": {"verb": "get", "resource": "pods",
        "namespace": "default"}});
    match row.gvk.kind.as_ref() {
        "Pod" => json!({"spec": {"containers": container}}),
        "PodTemplate" => json!({"template": template}),
        "ReplicationController" => json!({"spec": {"selector": {"a": "b"}, "template": template}}),
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" => json!({"spec": workload}),
        "Job" => json!({"spec": job}),
        "CronJob" => json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}}),
        "ControllerRevision" => json!({"data": {"a": 1}, "revision": 1}),
        "Service" => json!({"spec": {"ports": [{"port": 80}]}}),
        "Event" if row.gvk.group.is_empty() => json!({"involvedObject": about}),
        "Event" => json!({"regarding": about}),
        "PersistentVolume" => {
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/a"}}})
        }
        "PersistentVolumeClaim" => json!({"spec": claim}),
        "EndpointSlice" => json!({"addressType": "IPv4", "endpoints": []}),
        "RoleBinding" | "ClusterRoleBinding" => json!({"roleRef": role}),
        "StorageClass" => json!({"provisioner": "example.com/a"}),
        "CSIDriver" => json!({"spec": {}}),
        "CSIStorageCapacity" => json!({"storageClassName": "a"}),
        "VolumeAttachment" => json!({"spec": {"attacher": "a.example.com", "nodeName": "n",
            "source": {"persistentVolumeName": "v"}}}),
        "VolumeAttributesClass" => json!({"driverName": "a.example.com", "parameters": {"a": "b"}}),
        "HorizontalPodAutoscaler" => json!({"spec": {"maxReplicas": 2,
            "scaleTargetRef": {"kind": "Deployment", "name": "a"}}}),
        "Ingress" => json!({"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}}),
        "IngressClass" => json!({"spec": {"controller": "example.com/a"}}),
        "IPAddress" => json!({"metadata": {"name": "10.0.0.1"},
            "spec": {"parentRef": {"resource": "services", "name": "a"}}}),
        "ServiceCIDR" => json!({"spec": {"cidrs": ["10.96.0.0/16"]}}),
        "RuntimeClass" => json!({"handler": "a"}),
        "CertificateSigningRequest" => {
            json!({"spec": {"signerName": "example.com/a", "usages": ["client auth"],
            "request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K"}})
        }
        "ValidatingAdmissionPolicy" => json!({"spec": {"matchConstraints": rules,
            "validations": [{"expression": "true"}]}}),
        "MutatingAdmissionPolicy" => json!({"spec": {"matchConstraints": rules,
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]}}),
        "ValidatingAdmissionPolicyBinding" => {
            json!({"spec": {"policyName": "a", "validationActions": ["Deny"]}})
        }
        "MutatingAdmissionPolicyBinding" => json!({"spec": {"policyName": "a"}}),
        "CustomResourceDefinition" => json!({"metadata": {"name": "as.example.com"}, "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "as", "kind": "A"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
        "APIService" => json!({"metadata": {"name": "v1.example.com"}, "spec": {"group": "example.com",
            "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10}}),
        "FlowSchema" => json!({"spec": {"priorityLevelConfiguration": {"name": "a"}}}),
        "PriorityLevelConfiguration" => json!({"spec": {"type": "Limited", "limited": {}}}),
        "ResourceSlice" => json!({"spec": {"driver": "a.example.com", "nodeName": "n",
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}}),
        "SubjectAccessReview" | "SelfSubjectAccessReview" => json!({"spec": access}),
        "LocalSubjectAccessReview" => json!({"spec": access}),
        "SelfSubjectRulesReview" => json!({"spec": {"namespace": "default"}}),
        "TokenReview" => json!({"spec": {"token": "t"}}),
        _ => json!({}),
    }
}

/// The row's smallest object, decoded.
fn sample(row: &ResourceDef) -> Box<dyn Object> {
    let mut object = minimal(row);
    object["apiVersion"] = json!(row.gvk.api_version());
    object["kind"] = json!(row.gvk.kind);
    let meta = &mut object["metadata"];
    if meta.is_null() {
        *meta = json!({});
    }
    if meta["name"].is_null() {
        meta["name"] = json!("a");
    }
    if row.namespaced {
        meta["namespace"] = json!("default");
    }
    match row.strategy.decode(object.to_string().as_bytes()) {
        Ok(object) => object,
        Err(error) => panic!("{row:?}: {error}"),
    }
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("valid time")
}

#[test]
fn every_row_keeps_the_contract() {
    for row in builtin() {
        let strategy = &row.strategy;
        let mut object = sample(row);
        meta::prepare_create(object.meta_mut(), now(), "uid-1".to_owned());
        strategy.set_defaults(object.as_mut());
        let once = object.to_json();
        strategy.set_defaults(object.as_mut());
        assert_eq!(text(&once), text(&object.to_json()), "{row:?}: defaults are not idempotent");

        strategy.prepare_create(object.as_mut());
        let mut errors = FieldErrors::new();
        meta::validate_create(object.meta(), row.namespaced, row.check_name, &mut errors);
        errors.extend(strategy.validate_create(object.as_ref()));
        assert!(errors.is_empty(), "{row:?}: the smallest object is refused: {errors}");

        let back = strategy.decode(&object.to_json()).unwrap_or_else(|e| panic!("{row:?}: {e}"));
        assert!(object.equals(back.as_ref()), "{row:?}: does not survive a round trip");
        assert_eq!(back.gvk(), row.gvk, "{row:?}");

        let cells = strategy.cells(object.as_ref(), now());
        assert_eq!(cells.len(), row.columns.len(), "{row:?}: cells and columns differ");
        for field in &row.selectable {
            (field.get)(object.as_ref());
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_update_that_changes_nothing_is_accepted_and_keeps_the_generation() {
    for row in builtin().iter().filter(|row| row.verbs.contains(&Verb::Update)) {
        let strategy = &row.strategy;
        let mut old = sample(row);
        meta::prepare_create(old.meta_mut(), now(), "uid-1".to_owned());
        strategy.set_defaults(old.as_mut());
        strategy.prepare_create(old.as_mut());
        let mut new = old.clone_object();
        strategy.set_defaults(new.as_mut());
        meta::prepare_update(new.meta_mut(), old.meta());
        strategy.prepare_update(new.as_mut(), old.as_ref());
        let mut errors = FieldErrors::new();
        meta::validate_update(new.meta(), old.meta(), &mut errors);
        errors.extend(strategy.validate_update(new.as_ref(), old.as_ref()));
        assert!(errors.is_empty(), "{row:?}: {errors}");
        assert_eq!(new.meta().generation, old.meta().generation, "{row:?}");
        if row.has_subresource("status") {
            strategy.prepare_status_update(new.as_mut(), old.as_ref());
            let errors = strategy.validate_status_update(new.as_ref(), old.as_ref());
            assert!(errors.is_empty(), "{row:?}: status: {errors}");
        }
    }
}

#[test]
fn conversions_lose_nothing() {
    let table = ResourceTable::shared();
    for row in builtin() {
        let Some(conversion) = &row.conversion else { continue };
        let stored_row = table.stored_form(row);
        assert_eq!(stored_row.gvk, conversion.stored, "{row:?}");
        assert_eq!(stored_row.storage, row.storage, "{row:?}");
        let mut served = sample(row);
        row.strategy.set_defaults(served.as_mut());
        let stored = (conversion.to_stored)(served.as_ref()).expect("converts");
        assert_eq!(stored.gvk(), conversion.stored);
        let back = (conversion.from_stored)(stored.as_ref()).expect("converts back");
        assert!(served.equals(back.as_ref()), "{row:?}");
    }
}

#[test]
fn names_are_unique() {
    let mut paths = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for row in builtin() {
        assert!(paths.insert(row.gvr().to_string()), "{row:?}");
        assert!(kinds.insert(row.gvk.to_string()), "{row:?}");
        assert_eq!(row.list_kind, format!("{}List", row.gvk.kind), "{row:?}");
    }
}

#[test]
fn agrees_with_the_published_discovery() {
    let name = "agrees_with_the_published_discovery";
    let Some(folder) = std::env::var_os("WINDLASS_REFERENCE").map(PathBuf::from) else {
        eprintln!("skipped {name}: WINDLASS_REFERENCE does not name the reference data");
        return;
    };
    let groups: BTreeSet<(String, String)> =
        builtin().iter().map(|row| (row.gvk.group.to_string(), row.gvk.version.to_string())).collect();
    for (group, version) in groups {
        let file = match group.as_str() {
            "" => format!("api__{version}.json"),
            _ => format!("apis__{group}__{version}.json"),
        };
        let path = folder.join("discovery").join(file);
        let document = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let document: Value = serde_json::from_slice(&document).expect("discovery is JSON");
        let published: BTreeSet<String> =
            document["resources"].as_array().into_iter().flatten().map(published_line).collect();
        let ours: BTreeSet<String> = builtin()
            .iter()
            .filter(|row| row.gvk.group == group && row.gvk.version == version)
            .flat_map(|row| our_lines(row))
            .collect();
        assert_eq!(ours, published, "{group}/{version}");
    }
}

fn published_line(resource: &Value) -> String {
    let list = |key: &str| {
        let values: Vec<&str> =
            resource[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.join(",")
    };
    let text = |key: &str| resource[key].as_str().unwrap_or_default();
    format!(
        "{} kind={} singular={} namespaced={} short={} categories={} verbs={}",
        text("name"),
        text("kind"),
        text("singularName"),
        resource["namespaced"],
        list("shortNames"),
        list("categories"),
        list("verbs")
    )
}

fn our_lines(row: &ResourceDef) -> Vec<String> {
    let verbs = |verbs: &[Verb]| verbs.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(",");
    let mut lines = vec![format!(
        "{} kind={} singular={} namespaced={} short={} categories={} verbs={}",
        row.plural,
        row.gvk.kind,
        row.singular,
        row.namespaced,
        row.short_names.join(","),
        row.categories.join(","),
        verbs(&row.verbs)
    )];
    for sub in &row.subresources {
        let kind = sub.gvk.as_ref().map_or(&row.gvk.kind, |gvk| &gvk.kind);
        lines.push(format!(
            "{}/{} kind={kind} singular= namespaced={} short= categories= verbs={}",
            row.plural,
            sub.name,
            row.namespaced,
            verbs(&sub.verbs)
        ));
    }
    lines
}
