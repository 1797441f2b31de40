//! Pod failure policies (KEP-3329): what a failed pod means for its job.

use k8s_openapi::api::batch::v1::{Job, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::Pod;

/// What a failed pod means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts towards the backoff limit.
    Count,
    /// It does not count.
    Ignore,
    /// The job fails, for this reason.
    FailJob(String),
}

/// Applies the first rule that matches.
pub(super) fn verdict(job: &Job, pod: &Pod) -> Verdict {
    let rules = job
        .spec
        .as_ref()
        .and_then(|spec| spec.pod_failure_policy.as_ref())
        .map(|policy| policy.rules.as_slice());
    for (at, rule) in rules.unwrap_or_default().iter().enumerate() {
        let Some(why) = matching(rule, pod) else { continue };
        let name = format!(
            "{}/{}",
            pod.metadata.namespace.as_deref().unwrap_or(""),
            pod.metadata.name.as_deref().unwrap_or("")
        );
        return match rule.action.as_str() {
            "FailJob" => Verdict::FailJob(format!(
                "{} matching FailJob rule at index {at}",
                why.replace("{pod}", &name)
            )),
            "Ignore" => Verdict::Ignore,
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// What of the pod matched, in upstream's words; `{pod}` stands for its name.
fn matching(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let all =
            status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
        for container in all {
            let wanted = codes.container_name.as_deref().is_none_or(|name| name == container.name);
            let terminated = container.state.as_ref().and_then(|state| state.terminated.as_ref());
            let Some(code) = terminated.map(|state| state.exit_code).filter(|code| wanted && *code != 0)
            else {
                continue;
            };
            let listed = codes.values.contains(&code);
            if listed == (codes.operator == "In") {
                return Some(format!(
                    "Container {} for pod {{pod}} failed with exit code {code}",
                    container.name
                ));
            }
        }
    }
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let found = conditions.iter().find(|condition| {
        patterns.iter().any(|pattern| {
            pattern.type_ == condition.type_
                && pattern.status.as_deref().unwrap_or("True") == condition.status
        })
    });
    found.map(|condition| format!("Pod {{pod}} has condition {}", condition.type_))
}
