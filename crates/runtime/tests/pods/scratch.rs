use crate::fixture::{Fixture, Pod};
use std::time::Instant;
pub(crate) async fn timing(fixture: &Fixture) {
    for n in 0..8 {
        let t = Instant::now();
        let mut pod = Pod::run(fixture, fixture.sandbox(&format!("t{n}"))).await;
        let a = t.elapsed();
        let t = Instant::now();
        let id = pod.create(fixture.container(&format!("c{n}"), "sleep 1000")).await.unwrap();
        let b = t.elapsed();
        let t = Instant::now();
        pod.start(&id).await.unwrap();
        let c = t.elapsed();
        let t = Instant::now();
        pod.exec(&id, "true").await;
        tokio::time::sleep(std::time::Duration::from_millis(1300)).await;
        let d = t.elapsed();
        let request = cri::v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: true };
        let info = pod.clients.runtime.pod_sandbox_status(request.clone()).await.unwrap().into_inner().info;
        let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
        std::fs::copy(format!("/proc/{}/smaps", info["pid"]), "/tmp/smaps").unwrap();
        let st = std::fs::read_to_string(format!("/proc/{}/status", info["pid"])).unwrap();
        let rss: Vec<_> = st.lines().filter(|l| l.starts_with("VmRSS") || l.starts_with("Rss")).collect();
        let t = Instant::now();
        pod.remove().await;
        println!("sandbox {a:?} create {b:?} start {c:?} exec {d:?} remove {:?} {rss:?}", t.elapsed());
    }
}
