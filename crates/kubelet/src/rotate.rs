//! Rotates container logs that have grown too large: the file is renamed, the runtime opens a new one, the oldest
//! go. Rotated files are not compressed yet (see GAPS.md).

use crate::kubelet::Kubelet;
use crate::model::{RuntimeContainer, State};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Time between looks; upstream's `containerLogMonitorInterval`.
const INTERVAL: Duration = Duration::from_secs(10);

/// Rotated files of `log`, oldest first.
async fn rotated(log: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut found = Vec::new();
    let mut entries = tokio::fs::read_dir(dir).await?;
    while let Some(entry) = entries.next_entry().await? {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            found.push(entry.path());
        }
    }
    // Names end in their time, so that they sort by age.
    found.sort();
    Ok(found)
}

async fn rotate(kubelet: &Kubelet, container: &RuntimeContainer) -> std::io::Result<()> {
    let log = Path::new(&container.log_path);
    if tokio::fs::metadata(log).await?.len() < kubelet.config.container_log_max_size {
        return Ok(());
    }
    let stamp = client::time::now(&*kubelet.clock).strftime("%Y%m%d-%H%M%S").to_string();
    let renamed = PathBuf::from(format!("{}.{stamp}", container.log_path));
    tokio::fs::rename(log, &renamed).await?;
    if let Err(error) = kubelet.runtime.reopen_log(&container.id).await {
        // The runtime still writes to the renamed file: give it its name back.
        tokio::fs::rename(&renamed, log).await?;
        return Err(std::io::Error::other(error.to_string()));
    }
    let keep = usize::try_from(kubelet.config.container_log_max_files).unwrap_or(5).max(2) - 1;
    let all = rotated(log).await?;
    for old in all.iter().take(all.len().saturating_sub(keep)) {
        tokio::fs::remove_file(old).await?;
    }
    Ok(())
}

/// Looks after logs until dropped.
pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    loop {
        kubelet.clock.sleep(INTERVAL).await;
        for runtime in kubelet.workers.list().iter().filter_map(|w| w.runtime()) {
            let running = runtime.containers.iter().filter(|c| c.state == State::Running);
            for container in running.filter(|c| !c.log_path.is_empty()) {
                if let Err(error) = rotate(&kubelet, container).await {
                    tracing::debug!(
                        log = container.log_path,
                        "failed to rotate a log: {error}; trying again"
                    );
                }
            }
        }
    }
}
