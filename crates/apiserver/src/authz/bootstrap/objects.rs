//! The rows of the tables as API objects.

use super::controllers::CONTROLLER_ROLES;
use super::plan::AUTOUPDATE;
use super::table::{BindingRow, CLUSTER_BINDINGS, CLUSTER_ROLES, NAMESPACED, RoleRow, RuleRow, Who};
use crate::authz::rbac::GROUP;
use api::k8s_openapi::api::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use std::collections::BTreeMap;

/// Prefix of the label by which roles ask to be aggregated.
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";
/// The role that the controllers of this process run under: all of theirs together, because they share one
/// identity.
const ALL_CONTROLLERS: &str = "windlass:controllers";
const CONTROLLER_USER: &str = "system:kube-controller-manager";

/// Every default object.
pub(crate) struct Objects {
    /// ClusterRoles.
    pub cluster_roles: Vec<ClusterRole>,
    /// Roles.
    pub roles: Vec<Role>,
    /// ClusterRoleBindings.
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    /// RoleBindings.
    pub role_bindings: Vec<RoleBinding>,
}

/// Every default object, from the tables.
pub(crate) fn all() -> Objects {
    let mut cluster_roles: Vec<ClusterRole> =
        CLUSTER_ROLES.iter().map(|row| cluster_role(row.name.to_owned(), row)).collect();
    cluster_roles.extend(CONTROLLER_ROLES.iter().map(|row| cluster_role(controller(row), row)));
    let together = CONTROLLER_ROLES.iter().flat_map(|row| row.rules).map(rule);
    let mut distinct: Vec<PolicyRule> = Vec::new();
    for rule in together {
        if !distinct.contains(&rule) {
            distinct.push(rule);
        }
    }
    cluster_roles.push(ClusterRole {
        metadata: meta(ALL_CONTROLLERS, None),
        rules: Some(distinct),
        ..ClusterRole::default()
    });

    let mut cluster_role_bindings: Vec<ClusterRoleBinding> =
        CLUSTER_BINDINGS.iter().map(|BindingRow { role, subjects }| bind(role, subjects)).collect();
    cluster_role_bindings
        .extend(CONTROLLER_ROLES.iter().map(|row| bind(&controller(row), &[Who::Account(row.name)])));
    cluster_role_bindings.push(bind(ALL_CONTROLLERS, &[Who::User(CONTROLLER_USER)]));

    let roles = NAMESPACED
        .iter()
        .map(|row| Role {
            metadata: meta(row.role, Some(row.namespace)),
            rules: Some(row.rules.iter().map(rule).collect()),
        })
        .collect();
    let role_bindings = NAMESPACED
        .iter()
        .map(|row| RoleBinding {
            metadata: meta(row.binding, Some(row.namespace)),
            role_ref: role_ref("Role", row.role),
            subjects: Some(row.subjects.iter().map(subject).collect()),
        })
        .collect();
    Objects { cluster_roles, roles, cluster_role_bindings, role_bindings }
}

fn controller(row: &RoleRow) -> String {
    format!("system:controller:{}", row.name)
}

fn meta(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: Some(BTreeMap::from([(
            "kubernetes.io/bootstrapping".to_owned(),
            "rbac-defaults".to_owned(),
        )])),
        annotations: Some(BTreeMap::from([(AUTOUPDATE.to_owned(), "true".to_owned())])),
        ..ObjectMeta::default()
    }
}

fn cluster_role(name: String, row: &RoleRow) -> ClusterRole {
    let mut metadata = meta(&name, None);
    if !row.aggregate_to.is_empty() {
        metadata
            .labels
            .get_or_insert_default()
            .insert(format!("{AGGREGATE}{}", row.aggregate_to), "true".to_owned());
    }
    let aggregates = (!row.aggregates.is_empty()).then(|| AggregationRule {
        cluster_role_selectors: Some(vec![LabelSelector {
            match_labels: Some(BTreeMap::from([(
                format!("{AGGREGATE}{}", row.aggregates),
                "true".to_owned(),
            )])),
            ..LabelSelector::default()
        }]),
    });
    let rules = match row.aggregates {
        "" => row.rules.iter().map(rule).collect(),
        into => aggregated(into),
    };
    ClusterRole { metadata, rules: Some(rules), aggregation_rule: aggregates }
}

/// The rules of an aggregated role on its first day, so that it works before any controller runs.
fn aggregated(into: &str) -> Vec<PolicyRule> {
    let mut parts: Vec<&RoleRow> = CLUSTER_ROLES.iter().filter(|row| row.aggregate_to == into).collect();
    parts.sort_by_key(|row| row.name);
    let mut rules: Vec<PolicyRule> = Vec::new();
    for part in parts {
        let more = if part.aggregates.is_empty() {
            part.rules.iter().map(rule).collect()
        } else {
            aggregated(part.aggregates)
        };
        for rule in more {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules
}

fn rule(row: &RuleRow) -> PolicyRule {
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let some = |text: &str| (!text.is_empty()).then(|| list(text));
    if !row.urls.is_empty() {
        return PolicyRule {
            non_resource_urls: some(row.urls),
            verbs: list(row.verbs),
            ..PolicyRule::default()
        };
    }
    PolicyRule {
        api_groups: Some(list(row.groups)),
        resources: some(row.resources),
        resource_names: some(row.names),
        verbs: list(row.verbs),
        non_resource_urls: None,
    }
}

/// The rules of nodes, for the node authorizer.
pub fn node_rules() -> Vec<PolicyRule> {
    super::table::NODE.iter().map(rule).collect()
}

fn bind(role: &str, subjects: &[Who]) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: meta(role, None),
        role_ref: role_ref("ClusterRole", role),
        subjects: (!subjects.is_empty()).then(|| subjects.iter().map(subject).collect()),
    }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: Some(GROUP.to_owned()), kind: kind.to_owned(), name: name.to_owned() }
}

fn subject(who: &Who) -> Subject {
    let of = |kind: &str, name: &str| Subject {
        api_group: Some(GROUP.to_owned()),
        kind: kind.to_owned(),
        name: name.to_owned(),
        namespace: None,
    };
    match who {
        Who::User(name) => of("User", name),
        Who::Group(name) => of("Group", name),
        Who::Account(name) => Subject {
            api_group: None,
            kind: "ServiceAccount".to_owned(),
            name: (*name).to_owned(),
            namespace: Some("kube-system".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_bindings_find_their_roles() {
        let objects = all();
        let mut names: Vec<_> =
            objects.cluster_roles.iter().map(|r| r.metadata.name.clone().unwrap()).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for binding in &objects.cluster_role_bindings {
            assert!(names.contains(&binding.role_ref.name), "{}", binding.role_ref.name);
        }
        for role in &objects.cluster_roles {
            for rule in role.rules.iter().flatten() {
                assert!(!rule.verbs.is_empty() && !rule.verbs.contains(&String::new()), "{rule:?}");
                assert!(rule.resources.is_some() || rule.non_resource_urls.is_some(), "{rule:?}");
            }
        }
        let admin =
            objects.cluster_roles.iter().find(|r| r.metadata.name.as_deref() == Some("admin")).unwrap();
        assert!(admin.rules.as_ref().unwrap().len() > 20);
    }
}
