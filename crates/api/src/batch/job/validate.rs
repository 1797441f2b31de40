//! What is wrong with a job, alone or inside a CronJob.

use super::{NAME_LABELS, UID_LABELS};
use crate::common::pod::template;
use crate::common::{json, numbers, selector, text};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use machinery::{FieldErrors, FieldPath};

/// Most pods of an indexed job that may run at once.
const MAX_PARALLEL_INDEXED: i32 = 100_000;

/// Reports what is wrong with a job's spec at `path`, but for its selector.
pub(in crate::batch) fn validate_spec(spec: &JobSpec, path: &FieldPath, errors: &mut FieldErrors) {
    for (field, value) in [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ] {
        numbers::optional_not_negative(value, path.child(field), errors);
    }
    validate_completion(spec, path, errors);
    if let Some(policy) = &spec.pod_replacement_policy
        && !["Failed", "TerminatingOrFailed"].contains(&policy.as_str())
    {
        let allowed: &[&str] = &["Failed", "TerminatingOrFailed"];
        errors.not_supported(path.child("podReplacementPolicy"), policy, allowed);
    }
    if let Some(manager) = &spec.managed_by {
        let at = path.child("managedBy");
        if manager.contains('/') {
            crate::common::names::report(at, manager, crate::common::names::qualified_name(manager), errors);
        } else {
            errors.invalid(at, manager, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        }
    }
    validate_failure_policy(spec, path, errors);
    super::success::validate(spec, path, errors);
    template::validate(&spec.template, &path.child("template"), errors);
    let policy = spec.template.spec.as_ref().map(|pod| text(&pod.restart_policy)).unwrap_or_default();
    if !["Never", "OnFailure"].contains(&policy) {
        errors.required(
            path.child("template").child("spec").child("restartPolicy"),
            "valid values: \"OnFailure\", \"Never\"",
        );
    }
}

fn validate_completion(spec: &JobSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let at = path.child("completionMode");
    match text(&spec.completion_mode) {
        "" | "NonIndexed" => {
            for (field, set) in [
                ("backoffLimitPerIndex", spec.backoff_limit_per_index),
                ("maxFailedIndexes", spec.max_failed_indexes),
            ] {
                if let Some(value) = set {
                    errors.invalid(path.child(field), value, "requires indexed completion mode");
                }
            }
        }
        "Indexed" => {
            if spec.completions.is_none() {
                errors.required(path.child("completions"), "when completion mode is Indexed");
            }
            if let Some(parallelism) = spec.parallelism
                && parallelism > MAX_PARALLEL_INDEXED
            {
                errors.invalid(
                    path.child("parallelism"),
                    parallelism,
                    format!(
                        "must be less than or equal to {MAX_PARALLEL_INDEXED} when completion mode is Indexed"
                    ),
                );
            }
        }
        other => errors.not_supported(at, other, &["Indexed", "NonIndexed"]),
    }
}

fn validate_failure_policy(spec: &JobSpec, path: &FieldPath, errors: &mut FieldErrors) {
    const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
    let Some(policy) = &spec.pod_failure_policy else { return };
    let pod = spec.template.spec.as_ref();
    let restart = pod.map(|pod| text(&pod.restart_policy)).unwrap_or_default();
    if restart != "Never" {
        errors.invalid(
            path.child("template").child("spec").child("restartPolicy"),
            restart,
            "only \"Never\" is supported when podFailurePolicy is specified",
        );
    }
    let path = path.child("podFailurePolicy").child("rules");
    if policy.rules.len() > 20 {
        errors.too_many(path.clone(), policy.rules.len(), 20);
    }
    for (at, rule) in policy.rules.iter().enumerate() {
        let at = path.index(at);
        match rule.action.as_str() {
            "" => errors.required(at.child("action"), ""),
            action if !ACTIONS.contains(&action) => errors.not_supported(at.child("action"), action, ACTIONS),
            _ => {}
        }
        let conditions = rule.on_pod_conditions.as_ref().is_some_and(|list| !list.is_empty());
        match (&rule.on_exit_codes, conditions) {
            (Some(_), true) => errors.invalid(
                at,
                serde_json::Value::Null,
                "specifying both OnExitCodes and OnPodConditions is not supported",
            ),
            (None, false) => errors.invalid(
                at,
                serde_json::Value::Null,
                "specifying one of OnExitCodes and OnPodConditions is required",
            ),
            (Some(codes), false) => {
                let at = at.child("onExitCodes");
                if codes.values.is_empty() {
                    errors.invalid(
                        at.child("values"),
                        serde_json::json!([]),
                        "at least one value is required",
                    );
                }
                if !["In", "NotIn"].contains(&codes.operator.as_str()) {
                    errors.not_supported(at.child("operator"), &codes.operator, &["In", "NotIn"]);
                }
                if codes.operator == "In" && codes.values.contains(&0) {
                    errors.invalid(at.child("values"), 0, "must not be 0 for the In operator");
                }
            }
            (None, true) => {}
        }
    }
}

/// Reports a selector that does not select the job's own pods, and generated labels that were taken.
pub(super) fn validate_generated(job: &Job, errors: &mut FieldErrors) {
    let Some(spec) = &job.spec else { return };
    let path = FieldPath::new("spec");
    let Some(wanted) = &spec.selector else {
        errors.required(path.child("selector"), "");
        return;
    };
    selector::validate(wanted, &path.child("selector"), errors);
    let labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone());
    if spec.manual_selector != Some(true) {
        let at = path.child("template").child("metadata").child("labels");
        let owned = [(UID_LABELS, text(&job.metadata.uid)), (NAME_LABELS, text(&job.metadata.name))];
        for (keys, expected) in owned {
            for key in keys {
                match labels.as_ref().and_then(|labels| labels.get(key)) {
                    None => errors.required(at.clone(), format!("must be '{expected}'")),
                    Some(value) if value != expected => {
                        errors.invalid(at.clone(), json::map(&labels), format!("must be '{expected}'"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    if selector::convert(Some(wanted)).is_ok_and(|wanted| !wanted.matches(&labels)) {
        errors.invalid(
            path.child("template").child("metadata").child("labels"),
            json::map(&labels),
            "`selector` does not match template `labels`",
        );
    }
}

/// Reports what changed and must not.
pub(super) fn validate_update(job: &Job, old: &Job, errors: &mut FieldErrors) {
    let (Some(new), Some(was)) = (&job.spec, &old.spec) else { return };
    let path = FieldPath::new("spec");
    // An indexed job may grow or shrink as long as it runs as many pods as it needs.
    let elastic = text(&new.completion_mode) == "Indexed" && new.completions == new.parallelism;
    if !elastic {
        let printed = serde_json::json!(new.completions);
        errors.immutable(path.child("completions"), &new.completions, &was.completions, printed);
    }
    if let Some(selector) = &new.selector {
        let printed = selector::printed(selector);
        errors.immutable(path.child("selector"), &new.selector, &was.selector, printed);
    }
    let mode = text(&new.completion_mode);
    errors.immutable(path.child("completionMode"), &mode, &text(&was.completion_mode), mode);
    let status = old.status.as_ref();
    let never_ran = was.suspend == Some(true) && status.is_none_or(|status| status.start_time.is_none());
    let mut template = new.template.clone();
    if never_ran && let (Some(pod), Some(before)) = (&mut template.spec, &was.template.spec) {
        // Until it first runs, a suspended job may still be told where to.
        pod.node_selector.clone_from(&before.node_selector);
        pod.affinity.clone_from(&before.affinity);
        pod.tolerations.clone_from(&before.tolerations);
        pod.scheduling_gates.clone_from(&before.scheduling_gates);
        template.metadata.clone_from(&was.template.metadata);
    }
    errors.immutable(path.child("template"), &template, &was.template, serde_json::json!({}));
    errors.immutable(
        path.child("podFailurePolicy"),
        &new.pod_failure_policy,
        &was.pod_failure_policy,
        serde_json::json!({}),
    );
    errors.immutable(
        path.child("successPolicy"),
        &new.success_policy,
        &was.success_policy,
        serde_json::json!({}),
    );
    errors.immutable(
        path.child("backoffLimitPerIndex"),
        &new.backoff_limit_per_index,
        &was.backoff_limit_per_index,
        serde_json::json!(new.backoff_limit_per_index),
    );
}
