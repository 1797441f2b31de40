//! One pass over a pod that is to run: status, volumes, then the plan of `actions.rs`, carried out.

use crate::kubelet::Kubelet;
use crate::model::RuntimePod;
use crate::pod::actions::{self, Actions};
use crate::pod::kill::{self, Stop};
use crate::pod::start::{self, StartError};
use crate::pod::worker::{Next, Worker};
use crate::pod::{admit, cgroups, gc, sandbox};
use crate::spec::{self, Role};
use crate::status::generate::Verdict;
use crate::volumes::Prepared;
use api::k8s_openapi::api::core::v1::{Container, Pod};
use client::EventType;
use std::sync::Arc;
use std::time::Duration;

fn sooner(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// How long the pod may still be active; `None` without a limit.
fn deadline(kubelet: &Kubelet, worker: &Worker, pod: &Pod) -> Option<Duration> {
    let limit = spec::spec(pod).active_deadline_seconds?;
    let start = kubelet.status.get(&worker.uid).and_then(|s| s.start_time)?;
    let now = client::time::now(&*kubelet.clock).as_second();
    let left = start.0.as_second().saturating_add(limit) - now;
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

/// Brings the pod one step on.
pub(crate) async fn sync(kubelet: &Arc<Kubelet>, worker: &Worker) -> Next {
    let pod = worker.pod();
    if !*worker.admitted.lock() {
        if let Err(verdict) = admit::admit(kubelet, worker, &pod) {
            kubelet.pod_event(&pod, EventType::Warning, &verdict.reason, verdict.message.clone());
            return Next::Terminate(Some(verdict));
        }
        *worker.admitted.lock() = true;
    }
    let runtime = match kubelet.runtime.pod(&worker.uid).await {
        Ok(runtime) => worker.set_runtime(runtime),
        Err(error) => {
            tracing::warn!(
                pod = spec::describe(&pod),
                "failed to read the pod from the runtime: {error}; trying again"
            );
            return Next::Retry(None);
        }
    };
    // Before the status is made: a kubelet that has just started takes over what its predecessor found.
    kubelet.probes.follow(kubelet, &pod, &runtime);
    let status = kubelet.status.refresh(kubelet, worker, false);
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Next::Terminate(None);
    }
    let left = deadline(kubelet, worker, &pod);
    if left.is_some_and(|left| left.is_zero()) {
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        kubelet.pod_event(&pod, EventType::Normal, "DeadlineExceeded", message.clone());
        return Next::Terminate(Some(Verdict { reason: "DeadlineExceeded".to_owned(), message }));
    }
    if !spec::host_network(&pod)
        && let Err(why) = kubelet.node.network()
    {
        let message = format!("network is not ready: {why}");
        kubelet.pod_event(&pod, EventType::Warning, "NetworkNotReady", message);
        return Next::Retry(Some(Duration::from_secs(5)));
    }
    match advance(kubelet, worker, &pod, &runtime).await {
        Next::Wait(delay) => Next::Wait(sooner(delay, left)),
        Next::Retry(limit) => Next::Retry(sooner(limit, left)),
        other => other,
    }
}

/// Volumes, then the plan.
async fn advance(kubelet: &Arc<Kubelet>, worker: &Worker, pod: &Arc<Pod>, runtime: &Arc<RuntimePod>) -> Next {
    if let Err(error) = cgroups::ensure(kubelet, pod).await {
        kubelet.pod_event(
            pod,
            EventType::Warning,
            "FailedCreatePodContainer",
            format!("unable to ensure pod container exists: {error}"),
        );
        return Next::Retry(None);
    }
    let volumes = match kubelet.volumes.prepare(kubelet, pod).await {
        Ok(volumes) => volumes,
        Err(not_ready) => {
            for message in not_ready.events {
                kubelet.pod_event(pod, EventType::Warning, "FailedMount", message);
            }
            return Next::Retry(None);
        }
    };
    let refresh = volumes.values().filter_map(|v| v.refresh).min();
    let plan = actions::compute(pod, runtime, &kubelet.probes);
    let (retry, failed) = match execute(kubelet, worker, pod, runtime, &plan, &volumes).await {
        Ok(()) => (None, false),
        Err(error) => (error.retry, error.retry.is_none()),
    };
    let idle = plan_is_empty(&plan);
    if !idle {
        // What was done shows at once, without waiting for the runtime's events.
        if let Ok(fresh) = kubelet.runtime.pod(&worker.uid).await {
            let fresh = worker.set_runtime(fresh);
            kubelet.probes.follow(kubelet, pod, &fresh);
        }
        kubelet.status.refresh(kubelet, worker, false);
    }
    gc::old_attempts(kubelet, runtime).await;
    let delay = sooner(retry, refresh);
    if failed { Next::Retry(delay) } else { Next::Wait(delay) }
}

fn plan_is_empty(plan: &Actions) -> bool {
    !plan.kill_pod
        && !plan.create_sandbox
        && plan.kill.is_empty()
        && plan.ephemeral.is_empty()
        && plan.init.is_empty()
        && plan.start.is_empty()
}

async fn execute(
    kubelet: &Arc<Kubelet>,
    worker: &Worker,
    pod: &Arc<Pod>,
    runtime: &Arc<RuntimePod>,
    plan: &Actions,
    volumes: &Prepared,
) -> Result<(), StartError> {
    if plan.kill_pod {
        if plan.create_sandbox && !runtime.sandboxes.is_empty() {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            kubelet.pod_event(pod, EventType::Normal, "SandboxChanged", message);
        }
        kill::pod(kubelet, worker, pod, runtime, worker.grace())
            .await
            .map_err(|error| StartError::new("KillPodError", error.to_string()))?;
    }
    for unwanted in plan.kill.iter().filter(|_| !plan.kill_pod) {
        let stop = Stop {
            id: &unwanted.id,
            name: &unwanted.name,
            message: Some(unwanted.message.clone()),
            grace: kill::grace_for(pod, unwanted),
        };
        kill::container(kubelet, worker, pod, stop)
            .await
            .map_err(|error| StartError::new("KillContainerError", error.to_string()))?;
    }
    if plan.kill_pod && !plan.create_sandbox {
        return Ok(());
    }
    let (sandbox_id, sandbox_config, runtime) = if plan.create_sandbox {
        sandbox::create(kubelet, worker, pod, plan.attempt).await?
    } else {
        let id = plan.sandbox_id.clone().unwrap_or_default();
        (id, sandbox::config(kubelet, pod, plan.attempt), runtime.clone())
    };
    let site = start::Site { sandbox_id, sandbox_config, runtime, volumes };
    start_all(kubelet, worker, pod, plan, &site).await
}

/// Starts what the plan names. One failing container does not keep the others from starting, but a failing
/// init container does.
async fn start_all(
    kubelet: &Arc<Kubelet>,
    worker: &Worker,
    pod: &Arc<Pod>,
    plan: &Actions,
    site: &start::Site<'_>,
) -> Result<(), StartError> {
    let mut first_error: Option<StartError> = None;
    let mut keep = |result: Result<(), StartError>| {
        if let Err(error) = result {
            let sooner = first_error.as_ref().is_none_or(|first| {
                first.retry.is_some_and(|first| error.retry.is_none_or(|retry| retry < first))
            });
            if sooner {
                first_error = Some(error);
            }
        }
    };
    let ephemeral = spec::ephemeral(pod);
    for container in plan.ephemeral.iter().filter_map(|index| ephemeral.get(*index)) {
        keep(start_one(kubelet, worker, pod, Role::Ephemeral, container, site).await);
    }
    for container in plan.init.iter().filter_map(|index| spec::init(pod).get(*index)) {
        let role = if spec::is_sidecar(container) { Role::Sidecar } else { Role::Init };
        let result = start_one(kubelet, worker, pod, role, container, site).await;
        if result.is_err() && role == Role::Init {
            return result;
        }
        keep(result);
    }
    for container in plan.start.iter().filter_map(|index| spec::regular(pod).get(*index)) {
        keep(start_one(kubelet, worker, pod, Role::Regular, container, site).await);
    }
    first_error.map_or(Ok(()), Err)
}

async fn start_one(
    kubelet: &Arc<Kubelet>,
    worker: &Worker,
    pod: &Arc<Pod>,
    role: Role,
    container: &Container,
    site: &start::Site<'_>,
) -> Result<(), StartError> {
    if worker.is_ending() {
        return Err(StartError::new("PodTerminating", "the pod is ending"));
    }
    let result = start::container(kubelet, worker, pod, role, container, site).await;
    let error = result.as_ref().err().map(|e| (e.reason.clone(), e.message.clone()));
    let failed = error.is_some();
    worker.set_error(&container.name, error);
    if failed {
        kubelet.status.refresh(kubelet, worker, false);
    }
    result
}
