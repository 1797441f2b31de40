//! Removes images that no container uses, oldest known first, when the disk fills up.

use crate::kubelet::Kubelet;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Time between looks; upstream's.
const INTERVAL: Duration = Duration::from_secs(300);

fn used_percent(kubelet: &Kubelet) -> u64 {
    rustix::fs::statvfs(&kubelet.config.root_dir)
        .map_or(0, |fs| (fs.f_blocks - fs.f_bavail) * 100 / fs.f_blocks.max(1))
}

/// Removes unused images until the disk is below the low threshold; `force` does so below the high one too.
/// Returns whether anything went.
pub(crate) async fn collect(kubelet: &Arc<Kubelet>, force: bool) -> bool {
    if !force && used_percent(kubelet) < u64::from(kubelet.config.image_gc_high_threshold_percent) {
        return false;
    }
    let (Ok(images), Ok(pods)) = (kubelet.runtime.images().await, kubelet.runtime.pods().await) else {
        return false;
    };
    let used: HashSet<&str> = pods
        .iter()
        .flat_map(|p| &p.containers)
        .flat_map(|c| [c.image.as_str(), c.image_id.as_str()])
        .collect();
    let is_used = |image: &cri::v1::Image| {
        let names = image.repo_tags.iter().chain(&image.repo_digests);
        names.map(String::as_str).chain([image.id.as_str()]).any(|name| used.contains(name))
    };
    let mut removed = false;
    for image in images.iter().filter(|i| !i.pinned && !is_used(i)) {
        if used_percent(kubelet) < u64::from(kubelet.config.image_gc_low_threshold_percent) {
            break;
        }
        match kubelet.runtime.remove_image(&image.id).await {
            Ok(()) => {
                tracing::info!(image = image.id, "removed an image that nothing uses, to free space");
                removed = true;
            }
            Err(error) => {
                tracing::debug!(image = image.id, "failed to remove an image: {error}; the next is tried")
            }
        }
    }
    removed
}

/// Looks after the disk until dropped.
pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    loop {
        kubelet.clock.sleep(INTERVAL).await;
        collect(&kubelet, false).await;
    }
}
