//! Roles and bindings indexed by subject, so that a decision looks only at what names the user.
//!
//! Deliberately absent: reading from the store; whoever watches calls the `set_*` and `remove_*` methods.

use super::rules;
use crate::contract::{Attributes, UserInfo};
use api::k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use std::collections::HashMap;
use std::sync::Arc;

/// A RoleBinding, or with an empty namespace a ClusterRoleBinding.
#[derive(Debug)]
struct Binding {
    namespace: String,
    name: String,
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// Namespace (empty for cluster-wide) → bindings.
type Bindings = HashMap<String, Vec<Arc<Binding>>>;

/// The RBAC objects of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Keyed by namespace (empty for ClusterRoles) and name.
    roles: HashMap<String, HashMap<String, Arc<[PolicyRule]>>>,
    /// All bindings, by namespace and name.
    bindings: HashMap<(String, String), Arc<Binding>>,
    users: HashMap<String, Bindings>,
    groups: HashMap<String, Bindings>,
}

/// Why something is allowed, as upstream words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    binding: String,
    role: String,
    subject: String,
}

impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RBAC: allowed by {} of {} to {}", self.binding, self.role, self.subject)
    }
}

/// The user name of a service account.
pub fn account_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

impl Index {
    /// Adds or replaces a ClusterRole.
    pub(crate) fn set_cluster_role(&mut self, role: &ClusterRole) {
        let name = role.metadata.name.clone().unwrap_or_default();
        let rules = role.rules.clone().unwrap_or_default().into();
        self.roles.entry(String::new()).or_default().insert(name, rules);
    }

    /// Adds or replaces a Role.
    pub(crate) fn set_role(&mut self, role: &Role) {
        let name = role.metadata.name.clone().unwrap_or_default();
        let namespace = role.metadata.namespace.clone().unwrap_or_default();
        let rules = role.rules.clone().unwrap_or_default().into();
        self.roles.entry(namespace).or_default().insert(name, rules);
    }

    /// Forgets a Role, or a ClusterRole when `namespace` is empty.
    pub(crate) fn remove_role(&mut self, namespace: &str, name: &str) {
        if let Some(roles) = self.roles.get_mut(namespace) {
            roles.remove(name);
            if roles.is_empty() {
                self.roles.remove(namespace);
            }
        }
    }

    /// Forgets all Roles, or all ClusterRoles.
    pub(crate) fn clear_roles(&mut self, namespaced: bool) {
        self.roles.retain(|namespace, _| namespace.is_empty() == namespaced);
    }

    /// Forgets all RoleBindings, or all ClusterRoleBindings.
    pub(crate) fn clear_bindings(&mut self, namespaced: bool) {
        let gone = self.bindings.keys().filter(|(namespace, _)| namespace.is_empty() != namespaced);
        for (namespace, name) in gone.cloned().collect::<Vec<_>>() {
            self.remove_binding(&namespace, &name);
        }
    }

    /// Adds or replaces a ClusterRoleBinding.
    pub(crate) fn set_cluster_binding(&mut self, binding: &ClusterRoleBinding) {
        self.set_binding(Binding {
            namespace: String::new(),
            name: binding.metadata.name.clone().unwrap_or_default(),
            role: binding.role_ref.clone(),
            subjects: binding.subjects.clone().unwrap_or_default(),
        });
    }

    /// Adds or replaces a RoleBinding.
    pub(crate) fn set_role_binding(&mut self, binding: &RoleBinding) {
        self.set_binding(Binding {
            namespace: binding.metadata.namespace.clone().unwrap_or_default(),
            name: binding.metadata.name.clone().unwrap_or_default(),
            role: binding.role_ref.clone(),
            subjects: binding.subjects.clone().unwrap_or_default(),
        });
    }

    fn set_binding(&mut self, binding: Binding) {
        self.remove_binding(&binding.namespace, &binding.name);
        let binding = Arc::new(binding);
        for subject in &binding.subjects {
            let of = self.bindings_of(&binding.namespace, subject);
            if let Some(list) = of
                && !list.iter().any(|known| Arc::ptr_eq(known, &binding))
            {
                list.push(binding.clone());
            }
        }
        self.bindings.insert((binding.namespace.clone(), binding.name.clone()), binding);
    }

    /// Forgets a RoleBinding, or a ClusterRoleBinding when `namespace` is empty.
    pub(crate) fn remove_binding(&mut self, namespace: &str, name: &str) {
        let Some(binding) = self.bindings.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        for subject in &binding.subjects {
            if let Some(list) = self.bindings_of(namespace, subject) {
                list.retain(|known| !Arc::ptr_eq(known, &binding));
            }
            self.prune(namespace, subject);
        }
    }

