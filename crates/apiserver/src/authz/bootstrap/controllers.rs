//! The ClusterRoles of v1.36's controllers, `system:controller:<name>`, each bound to the service account
//! `kube-system/<name>`.
//!
//! Deliberately absent: roles that are not a controller's (`table.rs`).

use super::table::{EVENTS, READ, RoleRow, RuleRow, on};

const fn controller(name: &'static str, rules: &'static [RuleRow]) -> RoleRow {
    RoleRow { name, rules, aggregate_to: "", aggregates: "" }
}

/// The controllers' roles, by the controller's name without its prefix.
pub(crate) const CONTROLLER_ROLES: &[RoleRow] = &[
    controller(
        "attachdetach-controller",
        &[
            on("list,watch", "", "persistentvolumeclaims,persistentvolumes"),
            on(READ, "", "nodes"),
            on("patch,update", "", "nodes/status"),
            on("list,watch", "", "pods"),
            EVENTS,
            on("create,delete,get,list,watch", "storage.k8s.io", "volumeattachments"),
            on(READ, "storage.k8s.io", "csidrivers"),
            on(READ, "storage.k8s.io", "csinodes"),
        ],
    ),
    controller(
        "clusterrole-aggregation-controller",
        &[on("escalate,get,list,patch,update,watch", "rbac.authorization.k8s.io", "clusterroles")],
    ),
    controller(
        "cronjob-controller",
        &[
            on("get,list,update,watch", "batch", "cronjobs"),
            on("create,delete,get,list,patch,update,watch", "batch", "jobs"),
            on("update", "batch", "cronjobs/status"),
            on("update", "batch", "cronjobs/finalizers"),
            on("delete,list", "", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "daemon-set-controller",
        &[
            on(READ, "apps,extensions", "daemonsets"),
            on("update", "apps,extensions", "daemonsets/status"),
            on("update", "apps,extensions", "daemonsets/finalizers"),
            on("list,watch", "", "nodes"),
            on("create,delete,list,patch,watch", "", "pods"),
            on("create", "", "pods/binding"),
            on("create,delete,get,list,patch,update,watch", "apps", "controllerrevisions"),
            EVENTS,
        ],
    ),
    controller(
        "deployment-controller",
        &[
            on("get,list,update,watch", "apps,extensions", "deployments"),
            on("update", "apps,extensions", "deployments/status"),
            on("update", "apps,extensions", "deployments/finalizers"),
            on("create,delete,get,list,patch,update,watch", "apps,extensions", "replicasets"),
            on("get,list,update,watch", "", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "disruption-controller",
        &[
            on(READ, "apps,extensions", "deployments"),
            on(READ, "apps,extensions", "replicasets"),
            on(READ, "", "replicationcontrollers"),
            on(READ, "policy", "poddisruptionbudgets"),
            on(READ, "apps", "statefulsets"),
            on("update", "policy", "poddisruptionbudgets/status"),
            on(READ, "", "pods"),
            on("patch,update", "", "pods/status"),
            on("get", "*", "*/scale"),
            EVENTS,
        ],
    ),
    controller(
        "endpoint-controller",
        &[
            on(READ, "", "pods,services"),
            on("create,delete,get,list,update", "", "endpoints"),
            on("create", "", "endpoints/restricted"),
            EVENTS,
        ],
    ),
    controller(
        "endpointslice-controller",
        &[
            on(READ, "", "nodes,pods,services"),
            on("update", "", "services/finalizers"),
            on("create,delete,get,list,update", "discovery.k8s.io", "endpointslices"),
            on("create", "discovery.k8s.io", "endpointslices/restricted"),
            EVENTS,
        ],
    ),
    controller(
        "endpointslicemirroring-controller",
        &[
            on(READ, "", "endpoints,services"),
            on("update", "", "services/finalizers"),
            on("update", "", "endpoints/finalizers"),
            on("create,delete,get,list,update", "discovery.k8s.io", "endpointslices"),
            on("create", "discovery.k8s.io", "endpointslices/restricted"),
            EVENTS,
        ],
    ),
    controller(
        "ephemeral-volume-controller",
        &[
            on("update", "", "pods/finalizers"),
            on(READ, "", "pods"),
            on("create,get,list,watch", "", "persistentvolumeclaims"),
            EVENTS,
        ],
    ),
    controller(
        "expand-controller",
        &[
            on("get,list,patch,update,watch", "", "persistentvolumes"),
            on("patch,update", "", "persistentvolumeclaims/status"),
            on(READ, "", "persistentvolumeclaims"),
            EVENTS,
        ],
    ),
    controller("generic-garbage-collector", &[on("delete,get,list,patch,update,watch", "*", "*"), EVENTS]),
    controller(
        "horizontal-pod-autoscaler",
        &[
            on(READ, "autoscaling", "horizontalpodautoscalers"),
            on("update", "autoscaling", "horizontalpodautoscalers/status"),
            on("get,update", "*", "*/scale"),
            on("list", "", "pods"),
            on("list", "metrics.k8s.io", "pods"),
            on("get,list", "custom.metrics.k8s.io", "*"),
            on("get,list", "external.metrics.k8s.io", "*"),
            EVENTS,
        ],
    ),
    controller(
        "job-controller",
        &[
            on("get,list,patch,update,watch", "batch", "jobs"),
            on("update", "batch", "jobs/status"),
            on("update", "batch", "jobs/finalizers"),
            on("create,delete,list,patch,watch", "", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "legacy-service-account-token-cleaner",
        &[on("get", "", "configmaps"), on("delete,patch", "", "secrets")],
    ),
    controller(
        "namespace-controller",
        &[
            on("delete,get,list,watch", "", "namespaces"),
            on("update", "", "namespaces/finalize,namespaces/status"),
            on("delete,deletecollection,get,list", "*", "*"),
        ],
    ),
    controller(
        "node-controller",
        &[
            on("delete,get,list,patch,update,watch", "", "nodes"),
            on("patch,update", "", "nodes/status"),
            on("patch,update", "", "pods/status"),
            on("delete,list,watch", "", "pods"),
            on("get,list,watch", "coordination.k8s.io", "leases"),
            EVENTS,
        ],
    ),
    controller(
        "persistent-volume-binder",
        &[
            on("create,delete,get,list,update,watch", "", "persistentvolumes"),
            on("update", "", "persistentvolumes/status"),
            on("get,list,update,watch", "", "persistentvolumeclaims"),
            on("update", "", "persistentvolumeclaims/status"),
            on("create,delete,get,list,watch", "", "pods"),
            on(READ, "storage.k8s.io", "storageclasses"),
            on("create,delete,get", "", "endpoints,services"),
            on("get,list", "", "secrets"),
            on("get,list", "", "nodes"),
            on("watch", "", "events"),
            EVENTS,
        ],
    ),
    controller(
        "pod-garbage-collector",
        &[on("delete,list,watch", "", "pods"), on("get,list", "", "nodes"), on("patch", "", "pods/status")],
    ),
    controller(
        "podcertificaterequestcleaner-controller",
        &[on("delete,get,list,watch", "certificates.k8s.io", "podcertificaterequests")],
    ),
    controller("pv-protection-controller", &[on("get,list,update,watch", "", "persistentvolumes"), EVENTS]),
    controller(
        "pvc-protection-controller",
        &[on("get,list,update,watch", "", "persistentvolumeclaims"), on(READ, "", "pods"), EVENTS],
    ),
    controller(
        "replicaset-controller",
        &[
            on("get,list,update,watch", "apps,extensions", "replicasets"),
            on("update", "apps,extensions", "replicasets/status"),
            on("update", "apps,extensions", "replicasets/finalizers"),
            on("create,delete,list,patch,watch", "", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "replication-controller",
        &[
            on("get,list,update,watch", "", "replicationcontrollers"),
            on("update", "", "replicationcontrollers/status"),
            on("update", "", "replicationcontrollers/finalizers"),
            on("create,delete,list,patch,watch", "", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "resource-claim-controller",
        &[
            on("get,list,watch", "", "pods"),
            on("update", "", "pods/finalizers"),
            on("create,delete,get,list,watch", "resource.k8s.io", "resourceclaims"),
            on("patch,update", "resource.k8s.io", "resourceclaims,resourceclaims/status"),
            on("get,list,watch", "resource.k8s.io", "resourceclaimtemplates"),
            on("patch,update", "", "pods/status"),
            EVENTS,
        ],
    ),
    controller(
        "resourcequota-controller",
        &[on("list,watch", "*", "*"), on("update", "", "resourcequotas/status"), EVENTS],
    ),
    controller("root-ca-cert-publisher", &[on("create,update", "", "configmaps"), EVENTS]),
    controller("route-controller", &[on("list,watch", "", "nodes"), on("patch", "", "nodes/status"), EVENTS]),
    controller(
        "selinux-warning-controller",
        &[
            on(READ, "", "persistentvolumeclaims,persistentvolumes,pods"),
            on(READ, "storage.k8s.io", "csidrivers"),
            EVENTS,
        ],
    ),
    controller("service-account-controller", &[on("create", "", "serviceaccounts"), EVENTS]),
    controller(
        "service-cidrs-controller",
        &[
            on("get,list,patch,update,watch", "networking.k8s.io", "servicecidrs"),
            on("patch,update", "networking.k8s.io", "servicecidrs/finalizers"),
            on("patch,update", "networking.k8s.io", "servicecidrs/status"),
            on(READ, "networking.k8s.io", "ipaddresses"),
            EVENTS,
        ],
    ),
    controller(
        "service-controller",
        &[
            on(READ, "", "services"),
            on("patch,update", "", "services/status"),
            on("list,watch", "", "nodes"),
            EVENTS,
        ],
    ),
    controller(
        "statefulset-controller",
        &[
            on("list,watch", "", "pods"),
            on(READ, "apps", "statefulsets"),
            on("update", "apps", "statefulsets/status"),
            on("update", "apps", "statefulsets/finalizers"),
            on("create,delete,get,patch,update", "", "pods"),
            on("create,delete,get,list,patch,update,watch", "apps", "controllerrevisions"),
            on("create,get", "", "persistentvolumeclaims"),
            on("delete,update", "", "persistentvolumeclaims"),
            on("list,watch", "", "persistentvolumeclaims"),
            EVENTS,
        ],
    ),
    controller(
        "storage-version-migrator-controller",
        &[
            on("list,patch,watch", "*", "*"),
            on("update", "storagemigration.k8s.io", "storageversionmigrations/status"),
        ],
    ),
    controller(
        "taint-eviction-controller",
        &[
            on("get,list,watch", "", "nodes"),
            on("delete,get,list,watch", "", "pods"),
            on("patch", "", "pods/status"),
            EVENTS,
        ],
    ),
    controller(
        "device-taint-eviction-controller",
        &[
            on("delete,get,list,watch", "", "pods"),
            on("patch,update", "", "pods/status"),
            on(
                "get,list,watch",
                "resource.k8s.io",
                "deviceclasses,devicetaintrules,resourceclaims,resourceslices",
            ),
            on("patch,update", "resource.k8s.io", "devicetaintrules/status"),
            EVENTS,
        ],
    ),
    controller("ttl-after-finished-controller", &[on("delete,get,list,watch", "batch", "jobs"), EVENTS]),
    controller("ttl-controller", &[on("list,patch,update,watch", "", "nodes"), EVENTS]),
    controller(
        "validatingadmissionpolicy-status-controller",
        &[
            on(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
            on("get,patch,update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
            EVENTS,
        ],
    ),
    controller(
        "volumeattributesclass-protection-controller",
        &[
            on("list,watch", "", "persistentvolumeclaims,persistentvolumes"),
            on("get,list,update,watch", "storage.k8s.io", "volumeattributesclasses"),
            EVENTS,
        ],
    ),
    controller(
        "certificate-controller",
        &[
            on("delete,get,list,watch", "certificates.k8s.io", "certificatesigningrequests"),
            on(
                "update",
                "certificates.k8s.io",
                "certificatesigningrequests/approval,certificatesigningrequests/status",
            ),
            RuleRow {
                names: "kubernetes.io/kube-apiserver-client-kubelet",
                ..on("approve", "certificates.k8s.io", "signers")
            },
            RuleRow {
                names: "kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,\
                        kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown",
                ..on("sign", "certificates.k8s.io", "signers")
            },
            on("create", "authorization.k8s.io", "subjectaccessreviews"),
            EVENTS,
        ],
    ),
    controller(
        "kube-apiserver-serving-clustertrustbundle-publisher",
        &[
            RuleRow {
                names: "kubernetes.io/kube-apiserver-serving",
                ..on("attest", "certificates.k8s.io", "signers")
            },
            on("create,delete,list,update,watch", "certificates.k8s.io", "clustertrustbundles"),
            EVENTS,
        ],
    ),
];
