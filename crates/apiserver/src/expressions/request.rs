//! The values of admission's variables.

use super::types::{NAMESPACE, REQUEST};
use super::{Asker, Compiled};
use crate::admission::namespace_of;
use crate::contract::{AdmissionRequest, Context};
use api::Object;
use cel::{Budget, Check, EvalError, Program, Val, Variables};
use machinery::Status;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::sync::Arc;

/// A request as expressions see it, made once for all of them.
pub(crate) struct Admitted {
    object: Value,
    old: Value,
    request: Value,
    namespace: Value,
    pub(crate) asker: Arc<Asker>,
    check: Check,
}

fn tree(object: Option<&dyn Object>) -> Value {
    object.and_then(|object| serde_json::from_slice(&object.to_json()).ok()).unwrap_or_default()
}

impl Admitted {
    pub(crate) async fn new(context: &Context, request: &AdmissionRequest) -> Result<Self, Status> {
        let namespace = match request.namespace.as_str() {
            "" => Value::Null,
            _ if request.is("", "namespaces") => Value::Null,
            name => match namespace_of(context, name).await? {
                Some(found) => serde_json::from_slice(&found.to_json()).map_err(Status::internal)?,
                None => Value::Null,
            },
        };
        let check = Check {
            group: request.def.gvk.group.to_string(),
            resource: request.def.plural.to_string(),
            subresource: request.subresource.to_string(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            ..Check::default()
        };
        Ok(Self {
            object: tree(request.object.as_deref()),
            old: tree(request.old.as_deref()),
            request: described(request),
            namespace,
            asker: Asker::new(context, &request.user),
            check,
        })
    }

    /// What it is about was changed on the way.
    pub(crate) fn refresh(&mut self, request: &AdmissionRequest) {
        self.object = tree(request.object.as_deref());
    }

    /// The new object; null on deletion.
    pub(crate) fn object(&self) -> &Value {
        &self.object
    }

    fn get(&self, name: &str) -> Option<Val<'_>> {
        Some(match name {
            "object" => Val::untyped(&self.object),
            "oldObject" => Val::untyped(&self.old),
            "request" => Val::json(&self.request, &REQUEST),
            "namespaceObject" => Val::json(&self.namespace, &NAMESPACE),
            "authorizer" => cel::authorizer(self.asker.clone(), None),
            "authorizer.requestResource" => cel::authorizer(self.asker.clone(), Some(self.check.clone())),
            _ => return None,
        })
    }
}

/// `AdmissionReview`'s request without the objects.
fn described(request: &AdmissionRequest) -> Value {
    let def = &request.def;
    let gvk = request.object.as_deref().map_or_else(|| def.gvk.clone(), |object| object.gvk());
    let kind = json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind});
    let resource = json!({"group": def.gvk.group, "version": def.gvk.version, "resource": def.plural});
    let user = &request.user;
    json!({
        "kind": kind,
        "resource": resource,
        "subResource": request.subresource,
        "requestKind": kind,
        "requestResource": resource,
        "requestSubResource": request.subresource,
        "name": request.name,
        "namespace": request.namespace,
        "operation": request.operation.as_str(),
        "userInfo": {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra},
        "dryRun": request.dry_run,
        "options": request.options,
    })
}

/// Variables of one evaluation: the request, parameters, and the policy's own variables, which are computed when they
/// are first asked for.
pub(crate) struct Scope<'a> {
    admitted: &'a Admitted,
    params: Option<&'a Value>,
    own: &'a [(String, Compiled)],
    computed: RefCell<Vec<Option<Result<Val<'a>, EvalError>>>>,
    budget: RefCell<Budget>,
}

impl<'a> Scope<'a> {
    /// `own` are the policy's variables by name, each naming only those before it.
    pub(crate) fn new(
        admitted: &'a Admitted,
        params: Option<&'a Value>,
        own: &'a [(String, Compiled)],
        budget: Budget,
    ) -> Self {
        let computed = RefCell::new(vec![None; own.len()]);
        Self { admitted, params, own, computed, budget: RefCell::new(budget) }
    }

    /// What is left of the budget.
    pub(crate) fn budget(&self) -> Budget {
        *self.budget.borrow()
    }

    /// Evaluates an expression of the policy.
    pub(crate) fn evaluate(&self, program: &'a Program) -> Result<Val<'a>, EvalError> {
        // Variables pay for themselves from the same budget meanwhile.
        let before = self.budget();
        let mut own = before;
        let result = program.evaluate(self, &mut own);
        let mut shared = self.budget.borrow_mut();
        shared.remaining = shared.remaining.saturating_sub(before.remaining - own.remaining);
        result
    }
}

impl<'a> Variables<'a> for Scope<'a> {
    fn get(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        if name == "params" {
            return Some(Ok(self.params.map_or(Val::Null, Val::untyped)));
        }
        let Some(own) = name.strip_prefix("variables.") else {
            return self.admitted.get(name).map(Ok);
        };
        let place = self.own.iter().position(|(known, _)| known == own)?;
        if let Some(known) = &self.computed.borrow()[place] {
            return Some(known.clone());
        }
        let value = match &self.own[place].1 {
            Ok(program) => self.evaluate(program).map_err(|error| match error {
                EvalError::Failed(why) => {
                    EvalError::Failed(format!("composited variable {own:?} fails to evaluate: {why}"))
                }
                other => other,
            }),
            Err(why) => {
                Err(EvalError::Failed(format!("composited variable {own:?} fails to compile: {why}")))
            }
        };
        if !matches!(value, Err(EvalError::Pending)) {
            self.computed.borrow_mut()[place] = Some(value.clone());
        }
        Some(value)
    }
}
