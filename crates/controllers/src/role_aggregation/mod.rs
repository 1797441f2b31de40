//! Fills aggregated ClusterRoles with the rules of the roles that their selectors match.

use crate::common::owners::enqueue;
use crate::context::Context;
use api::common::selector;
use client::{Informer, ObjectKey, Requeue, run_workers};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use machinery::Status;
use machinery::labels::Selector;
use std::sync::Arc;

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let roles = context.informers.informer::<ClusterRole>();
    let queue = context.queue::<ObjectKey>();
    enqueue(&roles, &queue);
    let (changed, all) = (queue.clone(), roles.clone());
    roles.on_event(move |event| {
        let labels =
            [Some(event.object()), event.old()].into_iter().flatten().map(|role| &role.metadata.labels);
        let labels: Vec<_> = labels.collect();
        for role in all.store().list() {
            if selectors(&role).iter().any(|selector| labels.iter().any(|labels| selector.matches(*labels))) {
                changed.add(ObjectKey::of(&role.metadata));
            }
        }
    });
    roles.synced().await;
    let worker = context.clone();
    run_workers("clusterrole-aggregation-controller", 1, &queue, &context.tasks, move |key: ObjectKey| {
        let (context, roles) = (worker.clone(), roles.clone());
        async move {
            let Some(role) = roles.store().get(&key).filter(|role| role.aggregation_rule.is_some()) else {
                return Ok::<_, Status>(Requeue::No);
            };
            let rules = aggregate(&role, &roles);
            if rules != role.rules.clone().unwrap_or_default() {
                let mut changed = ClusterRole::clone(&role);
                changed.rules = Some(rules);
                context.client.all::<ClusterRole>().update(&changed).await?;
            }
            Ok(Requeue::No)
        }
    });
    context.tasks.stopping().cancelled().await;
}

fn selectors(role: &ClusterRole) -> Vec<Selector> {
    let rule = role.aggregation_rule.as_ref();
    let all = rule.and_then(|rule| rule.cluster_role_selectors.as_deref()).unwrap_or_default();
    all.iter().filter_map(|one| selector::convert(Some(one)).ok()).collect()
}

/// The rules of all matching roles in the order of their names, each once.
fn aggregate(role: &ClusterRole, roles: &Informer<ClusterRole>) -> Vec<PolicyRule> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    let all = roles.store().list();
    for selector in selectors(role) {
        let matches = |other: &&Arc<ClusterRole>| {
            other.metadata.name != role.metadata.name && selector.matches(&other.metadata.labels)
        };
        for rule in all.iter().filter(matches).flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;
    use api::Kind;

    #[tokio::test]
    async fn rules_follow_labels() {
        let world = World::new();
        let roles = world.client().all::<ClusterRole>();
        let role = |json: &str| ClusterRole::from_json(json.as_bytes()).unwrap();
        roles
            .create(&role(
                r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"view"},
                "aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"to-view":"true"}}]}}"#,
            ))
            .await
            .unwrap();
        world.start(run);
        roles
            .create(&role(
                r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"part",
                "labels":{"to-view":"true"}},"rules":[{"apiGroups":["x"],"resources":["y"],"verbs":["get"]}]}"#,
            ))
            .await
            .unwrap();
        let rules = || {
            let all = world.api.objects::<ClusterRole>();
            let view = all.iter().find(|role| role.metadata.name.as_deref() == Some("view")).cloned();
            view.and_then(|role| role.rules.clone()).unwrap_or_default().len()
        };
        world.until("the rule is taken over", || rules() == 1).await;
        roles.delete("part").await.unwrap();
        world.until("the rule is gone again", || rules() == 0).await;
    }
}
