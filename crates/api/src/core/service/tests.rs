use crate::testing::{check, check_row, check_update, created};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

#[test]
fn defaults_follow_the_type() {
    let service: Service = created(json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}));
    let spec = service.spec.unwrap();
    assert_eq!(spec.session_affinity.as_deref(), Some("None"));
    assert_eq!(spec.external_traffic_policy.as_deref(), Some("Cluster"));
    assert_eq!(spec.internal_traffic_policy.as_deref(), Some("Cluster"));
    assert_eq!(spec.allocate_load_balancer_node_ports, Some(true));
    assert_eq!(spec.ip_family_policy.as_deref(), Some("SingleStack"));
    assert_eq!(spec.ip_families.unwrap(), ["IPv4"]);
    let service: Service = created(json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}));
    assert_eq!(service.spec.unwrap().internal_traffic_policy, None);
}

#[test]
fn bad_services_are_refused() {
    let rows = [
        (json!({}), vec!["spec.ports: Required value"]),
        (json!({"clusterIP": "None"}), vec![]),
        (
            json!({"ports": [{"port": 80}, {"port": 80}]}),
            vec![
                "spec.ports[0].name: Required value",
                "spec.ports[1].name: Required value",
                "spec.ports[1]: Duplicate value: {\"protocol\":\"TCP\",\"port\":80}",
            ],
        ),
        (
            json!({"ports": [{"port": 80, "nodePort": 30080}]}),
            vec!["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            json!({"ports": [{"port": 0}]}),
            vec![
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        (json!({"type": "ExternalName"}), vec!["spec.externalName: Required value"]),
        (
            json!({"type": "Odd", "ports": [{"port": 80}]}),
            vec![
                "spec.type: Unsupported value: \"Odd\": supported values: \"ClusterIP\", \"ExternalName\", \
                 \"LoadBalancer\", \"NodePort\"",
            ],
        ),
        (
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90000}},
                "ports": [{"port": 80}]}),
            vec![
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less \
                 than 86400",
            ],
        ),
    ];
    for (spec, expected) in rows {
        check::<Service>(json!({"spec": spec}), &expected);
    }
}

#[test]
fn allocated_addresses_stay() {
    let old =
        json!({"spec": {"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ports": [{"port": 80}]}});
    check_update::<Service>(old.clone(), json!({"spec": {"ports": [{"port": 81}]}}), &[]);
    check_update::<Service>(
        old,
        json!({"spec": {"clusterIP": "10.96.0.6", "ports": [{"port": 80}]}}),
        &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.6\"]: may not change once set"],
    );
}

#[test]
fn rows_show_where_it_is_reached() {
    check_row::<Service>(
        json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.5", "selector": {"a": "b"},
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
        &[
            ("Type", "NodePort"),
            ("Cluster-IP", "10.96.0.5"),
            ("External-IP", "<none>"),
            ("Port(s)", "80:30080/TCP,53/UDP"),
            ("Selector", "a=b"),
        ],
    );
    check_row::<Service>(
        json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.5"}}),
        &[("External-IP", "<pending>"), ("Port(s)", "<none>")],
    );
}
