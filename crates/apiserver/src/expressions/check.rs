//! Expressions when they are written: in definitions of custom resources, policies and webhook configurations.
//! Those that an update leaves as they were are not judged again, so that what was once stored can be kept.

use super::types::{admission_env, is_bool, is_text};
use api::common::{items, text};
use api::k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingAdmissionPolicy, MutatingWebhookConfiguration, ValidatingAdmissionPolicy,
    ValidatingWebhookConfiguration, Variable,
};
use api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use api::{Kind, Object, ResourceDef};
use cel::{Env, Program};
use machinery::{FieldErrors, FieldPath};
use serde_json::Value;

/// Reports what is wrong with the expressions of a new or changed object.
pub(crate) fn validate(
    def: &ResourceDef,
    new: &dyn Object,
    old: Option<&dyn Object>,
    errors: &mut FieldErrors,
) {
    match (def.gvk.group.as_ref(), def.plural.as_ref()) {
        ("apiextensions.k8s.io", "customresourcedefinitions") => definition(new, old, errors),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => validating(new, old, errors),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies") => mutating(new, old, errors),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations") => {
            let (Some(new), old) = pair::<MutatingWebhookConfiguration>(new, old) else { return };
            let known: Vec<_> = old.iter().flat_map(|old| items(&old.webhooks)).collect();
            for (at, webhook) in items(&new.webhooks).iter().enumerate() {
                let before = known.iter().find(|known| known.name == webhook.name);
                if before.is_none_or(|before| before.match_conditions != webhook.match_conditions) {
                    let path = FieldPath::new("webhooks").index(at);
                    conditions(&webhook.match_conditions, &admission_env(false), &path, errors);
                }
            }
        }
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations") => {
            let (Some(new), old) = pair::<ValidatingWebhookConfiguration>(new, old) else { return };
            let known: Vec<_> = old.iter().flat_map(|old| items(&old.webhooks)).collect();
            for (at, webhook) in items(&new.webhooks).iter().enumerate() {
                let before = known.iter().find(|known| known.name == webhook.name);
                if before.is_none_or(|before| before.match_conditions != webhook.match_conditions) {
                    let path = FieldPath::new("webhooks").index(at);
                    conditions(&webhook.match_conditions, &admission_env(false), &path, errors);
                }
            }
        }
        _ => {}
    }
}

fn pair<'o, K: Kind>(new: &'o dyn Object, old: Option<&'o dyn Object>) -> (Option<&'o K>, Option<&'o K>) {
    (new.downcast_ref::<K>(), old.and_then(|old| old.downcast_ref::<K>()))
}

fn definition(new: &dyn Object, old: Option<&dyn Object>, errors: &mut FieldErrors) {
    let (Some(new), old) = pair::<CustomResourceDefinition>(new, old) else { return };
    // The tree is only built when there is something in it to look at.
    let bytes = new.to_json();
    let written = b"\"x-kubernetes-validations\":";
    if !bytes.windows(written.len()).any(|window| window == written) {
        return;
    }
    let Ok(tree) = serde_json::from_slice::<Value>(&bytes) else { return };
    for (at, version) in new.spec.versions.iter().enumerate() {
        let before = old.and_then(|old| old.spec.versions.iter().find(|known| known.name == version.name));
        if before.is_some_and(|before| before.schema == version.schema) {
            continue;
        }
        let path =
            FieldPath::new("spec").child("versions").index(at).child("schema").child("openAPIV3Schema");
        if let Some(schema) = tree.pointer(&format!("/spec/versions/{at}/schema/openAPIV3Schema")) {
            crate::crd::validate_rules(schema, &path, errors);
        }
    }
}

/// Compiles an expression at a field.
fn compile(env: &Env, expression: &str, at: &FieldPath, errors: &mut FieldErrors) -> Option<Program> {
    if expression.trim().is_empty() {
        return None;
    }
    match env.compile(expression.trim()) {
        Ok(program) => Some(program),
        Err(error) => {
            errors.invalid(at.clone(), expression, format!("compilation failed: {error}"));
            None
        }
    }
}

fn conditions(list: &Option<Vec<MatchCondition>>, env: &Env, path: &FieldPath, errors: &mut FieldErrors) {
    for (at, condition) in items(list).iter().enumerate() {
        let at = path.child("matchConditions").index(at).child("expression");
        truth(env, &condition.expression, &at, errors);
    }
}

fn truth(env: &Env, expression: &str, at: &FieldPath, errors: &mut FieldErrors) {
    if compile(env, expression, at, errors).is_some_and(|program| !is_bool(&program)) {
        errors.invalid(at.clone(), expression, "must evaluate to bool");
    }
}

