use super::plan::plan;
use super::*;
use crate::common::testing::{World, template};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    DeploymentSpec, DeploymentStrategy, ReplicaSetStatus, RollingUpdateDeployment,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

fn deployment(replicas: i32, image: &str, surge: i32, unavailable: i32) -> Deployment {
    let mut deployment = Deployment::default();
    deployment.metadata.name = Some("web".to_owned());
    deployment.metadata.namespace = Some("default".to_owned());
    deployment.metadata.uid = Some("uid-web".to_owned());
    let mut template = template("web");
    template.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned());
    let labels = Some([("app".to_owned(), "web".to_owned())].into());
    deployment.spec = Some(DeploymentSpec {
        replicas: Some(replicas),
        selector: LabelSelector { match_labels: labels, ..LabelSelector::default() },
        template,
        progress_deadline_seconds: Some(600),
        revision_history_limit: Some(2),
        strategy: Some(DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(surge)),
                max_unavailable: Some(IntOrString::Int(unavailable)),
            }),
        }),
        ..DeploymentSpec::default()
    });
    deployment
}

/// A set as a plan for `image` would make it, of `size`, with `available` replicas, made at `at`.
fn set(image: &str, size: i32, available: i32, at: i64, remembered: (i32, i32)) -> Arc<ReplicaSet> {
    let mut working = sets::make(&deployment(0, image, 1, 0), at);
    working.scale(size, remembered.0, remembered.1);
    let mut set = working.set;
    set.metadata.creation_timestamp = Some(Time(Timestamp::from_second(at).unwrap()));
    let available = Some(available);
    set.status = Some(ReplicaSetStatus {
        replicas: size,
        available_replicas: available,
        ..ReplicaSetStatus::default()
    });
    Arc::new(set)
}

fn sizes(plan: &Plan) -> (Option<i32>, Vec<i32>) {
    (plan.sets.new.as_ref().map(Working::size), plan.sets.old.iter().map(Working::size).collect())
}

#[test]
fn rolls_within_its_bounds() {
    // (old size, old available, new size, new available) -> (new size, old size), of 4 with surge 1, unavailable 1.
    let rows = [
        ((4, 4, None), (1, 4)),
        // The surge is used up: old replicas go as far as enough stay available.
        ((4, 4, Some((1, 0))), (1, 3)),
        ((3, 3, Some((1, 0))), (2, 3)),
        ((3, 3, Some((2, 2))), (2, 1)),
        // Unhealthy old replicas go first, but not below the minimum.
        ((4, 1, Some((1, 0))), (1, 3)),
        ((0, 0, Some((4, 4))), (4, 0)),
    ];
    for ((old, old_available, new), (new_size, old_size)) in rows {
        let mut owned = vec![set("image:1", old, old_available, 1, (4, 5))];
        owned.extend(new.map(|(size, available)| set("image:2", size, available, 2, (4, 5))));
        let plan = plan(&deployment(4, "image:2", 1, 1), &owned, false);
        assert_eq!(sizes(&plan), (Some(new_size), vec![old_size]), "{old} {old_available} {new:?}");
    }
}

#[test]
fn a_changed_size_is_spread_in_proportion() {
    // In the middle of a rollout (8 old, 5 new of 10, surge 3) the size doubles.
    let owned = [set("image:1", 8, 8, 1, (10, 13)), set("image:2", 5, 5, 2, (10, 13))];
    let plan = plan(&deployment(20, "image:2", 3, 2), &owned, false);
    assert_eq!(sizes(&plan), (Some(9), vec![14]));
    assert!(!plan.rollout);
}

#[test]
fn recreate_waits_for_old_pods() {
    let mut wanted = deployment(3, "image:2", 0, 0);
    wanted.spec.as_mut().unwrap().strategy =
        Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None });
    let running = [set("image:1", 3, 3, 1, (3, 3))];
    assert_eq!(sizes(&plan(&wanted, &running, true)), (None, vec![0]));
    let stopped = [set("image:1", 0, 0, 1, (3, 3))];
    assert_eq!(sizes(&plan(&wanted, &stopped, true)), (None, vec![0]));
    assert_eq!(sizes(&plan(&wanted, &stopped, false)), (Some(3), vec![0]));
}

#[test]
fn a_rollback_gives_the_old_set_a_new_revision() {
    let owned = [set("image:1", 0, 0, 1, (1, 2)), set("image:2", 1, 1, 2, (1, 2))];
    let plan = plan(&deployment(1, "image:1", 1, 0), &owned, false);
    let new = plan.sets.new.unwrap();
    assert_eq!((new.revision(), new.annotation(sets::HISTORY)), (3, Some("1")));
}

/// Runs deployments and ReplicaSets; pods become ready by themselves.
fn start() -> World {
    let world = World::new();
    world.start(run);
    world.start(crate::replica_set::run);
    let (api, client) = (world.api.clone(), world.client());
    world.tasks.spawn_until_stopped("kubelet", async move {
        let pods = client.all::<Pod>();
        loop {
            let unready = |api: &client::testing::FakeApi| {
                api.objects::<Pod>().into_iter().find(|p| !pods::is_ready(p))
            };
            api.until("a pod to start", |api| unready(api).is_some()).await;
            if let Some(pod) = unready(&api) {
                let patch =
                    r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
                let name = pod.metadata.name.clone().unwrap_or_default();
                let _ = pods.in_namespace("default").patch_status(&name, Patch::Merge(patch.into())).await;
            }
        }
    });
    world
}

fn condition(world: &World, kind: &str) -> Option<String> {
    let status = world.api.objects::<Deployment>().first()?.status.clone()?;
    status.conditions.iter().flatten().find(|c| c.type_ == kind).and_then(|c| c.reason.clone())
}

#[tokio::test]
async fn rolls_out_and_keeps_the_history_short() {
    let world = start();
    let deployments = world.client().namespaced::<Deployment>("default");
    deployments.create(&deployment(3, "image:1", 1, 0)).await.unwrap();
    let done = |image: &str| {
        let pods = world.api.objects::<Pod>();
        let of_image =
            |pod: &&Arc<Pod>| pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image);
        pods.len() == 3
            && pods.iter().filter(of_image).count() == 3
            && condition(&world, "Progressing").as_deref() == Some("NewReplicaSetAvailable")
            && condition(&world, "Available").as_deref() == Some("MinimumReplicasAvailable")
    };
    world.until("the first rollout", || done("image:1")).await;
    for revision in 2..=5 {
        let image = format!("image:{revision}");
        let patch = serde_json::json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
        deployments.patch("web", Patch::Json(patch.to_string().into())).await.unwrap();
        world.until("the next rollout", || done(&image)).await;
    }
    world.until("old revisions are deleted", || world.api.objects::<ReplicaSet>().len() == 3).await;
    let deployment = deployments.get("web").await.unwrap();
    assert_eq!(deployment.metadata.annotations.as_ref().unwrap()[sets::REVISION], "5");
    assert_eq!(deployment.status.as_ref().unwrap().ready_replicas, Some(3));
}

#[tokio::test]
async fn a_rollout_that_hangs_is_told() {
    let world = World::new();
    world.start(run);
    world.start(crate::replica_set::run);
    let deployments = world.client().namespaced::<Deployment>("default");
    deployments.create(&deployment(1, "image:1", 1, 0)).await.unwrap();
    let reason = || condition(&world, "Progressing");
    world.until("it starts", || reason().is_some()).await;
    world.passing("the deadline passes", || reason().as_deref() == Some("ProgressDeadlineExceeded")).await;
    assert_eq!(condition(&world, "Available").as_deref(), Some("MinimumReplicasUnavailable"));
}
