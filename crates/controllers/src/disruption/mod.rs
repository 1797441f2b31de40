//! PodDisruptionBudgets: how many pods may be evicted now. The eviction API decides by the status written here.

mod expected;

use crate::common::owners::enqueue;
use crate::common::pods;
use crate::context::Context;
use api::common::int_or_percent::scaled;
use api::common::selector;
use client::time::seconds;
use client::{EventType, Informer, ObjectKey, Requeue, run_workers};
use expected::Controllers;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use machinery::Status;
use machinery::labels::Selector;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long an eviction may take to show as a deletion, in seconds.
const EVICTION_TIMEOUT: i64 = 120;

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let budgets = context.informers.informer::<PodDisruptionBudget>();
    let pods = context.informers.informer::<Pod>();
    let controllers = Controllers::new(&context);
    let queue = context.queue::<ObjectKey>();
    enqueue(&budgets, &queue);
    let (changed, all) = (queue.clone(), budgets.clone());
    pods.on_event(move |event| {
        let (new, old) = (event.object(), event.old());
        let looks = |pod: &Pod| (pods::is_ready(pod), pods::is_terminating(pod), pod.metadata.labels.clone());
        if old.is_some_and(|old| looks(old) == looks(new)) {
            return;
        }
        for budget in all.store().list_in(new.metadata.namespace.as_deref().unwrap_or("")) {
            let selector = selector_of(&budget);
            let selects = |pod: &Arc<Pod>| selector.matches(&pod.metadata.labels);
            if selects(new) || old.is_some_and(selects) {
                changed.add(ObjectKey::of(&budget.metadata));
            }
        }
    });
    let (changed, all) = (queue.clone(), budgets.clone());
    controllers.on_scale(move |namespace| {
        for budget in all.store().list_in(namespace) {
            changed.add(ObjectKey::of(&budget.metadata));
        }
    });
    budgets.synced().await;
    pods.synced().await;
    controllers.synced().await;
    let worker = Arc::new(Worker { context: context.clone(), budgets, pods, controllers });
    run_workers("disruption-controller", 1, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

fn selector_of(budget: &PodDisruptionBudget) -> Selector {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector::convert(selector).unwrap_or_else(|_| Selector::nothing())
}

struct Worker {
    context: Context,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    controllers: Controllers,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(budget) = self.budgets.store().get(key) else { return Ok(Requeue::No) };
        let mut pods = self.pods.store().list_in(&key.namespace);
        let selector = selector_of(&budget);
        pods.retain(|pod| selector.matches(&pod.metadata.labels));
        if pods.is_empty() {
            self.context.recorder.event(&*budget, EventType::Normal, "NoPods", "No matching pods found");
        }
        let now = self.context.now();
        let (status, next) = match self.expectation(&budget, &pods).await {
            Ok(expectation) => status(&budget, &pods, expectation, now),
            Err(why) => {
                let text = format!("Failed to calculate the number of expected pods: {why}");
                let recorder = &self.context.recorder;
                recorder.event(&*budget, EventType::Warning, "CalculateExpectedPodCountFailed", text);
                let mut status = budget.status.clone().unwrap_or_default();
                status.disruptions_allowed = Some(0);
                status.observed_generation = budget.metadata.generation;
                put(&mut status, "False", "SyncFailed", &why, &budget, now);
                (status, None)
            }
        };
        if Some(&status) != budget.status.as_ref() {
            let mut changed = PodDisruptionBudget::clone(&budget);
            changed.status = Some(status);
            self.context.client.all::<PodDisruptionBudget>().update_status(&changed).await?;
        }
        Ok(next.into())
    }

    /// How many pods there should be, and how many of them healthy.
    async fn expectation(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<(i32, i32), String> {
        let spec = budget.spec.clone().unwrap_or_default();
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        if let Some(most) = &spec.max_unavailable {
            let expected = self.controllers.expected(pods).await?;
            let unavailable = scaled(most, expected, true).ok_or("maxUnavailable is malformed")?;
            return Ok((expected, (expected - unavailable).max(0)));
        }
        match &spec.min_available {
            None => Ok((count(pods.len()), 1)),
            Some(IntOrString::Int(least)) => Ok((count(pods.len()), *least)),
            Some(least) => {
                let expected = self.controllers.expected(pods).await?;
                let healthy = scaled(least, expected, true).ok_or("minAvailable is malformed")?;
                Ok((expected, healthy))
            }
        }
    }
}

/// The status, and when an eviction that was granted is given up.
fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    (expected, desired): (i32, i32),
    now: Timestamp,
) -> (PodDisruptionBudgetStatus, Option<Duration>) {
    let old = budget.status.clone().unwrap_or_default();
    let mut disrupted: BTreeMap<String, Time> = BTreeMap::new();
    let mut next = None;
    for (name, time) in old.disrupted_pods.iter().flatten() {
        let there =
            pods.iter().any(|pod| pod.metadata.name.as_ref() == Some(name) && !pods::is_terminating(pod));
        let left = time.0.as_second() + EVICTION_TIMEOUT - now.as_second();
        if there && left > 0 {
            disrupted.insert(name.clone(), time.clone());
            let left = Duration::from_secs(u64::try_from(left).unwrap_or(1));
            next = Some(next.map_or(left, |known: Duration| known.min(left)));
        }
    }
    let is_healthy = |pod: &&Arc<Pod>| {
        let name = pod.metadata.name.as_deref().unwrap_or("");
        !pods::is_terminating(pod) && pods::is_ready(pod) && !disrupted.contains_key(name)
    };
    let healthy = i32::try_from(pods.iter().filter(is_healthy).count()).unwrap_or(i32::MAX);
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: budget.metadata.generation,
        conditions: old.conditions,
    };
    if allowed > 0 {
        put(&mut status, "True", "SufficientPods", "", budget, now);
    } else {
        put(&mut status, "False", "InsufficientPods", "", budget, now);
    }
    (status, next)
}

