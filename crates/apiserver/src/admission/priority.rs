//! Priority: the number and preemption policy behind a pod's priority class, and one global default at most.

use super::{find, forbidden, list, pod};
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::common::text;
use api::k8s_openapi::api::core::v1::Pod;
use api::k8s_openapi::api::scheduling::v1::PriorityClass;
use async_trait::async_trait;
use machinery::Status;

/// The classes that always exist, and their values.
const SYSTEM: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

const PREEMPT: &str = "PreemptLowerPriority";

pub(super) struct Priority(pub(super) Context);

/// What a class gives a pod.
struct Given {
    class: String,
    value: i32,
    preemption: String,
}

#[async_trait]
impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if !request.is("", "pods") {
            return Ok(());
        }
        if request.operation == Operation::Update {
            keep(request);
            return Ok(());
        }
        let Some(spec) = pod(request).and_then(|pod| pod.spec.as_ref()) else { return Ok(()) };
        let (asked, policy) = (spec.priority, spec.preemption_policy.clone());
        let given = self.resolve(request, text(&spec.priority_class_name)).await?;
        if let Some(asked) = asked
            && asked != given.value
        {
            return Err(forbidden(
                request,
                format!(
                    "the integer value of priority ({asked}) must not be provided in pod spec; priority admission \
                     controller computed {} from the given PriorityClass name",
                    given.value
                ),
            ));
        }
        if let Some(policy) = policy
            && policy != given.preemption
        {
            return Err(forbidden(
                request,
                format!(
                    "the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; priority \
                     admission controller computed {} from the given PriorityClass name",
                    given.preemption
                ),
            ));
        }
        if let Some(spec) = super::pod_mut(request).and_then(|pod| pod.spec.as_mut()) {
            spec.priority_class_name = Some(given.class).filter(|class| !class.is_empty());
            spec.priority = Some(given.value);
            spec.preemption_policy = Some(given.preemption);
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if !request.is("scheduling.k8s.io", "priorityclasses") {
            return Ok(());
        }
        let class = request.object.as_deref().and_then(|o| o.downcast_ref::<PriorityClass>());
        let Some(class) = class.filter(|class| class.global_default == Some(true)) else { return Ok(()) };
        for other in list::<PriorityClass>(&self.0, "").await? {
            if other.global_default == Some(true) && other.metadata.name != class.metadata.name {
                let name = text(&other.metadata.name);
                return Err(forbidden(
                    request,
                    format!("PriorityClass {name} is already marked as default. Only one default can exist"),
                ));
            }
        }
        Ok(())
    }
}

/// An update may leave out what creation filled in.
fn keep(request: &mut AdmissionRequest) {
    let old = request.old.clone();
    let Some(old) = old.as_deref().and_then(|o| o.downcast_ref::<Pod>()).and_then(|p| p.spec.as_ref()) else {
        return;
    };
    if let Some(spec) = super::pod_mut(request).and_then(|pod| pod.spec.as_mut()) {
        if spec.priority.is_none() && spec.priority_class_name == old.priority_class_name {
            spec.priority = old.priority;
        }
        if spec.preemption_policy.is_none() {
            spec.preemption_policy.clone_from(&old.preemption_policy);
        }
    }
}

impl Priority {
    async fn resolve(&self, request: &AdmissionRequest, name: &str) -> Result<Given, Status> {
        if name.is_empty() {
            let mut defaults = list::<PriorityClass>(&self.0, "").await?;
            defaults.retain(|class| class.global_default == Some(true));
            // Two defaults can only come of a race; the lower one is the safer.
            let lowest = defaults.iter().min_by_key(|class| class.value);
            return Ok(lowest.map_or_else(
                || Given { class: String::new(), value: 0, preemption: PREEMPT.to_owned() },
                |class| given(class),
            ));
        }
        if let Some((_, class)) = find::<PriorityClass>(&self.0, "", name).await? {
            return Ok(given(&class));
        }
        match SYSTEM.iter().find(|(system, _)| *system == name) {
            Some((_, value)) => {
                Ok(Given { class: name.to_owned(), value: *value, preemption: PREEMPT.to_owned() })
            }
            None => Err(forbidden(request, format!("no PriorityClass with name {name} was found"))),
        }
    }
}

fn given(class: &PriorityClass) -> Given {
    Given {
        class: class.metadata.name.clone().unwrap_or_default(),
        value: class.value.unwrap_or(0),
        preemption: class.preemption_policy.clone().unwrap_or_else(|| PREEMPT.to_owned()),
    }
}
