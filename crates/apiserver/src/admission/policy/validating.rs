//! ValidatingAdmissionPolicy: decisions of every policy and binding, then what the bindings do about them.

use super::compiled::{Cache, ValidatingPolicy, Validation};
use super::params::{self, acts};
use super::{concerns, conditions, exempt};
use crate::admission::list;
use crate::contract::{Admission, AdmissionRequest, Context};
use crate::expressions::{Admitted, Compiled, Scope};
use api::common::text;
use api::k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use async_trait::async_trait;
use cel::{Budget, EvalError, RUN_LIMIT, Val};
use machinery::status::{StatusCause, StatusDetails};
use machinery::{Reason, Status};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Characters of a message or annotation that an expression makes.
const MAX_MESSAGE: usize = 5 * 1024;
const MAX_ANNOTATION: usize = 10 * 1024;
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";

pub(in crate::admission) struct Validating {
    context: Context,
    policies: Cache<ValidatingPolicy>,
}

/// Why a policy refuses.
struct Denial {
    message: String,
    reason: String,
    /// Which of the policy's expressions it was.
    index: usize,
}

/// What one policy says with one binding.
#[derive(Default)]
struct Findings {
    denials: Vec<Denial>,
    annotations: BTreeMap<String, Vec<String>>,
}

impl Validating {
    pub(in crate::admission) fn new(context: &Context) -> Self {
        Self { context: context.clone(), policies: Cache::default() }
    }

    async fn judge(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let bindings = list::<ValidatingAdmissionPolicyBinding>(&self.context, "").await?;
        if bindings.is_empty() {
            return Ok(());
        }
        let mut policies = list::<ValidatingAdmissionPolicy>(&self.context, "").await?;
        policies.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let mut report = Report::default();
        let mut admitted = None;
        for policy in &policies {
            let name = text(&policy.metadata.name);
            let bound: Vec<_> = bindings.iter().filter(|binding| binding.spec.policy_name == name).collect();
            let Some(spec) = policy.spec.as_ref().filter(|_| !bound.is_empty()) else { continue };
            let compiled =
                self.policies.get(&policy.metadata, policies.len(), || ValidatingPolicy::new(spec));
            if !concerns(&compiled.common.constraints, &self.context, request).await? {
                continue;
            }
            for binding in bound {
                if let Some(wanted) = &binding.spec.match_resources
                    && !concerns(wanted, &self.context, request).await?
                {
                    continue;
                }
                if admitted.is_none() {
                    admitted = Some(Admitted::new(&self.context, request).await?);
                }
                let Some(admitted) = &admitted else { continue };
                let findings = self.findings(&compiled, binding, request, admitted).await;
                report.add(name, binding, findings, request);
            }
        }
        report.finish(request)
    }

    async fn findings(
        &self,
        policy: &ValidatingPolicy,
        binding: &ValidatingAdmissionPolicyBinding,
        request: &AdmissionRequest,
        admitted: &Admitted,
    ) -> Findings {
        let (kind, reference) = (policy.common.param_kind.as_ref(), binding.spec.param_ref.as_ref());
        let mut findings = Findings::default();
        match params::of(&self.context, request, kind, reference).await {
            Ok(all) => {
                for params in &all {
                    evaluate(policy, admitted, params.as_ref(), &mut findings).await;
                }
            }
            Err(why) if policy.common.ignore_failure => {
                tracing::debug!(why, "a policy binding could not be set up; it is passed over");
            }
            Err(why) => {
                let message = format!("failed to configure binding: {why}");
                findings.denials.push(Denial { message, reason: String::new(), index: 0 });
            }
        }
        findings
    }
}

#[async_trait]
impl Admission for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if exempt(request) { Ok(()) } else { self.judge(request).await }
    }
}

/// Evaluates a policy with one set of parameters.
async fn evaluate(
    policy: &ValidatingPolicy,
    admitted: &Admitted,
    params: Option<&Value>,
    findings: &mut Findings,
) {
    let wanted: Vec<(&str, &Compiled)> =
        policy.common.conditions.iter().map(|(name, compiled)| (name.as_str(), compiled)).collect();
    match conditions::hold(admitted, params, &policy.common.variables, &wanted).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(_) if policy.common.ignore_failure => return,
        Err(message) => {
            findings.denials.push(Denial { message, reason: String::new(), index: 0 });
            return;
        }
    }
    loop {
        let mut found = Findings::default();
        if once(policy, admitted, params, &mut found) {
            findings.denials.extend(found.denials);
            for (key, values) in found.annotations {
                findings.annotations.entry(key).or_default().extend(values);
            }
            return;
        }
        admitted.asker.settle().await;
    }
}

