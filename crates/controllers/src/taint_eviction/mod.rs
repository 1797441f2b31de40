//! Deletes pods from nodes with `NoExecute` taints that they do not tolerate, at once or when their toleration ends.

use crate::common::owners::enqueue;
use crate::common::scheduling::tolerates;
use crate::common::{conditions, pods};
use crate::context::Context;
use crate::node_lifecycle::{NODE_INDEX, index_by_node};
use client::{DeleteOptions, EventType, Informer, ObjectKey, Requeue, run_workers};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint, Toleration};
use machinery::Status;
use std::sync::Arc;
use std::time::Duration;

const WORKERS: usize = 8;

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let nodes = context.informers.informer::<Node>();
    let pods = context.informers.informer::<Pod>();
    index_by_node(&pods);
    let queue = context.queue::<ObjectKey>();
    nodes.synced().await;
    pods.synced().await;
    enqueue(&pods, &queue);
    let (changed, on_node) = (queue.clone(), pods.clone());
    nodes.on_event(move |event| {
        let taints = |node: &Arc<Node>| node.spec.as_ref().and_then(|spec| spec.taints.clone());
        if event.old().map(taints) == Some(taints(event.object())) {
            return;
        }
        let name = event.object().metadata.name.as_deref().unwrap_or("");
        for pod in on_node.store().by_index(NODE_INDEX, name) {
            changed.add(ObjectKey::of(&pod.metadata));
        }
    });
    let worker = Arc::new(Worker { context: context.clone(), nodes, pods });
    run_workers("taint-eviction-controller", WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

struct Worker {
    context: Context,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(pod) = self.pods.store().get(key).filter(|pod| !pods::is_terminating(pod)) else {
            return Ok(Requeue::No);
        };
        let Some(node) = self.nodes.store().find("", pods::node_of(&pod)) else { return Ok(Requeue::No) };
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        match verdict(taints, tolerations, self.context.now()) {
            Verdict::Stay => Ok(Requeue::No),
            Verdict::Until(left) => Ok(Requeue::After(left)),
            Verdict::Go => self.evict(&pod).await.map(|()| Requeue::No),
        }
    }

    async fn evict(&self, pod: &Pod) -> Result<(), Status> {
        let meta = &pod.metadata;
        let (name, namespace) = (meta.name.as_deref().unwrap_or(""), meta.namespace.as_deref().unwrap_or(""));
        let message = format!("Marking for deletion Pod {namespace}/{name}");
        self.context.recorder.event(pod, EventType::Normal, "TaintManagerEviction", message);
        let reason = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
        disrupt(&self.context, pod, reason, None).await?;
        let options = DeleteOptions { uid: meta.uid.clone(), ..DeleteOptions::default() };
        match self.context.client.namespaced::<Pod>(namespace).delete_with(name, &options).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }
}

/// Says in a pod's status why it is about to be deleted (KEP-3329), and that it failed, if `phase` is given.
pub(crate) async fn disrupt(
    context: &Context,
    pod: &Pod,
    (reason, message): (&str, &str),
    phase: Option<&str>,
) -> Result<(), Status> {
    let mut marked = pod.clone();
    let status = marked.status.get_or_insert_default();
    let condition: PodCondition = conditions::new("DisruptionTarget", "True", reason, message, context.now());
    conditions::set(&mut status.conditions, condition);
    if let Some(phase) = phase {
        status.phase = Some(phase.to_owned());
    }
    match context.client.all::<Pod>().update_status(&marked).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

/// What becomes of a pod on a tainted node.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Stay,
    Until(Duration),
    Go,
}

/// Every `NoExecute` taint must be tolerated; the shortest limited toleration counts, from when its taint was added.
fn verdict(taints: &[Taint], tolerations: &[Toleration], now: Timestamp) -> Verdict {
    let mut earliest: Option<i64> = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let mut matching = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        if matching.peek().is_none() {
            return Verdict::Go;
        }
        let added = taint.time_added.as_ref().map_or(now, |time| time.0).as_second();
        // A toleration without a limit tolerates for ever, but a shorter one beside it still counts.
        if let Some(seconds) = matching.filter_map(|toleration| toleration.toleration_seconds).min() {
            let end = added.saturating_add(seconds.max(0));
            earliest = Some(earliest.map_or(end, |known| known.min(end)));
        }
    }
    match earliest {
        None => Verdict::Stay,
        Some(end) => match u64::try_from(end - now.as_second()) {
            Ok(left) if left > 0 => Verdict::Until(Duration::from_secs(left)),
            _ => Verdict::Go,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn tolerations_decide() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let taint = Taint {
            key: "k".to_owned(),
            value: Some("v".to_owned()),
            effect: "NoExecute".to_owned(),
            time_added: Some(Time(at(100))),
        };
        let exists = |key: &str, seconds: Option<i64>| Toleration {
            key: (!key.is_empty()).then(|| key.to_owned()),
            operator: Some("Exists".to_owned()),
            toleration_seconds: seconds,
            ..Toleration::default()
        };
        let equal = |value: &str| Toleration {
            key: Some("k".to_owned()),
            value: Some(value.to_owned()),
            ..Toleration::default()
        };
        let rows = [
            (vec![], Verdict::Go),
            (vec![exists("", None)], Verdict::Stay),
            (vec![exists("other", None)], Verdict::Go),
            (vec![equal("v")], Verdict::Stay),
            (vec![equal("w")], Verdict::Go),
            (vec![exists("k", Some(300))], Verdict::Until(Duration::from_secs(100))),
            (vec![exists("k", Some(200))], Verdict::Go),
            (vec![exists("k", None), exists("k", Some(300))], Verdict::Until(Duration::from_secs(100))),
        ];
        for (tolerations, wanted) in rows {
            assert_eq!(
                verdict(std::slice::from_ref(&taint), &tolerations, at(300)),
                wanted,
                "{tolerations:?}"
            );
        }
        let harmless = Taint { effect: "NoSchedule".to_owned(), ..taint };
        assert_eq!(verdict(&[harmless], &[], at(300)), Verdict::Stay);
    }
}
