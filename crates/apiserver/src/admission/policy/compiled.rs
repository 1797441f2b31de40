//! Compiled policies, kept until they change.

use crate::expressions::{Compiled, admission_env, mutation_types};
use api::common::{items, text};
use api::k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, MutatingAdmissionPolicySpec, ParamKind, ValidatingAdmissionPolicySpec,
    Variable,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use cel::{Env, Type};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// What both kinds of policies have.
pub(super) struct Common {
    pub(super) constraints: MatchResources,
    pub(super) ignore_failure: bool,
    pub(super) param_kind: Option<ParamKind>,
    pub(super) conditions: Vec<(String, Compiled)>,
    pub(super) variables: Vec<(String, Compiled)>,
}

/// One validation.
pub(super) struct Validation {
    pub(super) expression: String,
    pub(super) program: Compiled,
    pub(super) message: String,
    pub(super) message_program: Option<Compiled>,
    pub(super) reason: String,
}

/// A validating policy.
pub(super) struct ValidatingPolicy {
    pub(super) common: Common,
    pub(super) validations: Vec<Validation>,
    /// Key and expression.
    pub(super) annotations: Vec<(String, Compiled)>,
}

/// A mutating policy.
pub(super) struct MutatingPolicy {
    pub(super) common: Common,
    pub(super) reinvoke: bool,
    /// Whether it is a JSON patch, and the expression.
    pub(super) mutations: Vec<(bool, Compiled)>,
}

fn compile(env: &Env, expression: &str) -> Compiled {
    env.compile(expression.trim()).map_err(|error| error.to_string())
}

fn common(
    constraints: &Option<MatchResources>,
    failure: &Option<String>,
    param_kind: &Option<ParamKind>,
    conditions: &Option<Vec<MatchCondition>>,
    variables: &Option<Vec<Variable>>,
) -> (Common, Env) {
    let mut env = admission_env(param_kind.is_some());
    let conditions =
        items(conditions).iter().map(|one| (one.name.clone(), compile(&env, &one.expression))).collect();
    let mut compiled = Vec::new();
    for variable in items(variables) {
        let program = compile(&env, &variable.expression);
        let ty = program.as_ref().map_or(Type::Dyn, |program| program.result_type().clone());
        env.declare(format!("variables.{}", variable.name), ty);
        compiled.push((variable.name.clone(), program));
    }
    let common = Common {
        constraints: constraints.clone().unwrap_or_default(),
        ignore_failure: text(failure) == "Ignore",
        param_kind: param_kind.clone(),
        conditions,
        variables: compiled,
    };
    (common, env)
}

impl ValidatingPolicy {
    pub(super) fn new(spec: &ValidatingAdmissionPolicySpec) -> Self {
        let (common, env) = common(
            &spec.match_constraints,
            &spec.failure_policy,
            &spec.param_kind,
            &spec.match_conditions,
            &spec.variables,
        );
        let validation = |one: &api::k8s_openapi::api::admissionregistration::v1::Validation| Validation {
            expression: one.expression.trim().to_owned(),
            program: compile(&env, &one.expression),
            message: text(&one.message).trim().to_owned(),
            message_program: match text(&one.message_expression).trim() {
                "" => None,
                written => Some(compile(&env, written)),
            },
            reason: text(&one.reason).to_owned(),
        };
        let validations = items(&spec.validations).iter().map(validation).collect();
        let annotations = items(&spec.audit_annotations).iter();
        let annotations =
            annotations.map(|one| (one.key.clone(), compile(&env, &one.value_expression))).collect();
        Self { common, validations, annotations }
    }
}

impl MutatingPolicy {
    pub(super) fn new(spec: &MutatingAdmissionPolicySpec) -> Self {
        let (common, env) = common(
            &spec.match_constraints,
            &spec.failure_policy,
            &spec.param_kind,
            &spec.match_conditions,
            &spec.variables,
        );
        let env = env.with_types(mutation_types());
        let mutations = items(&spec.mutations).iter().map(|one| match &one.json_patch {
            Some(patch) if one.patch_type == "JSONPatch" => (true, compile(&env, text(&patch.expression))),
            _ => {
                let expression = one.apply_configuration.as_ref().map(|given| text(&given.expression));
                (false, compile(&env, expression.unwrap_or_default()))
            }
        });
        let mutations = mutations.collect();
        Self { common, reinvoke: text(&spec.reinvocation_policy) == "IfNeeded", mutations }
    }
}

/// Policies by their identity and generation.
pub(super) struct Cache<T>(Mutex<HashMap<String, (i64, Arc<T>)>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<T> Cache<T> {
    /// The compiled form of a policy; `count` is how many policies there are.
    pub(super) fn get(&self, meta: &ObjectMeta, count: usize, make: impl FnOnce() -> T) -> Arc<T> {
        let key = text(&meta.uid);
        let generation = meta.generation.unwrap_or_default();
        if let Some((known, policy)) = self.0.lock().get(key)
            && *known == generation
        {
            return policy.clone();
        }
        let made = Arc::new(make());
        let mut kept = self.0.lock();
        // Deleted policies are not told apart; they are dropped once they outnumber those that exist.
        if kept.len() > 2 * count + 16 {
            kept.clear();
        }
        kept.insert(key.to_owned(), (generation, made.clone()));
        made
    }
}
