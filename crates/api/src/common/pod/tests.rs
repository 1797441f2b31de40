//! Rules that pods and their templates share, in the words that clients see.

use crate::Rules;
use crate::testing::{check, created, errors};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use serde_json::{Value, json};

fn pod(fields: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "a", "image": "a"}]});
    for (key, value) in fields.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"spec": spec})
}

fn container(fields: Value) -> Value {
    let mut container = json!({"name": "a", "image": "a"});
    for (key, value) in fields.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    container
}

#[test]
fn claims_of_pods() {
    let used = json!([container(
        json!({"resources": {"claims": [{"name": "gpu"}, {"name": "gpu"}, {"name": "x"}]}})
    )]);
    check::<Pod>(
        pod(json!({"containers": used, "resourceClaims": [
            {"name": "gpu", "resourceClaimName": "c"},
            {"name": "gpu", "resourceClaimName": "c"},
            {"name": "none"},
            {"name": "both", "resourceClaimName": "c", "resourceClaimTemplateName": "t"},
        ]})),
        &[
            "spec.resourceClaims[1].name: Duplicate value: \"gpu\"",
            "spec.resourceClaims[2]: Invalid value: {\"name\":\"none\"}: must specify one of: `resourceClaimName`, \
             `resourceClaimTemplateName`",
            "spec.resourceClaims[3]: Invalid value: {\"name\":\"both\",\"resourceClaimName\":\"c\",\
             \"resourceClaimTemplateName\":\"t\"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may \
             be specified",
            "spec.containers[0].resources.claims[1]: Duplicate value: \"gpu\"",
            "spec.containers[0].resources.claims[2].name: Not found: \"x\"",
        ],
    );
}

#[test]
fn restart_rules_of_containers() {
    let rules = |policy: Value, rules: Value| {
        pod(json!({"containers": [container(json!({"restartPolicy": policy, "restartPolicyRules": rules}))]}))
    };
    let good = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    check::<Pod>(rules(json!("Never"), good.clone()), &[]);
    check::<Pod>(
        rules(Value::Null, good),
        &[
            "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restartPolicyRules are used",
        ],
    );
    check::<Pod>(
        rules(json!("Never"), json!([{"action": "Stop"}])),
        &[
            "spec.containers[0].restartPolicyRules[0].action: Unsupported value: \"Stop\": supported values: \"Restart\"",
            "spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified",
        ],
    );
}

#[test]
fn systems_and_their_options() {
    let windows = json!({"windowsOptions": {"runAsUserName": "a\\b\\c", "hostProcess": true}});
    check::<Pod>(
        pod(json!({"os": {"name": "linux"}, "securityContext": windows})),
        &[
            "spec.securityContext.windowsOptions.runAsUserName: Invalid value: \"a\\\\b\\\\c\": runAsUserName cannot \
             contain more than one backslash",
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
            "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
        ],
    );
    check::<Pod>(
        pod(json!({"os": {"name": "windows"}, "hostPID": true,
            "containers": [container(json!({"securityContext": {"privileged": true}}))]})),
        &[
            "spec.hostPID: Forbidden: cannot be set for a windows pod",
            "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
        ],
    );
}

#[test]
fn old_volume_sources() {
    let volume = |name: &str, source: Value| pod(json!({"volumes": [{"name": "v", name: source}]}));
    for (name, source, expected) in [
        (
            "gcePersistentDisk",
            json!({"pdName": "", "partition": 300}),
            &[
                "spec.volumes[0].gcePersistentDisk.pdName: Required value",
                "spec.volumes[0].gcePersistentDisk.partition: Invalid value: 300: must be between 0 and 255, inclusive",
            ][..],
        ),
        (
            "fc",
            json!({"targetWWNs": ["w"]}),
            &["spec.volumes[0].fc.lun: Required value: lun is required if targetWWNs is specified"],
        ),
        (
            "flocker",
            json!({}),
            &["spec.volumes[0].flocker: Required value: one of datasetName and datasetUUID is required"],
        ),
        (
            "iscsi",
            json!({"targetPortal": "p", "iqn": "x", "lun": 0}),
            &[
                "spec.volumes[0].iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa",
            ],
        ),
    ] {
        check::<Pod>(volume(name, source), expected);
    }
    let found = errors::<PersistentVolume>(json!({"spec": {"capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"], "awsElasticBlockStore": {"volumeID": ""}}}));
    assert!(found.contains(&"spec.awsElasticBlockStore.volumeID: Required value".to_owned()), "{found:?}");
}

#[test]
fn warnings_name_what_is_deprecated() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
        "nodeSelector": {"beta.kubernetes.io/os": "linux"},
        "volumes": [{"name": "v", "gitRepo": {"repository": "r"}}],
        "containers": [container(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"},
            {"name": "B", "value": "1"}, {"name": "B", "value": "$(B):2"}]}))],
    }});
    let deployment: Deployment = created(
        json!({"metadata": {"name": "a.b"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}),
    );
    let warnings = deployment.warnings(None);
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(
        warnings[0].starts_with("metadata.name: this is used in Pod names and hostnames"),
        "{warnings:?}"
    );
    assert_eq!(
        warnings[1],
        "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"
    );
    assert!(
        warnings[2].starts_with("spec.template.spec.volumes[0].gitRepo: deprecated in v1.11"),
        "{warnings:?}"
    );
    assert_eq!(
        warnings[3],
        "spec.template.spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply"
    );
    assert!(deployment.warnings(Some(&deployment)).is_empty(), "nothing changed");
}