/// False when an answer of the authorizer is missing.
fn once<'a>(
    policy: &'a ValidatingPolicy,
    admitted: &'a Admitted,
    params: Option<&'a Value>,
    findings: &mut Findings,
) -> bool {
    let scope = Scope::new(admitted, params, &policy.common.variables, Budget::new(RUN_LIMIT));
    for (index, validation) in policy.validations.iter().enumerate() {
        let denied = match run(&scope, &validation.program) {
            Ok(Val::Bool(true)) => continue,
            Ok(Val::Bool(false)) => match message(&scope, validation) {
                Some(message) => Denial { message, reason: validation.reason.clone(), index },
                None => return false,
            },
            Ok(_) => failure(validation, "expression did not evaluate to a bool", index),
            Err(EvalError::Pending) => return false,
            Err(_) if policy.common.ignore_failure => continue,
            Err(error) => failure(validation, &error.to_string(), index),
        };
        findings.denials.push(denied);
    }
    for (key, compiled) in &policy.annotations {
        match run(&scope, compiled) {
            Ok(Val::String(value)) if !value.trim().is_empty() => {
                let value: String = value.trim().chars().take(MAX_ANNOTATION).collect();
                findings.annotations.entry(key.clone()).or_default().push(value);
            }
            Ok(_) => {}
            Err(EvalError::Pending) => return false,
            Err(_) if policy.common.ignore_failure => {}
            Err(error) => {
                let message =
                    format!("valueExpression of audit annotation '{key}' resulted in error: {error}");
                findings.denials.push(Denial { message, reason: String::new(), index: 0 });
            }
        }
    }
    true
}

fn failure(validation: &Validation, why: &str, index: usize) -> Denial {
    let message = format!("expression '{}' resulted in error: {why}", validation.expression);
    Denial { message, reason: String::new(), index }
}

fn run<'a>(scope: &Scope<'a>, compiled: &'a Compiled) -> Result<Val<'a>, EvalError> {
    match compiled {
        Ok(program) => scope.evaluate(program),
        Err(why) => Err(EvalError::Failed(format!("compilation error: compilation failed: {why}"))),
    }
}

/// What the policy's author wants to have said; `None` when an answer of the authorizer is missing.
fn message<'a>(scope: &Scope<'a>, validation: &'a Validation) -> Option<String> {
    if let Some(Ok(program)) = &validation.message_program {
        match scope.evaluate(program) {
            Err(EvalError::Pending) => return None,
            Ok(Val::String(made)) => {
                let made = made.trim();
                if !made.is_empty() && !made.contains('\n') && made.len() <= MAX_MESSAGE {
                    return Some(made.to_owned());
                }
            }
            _ => {}
        }
    }
    Some(match validation.message.as_str() {
        "" => format!("failed expression: {}", validation.expression),
        message => message.to_owned(),
    })
}

/// What bindings do about the findings.
#[derive(Default)]
struct Report {
    refusal: Option<(String, Denial)>,
    failures: Vec<Value>,
    annotations: BTreeMap<String, Vec<String>>,
}

impl Report {
    fn add(
        &mut self,
        policy: &str,
        binding: &ValidatingAdmissionPolicyBinding,
        findings: Findings,
        request: &AdmissionRequest,
    ) {
        let (actions, name) = (&binding.spec.validation_actions, text(&binding.metadata.name));
        for (key, values) in findings.annotations {
            self.annotations.entry(format!("{policy}/{key}")).or_default().extend(values);
        }
        for denial in findings.denials {
            if acts(actions, "Warn") {
                request.warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{name}': {}",
                    denial.message
                ));
            }
            if acts(actions, "Audit") {
                self.failures.push(json!({
                    "message": denial.message, "policy": policy, "binding": name,
                    "expressionIndex": denial.index, "validationActions": actions,
                }));
            }
            if acts(actions, "Deny") && self.refusal.is_none() {
                let text = format!(
                    "ValidatingAdmissionPolicy '{policy}' with binding '{name}' denied request: {}",
                    denial.message
                );
                self.refusal = Some((text, denial));
            }
        }
    }

    fn finish(self, request: &AdmissionRequest) -> Result<(), Status> {
        for (key, mut values) in self.annotations {
            values.dedup();
            crate::audit::annotate(&key, || values.join(", "));
        }
        if !self.failures.is_empty() {
            crate::audit::annotate(FAILURES, || Value::Array(self.failures).to_string());
        }
        match self.refusal {
            None => Ok(()),
            Some((text, denial)) => Err(refusal(request, &text, &denial)),
        }
    }
}

fn refusal(request: &AdmissionRequest, text: &str, denial: &Denial) -> Status {
    let mut status = Status::forbidden(&request.group_resource(), &request.name, text);
    let (code, reason) = match denial.reason.as_str() {
        "Forbidden" => (403, Reason::Forbidden),
        "Unauthorized" => (401, Reason::Unauthorized),
        "RequestEntityTooLarge" => (413, Reason::RequestEntityTooLarge),
        _ => (422, Reason::Invalid),
    };
    status.code = code;
    status.reason = reason;
    let mut details: StatusDetails = status.details.as_deref().cloned().unwrap_or_default();
    details.causes.push(StatusCause { message: denial.message.clone(), ..StatusCause::default() });
    status.with_details(details)
}