    /// The list that bindings of `namespace` for `subject` stand in.
    fn bindings_of(&mut self, namespace: &str, subject: &Subject) -> Option<&mut Vec<Arc<Binding>>> {
        let (map, key) = match subject.kind.as_str() {
            "User" => (&mut self.users, subject.name.clone()),
            "Group" => (&mut self.groups, subject.name.clone()),
            "ServiceAccount" => (&mut self.users, service_account(namespace, subject)?),
            _ => return None,
        };
        Some(map.entry(key).or_default().entry(namespace.to_owned()).or_default())
    }

    fn prune(&mut self, namespace: &str, subject: &Subject) {
        let (map, key) = match subject.kind.as_str() {
            "Group" => (&mut self.groups, Some(subject.name.clone())),
            "ServiceAccount" => (&mut self.users, service_account(namespace, subject)),
            _ => (&mut self.users, Some(subject.name.clone())),
        };
        let Some(key) = key else { return };
        if let Some(bindings) = map.get_mut(&key) {
            bindings.retain(|_, list| !list.is_empty());
            if bindings.is_empty() {
                map.remove(&key);
            }
        }
    }

    /// Calls `visit` with every rule that applies to `user` in `namespace` (empty: only cluster-wide ones)
    /// until it returns `true`. Returns the names of roles that bindings refer to in vain.
    fn visit(
        &self,
        user: &UserInfo,
        namespace: &str,
        mut visit: impl FnMut(&Binding, &Subject, &PolicyRule) -> bool,
    ) -> Vec<String> {
        let mut missing = Vec::new();
        let maps = std::iter::once(self.users.get(&user.name))
            .chain(user.groups.iter().map(|group| self.groups.get(group)))
            .flatten();
        for map in maps {
            let homes: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
            for binding in homes.iter().filter_map(|home| map.get(*home)).flatten() {
                let Some(subject) = binding.subjects.iter().find(|s| names(s, &binding.namespace, user))
                else {
                    continue;
                };
                let Some(rules) = self.rules_ref(&binding.role, &binding.namespace) else {
                    missing.push(not_found(&binding.role));
                    continue;
                };
                if rules.iter().any(|rule| visit(binding, subject, rule)) {
                    return missing;
                }
            }
        }
        missing
    }

    fn rules_ref(&self, role: &RoleRef, namespace: &str) -> Option<&[PolicyRule]> {
        let home = if role.kind == "ClusterRole" { "" } else { namespace };
        self.roles.get(home)?.get(&role.name).map(|rules| &rules[..])
    }

    /// Whether some rule allows the request; otherwise why not, possibly empty.
    pub(crate) fn allows(&self, attributes: &Attributes) -> Result<(), String> {
        let mut allowed = false;
        let missing = self.visit(&attributes.user, &attributes.namespace, |_, _, rule| {
            allowed = rules::allows(rule, attributes);
            allowed
        });
        if allowed { Ok(()) } else { Err(explain(&missing)) }
    }

    /// Which binding allows the request.
    pub(crate) fn grant(&self, attributes: &Attributes) -> Option<Grant> {
        let mut grant = None;
        self.visit(&attributes.user, &attributes.namespace, |binding, subject, rule| {
            if !rules::allows(rule, attributes) {
                return false;
            }
            grant = Some(Grant {
                binding: match binding.namespace.as_str() {
                    "" => format!("ClusterRoleBinding {:?}", binding.name),
                    namespace => format!("RoleBinding {:?}", format!("{}/{namespace}", binding.name)),
                },
                role: format!("{} {:?}", binding.role.kind, binding.role.name),
                subject: match &subject.namespace {
                    Some(namespace) => {
                        format!("{} {:?}", subject.kind, format!("{}/{namespace}", subject.name))
                    }
                    None => format!("{} {:?}", subject.kind, subject.name),
                },
            });
            true
        });
        grant
    }

    /// Every rule that applies to `user` in `namespace`, and why the list may be incomplete.
    pub(crate) fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<PolicyRule>, String) {
        let mut found: Vec<PolicyRule> = Vec::new();
        let missing = self.visit(user, namespace, |_, _, rule| {
            found.push(rule.clone());
            false
        });
        (found, explain(&missing))
    }
}

fn service_account(binding_namespace: &str, subject: &Subject) -> Option<String> {
    let namespace = match subject.namespace.as_deref() {
        None | Some("") => binding_namespace,
        Some(namespace) => namespace,
    };
    (!namespace.is_empty()).then(|| account_name(namespace, &subject.name))
}

