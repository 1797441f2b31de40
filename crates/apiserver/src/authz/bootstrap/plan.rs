//! What to do about one default object: a pure function of the wanted and the stored one.

use super::super::rbac::missing_rules;
use api::Kind;
use api::k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject,
};

/// Annotation that protects an object from reconciliation when it is `false`.
pub(crate) const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// One write.
#[derive(Debug, PartialEq)]
pub(crate) enum Step<K> {
    /// It does not exist.
    Create(K),
    /// It lacks something.
    Update(K),
    /// It refers to another role, which cannot be changed.
    Recreate(K),
}

/// A kind that has default objects.
pub(crate) trait Default: Kind {
    /// What to do, with `known` in the store.
    fn plan(self, known: Option<&Self>) -> Option<Step<Self>>;
}

fn protected<K: Kind>(known: &K) -> bool {
    known.meta().annotations.as_ref().and_then(|a| a.get(AUTOUPDATE)).is_some_and(|value| value != "true")
}

/// `known` with the missing labels and annotations of `wanted`; whether there were any.
fn merge_meta<K: Kind>(known: &mut K, wanted: &K) -> bool {
    let mut changed = false;
    let meta = known.meta_mut();
    for (mine, theirs) in
        [(&mut meta.labels, &wanted.meta().labels), (&mut meta.annotations, &wanted.meta().annotations)]
    {
        for (key, value) in theirs.iter().flatten() {
            if mine.as_ref().and_then(|m| m.get(key)) != Some(value) {
                mine.get_or_insert_default().insert(key.clone(), value.clone());
                changed = true;
            }
        }
    }
    changed
}

fn add_rules(known: &mut Option<Vec<PolicyRule>>, wanted: &Option<Vec<PolicyRule>>) -> bool {
    let missing = missing_rules(known.as_deref().unwrap_or_default(), wanted.as_deref().unwrap_or_default());
    let changed = !missing.is_empty();
    if changed {
        known.get_or_insert_default().extend(missing);
    }
    changed
}

fn add_subjects(known: &mut Option<Vec<Subject>>, wanted: &Option<Vec<Subject>>) -> bool {
    let mut changed = false;
    for subject in wanted.iter().flatten() {
        if !known.iter().flatten().any(|k| k == subject) {
            known.get_or_insert_default().push(subject.clone());
            changed = true;
        }
    }
    changed
}

impl Default for ClusterRole {
    fn plan(self, known: Option<&Self>) -> Option<Step<Self>> {
        let Some(known) = known else { return Some(Step::Create(self)) };
        if protected(known) {
            return None;
        }
        let mut merged = known.clone();
        let mut changed = merge_meta(&mut merged, &self);
        if self.aggregation_rule.is_some() {
            // The rules of an aggregated role are its controller's.
            if merged.aggregation_rule != self.aggregation_rule {
                merged.aggregation_rule = self.aggregation_rule;
                changed = true;
            }
        } else {
            changed |= add_rules(&mut merged.rules, &self.rules);
        }
        changed.then_some(Step::Update(merged))
    }
}

impl Default for Role {
    fn plan(self, known: Option<&Self>) -> Option<Step<Self>> {
        let Some(known) = known else { return Some(Step::Create(self)) };
        if protected(known) {
            return None;
        }
        let mut merged = known.clone();
        let mut changed = merge_meta(&mut merged, &self);
        changed |= add_rules(&mut merged.rules, &self.rules);
        changed.then_some(Step::Update(merged))
    }
}

macro_rules! plan_binding {
    ($kind:ty) => {
        impl Default for $kind {
            fn plan(self, known: Option<&Self>) -> Option<Step<Self>> {
                let Some(known) = known else { return Some(Step::Create(self)) };
                if protected(known) {
                    return None;
                }
                if known.role_ref != self.role_ref {
                    return Some(Step::Recreate(self));
                }
                let mut merged = known.clone();
                let mut changed = merge_meta(&mut merged, &self);
                changed |= add_subjects(&mut merged.subjects, &self.subjects);
                changed.then_some(Step::Update(merged))
            }
        }
    };
}
plan_binding!(ClusterRoleBinding);
plan_binding!(RoleBinding);

#[cfg(test)]
mod tests {
    use super::super::objects;
    use super::*;

    #[test]
    fn defaults_are_restored_and_additions_kept() {
        let wanted = || {
            objects::all()
                .cluster_roles
                .into_iter()
                .find(|r| r.metadata.name.as_deref() == Some("system:discovery"))
        };
        let wanted = || wanted().unwrap();
        assert_eq!(wanted().plan(None), Some(Step::Create(wanted())));
        assert_eq!(wanted().plan(Some(&wanted())), None);
        let mut damaged = wanted();
        let own = PolicyRule {
            verbs: vec!["post".to_owned()],
            non_resource_urls: Some(vec!["/x".to_owned()]),
            ..PolicyRule::default()
        };
        damaged.rules = Some(vec![own.clone()]);
        let Some(Step::Update(repaired)) = wanted().plan(Some(&damaged)) else { panic!("not repaired") };
        let rules = repaired.rules.unwrap();
        assert!(rules.len() > 1 && rules[0] == own);
        damaged.metadata.annotations.as_mut().unwrap().insert(AUTOUPDATE.to_owned(), "false".to_owned());
        assert_eq!(wanted().plan(Some(&damaged)), None);
    }

    #[test]
    fn a_binding_to_another_role_is_made_anew() {
        let wanted = || objects::all().cluster_role_bindings.swap_remove(0);
        let mut other = wanted();
        other.role_ref.name = "elsewhere".to_owned();
        assert_eq!(wanted().plan(Some(&other)), Some(Step::Recreate(wanted())));
    }
}
