//! A kubelet that goes away and comes back.

use super::*;
use api::k8s_openapi::api::core::v1::{ExecAction, Lifecycle, LifecycleHandler, Probe, SleepAction};
use client::DeleteOptions;

#[tokio::test]
async fn running_pods_are_taken_over_untouched() {
    let bench = Bench::new("adopt").await;
    let first = bench.start().await;
    bench.create(&pod("web", vec![container("a")])).await;
    let before = bench.until_pod("web", "is ready", is_ready).await;
    bench.create(&pod("lost", vec![container("l")])).await;
    bench.until_pod("lost", "is ready", is_ready).await;
    first.stop();
    // While nobody looks: one pod is deleted for good.
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    bench.api.client().namespaced::<Pod>("default").delete_with("lost", &options).await.unwrap();
    let calls = bench.runtime.calls().len();

    bench.start().await;
    tokio::time::timeout(Duration::from_secs(10), async {
        while bench.runtime.count("remove l") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let after = bench.pod("web").unwrap();
    assert_eq!(status_of(&before, "a"), status_of(&after, "a"));
    assert!(is_ready(&after));
    let since = bench.runtime.calls().split_off(calls);
    assert!(since.iter().all(|c| !c.starts_with("create") && !c.ends_with(" a")), "{since:?}");
    // It still listens to the runtime.
    bench.runtime.exit("a", 1);
    bench.until_pod("web", "is restarted", |p| status_of(p, "a").restart_count == 1).await;
}

/// Every condition `Ready` that the API shows from now on, by pod.
fn readiness_seen(bench: &Bench) -> Arc<parking_lot::Mutex<Vec<(String, String)>>> {
    use client::{Informer, Selection};
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let pods: Informer<Pod> =
        Informer::start(&bench.api.client(), &Selection::default(), bench.clock.clone(), &bench.tasks);
    let noted = seen.clone();
    pods.on_event(move |event| {
        let pod = event.object();
        let name = pod.metadata.name.clone().unwrap_or_default();
        noted.lock().push((name, condition(pod, "Ready")));
    });
    // The informer lives on in its task.
    seen
}

fn probed(name: &str) -> Container {
    let exec = Some(ExecAction { command: Some(vec!["ready".to_owned()]) });
    let mut probed = container(name);
    probed.readiness_probe = Some(Probe { exec, period_seconds: Some(1), ..Probe::default() });
    probed
}

#[tokio::test]
async fn readiness_outlives_a_kubelet() {
    let bench = Bench::new("flap").await;
    bench.let_time_pass();
    let first = bench.start().await;
    bench.create(&pod("web", vec![probed("a")])).await;
    let mut leaving = pod("leaving", vec![probed("b")]);
    leaving.spec.as_mut().unwrap().termination_grace_period_seconds = Some(1_000_000);
    let hook =
        LifecycleHandler { sleep: Some(SleepAction { seconds: 900_000 }), ..LifecycleHandler::default() };
    leaving.spec.as_mut().unwrap().containers[0].lifecycle =
        Some(Lifecycle { pre_stop: Some(hook), ..Lifecycle::default() });
    bench.create(&leaving).await;
    bench.until_pod("web", "is ready", is_ready).await;
    bench.until_pod("leaving", "is ready", is_ready).await;
    bench.api.client().namespaced::<Pod>("default").delete("leaving").await.unwrap();
    bench.until_event("Killing", "Stopping container b").await;
    first.stop();
    let seen = readiness_seen(&bench);
    let probes = bench.runtime.count("exec ready");
    bench.start().await;
    tokio::time::timeout(Duration::from_secs(10), async {
        while bench.runtime.count("exec ready") < probes + 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    for name in ["web", "leaving"] {
        let shown: Vec<_> =
            seen.lock().iter().filter(|(pod, _)| pod == name).map(|(_, r)| r.clone()).collect();
        assert!(!shown.is_empty() && shown.iter().all(|ready| ready == "True"), "{name}: {shown:?}");
    }
    assert_eq!(bench.runtime.count("stop b"), 0, "its hook is still running");
}