fn names(subject: &Subject, binding_namespace: &str, user: &UserInfo) -> bool {
    match subject.kind.as_str() {
        "User" => subject.name == user.name,
        "Group" => user.in_group(&subject.name),
        "ServiceAccount" => service_account(binding_namespace, subject).is_some_and(|name| name == user.name),
        _ => false,
    }
}

fn not_found(role: &RoleRef) -> String {
    format!("{}.rbac.authorization.k8s.io {:?} not found", role.kind.to_lowercase(), role.name)
}

fn explain(missing: &[String]) -> String {
    match missing {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        many => format!("RBAC: [{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn meta(namespace: &str, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            ..ObjectMeta::default()
        }
    }

    fn reading(resource: &str) -> Option<Vec<PolicyRule>> {
        Some(vec![PolicyRule {
            verbs: vec!["get".to_owned()],
            api_groups: Some(vec![String::new()]),
            resources: Some(vec![resource.to_owned()]),
            ..PolicyRule::default()
        }])
    }

    fn subject(kind: &str, name: &str, namespace: Option<&str>) -> Subject {
        Subject {
            kind: kind.to_owned(),
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            ..Subject::default()
        }
    }

    fn role_ref(kind: &str, name: &str) -> RoleRef {
        RoleRef { kind: kind.to_owned(), name: name.to_owned(), ..RoleRef::default() }
    }

    fn ask(user: UserInfo, namespace: &str, resource: &'static str) -> Attributes {
        Attributes {
            user: Arc::new(user),
            verb: "get".into(),
            resource_request: true,
            resource: resource.into(),
            namespace: namespace.to_owned(),
            ..Attributes::default()
        }
    }

    fn index() -> Index {
        let mut index = Index::default();
        index.set_cluster_role(&ClusterRole {
            metadata: meta("", "pods"),
            rules: reading("pods"),
            ..ClusterRole::default()
        });
        index.set_role(&Role { metadata: meta("a", "secrets"), rules: reading("secrets") });
        index.set_cluster_binding(&ClusterRoleBinding {
            metadata: meta("", "b"),
            role_ref: role_ref("ClusterRole", "pods"),
            subjects: Some(vec![subject("Group", "dev", None)]),
        });
        index.set_role_binding(&RoleBinding {
            metadata: meta("a", "b"),
            role_ref: role_ref("Role", "secrets"),
            subjects: Some(vec![subject("ServiceAccount", "robot", None), subject("User", "eve", None)]),
        });
        index
    }

    #[test]
    fn bindings_reach_exactly_their_subjects() {
        let mut index = index();
        let dev = UserInfo::new("d", &["dev"]);
        let robot = UserInfo::new("system:serviceaccount:a:robot", &[]);
        let rows = [
            (dev.clone(), "", "pods", true),
            (dev.clone(), "z", "pods", true),
            (dev.clone(), "a", "secrets", false),
            (robot.clone(), "a", "secrets", true),
            (robot.clone(), "b", "secrets", false),
            (robot.clone(), "", "secrets", false),
            (UserInfo::new("system:serviceaccount:b:robot", &[]), "a", "secrets", false),
            (UserInfo::new("eve", &[]), "a", "secrets", true),
        ];
        for (user, namespace, resource, expected) in rows {
            let asked = ask(user, namespace, resource);
            assert_eq!(index.allows(&asked).is_ok(), expected, "{asked:?}");
        }
        let grant = index.grant(&ask(dev.clone(), "a", "pods")).unwrap().to_string();
        assert_eq!(grant, r#"RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "pods" to Group "dev""#);
        index.remove_binding("a", "b");
        assert!(index.allows(&ask(robot, "a", "secrets")).is_err());
        index.remove_role("", "pods");
        assert_eq!(
            index.allows(&ask(dev, "a", "pods")),
            Err(r#"RBAC: clusterrole.rbac.authorization.k8s.io "pods" not found"#.to_owned())
        );
        index.remove_binding("", "b");
        assert!(index.users.is_empty() && index.groups.is_empty());
    }

    #[test]
    fn a_decision_among_ten_thousand_bindings_looks_at_few() {
        let mut index = index();
        for i in 0..10_000 {
            index.set_role_binding(&RoleBinding {
                metadata: meta(&format!("ns{}", i % 100), &format!("b{i}")),
                role_ref: role_ref("ClusterRole", "pods"),
                subjects: Some(vec![subject("User", &format!("u{i}"), None)]),
            });
        }
        let mut looked_at = 0;
        index.visit(&UserInfo::new("u42", &["dev"]), "ns42", |_, _, _| {
            looked_at += 1;
            false
        });
        assert_eq!(looked_at, 2);
    }
}