fn put(
    status: &mut PodDisruptionBudgetStatus,
    value: &str,
    reason: &str,
    message: &str,
    budget: &PodDisruptionBudget,
    now: Timestamp,
) {
    let all = status.conditions.get_or_insert_default();
    let old = all.iter().find(|condition| condition.type_ == "DisruptionAllowed");
    let since = old.filter(|old| old.status == value).map(|old| old.last_transition_time.clone());
    let condition = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: budget.metadata.generation,
        last_transition_time: since.unwrap_or_else(|| seconds(now)),
    };
    all.retain(|condition| condition.type_ != "DisruptionAllowed");
    all.push(condition);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::pod;

    #[test]
    fn allows_what_is_more_than_needed() {
        let now = Timestamp::from_second(1000).unwrap();
        let pods =
            [pod("a", "Running", true, 1), pod("b", "Running", true, 1), pod("c", "Running", false, 1)];
        let mut budget = PodDisruptionBudget::default();
        let allowed = |budget: &PodDisruptionBudget, desired| {
            status(budget, &pods, (3, desired), now).0.disruptions_allowed
        };
        assert_eq!(allowed(&budget, 1), Some(1));
        assert_eq!(allowed(&budget, 2), Some(0));
        // An eviction was granted a moment ago and does not show yet; an old one is given up.
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        budget.status.get_or_insert_default().disrupted_pods = Some([("a".to_owned(), at(990))].into());
        let (granted, next) = status(&budget, &pods, (3, 1), now);
        assert_eq!((granted.disruptions_allowed, next), (Some(0), Some(Duration::from_secs(110))));
        budget.status.get_or_insert_default().disrupted_pods = Some([("a".to_owned(), at(100))].into());
        assert_eq!(allowed(&budget, 1), Some(1));
    }
}
