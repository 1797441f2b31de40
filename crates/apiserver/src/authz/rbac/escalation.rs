//! Nobody may grant what they do not hold: the check on writes of roles and bindings, as an admission plugin.
//!
//! Source: RBAC documentation, "Privilege escalation prevention and bootstrapping". Deliberately absent: the
//! exception of upstream's insecure port, which does not exist.

use super::GROUP;
use super::rules::{compact, uncovered};
use crate::authz::fixed;
use crate::contract::{Admission, AdmissionRequest, Attributes, Context, Decision, Operation, UserInfo};
use api::Object;
use api::k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef,
};
use async_trait::async_trait;
use machinery::{GroupResource, Status};

/// The plugin. It has no name of upstream's, where the registry does this.
pub struct EscalationCheck(pub Context);

/// The rules of a role, or of the role a binding refers to.
enum Granted {
    Rules(Vec<PolicyRule>),
    Bound(RoleRef),
}

#[async_trait]
impl Admission for EscalationCheck {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if request.def.gvk.group != GROUP || request.user.in_group(fixed::MASTERS) {
            return Ok(());
        }
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        let old = request.old.as_deref();
        let Some(granted) = granted(object, old) else { return Ok(()) };
        let (verb, rules) = match granted {
            Granted::Rules(rules) => {
                let asked = self.asked(request, "escalate", &request.def.plural, &request.name);
                if self.0.authorize(&asked).await == Decision::Allow {
                    return Ok(());
                }
                ("escalate", rules)
            }
            Granted::Bound(role) => {
                let plural = if role.kind == "ClusterRole" { "clusterroles" } else { "roles" };
                let asked = self.asked(request, "bind", plural, &role.name);
                if self.0.authorize(&asked).await == Decision::Allow {
                    return Ok(());
                }
                ("bind", self.rules_of(&role, &request.namespace).await?)
            }
        };
        tracing::debug!(verb, name = request.name, "checking that nothing beyond what is held is granted");
        self.confirm(request, &rules)
    }
}

impl EscalationCheck {
    fn asked(&self, request: &AdmissionRequest, verb: &'static str, plural: &str, name: &str) -> Attributes {
        Attributes {
            user: request.user.clone(),
            verb: verb.into(),
            resource_request: true,
            group: GROUP.into(),
            version: "v1".into(),
            resource: plural.to_owned().into(),
            namespace: request.namespace.clone(),
            name: name.to_owned(),
            ..Attributes::default()
        }
    }

    async fn rules_of(&self, role: &RoleRef, namespace: &str) -> Result<Vec<PolicyRule>, Status> {
        let (plural, home) =
            if role.kind == "ClusterRole" { ("clusterroles", "") } else { ("roles", namespace) };
        let storage = GroupResource::new(GROUP, plural);
        let Some(found) = self.0.lookup.get(&storage, home, &role.name).await? else {
            return Err(Status::not_found(&storage, &role.name));
        };
        let rules = if home.is_empty() {
            found.get::<ClusterRole>().map(|role| role.rules.clone())
        } else {
            found.get::<Role>().map(|role| role.rules.clone())
        };
        Ok(rules.map_err(Status::internal)?.unwrap_or_default())
    }

    fn confirm(&self, request: &AdmissionRequest, wanted: &[PolicyRule]) -> Result<(), Status> {
        let mut held = Vec::new();
        let mut trouble = Vec::new();
        for authorizer in self.0.authorizers.get().into_iter().flatten() {
            if let Some((rules, incomplete)) = authorizer.rules(&request.user, &request.namespace) {
                held.extend(rules);
                trouble.extend(Some(incomplete).filter(|text| !text.is_empty()));
            }
        }
        let missing = uncovered(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let mut listed: Vec<String> = missing.iter().map(compact).collect();
        listed.sort();
        let mut why = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            request.user.name,
            quoted(&request.user),
            listed.join("\n")
        );
        if !trouble.is_empty() {
            why.push_str(&format!("; resolution errors: [{}]", trouble.join(", ")));
        }
        Err(Status::forbidden(&request.group_resource(), &request.name, why))
    }
}

fn quoted(user: &UserInfo) -> String {
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    format!("[{}]", groups.join(" "))
}

/// What a write newly grants; `None` when nothing.
fn granted(object: &dyn Object, old: Option<&dyn Object>) -> Option<Granted> {
    if let Some(new) = object.downcast_ref::<Role>() {
        let old = old.and_then(|old| old.downcast_ref::<Role>());
        return changed_rules(&new.rules, old.map(|old| &old.rules));
    }
    if let Some(new) = object.downcast_ref::<ClusterRole>() {
        let old = old.and_then(|old| old.downcast_ref::<ClusterRole>());
        // An aggregated role may come to hold anything.
        if new.aggregation_rule.is_some()
            && old.is_none_or(|old| old.aggregation_rule != new.aggregation_rule)
        {
            return Some(Granted::Rules(fixed::all_rules()));
        }
        return changed_rules(&new.rules, old.map(|old| &old.rules));
    }
    if let Some(new) = object.downcast_ref::<RoleBinding>() {
        let old = old.and_then(|old| old.downcast_ref::<RoleBinding>());
        let same = old.is_some_and(|old| old.role_ref == new.role_ref && old.subjects == new.subjects);
        return (!same).then(|| Granted::Bound(new.role_ref.clone()));
    }
    let new = object.downcast_ref::<ClusterRoleBinding>()?;
    let old = old.and_then(|old| old.downcast_ref::<ClusterRoleBinding>());
    let same = old.is_some_and(|old| old.role_ref == new.role_ref && old.subjects == new.subjects);
    (!same).then(|| Granted::Bound(new.role_ref.clone()))
}

fn changed_rules(new: &Option<Vec<PolicyRule>>, old: Option<&Option<Vec<PolicyRule>>>) -> Option<Granted> {
    let new = new.clone().unwrap_or_default();
    if old.is_some_and(|old| old.as_deref().unwrap_or_default() == new) {
        return None;
    }
    Some(Granted::Rules(new))
}
