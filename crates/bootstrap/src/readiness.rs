//! Is the cluster ready, and if not, why? Follows Nodes and workloads by watching; never polls.

use anyhow::{Result, bail};
use client::{Client, Event, Informer, InformerFactory, Selection};
use component::{SharedClock, Tasks};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// One thing that should be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Such as `node node-1`.
    pub name: String,
    /// Why it is not ready; `None` when it is.
    pub problem: Option<String>,
}

/// What is looked at: caches that follow the cluster.
pub(crate) struct Observer {
    nodes: Informer<Node>,
    deployments: Informer<Deployment>,
    daemon_sets: Informer<DaemonSet>,
    stateful_sets: Informer<StatefulSet>,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    changed: Arc<Notify>,
    clock: SharedClock,
    tasks: Tasks,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn on_change<K: api::Kind>(informer: &Informer<K>, changed: &Arc<Notify>) {
    let changed = changed.clone();
    informer.on_event(move |_: &Event<K>| changed.notify_one());
}

impl Observer {
    /// Starts to follow the workloads of `namespace` (empty for all) and the nodes.
    pub(crate) fn start(client: &Client, namespace: &str, clock: SharedClock, tasks: &Tasks) -> Self {
        let tasks = tasks.child();
        let informers = InformerFactory::new(client.clone(), clock.clone(), tasks.clone());
        let selection = Selection::namespace(namespace);
        let observer = Self {
            nodes: informers.informer(),
            deployments: informers.informer_of(&selection),
            daemon_sets: informers.informer_of(&selection),
            stateful_sets: informers.informer_of(&selection),
            jobs: informers.informer_of(&selection),
            pods: informers.informer_of(&selection),
            changed: Arc::new(Notify::new()),
            clock,
            tasks,
        };
        on_change(&observer.nodes, &observer.changed);
        on_change(&observer.deployments, &observer.changed);
        on_change(&observer.daemon_sets, &observer.changed);
        on_change(&observer.stateful_sets, &observer.changed);
        on_change(&observer.jobs, &observer.changed);
        on_change(&observer.pods, &observer.changed);
        observer
    }

    /// Waits until everything was seen once.
    pub(crate) async fn synced(&self) {
        self.nodes.synced().await;
        self.deployments.synced().await;
        self.daemon_sets.synced().await;
        self.stateful_sets.synced().await;
        self.jobs.synced().await;
        self.pods.synced().await;
    }

    /// The nodes now.
    pub(crate) fn nodes(&self) -> Vec<Item> {
        self.nodes.store().list().iter().map(|node| node_item(node)).collect()
    }

    /// The long-running workloads now.
    pub(crate) fn workloads(&self) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        items.extend(self.deployments.store().list().iter().map(|d| deployment_item(d)));
        items.extend(self.daemon_sets.store().list().iter().map(|d| daemon_set_item(d)));
        items.extend(self.stateful_sets.store().list().iter().map(|s| stateful_set_item(s)));
        items
    }

    /// The state of one applied object; kinds that have none are ready once they exist.
    pub(crate) fn applied(&self, kind: &str, namespace: &str, name: &str) -> Item {
        let ready = || Item { name: format!("{} {name}", kind.to_lowercase()), problem: None };
        let missing = || Item { problem: Some("not seen yet".to_owned()), ..ready() };
        match kind {
            "Deployment" => {
                self.deployments.store().find(namespace, name).map_or_else(missing, |d| deployment_item(&d))
            }
            "DaemonSet" => {
                self.daemon_sets.store().find(namespace, name).map_or_else(missing, |d| daemon_set_item(&d))
            }
            "StatefulSet" => self
                .stateful_sets
                .store()
                .find(namespace, name)
                .map_or_else(missing, |s| stateful_set_item(&s)),
            "Job" => self.jobs.store().find(namespace, name).map_or_else(missing, |j| job_item(&j)),
            "Pod" => self.pods.store().find(namespace, name).map_or_else(missing, |p| pod_item(&p)),
            _ => ready(),
        }
    }

