//! Pods from creation to deletion.

use super::*;
use api::k8s_openapi::api::core::v1::{ExecAction, Lifecycle, LifecycleHandler, Probe, Secret};
use api::k8s_openapi::api::core::v1::{LocalObjectReference, PodReadinessGate};
use client::DeleteOptions;
use std::collections::BTreeMap;

#[tokio::test]
async fn a_pod_runs_and_is_deleted() {
    let bench = Bench::new("run").await;
    bench.start().await;
    let created = bench.create(&pod("web", vec![container("a"), container("b")])).await;
    let running = bench.until_pod("web", "is ready", is_ready).await;
    assert_eq!(phase(&running), "Running");
    let status = running.status.clone().unwrap();
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.0.9"));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.1"));
    assert!(status_of(&running, "a").container_id.unwrap().starts_with("fake://container"));
    bench.until_event("Pulled", "Successfully pulled image \"busybox:1\"").await;
    bench.until_event("Started", "Container started").await;
    assert_eq!(bench.runtime.calls()[0], "sandbox web");
    let uid = created.metadata.uid.clone().unwrap();
    let dir = bench.config().pod_dir(&uid);
    assert!(std::fs::read_to_string(dir.join("etc-hosts")).unwrap().contains("10.244.0.9\tweb"));
    let config = bench.runtime.config("a").unwrap();
    let log = bench.config().log_dir("default", "web", &uid);
    assert!(log.exists() && config.log_path == "a/0.log");

    bench.api.client().namespaced::<Pod>("default").delete("web").await.unwrap();
    bench.until_gone("web").await;
    assert_eq!(bench.runtime.count("stop a 30"), 1, "{:?}", bench.runtime.calls());
    bench.until_event("Killing", "Stopping container a").await;
    // What is left goes once the API has let go.
    tokio::time::timeout(Duration::from_secs(10), async {
        while dir.exists() || log.exists() || bench.runtime.count("remove-sandbox") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_forced_deletion_stops_at_once() {
    let bench = Bench::new("force").await;
    bench.start().await;
    bench.create(&pod("web", vec![container("a")])).await;
    bench.until_pod("web", "is ready", is_ready).await;
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    bench.api.client().namespaced::<Pod>("default").delete_with("web", &options).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        while bench.runtime.count("remove-sandbox") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_crashing_container_backs_off() {
    let bench = Bench::new("crash").await;
    bench.start().await;
    bench.create(&pod("web", vec![container("a")])).await;
    bench.until_pod("web", "is ready", is_ready).await;
    bench.runtime.exit("a", 1);
    // The first restart is immediate.
    let again =
        bench.until_pod("web", "is restarted", |p| status_of(p, "a").restart_count == 1 && is_ready(p)).await;
    let last = status_of(&again, "a").last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    bench.runtime.exit("a", 2);
    let waiting = bench.until_pod("web", "backs off", |p| waits_for(p, "a") == "CrashLoopBackOff").await;
    let message = status_of(&waiting, "a").state.unwrap().waiting.unwrap().message.unwrap();
    assert!(message.starts_with("back-off 10s restarting failed container=a pod=web_default("), "{message}");
    assert_eq!(bench.runtime.count("start a"), 2);
    bench.until_event("BackOff", "Back-off restarting failed container a in pod web_default(").await;
    bench.let_time_pass();
    bench.until_pod("web", "runs again", |p| status_of(p, "a").restart_count == 2 && is_ready(p)).await;
}

#[tokio::test]
async fn a_job_s_pod_runs_init_containers_and_succeeds() {
    let bench = Bench::new("job").await;
    bench.start().await;
    let mut job = pod("job", vec![container("a")]);
    let spec = job.spec.as_mut().unwrap();
    spec.init_containers = Some(vec![container("i")]);
    spec.restart_policy = Some("Never".to_owned());
    bench.create(&job).await;
    let initializing = bench
        .until_pod("job", "initializes", |p| status_of(p, "i").state.is_some_and(|s| s.running.is_some()))
        .await;
    assert_eq!(
        (phase(&initializing), waits_for(&initializing, "a").as_str()),
        ("Pending", "PodInitializing")
    );
    assert_eq!(condition(&initializing, "Initialized"), "False");
    bench.runtime.exit("i", 0);
    bench.until_pod("job", "runs", is_ready).await;
    bench.runtime.exit("a", 0);
    let done = bench.until_pod("job", "has succeeded", |p| phase(p) == "Succeeded").await;
    assert_eq!(status_of(&done, "a").state.unwrap().terminated.unwrap().reason.as_deref(), Some("Completed"));
    assert_eq!(condition(&done, "Initialized"), "True");
    bench.api.client().namespaced::<Pod>("default").delete("job").await.unwrap();
    bench.until_gone("job").await;
}

#[tokio::test]
async fn a_pull_that_fails_is_tried_again() {
    let bench = Bench::new("pull").await;
    bench.runtime.break_image("busybox:1", Some("no such image"));
    bench.start().await;
    bench.let_time_pass();
    bench.create(&pod("web", vec![container("a")])).await;
    bench.until_pod("web", "cannot pull", |p| waits_for(p, "a") == "ErrImagePull").await;
    bench.until_pod("web", "backs off", |p| waits_for(p, "a") == "ImagePullBackOff").await;
    bench.until_event("Failed", "Failed to pull image \"busybox:1\": ").await;
    bench.until_event("Failed", "Error: ImagePullBackOff").await;
    bench.runtime.break_image("busybox:1", None);
    bench.until_pod("web", "runs", is_ready).await;
}

#[tokio::test]
async fn pull_secrets_reach_the_runtime() {
    let bench = Bench::new("secret").await;
    let mut secret = Secret { type_: Some("kubernetes.io/dockerconfigjson".to_owned()), ..Secret::default() };
    secret.metadata.name = Some("reg".to_owned());
    let config = br#"{"auths": {"r.example.com": {"username": "me", "password": "x", "auth": ""}}}"#;
    let bytes = api::k8s_openapi::ByteString(config.to_vec());
    secret.data = Some(BTreeMap::from([(".dockerconfigjson".to_owned(), bytes)]));
    bench.api.client().namespaced::<Secret>("default").create(&secret).await.unwrap();
    bench.start().await;
    let mut web =
        pod("web", vec![Container { image: Some("r.example.com/x:1".to_owned()), ..container("a") }]);
    web.spec.as_mut().unwrap().image_pull_secrets =
        Some(vec![LocalObjectReference { name: "reg".to_owned() }]);
    bench.create(&web).await;
    bench.until_pod("web", "runs", is_ready).await;
    assert_eq!(bench.runtime.count("pull r.example.com/x:1 me"), 1, "{:?}", bench.runtime.calls());
}

fn exec(command: &str) -> Option<ExecAction> {
    Some(ExecAction { command: Some(vec![command.to_owned()]) })
}

#[tokio::test]
async fn probes_decide_on_readiness_and_restarts() {
    let bench = Bench::new("probe").await;
    bench.runtime.set_exec(1);
    bench.start().await;
    bench.let_time_pass();
    let mut probed = container("a");
    probed.readiness_probe = Some(Probe { exec: exec("ready"), period_seconds: Some(1), ..Probe::default() });
    bench.create(&pod("web", vec![probed])).await;
    bench.until_pod("web", "runs", |p| phase(p) == "Running").await;
    bench.until_event("Unhealthy", "Readiness probe failed: said").await;
    assert!(!is_ready(&bench.pod("web").unwrap()));
    bench.runtime.set_exec(0);
    bench.until_pod("web", "is ready", is_ready).await;
    bench.runtime.set_exec(1);
    bench.until_pod("web", "is not ready any more", |p| !is_ready(p)).await;

    let mut sick = container("b");
    sick.liveness_probe = Some(Probe { exec: exec("live"), period_seconds: Some(1), ..Probe::default() });
    bench.create(&pod("sick", vec![sick])).await;
    bench.until_pod("sick", "is restarted", |p| status_of(p, "b").restart_count > 0).await;
    bench.until_event("Killing", "Container b failed liveness probe, will be restarted").await;
}

#[tokio::test]
async fn hooks_run_before_and_after() {
    let bench = Bench::new("hook").await;
    bench.start().await;
    let hook = |command: &str| Some(LifecycleHandler { exec: exec(command), ..LifecycleHandler::default() });
    let mut hooked = container("a");
    hooked.lifecycle =
        Some(Lifecycle { post_start: hook("begin"), pre_stop: hook("end"), ..Lifecycle::default() });
    bench.create(&pod("web", vec![hooked])).await;
    bench.until_pod("web", "runs", is_ready).await;
    bench.api.client().namespaced::<Pod>("default").delete("web").await.unwrap();
    bench.until_gone("web").await;
    let calls = bench.runtime.calls();
    let at = |text: &str| calls.iter().position(|c| c == text).unwrap();
    assert!(at("start a") < at("exec begin") && at("exec begin") < at("exec end"), "{calls:?}");
    assert!(at("exec end") < at("stop a 30"), "{calls:?}");
}

#[tokio::test]
async fn a_deadline_ends_a_pod() {
    let bench = Bench::new("deadline").await;
    bench.start().await;
    let mut short = pod("web", vec![container("a")]);
    short.spec.as_mut().unwrap().active_deadline_seconds = Some(20);
    bench.create(&short).await;
    bench.until_pod("web", "runs", is_ready).await;
    bench.let_time_pass();
    let failed = bench.until_pod("web", "has failed", |p| phase(p) == "Failed").await;
    assert_eq!(failed.status.clone().unwrap().reason.as_deref(), Some("DeadlineExceeded"));
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let bench = Bench::new("admit").await;
    bench.start().await;
    let mut big = container("a");
    let quantity = api::k8s_openapi::apimachinery::pkg::api::resource::Quantity("1000".to_owned());
    big.resources = Some(api::k8s_openapi::api::core::v1::ResourceRequirements {
        requests: Some(BTreeMap::from([("cpu".to_owned(), quantity)])),
        ..Default::default()
    });
    bench.create(&pod("big", vec![big])).await;
    let refused = bench.until_pod("big", "is refused", |p| phase(p) == "Failed").await;
    assert_eq!(refused.status.clone().unwrap().reason.as_deref(), Some("OutOfcpu"));
    assert_eq!(bench.runtime.count("sandbox"), 0);
}

#[tokio::test]
async fn others_conditions_gate_readiness() {
    let bench = Bench::new("gate").await;
    bench.start().await;
    let mut gated = pod("web", vec![container("a")]);
    gated.spec.as_mut().unwrap().readiness_gates =
        Some(vec![PodReadinessGate { condition_type: "example.com/ok".to_owned() }]);
    bench.create(&gated).await;
    let held =
        bench.until_pod("web", "has ready containers", |p| condition(p, "ContainersReady") == "True").await;
    assert!(!is_ready(&held));
}

#[tokio::test]
async fn a_pod_deleted_while_it_starts_leaves_nothing() {
    let bench = Bench::new("early").await;
    bench.start().await;
    bench.runtime.hold_sandboxes(true);
    bench.create(&pod("web", vec![container("a")])).await;
    bench.runtime.until_held().await;
    bench.api.client().namespaced::<Pod>("default").delete("web").await.unwrap();
    bench.runtime.hold_sandboxes(false);
    bench.until_gone("web").await;
    tokio::time::timeout(Duration::from_secs(10), async {
        while bench.runtime.count("remove-sandbox") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(bench.runtime.count("start"), 0, "{:?}", bench.runtime.calls());
}
