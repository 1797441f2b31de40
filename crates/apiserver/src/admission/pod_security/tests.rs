//! Pods against levels, in upstream's words.

use super::*;

fn spec(json: &str) -> PodSpec {
    let json = format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{}},"spec":{json}}}"#);
    Pod::from_json(json.as_bytes()).unwrap().spec.unwrap()
}

#[test]
fn a_plain_pod_is_baseline_but_not_restricted() {
    let plain = spec(r#"{"containers":[{"name":"nginx"}]}"#);
    assert!(violations(&Level::Baseline, &plain).is_empty());
    assert_eq!(
        violations(&Level::Restricted, &plain).to_string(),
        "allowPrivilegeEscalation != false (container \"nginx\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"nginx\" must set \
         securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"nginx\" must set \
         securityContext.runAsNonRoot=true), seccompProfile (pod or container \"nginx\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
}

#[test]
fn a_hardened_pod_is_restricted() {
    let hard = spec(
        r#"{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},
            "containers":[{"name":"c","securityContext":{"allowPrivilegeEscalation":false,
            "capabilities":{"drop":["ALL"],"add":["NET_BIND_SERVICE"]}}}],
            "volumes":[{"name":"v","emptyDir":{}}]}"#,
    );
    assert_eq!(violations(&Level::Restricted, &hard).to_string(), "");
}

#[test]
fn every_way_out_is_named() {
    let bad = spec(
        r#"{"hostNetwork":true,"hostPID":true,"volumes":[{"name":"v","hostPath":{"path":"/"}}],
            "securityContext":{"sysctls":[{"name":"kernel.msgmax","value":"1"}]},
            "containers":[{"name":"a","ports":[{"containerPort":80,"hostPort":80}],"securityContext":{
            "privileged":true,"procMount":"Unmasked","capabilities":{"add":["NET_ADMIN"]}}},{"name":"b",
            "securityContext":{"seccompProfile":{"type":"Unconfined"}},"livenessProbe":{"httpGet":{"host":"x",
            "port":1}}}]}"#,
    );
    assert_eq!(
        violations(&Level::Baseline, &bad).to_string(),
        "non-default capabilities (container \"a\" must not include \"NET_ADMIN\" in \
         securityContext.capabilities.add), host namespaces (hostNetwork=true, hostPID=true), hostPath volumes (volume \
         \"v\"), hostPort (container \"a\" uses hostPort 80), probe or lifecycle host (container \"b\" must not set host \
         in probes or lifecycle hooks), privileged (container \"a\" must not set securityContext.privileged=true), \
         procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\"), seccompProfile (container \
         \"b\" must not set securityContext.seccompProfile.type to \"Unconfined\"), forbidden sysctls (kernel.msgmax)"
    );
}

#[test]
fn labels_are_read_and_checked() {
    let labels = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| (format!("pod-security.kubernetes.io/{k}"), (*v).to_owned())).collect()
    };
    let good = labels(&[("enforce", "baseline"), ("enforce-version", "v1.30"), ("audit", "restricted")]);
    let policy = Policy::of(Some(&good));
    assert_eq!(
        (policy.enforce.to_string().as_str(), policy.audit.level),
        ("baseline:v1.30", Level::Restricted)
    );
    let mut errors = FieldErrors::new();
    policy::validate(Some(&good), &mut errors);
    assert!(errors.is_empty());
    let bad = labels(&[("enforce", "strict"), ("warn-version", "1.2")]);
    policy::validate(Some(&bad), &mut errors);
    assert_eq!(errors.0.len(), 2);
    assert_eq!(Policy::of(Some(&bad)).enforce.level, Level::Restricted);
}
