//! What outlives whom.

use crate::fixture::{Fixture, Pod};
use cri::v1;

pub(crate) async fn a_killed_runtime_finds_its_pods_again(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("k")).await;
    let kept = pod.script("kept", "while :; do echo tick; sleep 0.05; done").await;
    let ends = pod.script("ends", "while ! test -e /go; do sleep 0.05; done; exit 9").await;
    let created = pod.create(fixture.container("created", "echo later")).await.unwrap();
    let (pid, before) = (pod.pid(&kept).await, pod.status(&kept).await);
    pod.exec(&ends, "(sleep 0.5; touch /go) >/dev/null 2>&1 </dev/null &").await;
    let end_pid = pod.pid(&ends).await;
    fixture.kill().await;
    // It ends while nobody but its shim looks.
    while std::path::Path::new(&format!("/proc/{end_pid}")).exists() {
        tokio::task::yield_now().await;
    }
    let runtime = fixture.serve().await;
    pod.clients = fixture.clients().await;
    let after = pod.status(&kept).await;
    assert_eq!((after.state(), after.started_at), (v1::ContainerState::ContainerRunning, before.started_at));
    assert_eq!(pod.pid(&kept).await, pid);
    assert_eq!(pod.status(&ends).await.exit_code, 9);
    pod.start(&created).await.unwrap();
    assert_eq!(pod.ended(&created).await.exit_code, 0);
    assert_eq!(pod.exec(&kept, "echo still").await.0, "still\n");
    assert!(runtime.images().find(crate::fixture::IMAGE).is_some());
    pod.stop(&kept, 0).await;
    pod.remove().await;
}

pub(crate) async fn a_killed_shim_ends_its_pod(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("d")).await;
    let id = pod.script("main", "sleep 1000").await;
    let pid = pod.pid(&id).await;
    let request = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: true };
    let info = pod.clients.runtime.pod_sandbox_status(request.clone()).await.unwrap().into_inner().info;
    let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
    let shim = linux::process::open(i32::try_from(info["pid"].as_i64().unwrap()).unwrap()).unwrap();
    linux::process::signal(&shim, 9).unwrap();
    let status = pod.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (255, "Unknown"));
    let status = pod.clients.runtime.pod_sandbox_status(request).await.unwrap().into_inner().status.unwrap();
    assert_eq!(status.state(), v1::PodSandboxState::SandboxNotready);
    assert!(!std::path::Path::new(&format!("/proc/{pid}/root/bin")).exists());
    pod.remove().await;
}

pub(crate) async fn cleanup_leaves_nothing(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("c")).await;
    let id = pod.script("main", "sleep 1000").await;
    let pid = pod.pid(&id).await;
    fixture.kill().await;
    runtime::cleanup(&fixture.config.root).await.unwrap();
    runtime::cleanup(&fixture.config.root).await.unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}/root/bin")).exists());
    let left: Vec<_> = linux::mount::mounts()
        .unwrap()
        .into_iter()
        .filter(|mount| mount.target.starts_with(fixture.dir.path()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!fixture.config.state.exists());
    let parent = linux::cgroup::Cgroups::detect().unwrap().group(&format!("{}/c", fixture.cgroup)).unwrap();
    assert!(!parent.exists());
    // Images stay, and a new runtime starts from nothing else.
    let runtime = fixture.serve().await;
    assert!(runtime.images().find(crate::fixture::IMAGE).is_some());
    let listed =
        fixture.clients().await.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await.unwrap();
    assert!(listed.into_inner().items.is_empty());
}
