use crate::testing::{check, check_row, check_update, created};
use crate::{Object, Rules};
use k8s_openapi::api::apps::v1::*;
use serde_json::{Value, json};

fn workload(labels: Value) -> Value {
    json!({"spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
fn deployments() {
    let deployment: Deployment = created(workload(json!({"a": "b"})));
    let spec: Value = serde_json::from_slice::<Value>(&deployment.to_json()).unwrap()["spec"].clone();
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    assert_eq!((&spec["replicas"], &spec["revisionHistoryLimit"]), (&json!(1), &json!(10)));
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    check::<Deployment>(
        workload(json!({"a": "c"})),
        &[
            "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`",
        ],
    );
    let mut missing = workload(json!({"a": "b"}));
    missing["spec"]["selector"] = json!({});
    check::<Deployment>(
        missing,
        &[
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ],
    );
    let mut never = workload(json!({"a": "b"}));
    never["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    check::<Deployment>(
        never,
        &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
    );
    let mut stuck = workload(json!({"a": "b"}));
    stuck["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}});
    check::<Deployment>(
        stuck,
        &[
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
        ],
    );
    let mut other = workload(json!({"a": "b", "c": "d"}));
    other["spec"]["selector"] = json!({"matchLabels": {"c": "d"}});
    check_update::<Deployment>(
        workload(json!({"a": "b"})),
        other,
        &["spec.selector: Invalid value: {\"matchLabels\":{\"c\":\"d\"}}: field is immutable"],
    );
    let mut row = workload(json!({"a": "b"}));
    row["spec"]["replicas"] = json!(3);
    row["status"] = json!({"readyReplicas": 2, "updatedReplicas": 3});
    check_row::<Deployment>(
        row,
        &[
            ("Ready", "2/3"),
            ("Up-to-date", "3"),
            ("Available", "0"),
            ("Containers", "c"),
            ("Selector", "a=b"),
        ],
    );
}

#[test]
fn generations_count_changes_of_the_desired_state() {
    let old: Deployment = created(workload(json!({"a": "b"})));
    let mut scaled = old.clone();
    scaled.spec.as_mut().unwrap().replicas = Some(5);
    scaled.status = None;
    scaled.prepare_update(&old);
    assert_eq!((scaled.metadata.generation, scaled.status.is_some()), (Some(2), true));
    let mut reported = old.clone();
    reported.spec.as_mut().unwrap().replicas = Some(9);
    reported.status.as_mut().unwrap().ready_replicas = Some(1);
    reported.prepare_status_update(&old);
    assert_eq!(reported.spec, old.spec);
    assert_eq!(reported.metadata.generation, Some(1));
    assert_eq!(reported.status.unwrap().ready_replicas, Some(1));
}

#[test]
fn stateful_sets() {
    let mut old = workload(json!({"a": "b"}));
    old["spec"]["serviceName"] = json!("one");
    let mut new = old.clone();
    new["spec"]["serviceName"] = json!("two");
    check_update::<StatefulSet>(
        old.clone(),
        new,
        &[
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
           'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
           forbidden",
        ],
    );
    let mut scaled = old.clone();
    scaled["spec"]["replicas"] = json!(4);
    check_update::<StatefulSet>(old.clone(), scaled, &[]);
    let mut claims = old;
    claims["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec":
        {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    claims["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}]);
    check::<StatefulSet>(claims, &[]);
}

#[test]
fn daemon_sets() {
    let mut both = workload(json!({"a": "b"}));
    both["spec"]["updateStrategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}});
    check::<DaemonSet>(
        both,
        &[
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ],
    );
    check_row::<DaemonSet>(workload(json!({"a": "b"})), &[("Desired", "0"), ("Node Selector", "<none>")]);
}

#[test]
fn a_replica_set_cannot_have_more_ready_pods_than_pods() {
    let mut set: ReplicaSet = created(workload(json!({"a": "b"})));
    set.status = Some(ReplicaSetStatus { replicas: 1, ready_replicas: Some(2), ..Default::default() });
    let mut errors = machinery::FieldErrors::new();
    set.validate_status_update(&set.clone(), &mut errors);
    assert_eq!(
        errors.to_string(),
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"
    );
}