/// Declares variables, each of which may name those before it.
fn variables(list: &Option<Vec<Variable>>, env: &mut Env, path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, variable) in items(list).iter().enumerate() {
        let at = path.child("variables").index(at);
        if variable.name.trim().is_empty() {
            errors.required(at.child("name"), "name is not specified");
        } else if !is_identifier(&variable.name) {
            let detail = "name is not a valid CEL identifier";
            errors.invalid(at.child("name"), &variable.name, detail);
        }
        if seen.contains(&variable.name.as_str()) {
            errors.duplicate(at.child("name"), &variable.name);
        }
        seen.push(&variable.name);
        if variable.expression.trim().is_empty() {
            errors.required(at.child("expression"), "expression is not specified");
        }
        let found = compile(env, &variable.expression, &at.child("expression"), errors);
        let ty = found.map_or(cel::Type::Dyn, |program| program.result_type().clone());
        env.declare(format!("variables.{}", variable.name), ty);
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn validating(new: &dyn Object, old: Option<&dyn Object>, errors: &mut FieldErrors) {
    let (Some(new), old) = pair::<ValidatingAdmissionPolicy>(new, old) else { return };
    if old.is_some_and(|old| old.spec == new.spec) {
        return;
    }
    let Some(spec) = &new.spec else { return };
    let path = FieldPath::new("spec");
    let mut env = admission_env(spec.param_kind.is_some());
    conditions(&spec.match_conditions, &env, &path, errors);
    variables(&spec.variables, &mut env, &path, errors);
    for (at, validation) in items(&spec.validations).iter().enumerate() {
        let at = path.child("validations").index(at);
        truth(&env, &validation.expression, &at.child("expression"), errors);
        let written = text(&validation.message_expression);
        let field = at.child("messageExpression");
        // What makes messages may not ask the authorizer.
        let found = compile(&env, written, &field, errors);
        if found.as_ref().is_some_and(|program| !is_text(program)) {
            errors.invalid(field, written, "must evaluate to string");
        } else if found.as_ref().is_some_and(|p| p.variables().any(|name| name.starts_with("authorizer"))) {
            let detail = "compilation failed: undeclared reference to 'authorizer' (in container '')";
            errors.invalid(field, written, detail);
        }
        let message = text(&validation.message);
        if !message.is_empty() && message.trim().is_empty() {
            errors.invalid(at.child("message"), message, "message must be non-empty if specified");
        } else if message.trim().contains('\n') {
            errors.invalid(at.child("message"), message, "message must not contain line breaks");
        } else if message.is_empty() && validation.expression.trim().contains('\n') {
            let detail = "message must be specified if expression contains line breaks";
            errors.required(at.child("message"), detail);
        }
        let reason = text(&validation.reason);
        const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
        if !reason.is_empty() && !REASONS.contains(&reason) {
            errors.not_supported(at.child("reason"), reason, REASONS);
        }
    }
    for (at, annotation) in items(&spec.audit_annotations).iter().enumerate() {
        let at = path.child("auditAnnotations").index(at);
        if annotation.key.is_empty() {
            errors.required(at.child("key"), "");
        }
        let field = at.child("valueExpression");
        if annotation.value_expression.trim().is_empty() {
            errors.required(field, "valueExpression is not specified");
            continue;
        }
        let found = compile(&env, &annotation.value_expression, &field, errors);
        let fits = |program: &Program| {
            is_text(program)
                || matches!(program.result_type(), cel::Type::Null)
                || program.result_type().is_dyn()
        };
        if found.is_some_and(|program| !fits(&program)) {
            errors.invalid(field, &annotation.value_expression, "must evaluate to one of [string null_type]");
        }
    }
}

fn mutating(new: &dyn Object, old: Option<&dyn Object>, errors: &mut FieldErrors) {
    let (Some(new), old) = pair::<MutatingAdmissionPolicy>(new, old) else { return };
    if old.is_some_and(|old| old.spec == new.spec) {
        return;
    }
    let Some(spec) = &new.spec else { return };
    let path = FieldPath::new("spec");
    let mut env = admission_env(spec.param_kind.is_some());
    conditions(&spec.match_conditions, &env, &path, errors);
    variables(&spec.variables, &mut env, &path, errors);
    let env = env.with_types(super::mutation_types());
    for (at, mutation) in items(&spec.mutations).iter().enumerate() {
        let at = path.child("mutations").index(at);
        let (field, given) = match mutation.patch_type.as_str() {
            "ApplyConfiguration" => {
                let given = mutation.apply_configuration.as_ref().map(|given| text(&given.expression));
                ("applyConfiguration", given)
            }
            "JSONPatch" => ("jsonPatch", mutation.json_patch.as_ref().map(|given| text(&given.expression))),
            _ => continue,
        };
        let Some(expression) = given else {
            errors.required(
                at.child(field),
                format!("must be specified when patchType is {}", mutation.patch_type),
            );
            continue;
        };
        let at = at.child(field).child("expression");
        if expression.trim().is_empty() {
            errors.required(at, "expression is not specified");
            continue;
        }
        let Some(program) = compile(&env, expression, &at, errors) else { continue };
        let (fits, wanted) = match (field, program.result_type()) {
            ("applyConfiguration", cel::Type::Object(ty)) => (ty.name() == "Object", "Object"),
            ("jsonPatch", cel::Type::List(_)) => (true, "list(JSONPatch)"),
            ("jsonPatch", _) => (false, "list(JSONPatch)"),
            _ => (false, "Object"),
        };
        if !fits {
            errors.invalid(at, expression, format!("must evaluate to {wanted}"));
        }
    }
}
