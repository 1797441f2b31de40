//! Stops containers: preStop hook, stop signal, SIGKILL after the grace period; sidecars last, in reverse order.

use crate::kubelet::Kubelet;
use crate::model::{RuntimeContainer, RuntimePod};
use crate::pod::actions::{Kill, KillReason};
use crate::pod::lifecycle;
use crate::pod::worker::Worker;
use crate::runtime::RuntimeError;
use crate::spec;
use api::k8s_openapi::api::core::v1::Pod;
use client::EventType;
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;

/// Even a hook that used up all the time leaves this much, in seconds.
const MIN_GRACE: i64 = 2;

/// One container to stop.
pub(crate) struct Stop<'a> {
    /// Runtime's id.
    pub(crate) id: &'a str,
    /// Name in the pod.
    pub(crate) name: &'a str,
    /// Text of the event, if not the usual one.
    pub(crate) message: Option<String>,
    /// Seconds to end in, hook included.
    pub(crate) grace: i64,
}

/// Seconds for a container that a probe found unhealthy: the probe's own, then the pod's.
pub(crate) fn grace_for(pod: &Pod, kill: &Kill) -> i64 {
    let found = spec::find(pod, &kill.name);
    let own = found.and_then(|(_, c)| match kill.reason {
        KillReason::Liveness => c.liveness_probe.as_ref()?.termination_grace_period_seconds,
        KillReason::Startup => c.startup_probe.as_ref()?.termination_grace_period_seconds,
        KillReason::Changed | KillReason::Unknown => None,
    });
    own.unwrap_or_else(|| spec::grace_seconds(pod))
}

/// Runs the preStop hook, once per container; returns the seconds it took.
async fn pre_stop(kubelet: &Arc<Kubelet>, worker: &Worker, pod: &Arc<Pod>, stop: &Stop<'_>) -> i64 {
    let Some((_, container)) = spec::find(pod, stop.name) else { return 0 };
    let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) else { return 0 };
    if stop.grace <= 0 || !worker.stopped_hooks.lock().insert(stop.id.to_owned()) {
        return 0;
    }
    let begun = kubelet.clock.instant();
    let limit = Duration::from_secs(stop.grace.unsigned_abs());
    tokio::select! {
        result = lifecycle::run(kubelet, pod, &container, stop.id, hook) => if let Err(why) = result {
            let message = "PreStopHook failed".to_owned();
            kubelet.container_event(pod, stop.name, EventType::Warning, "FailedPreStopHook", message);
            tracing::info!(pod = spec::describe(pod), container = stop.name, "preStop hook failed: {why}");
        },
        () = kubelet.clock.sleep(limit) => {
            tracing::info!(pod = spec::describe(pod), container = stop.name, "preStop hook did not end in the grace period");
        }
    }
    let took = kubelet.clock.instant().saturating_duration_since(begun).as_secs();
    i64::try_from(took).unwrap_or(i64::MAX)
}

/// Stops one container; returns once it has ended.
pub(crate) async fn container(
    kubelet: &Arc<Kubelet>,
    worker: &Worker,
    pod: &Arc<Pod>,
    stop: Stop<'_>,
) -> Result<(), RuntimeError> {
    let message = stop.message.clone().unwrap_or_else(|| format!("Stopping container {}", stop.name));
    kubelet.container_event(pod, stop.name, EventType::Normal, "Killing", message);
    let took = pre_stop(kubelet, worker, pod, &stop).await;
    let grace = match stop.grace {
        // No grace at all is what a forced deletion asks for.
        0 => 0,
        grace => (grace - took).max(MIN_GRACE),
    };
    kubelet.runtime.stop_container(stop.id, grace).await
}

fn is_sidecar(pod: &Pod, container: &RuntimeContainer) -> bool {
    spec::init(pod).iter().any(|c| c.name == container.name && spec::is_sidecar(c))
}

/// Stops everything of a pod, its sandboxes included.
pub(crate) async fn pod(
    kubelet: &Arc<Kubelet>,
    worker: &Worker,
    pod: &Arc<Pod>,
    runtime: &RuntimePod,
    grace: i64,
) -> Result<(), RuntimeError> {
    let begun = kubelet.clock.instant();
    let stop = |c: &RuntimeContainer| {
        let spent = kubelet.clock.instant().saturating_duration_since(begun).as_secs();
        let left = grace - i64::try_from(spent).unwrap_or(grace);
        let left = if grace == 0 { 0 } else { left.max(MIN_GRACE) };
        let (id, name) = (c.id.clone(), c.name.clone());
        async move {
            let stop = Stop { id: &id, name: &name, message: None, grace: left };
            container(kubelet, worker, pod, stop).await
        }
    };
    let (mut sidecars, others): (Vec<_>, Vec<_>) = runtime.running().partition(|c| is_sidecar(pod, c));
    for result in join_all(others.into_iter().map(stop)).await {
        result?;
    }
    let place = |c: &RuntimeContainer| spec::init(pod).iter().position(|i| i.name == c.name);
    sidecars.sort_by_key(|c| std::cmp::Reverse(place(c)));
    for sidecar in sidecars {
        stop(sidecar).await?;
    }
    for sandbox in &runtime.sandboxes {
        kubelet.runtime.stop_sandbox(&sandbox.id).await?;
    }
    Ok(())
}
