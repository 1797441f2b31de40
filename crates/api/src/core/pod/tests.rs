use crate::testing::{check, check_row, check_update, created, errors, update_errors};
use crate::{Kind, Object, Rules};
use k8s_openapi::api::core::v1::Pod;
use machinery::FieldErrors;
use serde_json::{Value, json};

/// A pod of one container with `fields` merged into the container.
fn container(fields: Value) -> Value {
    let mut container = json!({"name": "a", "image": "nginx"});
    for (key, value) in fields.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    json!({"spec": {"containers": [container]}})
}

/// A pod of one container with `fields` merged into the spec.
fn spec(fields: Value) -> Value {
    let mut pod = container(json!({}));
    for (key, value) in fields.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let pod: Pod = created(container(json!({
        "ports": [{"containerPort": 80}],
        "livenessProbe": {"httpGet": {"port": 80}},
        "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    })));
    let pod: Value = serde_json::from_slice(&pod.to_json()).unwrap();
    let expected = json!({
        "name": "a", "image": "nginx", "imagePullPolicy": "Always",
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "livenessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1,
            "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
    });
    assert_eq!(pod["spec"]["containers"][0], expected);
    for (field, value) in [
        ("dnsPolicy", json!("ClusterFirst")),
        ("restartPolicy", json!("Always")),
        ("schedulerName", json!("default-scheduler")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("enableServiceLinks", json!(true)),
        ("securityContext", json!({})),
    ] {
        assert_eq!(pod["spec"][field], value, "{field}");
    }
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "Guaranteed"}));
    assert_eq!(pod["metadata"]["generation"], 1);
}

#[test]
fn quality_of_service_follows_resources() {
    let rows = [
        (json!({}), "BestEffort"),
        (json!({"resources": {"requests": {"cpu": "1"}}}), "Burstable"),
        (json!({"resources": {"limits": {"cpu": "1"}}}), "Burstable"),
        (json!({"resources": {"limits": {"cpu": "1", "memory": "1"}}}), "Guaranteed"),
    ];
    for (fields, class) in rows {
        let pod: Pod = created(container(fields));
        assert_eq!(pod.status.unwrap().qos_class.unwrap(), class);
    }
}

#[test]
fn containers_are_checked() {
    check::<Pod>(json!({"spec": {"containers": []}}), &["spec.containers: Required value"]);
    check::<Pod>(
        json!({"spec": {"containers": [{"name": "", "image": ""}, {"name": "b", "image": "x"}, {"name": "b", "image": " x"}]}}),
        &[
            "spec.containers[0].name: Required value",
            "spec.containers[0].image: Required value",
            "spec.containers[2].image: Invalid value: \" x\": must not have leading or trailing whitespace",
            "spec.containers[2].name: Duplicate value: \"b\"",
        ],
    );
    let rows = [
        (
            json!({"ports": [{"containerPort": 0}, {"containerPort": 70000, "protocol": "X"}]}),
            vec![
                "spec.containers[0].ports[0].containerPort: Required value",
                "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "spec.containers[0].ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ],
        ),
        (
            json!({"env": [{"name": "A", "valueFrom": {}}]}),
            vec![
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, \
                 `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            ],
        ),
        (
            json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]}),
            vec![
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported \
                 values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \
                 \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
            ],
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}]}),
            vec!["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
        ),
        (
            json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            vec![
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ],
        ),
        (
            json!({"resources": {"limits": {"pods": "1"}}}),
            vec![
                "spec.containers[0].resources.limits[pods]: Invalid value: \"pods\": must be a standard resource for containers",
                "spec.containers[0].resources.requests[pods]: Invalid value: \"pods\": must be a standard resource for containers",
            ],
        ),
        (
            json!({"livenessProbe": {}}),
            vec!["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
        ),
        (
            json!({"livenessProbe": {"tcpSocket": {"port": 80}, "successThreshold": 2}}),
            vec!["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        ),
        (
            json!({"imagePullPolicy": "Sometimes"}),
            vec![
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
                 \"IfNotPresent\", \"Never\"",
            ],
        ),
    ];
    for (fields, expected) in rows {
        check::<Pod>(container(fields), &expected);
    }
}

#[test]
fn volumes_are_checked() {
    let rows = [
        (json!([{"name": "a"}, {"name": "a"}]), vec!["spec.volumes[1].name: Duplicate value: \"a\""]),
        (
            json!([{"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
            vec!["spec.volumes[0].emptyDir: Forbidden: may not specify more than 1 volume type"],
        ),
        (json!([{"name": "a", "secret": {}}]), vec!["spec.volumes[0].secret.secretName: Required value"]),
        (
            json!([{"name": "a", "configMap": {"name": "c", "items": [{"key": "k", "path": "../x"}]}}]),
            vec!["spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'"],
        ),
        (
            json!([{"name": "a", "hostPath": {"path": "/x", "type": "Odd"}}]),
            vec![
                "spec.volumes[0].hostPath.type: Unsupported value: \"Odd\": supported values: \"\", \"BlockDevice\", \
                 \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            ],
        ),
    ];
    for (volumes, expected) in rows {
        check::<Pod>(spec(json!({"volumes": volumes})), &expected);
    }
}

#[test]
fn scheduling_and_policies_are_checked() {
    let rows = [
        (
            json!({"restartPolicy": "Maybe"}),
            "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ),
        (
            json!({"tolerations": [{"operator": "Equal"}]}),
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which \
             means \"match all values and all keys\"",
        ),
        (
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": []}}}}),
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: \
             must have at least one node selector term",
        ),
        (
            json!({"nodeName": "n", "schedulingGates": [{"name": "a.b/c"}]}),
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ),
        (
            json!({"ephemeralContainers": [{"name": "e", "image": "x"}]}),
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ),
        (
            json!({"initContainers": [{"name": "i", "image": "x", "readinessProbe": {"tcpSocket": {"port": 1}}}]}),
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ),
    ];
    for (fields, expected) in rows {
        check::<Pod>(spec(fields), &[expected]);
    }
    let sidecar = json!({"initContainers": [{"name": "i", "image": "x", "restartPolicy": "Always",
        "readinessProbe": {"tcpSocket": {"port": 1}}}]});
    check::<Pod>(spec(sidecar), &[]);
}

#[test]
fn images_may_change_and_little_else() {
    let old = spec(json!({"tolerations": [{"key": "a", "operator": "Exists"}]}));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("nginx:2");
    new["spec"]["tolerations"] =
        json!([{"key": "b", "operator": "Exists"}, {"key": "a", "operator": "Exists"}]);
    new["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    check_update::<Pod>(old.clone(), new, &[]);

    let mut moved = old.clone();
    moved["spec"]["nodeName"] = json!("other");
    let messages = update_errors::<Pod>(old.clone(), moved);
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    assert!(
        message.starts_with(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
             tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
        ),
        "{message}"
    );
    assert!(message.contains("- \tnodeName: null,\n+ \tnodeName: \"other\","), "{message}");

    let mut more = old.clone();
    more["spec"]["containers"] = json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]);
    check_update::<Pod>(
        old,
        more,
        &["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
}

#[test]
fn statuses_become_one_word() {
    let pod = |status: Value| {
        let mut pod = spec(json!({"initContainers": [{"name": "i", "image": "x"}]}));
        pod["metadata"] = json!({"creationTimestamp": "2026-01-01T00:00:00Z"});
        pod["status"] = status;
        pod
    };
    let running = json!({"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 3,
        "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:55Z"}}});
    let rows = [
        (json!({"phase": "Pending"}), "0/1", "Pending", "0"),
        (
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"running": {}}}]}),
            "0/1",
            "Init:0/1",
            "0",
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "image": "", "imageID": "", "ready": false,
                "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            "0/1",
            "Init:CrashLoopBackOff",
            "2",
        ),
        (json!({"phase": "Running", "containerStatuses": [running]}), "1/1", "Running", "3 (5s ago)"),
        (
            json!({"phase": "Running", "containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": false,
                "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            "0/1",
            "CrashLoopBackOff",
            "1",
        ),
        (
            json!({"phase": "Succeeded", "containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
            "0/1",
            "Completed",
            "0",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"terminated": {"exitCode": 7}}}]}),
            "0/1",
            "ExitCode:7",
            "0",
        ),
    ];
    for (status, ready, word, restarts) in rows {
        let expected = [("Ready", ready), ("Status", word), ("Restarts", restarts), ("Age", "60s")];
        check_row::<Pod>(pod(status), &expected);
    }
    let mut deleted = pod(json!({"phase": "Running"}));
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:30Z");
    check_row::<Pod>(deleted, &[("Status", "Terminating"), ("IP", "<none>"), ("Node", "<none>")]);
}

#[test]
fn ephemeral_containers_are_only_added() {
    let old: Pod = created(container(json!({})));
    let mut new = old.clone();
    let added = json!({"name": "debug", "image": "busybox"});
    new.spec.as_mut().unwrap().ephemeral_containers = Some(vec![serde_json::from_value(added).unwrap()]);
    new.spec.as_mut().unwrap().node_name = Some("elsewhere".to_owned());
    new.set_defaults();
    super::partial::prepare_ephemeral(&mut new, &old);
    assert_eq!(new.spec.as_ref().unwrap().node_name, None);
    assert_eq!(new.metadata.generation, Some(2));
    let mut found = FieldErrors::new();
    super::partial::validate_ephemeral(&new, &old, &mut found);
    assert!(found.is_empty(), "{found}");
    super::partial::validate_ephemeral(&old, &new, &mut found);
    assert!(found.to_string().contains("may not be removed"), "{found}");
}

#[test]
fn host_network_takes_host_ports() {
    let mut pod = container(json!({"ports": [{"containerPort": 80}]}));
    pod["spec"]["hostNetwork"] = json!(true);
    let created: Pod = created(pod.clone());
    assert_eq!(created.spec.unwrap().containers[0].ports.as_ref().unwrap()[0].host_port, Some(80));
    pod["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(81);
    assert_eq!(
        errors::<Pod>(pod),
        [
            "spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort` when `hostNetwork` is true"
        ]
    );
    assert_eq!(Pod::PLURAL, "pods");
}
