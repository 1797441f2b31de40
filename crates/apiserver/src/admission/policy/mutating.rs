//! MutatingAdmissionPolicy: apply configurations and JSON patches made by expressions.
//!
//! Policies run in the order of their names. Those that ask for it are run once more when a later one changed the
//! object. Deliberately absent: refusing apply configurations that replace atomic lists and structs.

use super::compiled::{Cache, MutatingPolicy};
use super::{concerns, conditions, exempt, params};
use crate::admission::list;
use crate::contract::{Admission, AdmissionRequest, Context};
use crate::expressions::{Admitted, Compiled, Scope};
use api::Object;
use api::common::text;
use api::k8s_openapi::api::admissionregistration::v1::{
    MatchResources, MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ParamRef,
};
use api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use api::schema::{BuiltIn, Structural};
use async_trait::async_trait;
use cel::{Budget, EvalError, RUN_LIMIT, Val};
use machinery::{GroupResource, GroupVersionKind, Reason, Status, apply};
use serde_json::Value;
use std::sync::Arc;

/// Values that one mutation may consist of.
const MAX_VALUES: usize = 100_000;

pub(in crate::admission) struct Mutating {
    context: Context,
    policies: Cache<MutatingPolicy>,
}

/// A policy put into force by a binding.
struct Bound {
    policy: Arc<MutatingPolicy>,
    policy_name: String,
    binding_name: String,
    resources: Option<MatchResources>,
    reference: Option<ParamRef>,
}

impl Mutating {
    pub(in crate::admission) fn new(context: &Context) -> Self {
        Self { context: context.clone(), policies: Cache::default() }
    }

    async fn bound(&self) -> Result<Vec<Bound>, Status> {
        let bindings = list::<MutatingAdmissionPolicyBinding>(&self.context, "").await?;
        if bindings.is_empty() {
            return Ok(Vec::new());
        }
        let mut policies = list::<MutatingAdmissionPolicy>(&self.context, "").await?;
        policies.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let mut all = Vec::new();
        for policy in &policies {
            let Some(spec) = &policy.spec else { continue };
            for binding in &bindings {
                let Some(bound) = &binding.spec else { continue };
                if text(&bound.policy_name) != text(&policy.metadata.name) {
                    continue;
                }
                let make = || MutatingPolicy::new(spec);
                all.push(Bound {
                    policy: self.policies.get(&policy.metadata, policies.len(), make),
                    policy_name: text(&policy.metadata.name).to_owned(),
                    binding_name: text(&binding.metadata.name).to_owned(),
                    resources: bound.match_resources.clone(),
                    reference: bound.param_ref.clone(),
                });
            }
        }
        Ok(all)
    }

    /// Runs one policy with one binding; whether it changed the object.
    async fn run(&self, bound: &Bound, request: &mut AdmissionRequest) -> Result<bool, Status> {
        let common = &bound.policy.common;
        if request.object.is_none() || !concerns(&common.constraints, &self.context, request).await? {
            return Ok(false);
        }
        if let Some(wanted) = &bound.resources
            && !concerns(wanted, &self.context, request).await?
        {
            return Ok(false);
        }
        match self.mutate(bound, request).await {
            Ok(changed) => Ok(changed),
            Err(why) if common.ignore_failure => {
                tracing::debug!(
                    policy = bound.policy_name,
                    why,
                    "a mutating policy failed; the request goes on"
                );
                Ok(false)
            }
            Err(why) => Err(refusal(bound, request, &why)),
        }
    }

    async fn mutate(&self, bound: &Bound, request: &mut AdmissionRequest) -> Result<bool, String> {
        let common = &bound.policy.common;
        let (kind, reference) = (common.param_kind.as_ref(), bound.reference.as_ref());
        let all = params::of(&self.context, request, kind, reference)
            .await
            .map_err(|why| format!("failed to configure binding: {why}"))?;
        let mut admitted = Admitted::new(&self.context, request).await.map_err(|error| error.to_string())?;
        let wanted: Vec<(&str, &Compiled)> =
            common.conditions.iter().map(|(name, compiled)| (name.as_str(), compiled)).collect();
        let mut changed = false;
        for params in &all {
            let params = params.as_ref();
            if !conditions::hold(&admitted, params, &common.variables, &wanted).await? {
                continue;
            }
            for (patch, compiled) in &bound.policy.mutations {
                let made = value(&admitted, params, bound, compiled).await?;
                let tree = if *patch {
                    let mut tree = admitted.object().clone();
                    machinery::patch::json::apply(&mut tree, made).map_err(|error| error.message)?;
                    tree
                } else {
                    self.merged(admitted.object(), made, request).await?
                };
                changed |= replace(request, &tree)?;
                admitted.refresh(request);
            }
        }
        Ok(changed)
    }