    /// What keeps pods from running, for messages: the waiting reasons of containers.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.pods.store().list().iter().filter_map(|pod| complaint(pod)).collect()
    }

    /// Waits until `look` finds nothing wrong, at most `patience`. The error says what is wrong in the end.
    pub(crate) async fn wait(&self, patience: Duration, look: impl Fn(&Self) -> Vec<Item>) -> Result<()> {
        let ready = async {
            self.synced().await;
            loop {
                let changed = self.changed.notified();
                if look(self).iter().all(|item| item.problem.is_none()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::select! {
            () = ready => Ok(()),
            () = self.clock.sleep(patience) => bail!("{}", describe(&look(self), &self.complaints())),
        }
    }
}

/// The problems of `items`, a line each.
pub(crate) fn describe(items: &[Item], complaints: &[String]) -> String {
    let problems =
        items.iter().filter_map(|item| item.problem.as_ref().map(|p| format!("{}: {p}", item.name)));
    let lines: Vec<String> = problems.chain(complaints.iter().cloned()).collect();
    if lines.is_empty() { "nothing was seen".to_owned() } else { lines.join("\n") }
}

fn node_item(node: &Node) -> Item {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let tainted = taints.into_iter().any(|taint| taint.key == "node.kubernetes.io/not-ready");
    let problem = match conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(ready) if ready.status == "True" && tainted => {
            Some("is ready, but takes no pods yet".to_owned())
        }
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(ready.message.clone().or_else(|| ready.reason.clone()).unwrap_or_default()),
        None => Some("the kubelet has not reported yet".to_owned()),
    };
    Item { name: format!("node {}", node.metadata.name.as_deref().unwrap_or_default()), problem }
}

/// Progress of replicas as `kubectl rollout status` counts it.
fn replicas(
    kind: &str,
    meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    observed: Option<i64>,
    (wanted, updated, available): (i32, i32, i32),
) -> Item {
    let name = meta.name.as_deref().unwrap_or_default();
    let problem = if observed < meta.generation {
        Some("its controller has not seen the change yet".to_owned())
    } else if updated < wanted {
        Some(format!("{updated} of {wanted} pods are up to date"))
    } else if available < wanted {
        Some(format!("{available} of {wanted} pods are available"))
    } else {
        None
    };
    Item { name: format!("{kind} {name}"), problem }
}

fn deployment_item(d: &Deployment) -> Item {
    let status = d.status.clone().unwrap_or_default();
    let wanted = d.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let have = (wanted, status.updated_replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
    replicas("deployment", &d.metadata, status.observed_generation, have)
}

fn daemon_set_item(d: &DaemonSet) -> Item {
    let status = d.status.clone().unwrap_or_default();
    let have = (
        status.desired_number_scheduled,
        status.updated_number_scheduled.unwrap_or(0),
        status.number_available.unwrap_or(0),
    );
    replicas("daemonset", &d.metadata, status.observed_generation, have)
}

fn stateful_set_item(s: &StatefulSet) -> Item {
    let status = s.status.clone().unwrap_or_default();
    let wanted = s.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let have =
        (wanted, status.updated_replicas.unwrap_or(status.replicas), status.ready_replicas.unwrap_or(0));
    replicas("statefulset", &s.metadata, status.observed_generation, have)
}

fn job_item(job: &Job) -> Item {
    let name = format!("job {}", job.metadata.name.as_deref().unwrap_or_default());
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let holds = |kind: &str| conditions.iter().find(|c| c.type_ == kind && c.status == "True");
    let problem = match (holds("Complete"), holds("Failed")) {
        (Some(_), _) => None,
        (_, Some(failed)) => Some(format!("failed: {}", failed.message.as_deref().unwrap_or_default())),
        _ => Some("is still running".to_owned()),
    };
    Item { name, problem }
}

fn pod_item(pod: &Pod) -> Item {
    let name = format!("pod {}", pod.metadata.name.as_deref().unwrap_or_default());
    let status = pod.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    let problem = match status.phase.as_deref() {
        Some("Succeeded") => None,
        _ if ready => None,
        phase => Some(format!("is {}", phase.unwrap_or("Pending"))),
    };
    Item { name, problem }
}

fn complaint(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let name = pod.metadata.name.as_deref()?;
    let containers =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    for container in containers {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        if let Some(waiting) = waiting
            && !matches!(waiting.reason.as_deref(), None | Some("ContainerCreating" | "PodInitializing"))
        {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            let message = waiting.message.as_deref().unwrap_or_default();
            return Some(format!("pod {name}, container {}: {reason}: {message}", container.name));
        }
    }
    let unscheduled =
        status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    Some(format!("pod {name}: {}", unscheduled.message.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;

    #[test]
    fn rollouts_are_ready_when_all_pods_are_new_and_available() {
        let item = |status: &str| {
            let text = format!(
                r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"d","generation":2}},
                "spec":{{"replicas":2,"selector":{{}},"template":{{}}}},"status":{status}}}"#
            );
            deployment_item(&Deployment::from_json(text.as_bytes()).unwrap()).problem
        };
        assert!(item(r#"{"observedGeneration":1}"#).unwrap().contains("has not seen"));
        let one = item(r#"{"observedGeneration":2,"updatedReplicas":2,"availableReplicas":1}"#);
        assert_eq!(one.as_deref(), Some("1 of 2 pods are available"));
        assert_eq!(item(r#"{"observedGeneration":2,"updatedReplicas":2,"availableReplicas":2}"#), None);
    }
}
