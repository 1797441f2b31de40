//! What roles and bindings have in common.

use crate::common::print::since;
use crate::common::{default_text, items, text};
use crate::resource::Column;
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

/// The API group of roles and, for users and groups, of subjects.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Reports rules that grant nothing, or paths where there are none. Paths belong to the whole cluster, so
/// namespaced roles cannot grant them.
pub(super) fn validate_rules(rules: &[PolicyRule], namespaced: bool, errors: &mut FieldErrors) {
    for (at, rule) in rules.iter().enumerate() {
        let path = FieldPath::new("rules").index(at);
        if rule.verbs.is_empty() {
            errors.required(path.child("verbs"), "verbs must contain at least one value");
        }
        let urls = items(&rule.non_resource_urls);
        let (groups, resources) = (items(&rule.api_groups), items(&rule.resources));
        if !urls.is_empty() {
            if namespaced {
                errors.invalid(
                    path.child("nonResourceURLs"),
                    crate::common::json::list(urls),
                    "namespaced rules cannot apply to non-resource URLs",
                );
            }
            if !groups.is_empty() || !resources.is_empty() || !items(&rule.resource_names).is_empty() {
                errors.invalid(
                    path.child("nonResourceURLs"),
                    crate::common::json::list(urls),
                    "rules cannot apply to both regular resources and non-resource URLs",
                );
            }
            continue;
        }
        if groups.is_empty() {
            errors.required(path.child("apiGroups"), "resource rules must supply at least one api group");
        }
        if resources.is_empty() {
            errors.required(path.child("resources"), "resource rules must supply at least one resource");
        }
    }
}

/// Fills the groups that a binding leaves out.
pub(super) fn binding_defaults(role: &mut RoleRef, subjects: &mut Option<Vec<Subject>>) {
    default_text(&mut role.api_group, GROUP);
    for subject in subjects.iter_mut().flatten() {
        if ["User", "Group"].contains(&subject.kind.as_str()) {
            default_text(&mut subject.api_group, GROUP);
        }
    }
}

/// Reports a bad role reference or subject. `roles` are the kinds that may be referred to.
pub(super) fn validate_binding(
    role: &RoleRef,
    subjects: &Option<Vec<Subject>>,
    roles: &[&str],
    namespaced: bool,
    errors: &mut FieldErrors,
) {
    let path = FieldPath::new("roleRef");
    let group = text(&role.api_group);
    if group != GROUP {
        errors.not_supported(path.child("apiGroup"), group, &[GROUP]);
    }
    if !roles.contains(&role.kind.as_str()) {
        errors.not_supported(path.child("kind"), &role.kind, roles);
    }
    if role.name.is_empty() {
        errors.required(path.child("name"), "");
    } else {
        for message in machinery::names::path_segment(&role.name) {
            errors.invalid(path.child("name"), &role.name, message);
        }
    }
    for (at, subject) in items(subjects).iter().enumerate() {
        validate_subject(subject, namespaced, &FieldPath::new("subjects").index(at), errors);
    }
}

fn validate_subject(subject: &Subject, namespaced: bool, path: &FieldPath, errors: &mut FieldErrors) {
    if subject.name.is_empty() {
        errors.required(path.child("name"), "");
    }
    let group = text(&subject.api_group);
    match subject.kind.as_str() {
        "ServiceAccount" => {
            let name = &subject.name;
            if !name.is_empty() {
                let messages = machinery::names::dns1123_subdomain(name);
                crate::common::names::report(path.child("name"), name, messages, errors);
            }
            if !group.is_empty() {
                errors.not_supported(path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && text(&subject.namespace).is_empty() {
                errors.required(path.child("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.not_supported(path.child("apiGroup"), group, &[GROUP]);
            }
        }
        other => {
            errors.not_supported(path.child("kind"), other, &["ServiceAccount", "User", "Group"]);
        }
    }
}

/// Reports a role reference that changed: who may bind a role was checked when the binding was made.
pub(super) fn validate_same_role(new: &RoleRef, old: &RoleRef, errors: &mut FieldErrors) {
    if new != old {
        let printed = json!({"apiGroup": text(&new.api_group), "kind": new.kind, "name": new.name});
        errors.invalid(FieldPath::new("roleRef"), printed, "cannot change roleRef");
    }
}

/// The columns of a binding.
pub(super) fn binding_columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Role", "string", "The role that is granted."),
        Column::age(),
        Column::new("Users", "string", "Users that it is granted to.").wide(),
        Column::new("Groups", "string", "Groups that it is granted to.").wide(),
        Column::new("ServiceAccounts", "string", "Service accounts that it is granted to.").wide(),
    ]
}

/// The row of a binding.
pub(super) fn binding_cells(
    meta: &ObjectMeta,
    role: &RoleRef,
    subjects: &Option<Vec<Subject>>,
    now: Timestamp,
) -> Vec<Value> {
    let of = |kind: &str| -> String {
        let matching = items(subjects).iter().filter(|subject| subject.kind == kind);
        let names: Vec<String> = matching
            .map(|subject| match text(&subject.namespace) {
                namespace if kind == "ServiceAccount" => format!("{namespace}/{}", subject.name),
                _ => subject.name.clone(),
            })
            .collect();
        names.join(", ")
    };
    vec![
        json!(text(&meta.name)),
        json!(format!("{}/{}", role.kind, role.name)),
        json!(since(meta.creation_timestamp.as_ref(), now)),
        json!(of("User")),
        json!(of("Group")),
        json!(of("ServiceAccount")),
    ]
}