    /// The object with an apply configuration merged into it, as server-side apply merges.
    async fn merged(
        &self,
        live: &Value,
        mut config: Value,
        request: &AdmissionRequest,
    ) -> Result<Value, String> {
        let Some(object) = request.object.as_deref() else { return Ok(live.clone()) };
        if let Some(fields) = config.as_object_mut() {
            for fixed in ["apiVersion", "kind"] {
                fields.shift_remove(fixed);
            }
        }
        for fixed in ["name", "namespace", "uid", "resourceVersion"] {
            if config.pointer(&format!("/metadata/{fixed}")).is_some() {
                return Err(format!("metadata.{fixed} may not be changed by an apply configuration"));
            }
        }
        let gvk = object.gvk();
        if let Some(ty) = BuiltIn.root(&gvk) {
            return Ok(apply::merge(&BuiltIn, ty, live, &config));
        }
        let schema = self.custom_schema(&gvk).await?;
        let schema = Structural(&schema);
        Ok(apply::merge(&schema, schema.root(), live, &config))
    }

    async fn custom_schema(&self, gvk: &GroupVersionKind) -> Result<Value, String> {
        let definitions = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
        let all = self.context.lookup.list(&definitions, "").await.map_err(|error| error.to_string())?;
        for stored in all {
            let Ok(crd) = stored.get::<CustomResourceDefinition>() else { continue };
            if crd.spec.group != gvk.group || crd.spec.names.kind != gvk.kind {
                continue;
            }
            let place = crd.spec.versions.iter().position(|version| version.name == gvk.version);
            let tree: Value = serde_json::from_slice(&stored.to_json()).map_err(|error| error.to_string())?;
            let schema = place
                .and_then(|at| tree.pointer(&format!("/spec/versions/{at}/schema/openAPIV3Schema")).cloned());
            return Ok(schema.unwrap_or_default());
        }
        Err(format!("failed to find the schema of {}, Kind={}", gvk.api_version(), gvk.kind))
    }
}

#[async_trait]
impl Admission for Mutating {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if exempt(request) {
            return Ok(());
        }
        let all = self.bound().await?;
        // Position of the last policy that changed something: whoever ran before it may want to look again.
        let mut changed_at = None;
        for (at, bound) in all.iter().enumerate() {
            if self.run(bound, request).await? {
                changed_at = Some(at);
            }
        }
        for bound in all[..changed_at.unwrap_or(0)].iter().filter(|bound| bound.policy.reinvoke) {
            self.run(bound, request).await?;
        }
        Ok(())
    }
}

/// The value of a mutation's expression.
async fn value(
    admitted: &Admitted,
    params: Option<&Value>,
    bound: &Bound,
    compiled: &Compiled,
) -> Result<Value, String> {
    let program = compiled.as_ref().map_err(|why| format!("compilation error: compilation failed: {why}"))?;
    loop {
        let computed = {
            let scope = Scope::new(admitted, params, &bound.policy.common.variables, Budget::new(RUN_LIMIT));
            let computed = scope.evaluate(program);
            computed.and_then(|value| match value {
                value @ (Val::Map(_) | Val::List(_)) => value.to_json(&mut MAX_VALUES.clone()),
                other => Err(EvalError::Failed(format!("unexpected result of type {}", other.type_name()))),
            })
        };
        match computed {
            Ok(value) => return Ok(value),
            Err(EvalError::Pending) => {
                admitted.asker.settle().await;
            }
            Err(error) => return Err(format!("expression resulted in error: {error}")),
        }
    }
}

/// Puts a changed tree in the place of the object; whether it differs.
fn replace(request: &mut AdmissionRequest, tree: &Value) -> Result<bool, String> {
    let bytes = serde_json::to_vec(tree).map_err(|error| error.to_string())?;
    let mut new = request.def.strategy.decode(&bytes).map_err(|error| error.to_string())?;
    request.def.strategy.set_defaults(new.as_mut());
    let changed = request.object.as_deref().is_none_or(|old: &dyn Object| !new.equals(old));
    request.object = Some(new);
    Ok(changed)
}

fn refusal(bound: &Bound, request: &AdmissionRequest, why: &str) -> Status {
    let text =
        format!("policy '{}' with binding '{}' denied request: {why}", bound.policy_name, bound.binding_name);
    let mut status = Status::forbidden(&request.group_resource(), &request.name, text);
    status.code = 422;
    status.reason = Reason::Invalid;
    status
}
