//! The default ClusterRoles, Roles and bindings of v1.36 as a table of facts, in a compact form of our own.
//!
//! Deliberately absent: how they reach the store (`reconcile.rs`) and what rules mean (`rules.rs`).

/// One policy rule; every field is a comma-separated list (the core group is the empty word).
#[derive(Clone, Copy, Debug, Default)]
pub struct RuleRow {
    /// Verbs.
    pub verbs: &'static str,
    /// API groups.
    pub groups: &'static str,
    /// Resources and `resource/subresource`.
    pub resources: &'static str,
    /// Names, empty for any.
    pub names: &'static str,
    /// Non-resource URLs, empty for a resource rule.
    pub urls: &'static str,
}

/// A ClusterRole.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoleRow {
    /// Name.
    pub name: &'static str,
    /// Its rules.
    pub rules: &'static [RuleRow],
    /// Role into which it is aggregated: `admin`, `edit` or `view`; empty for none.
    pub aggregate_to: &'static str,
    /// The aggregation label that it collects; empty for none.
    pub aggregates: &'static str,
}

/// Who a binding names.
#[derive(Clone, Copy, Debug)]
pub enum Who {
    /// A user.
    User(&'static str),
    /// A group.
    Group(&'static str),
    /// A service account of kube-system.
    Account(&'static str),
}

/// A ClusterRoleBinding, named as its role.
#[derive(Clone, Copy, Debug)]
pub struct BindingRow {
    /// Name of the binding and its role.
    pub role: &'static str,
    /// Its subjects.
    pub subjects: &'static [Who],
}

/// A Role and its binding.
#[derive(Clone, Copy, Debug)]
pub struct NamespacedRow {
    /// Namespace of both.
    pub namespace: &'static str,
    /// Name of the role.
    pub role: &'static str,
    /// Rules.
    pub rules: &'static [RuleRow],
    /// Name of the binding.
    pub binding: &'static str,
    /// Its subjects.
    pub subjects: &'static [Who],
}

/// Reading.
pub const READ: &str = "get,list,watch";
/// Writing.
pub const WRITE: &str = "create,delete,deletecollection,patch,update";
/// Reading and writing.
const READ_WRITE: &str = "create,delete,deletecollection,get,list,patch,update,watch";

/// A resource rule.
pub const fn on(verbs: &'static str, groups: &'static str, resources: &'static str) -> RuleRow {
    RuleRow { verbs, groups, resources, names: "", urls: "" }
}

const fn named(
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
) -> RuleRow {
    RuleRow { verbs, groups, resources, names, urls: "" }
}

const fn url(verbs: &'static str, urls: &'static str) -> RuleRow {
    RuleRow { verbs, groups: "", resources: "", names: "", urls }
}

const fn role(name: &'static str, rules: &'static [RuleRow]) -> RoleRow {
    RoleRow { name, rules, aggregate_to: "", aggregates: "" }
}

const fn part(name: &'static str, into: &'static str, rules: &'static [RuleRow]) -> RoleRow {
    RoleRow { name, rules, aggregate_to: into, aggregates: "" }
}

const fn sum(name: &'static str, into: &'static str, of: &'static str) -> RoleRow {
    RoleRow { name, rules: &[], aggregate_to: into, aggregates: of }
}

/// Events, which almost everyone records.
pub const EVENTS: RuleRow = on("create,patch,update", ",events.k8s.io", "events");

const CSR: &str = "certificates.k8s.io";

/// What nodes may do, subject to the node authorizer's graph; also the ClusterRole `system:node`.
pub const NODE: &[RuleRow] = &[
    on("create", "authentication.k8s.io", "tokenreviews"),
    on("create", "authorization.k8s.io", "localsubjectaccessreviews,subjectaccessreviews"),
    on(READ, "", "services"),
    on("create,get,list,watch", "", "nodes"),
    on("patch,update", "", "nodes,nodes/status"),
    EVENTS,
    on(READ, "", "pods"),
    on("create,delete", "", "pods"),
    on("patch,update", "", "pods/status"),
    on("create", "", "pods/eviction"),
    on(READ, "", "configmaps,secrets"),
    on("get", "", "persistentvolumeclaims,persistentvolumes"),
    on("get", "", "endpoints"),
    on("create,get,list,watch", CSR, "certificatesigningrequests"),
    on("create,delete,get,patch,update", "coordination.k8s.io", "leases"),
    on("get", "storage.k8s.io", "volumeattachments"),
    on("create", "", "serviceaccounts/token"),
    on("get,patch,update", "", "persistentvolumeclaims/status"),
    on(READ, "storage.k8s.io", "csidrivers"),
    on("create,delete,get,patch,update", "storage.k8s.io", "csinodes"),
    on(READ, "node.k8s.io", "runtimeclasses"),
    on("get", "resource.k8s.io", "resourceclaims"),
    on("deletecollection", "resource.k8s.io", "resourceslices"),
    on("create,delete,get,list,patch,update,watch", "resource.k8s.io", "resourceslices"),
    on(READ, CSR, "clustertrustbundles"),
    on("create,get,list,watch", CSR, "podcertificaterequests"),
    on("get", "", "serviceaccounts"),
];

const HEALTH: &str = "/healthz,/livez,/readyz,/version,/version/";

/// The ClusterRoles that are not a controller's.
pub const CLUSTER_ROLES: &[RoleRow] = &[
    role("cluster-admin", &[on("*", "*", "*"), url("*", "*")]),
    role(
        "system:discovery",
        &[url(
            "get",
            "/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/",
        )],
    ),
    role(
        "system:monitoring",
        &[url(
            "get",
            "/flagz,/healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*,/statusz",
        )],
    ),
    role(
        "system:basic-user",
        &[
            on("create", "authorization.k8s.io", "selfsubjectaccessreviews,selfsubjectrulesreviews"),
            on("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    role("system:public-info-viewer", &[url("get", HEALTH)]),
    sum("admin", "", "admin"),
    sum("edit", "admin", "edit"),
    sum("view", "edit", "view"),
    part(
        "system:aggregate-to-admin",
        "admin",
        &[
            on("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            on(READ_WRITE, "rbac.authorization.k8s.io", "rolebindings,roles"),
        ],
    ),
    part("system:aggregate-to-edit", "edit", EDIT),
    part("system:aggregate-to-view", "view", VIEW),
    role(
        "system:heapster",
        &[on(READ, "", "events,namespaces,nodes,pods"), on(READ, "extensions", "deployments")],
    ),
    role("system:node", NODE),
    role("system:node-problem-detector", &[on("get", "", "nodes"), on("patch", "", "nodes/status"), EVENTS]),
    role(
        "system:kubelet-api-admin",
        &[
            on(READ, "", "nodes"),
            on("proxy", "", "nodes"),
            on(
                "*",
                "",
                "nodes/checkpoint,nodes/configz,nodes/healthz,nodes/log,nodes/metrics,nodes/pods,nodes/proxy,\
                 nodes/spec,nodes/stats",
            ),
        ],
    ),
    role("system:node-bootstrapper", &[on("create,get,list,watch", CSR, "certificatesigningrequests")]),
    role(
        "system:auth-delegator",
        &[
            on("create", "authentication.k8s.io", "tokenreviews"),
            on("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role("system:kube-aggregator", &[on(READ, "", "endpoints,services"), EVENTS]),
    role(
        "system:kube-controller-manager",
        &[
            EVENTS,
            on("create", "coordination.k8s.io", "leases"),
            named("get,update", "coordination.k8s.io", "leases", "kube-controller-manager"),
            on("create", "", "secrets,serviceaccounts"),
            on("delete", "", "secrets"),
            on("get", "", "configmaps,namespaces,secrets,serviceaccounts"),
            on("update", "", "secrets,serviceaccounts"),
            on("create", "authentication.k8s.io", "tokenreviews"),
            on("create", "authorization.k8s.io", "subjectaccessreviews"),
            on("list,watch", "*", "*"),
            on("create", "", "serviceaccounts/token"),
        ],
    ),
    role("system:kube-dns", &[on("list,watch", "", "endpoints,services")]),
    role(
        "system:persistent-volume-provisioner",
        &[
            on("create,delete,get,list,watch", "", "persistentvolumes"),
            on("get,list,update,watch", "", "persistentvolumeclaims"),
            on(READ, "storage.k8s.io", "storageclasses"),
            on("watch", "", "events"),
            EVENTS,
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[on("create", CSR, "certificatesigningrequests/nodeclient")],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[on("create", CSR, "certificatesigningrequests/selfnodeclient")],
    ),
    role(
        "system:volume-scheduler",
        &[
            on("get,list,patch,update,watch", "", "persistentvolumes"),
            on(READ, "storage.k8s.io", "storageclasses"),
            on("get,list,patch,update,watch", "", "persistentvolumeclaims"),
        ],
    ),
    role(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[named("approve", CSR, "signers", "kubernetes.io/legacy-unknown")],
    ),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[named("approve", CSR, "signers", "kubernetes.io/kubelet-serving")],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[named("approve", CSR, "signers", "kubernetes.io/kube-apiserver-client")],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[named("approve", CSR, "signers", "kubernetes.io/kube-apiserver-client-kubelet")],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[url(
            "get",
            "/.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,\
                      /openid/v1/jwks/",
        )],
    ),
    role(
        "system:node-proxier",
        &[
            on("list,watch", "", "endpoints,services"),
            on(READ, "", "nodes"),
            EVENTS,
            on("list,watch", "discovery.k8s.io", "endpointslices"),
            on("list,watch", "networking.k8s.io", "servicecidrs"),
        ],
    ),
    role("system:kube-scheduler", SCHEDULER),
    role("system:cluster-trust-bundle-discovery", &[on(READ, CSR, "clustertrustbundles")]),
];

const SCHEDULER: &[RuleRow] = &[
    EVENTS,
    on("create", "coordination.k8s.io", "leases"),
    named("get,update", "coordination.k8s.io", "leases", "kube-scheduler"),
    on("get,list,watch", "", "nodes"),
    on("delete,get,list,watch", "", "pods"),
    on("create", "", "bindings,pods/binding"),
    on("patch,update", "", "pods/status"),
    on(READ, "", "replicationcontrollers,services"),
    on(READ, "apps,extensions", "replicasets"),
    on(READ, "apps", "statefulsets"),
    on(READ, "policy", "poddisruptionbudgets"),
    on(READ, "", "persistentvolumeclaims,persistentvolumes"),
    on("create", "authentication.k8s.io", "tokenreviews"),
    on("create", "authorization.k8s.io", "subjectaccessreviews"),
    on(READ, "storage.k8s.io", "csinodes"),
    on(READ, "", "namespaces"),
    on(READ, "storage.k8s.io", "csidrivers"),
    on(READ, "storage.k8s.io", "csistoragecapacities"),
    on(READ, "storage.k8s.io", "storageclasses,volumeattachments"),
    on(READ, "resource.k8s.io", "deviceclasses,resourceslices"),
    on("get,list,patch,update,watch", "resource.k8s.io", "resourceclaims"),
    on("get,list,patch,update,watch", "resource.k8s.io", "resourceclaims/status"),
    on(READ, "resource.k8s.io", "devicetaintrules"),
    on(READ, "scheduling.k8s.io", "podgroups,workloads"),
];

const EDIT: &[RuleRow] = &[
    on(READ, "", "pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy"),
    on("impersonate", "", "serviceaccounts"),
    on(WRITE, "", "pods,pods/attach,pods/exec,pods/portforward,pods/proxy"),
    on("create", "", "pods/eviction"),
    on(
        WRITE,
        "",
        "configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,\
         serviceaccounts,services,services/proxy",
    ),
    on("create", "", "serviceaccounts/token"),
    on(
        WRITE,
        "apps",
        "daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,\
         statefulsets/scale",
    ),
    on(WRITE, "autoscaling", "horizontalpodautoscalers"),
    on(WRITE, "batch", "cronjobs,jobs"),
    on(
        WRITE,
        "extensions",
        "daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,\
         replicasets/scale,replicationcontrollers/scale",
    ),
    on(WRITE, "policy", "poddisruptionbudgets"),
    on(WRITE, "networking.k8s.io", "ingresses,networkpolicies"),
    on(READ_WRITE, "coordination.k8s.io", "leases"),
    on(WRITE, "resource.k8s.io", "resourceclaims,resourceclaimtemplates"),
];

const VIEW: &[RuleRow] = &[
    on(
        READ,
        "",
        "configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,\
         replicationcontrollers/scale,serviceaccounts,services,services/status",
    ),
    on(
        READ,
        "",
        "bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,\
         resourcequotas,resourcequotas/status",
    ),
    on(READ, "", "namespaces"),
    on(READ, "discovery.k8s.io", "endpointslices"),
    on(
        READ,
        "apps",
        "controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,\
         replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status",
    ),
    on(READ, "autoscaling", "horizontalpodautoscalers,horizontalpodautoscalers/status"),
    on(READ, "batch", "cronjobs,cronjobs/status,jobs,jobs/status"),
    on(
        READ,
        "extensions",
        "daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,\
         networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale",
    ),
    on(READ, "policy", "poddisruptionbudgets,poddisruptionbudgets/status"),
    on(READ, "networking.k8s.io", "ingresses,ingresses/status,networkpolicies"),
    on(READ, "resource.k8s.io", "resourceclaims,resourceclaims/status,resourceclaimtemplates"),
];

/// The ClusterRoleBindings that are not a controller's.
pub const CLUSTER_BINDINGS: &[BindingRow] = &[
    BindingRow { role: "cluster-admin", subjects: &[Who::Group("system:masters")] },
    BindingRow { role: "system:monitoring", subjects: &[Who::Group("system:monitoring")] },
    BindingRow { role: "system:discovery", subjects: &[Who::Group("system:authenticated")] },
    BindingRow { role: "system:basic-user", subjects: &[Who::Group("system:authenticated")] },
    BindingRow {
        role: "system:public-info-viewer",
        subjects: &[Who::Group("system:authenticated"), Who::Group("system:unauthenticated")],
    },
    BindingRow { role: "system:node-proxier", subjects: &[Who::User("system:kube-proxy")] },
    BindingRow {
        role: "system:kube-controller-manager",
        subjects: &[Who::User("system:kube-controller-manager")],
    },
    BindingRow { role: "system:kube-dns", subjects: &[Who::Account("kube-dns")] },
    BindingRow { role: "system:kube-scheduler", subjects: &[Who::User("system:kube-scheduler")] },
    BindingRow { role: "system:volume-scheduler", subjects: &[Who::User("system:kube-scheduler")] },
    BindingRow { role: "system:node", subjects: &[] },
    BindingRow {
        role: "system:service-account-issuer-discovery",
        subjects: &[Who::Group("system:serviceaccounts")],
    },
    BindingRow {
        role: "system:cluster-trust-bundle-discovery",
        subjects: &[Who::Group("system:serviceaccounts")],
    },
];

/// The Roles and RoleBindings.
pub const NAMESPACED: &[NamespacedRow] = &[
    NamespacedRow {
        namespace: "kube-system",
        role: "extension-apiserver-authentication-reader",
        rules: &[named(READ, "", "configmaps", "extension-apiserver-authentication")],
        binding: "system::extension-apiserver-authentication-reader",
        subjects: &[Who::User("system:kube-controller-manager"), Who::User("system:kube-scheduler")],
    },
    NamespacedRow {
        namespace: "kube-system",
        role: "system:controller:bootstrap-signer",
        rules: &[on(READ, "", "secrets")],
        binding: "system:controller:bootstrap-signer",
        subjects: &[Who::Account("bootstrap-signer")],
    },
    NamespacedRow {
        namespace: "kube-system",
        role: "system:controller:cloud-provider",
        rules: &[on("create,get,list,update,watch", "", "configmaps")],
        binding: "system:controller:cloud-provider",
        subjects: &[Who::Account("cloud-provider")],
    },
    NamespacedRow {
        namespace: "kube-system",
        role: "system:controller:token-cleaner",
        rules: &[on("delete,get,list,watch", "", "secrets"), EVENTS],
        binding: "system:controller:token-cleaner",
        subjects: &[Who::Account("token-cleaner")],
    },
    NamespacedRow {
        namespace: "kube-system",
        role: "system::leader-locking-kube-controller-manager",
        rules: &[
            on("watch", "", "configmaps"),
            named("get,update", "", "configmaps", "kube-controller-manager"),
        ],
        binding: "system::leader-locking-kube-controller-manager",
        subjects: &[Who::User("system:kube-controller-manager"), Who::Account("kube-controller-manager")],
    },
    NamespacedRow {
        namespace: "kube-system",
        role: "system::leader-locking-kube-scheduler",
        rules: &[on("watch", "", "configmaps"), named("get,update", "", "configmaps", "kube-scheduler")],
        binding: "system::leader-locking-kube-scheduler",
        subjects: &[Who::User("system:kube-scheduler"), Who::Account("kube-scheduler")],
    },
    NamespacedRow {
        namespace: "kube-public",
        role: "system:controller:bootstrap-signer",
        rules: &[on(READ, "", "configmaps"), named("update", "", "configmaps", "cluster-info"), EVENTS],
        binding: "system:controller:bootstrap-signer",
        subjects: &[Who::Account("bootstrap-signer")],
    },
];
