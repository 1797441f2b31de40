//! A kubelet that goes away and comes back.

use super::*;
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
