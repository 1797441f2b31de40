//! The FlowSchemas and PriorityLevelConfigurations that every cluster has (upstream's names and numbers).
//!
//! Mandatory ones are always as they stand here. Suggested ones follow new versions as long as their annotation
//! `apf.kubernetes.io/autoupdate-spec` says so; without the annotation, as long as nobody has changed them.

use api::Kind;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

/// Annotation that says whether a suggested object follows new versions.
pub(super) const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

const MASTERS: &str = "system:masters";
const ANYONE: [&str; 2] = ["system:unauthenticated", "system:authenticated"];
const CONTROLLERS: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// A default object.
pub(super) struct Default {
    pub(super) mandatory: bool,
    pub(super) body: Value,
}

fn object(kind: &str, name: &str, mandatory: bool, spec: &Value) -> Default {
    let body = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}}, "spec": spec});
    Default { mandatory, body }
}

/// Name, shares, lendable percent, queues, hand size.
const LEVELS: [(&str, i32, i32, i32, i32); 6] = [
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];

/// The priority levels.
pub(super) fn levels() -> Vec<Default> {
    let level = |name, mandatory, spec| object("PriorityLevelConfiguration", name, mandatory, &spec);
    let mut all = vec![
        level(
            "exempt",
            true,
            json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
        ),
        level(
            "catch-all",
            true,
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0,
                "limitResponse": {"type": "Reject"}}}),
        ),
    ];
    all.extend(LEVELS.iter().map(|(name, shares, lendable, queues, hand)| {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
        let response = json!({"type": "Queue", "queuing": queuing});
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        level(name, false, json!({"type": "Limited", "limited": limited}))
    }));
    all
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

fn accounts(names: &[&str]) -> Vec<Value> {
    let account = |name: &&str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}});
    names.iter().map(account).collect()
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], namespaces: bool, cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources});
    if namespaces {
        rule["namespaces"] = json!(["*"]);
    }
    if cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

/// Everything, whatever it is.
fn all(subjects: Vec<Value>) -> Value {
    json!([{"subjects": subjects, "resourceRules": [resources(&["*"], "*", &["*"], true, true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}])
}

fn some(subjects: Vec<Value>, rules: Vec<Value>) -> Value {
    json!([{"subjects": subjects, "resourceRules": rules}])
}

fn schema(name: &str, mandatory: bool, level: &str, precedence: i32, by: &str, rules: Value) -> Default {
    let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence});
    if !by.is_empty() {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    spec["rules"] = rules;
    object("FlowSchema", name, mandatory, &spec)
}

/// The flow schemas.
pub(super) fn schemas() -> Vec<Default> {
    const USER: &str = "ByUser";
    const NAMESPACE: &str = "ByNamespace";
    let suggested = |name, level, precedence, by, rules| schema(name, false, level, precedence, by, rules);
    let write = ["get", "create", "update"];
    let leases = || resources(&write, "coordination.k8s.io", &["leases"], true, false);
    let mut leaders = users(&[CONTROLLERS, SCHEDULER]);
    leaders.extend(accounts(&["*"]));
    let mut endpoints = users(&[CONTROLLERS]);
    endpoints.extend(accounts(&["endpoint-controller", "endpointslicemirroring-controller"]));
    let probes = json!([{"subjects": groups(&ANYONE), "nonResourceRules":
        [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}]);
    let node_objects = vec![
        resources(&["*"], "", &["nodes", "nodes/status"], true, true),
        resources(&["*"], "coordination.k8s.io", &["leases"], true, false),
    ];
    let workload_leaders = vec![resources(&write, "", &["endpoints", "configmaps"], true, false), leases()];
    vec![
        schema("exempt", true, "exempt", 1, "", all(groups(&[MASTERS]))),
        schema("catch-all", true, "catch-all", 10_000, USER, all(groups(&ANYONE))),
        suggested("system-nodes", "system", 500, USER, all(groups(&["system:nodes"]))),
        suggested("system-node-high", "node-high", 400, USER, some(groups(&["system:nodes"]), node_objects)),
        suggested("probes", "exempt", 2, "", probes),
        suggested("system-leader-election", "leader-election", 100, USER, some(leaders, vec![leases()])),
        suggested(
            "endpoint-controller",
            "workload-high",
            150,
            USER,
            some(endpoints, vec![resources(&write, "", &["endpoints"], true, false)]),
        ),
        suggested(
            "workload-leader-election",
            "leader-election",
            200,
            USER,
            some(accounts(&["*"]), workload_leaders),
        ),
        suggested("kube-controller-manager", "workload-high", 800, NAMESPACE, all(users(&[CONTROLLERS]))),
        suggested("kube-scheduler", "workload-high", 800, NAMESPACE, all(users(&[SCHEDULER]))),
        suggested("kube-system-service-accounts", "workload-high", 900, NAMESPACE, all(accounts(&["*"]))),
        suggested("service-accounts", "workload-low", 9000, USER, all(groups(&["system:serviceaccounts"]))),
        suggested("global-default", "global-default", 9900, USER, all(groups(&ANYONE))),
    ]
}

/// What to do with a default object.
#[derive(Debug, PartialEq)]
pub(super) enum Step<K> {
    Create(K),
    Update(K),
}

/// Compares `known` with what it should be. `same` says whether two objects have the same spec, `take` moves the
/// wanted one's spec over.
pub(super) fn plan<K: Kind + Clone>(
    wanted: K,
    mandatory: bool,
    known: Option<&K>,
    same: fn(&K, &K) -> bool,
    take: fn(&mut K, &K),
) -> Option<Step<K>> {
    let Some(known) = known else { return Some(Step::Create(wanted)) };
    let follows = mandatory || follows(known.meta());
    let mut merged = known.clone();
    let text = if follows { "true" } else { "false" };
    let mut changed = false;
    let annotations = merged.meta_mut().annotations.get_or_insert_default();
    if annotations.get(AUTOUPDATE).map(String::as_str) != Some(text) {
        annotations.insert(AUTOUPDATE.to_owned(), text.to_owned());
        changed = true;
    }
    if follows && !same(known, &wanted) {
        take(&mut merged, &wanted);
        changed = true;
    }
    changed.then_some(Step::Update(merged))
}

/// Whether a suggested object follows new versions.
pub(super) fn follows(meta: &ObjectMeta) -> bool {
    match meta.annotations.as_ref().and_then(|all| all.get(AUTOUPDATE)).map(String::as_str) {
        Some("true") => true,
        Some("false") => false,
        // Nobody said: what was never changed since it was made follows.
        _ => meta.generation.unwrap_or(1) == 1,
    }
}
