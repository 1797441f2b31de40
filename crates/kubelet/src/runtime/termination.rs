//! What a container said before it ended: its termination message file, or the end of its log.
//!
//! Rule: at most 4096 bytes of the file; with policy `FallbackToLogsOnError`, an empty file and a failure, at most 80
//! lines or 2048 bytes of the log.

use crate::model::annotations;
use cri::v1;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

const MAX_FILE: u64 = 4096;
const MAX_LOG: usize = 2048;
const MAX_LINES: usize = 80;

/// Where an ended container's last words are. Empty for one that has not ended.
#[derive(Debug, Default)]
pub(super) struct Source {
    file: Option<PathBuf>,
    log: Option<PathBuf>,
}

impl Source {
    pub(super) fn of(status: &v1::ContainerStatus) -> Self {
        if status.state != v1::ContainerState::ContainerExited as i32 {
            return Self::default();
        }
        let Some(path) = status.annotations.get(annotations::TERMINATION_PATH) else {
            return Self::default();
        };
        let mount = status.mounts.iter().find(|m| m.container_path == *path);
        let policy = status.annotations.get(annotations::TERMINATION_POLICY).map(String::as_str);
        let falls_back = policy == Some("FallbackToLogsOnError") && status.exit_code != 0;
        Self {
            file: mount.map(|m| PathBuf::from(&m.host_path)),
            log: falls_back.then(|| PathBuf::from(&status.log_path)),
        }
    }

    /// The last words, if any.
    pub(super) async fn read(&self) -> Option<String> {
        let file = match &self.file {
            Some(path) => head(path).await,
            None => None,
        };
        match (file, &self.log) {
            (None, Some(log)) => tail(log).await,
            (file, _) => file,
        }
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

async fn head(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).await.ok()?.take(MAX_FILE).read_to_end(&mut bytes).await.ok()?;
    text(&bytes)
}

async fn tail(path: &Path) -> Option<String> {
    let mut file = File::open(path).await.ok()?;
    let size = file.metadata().await.ok()?.len();
    // Every line bears about fifty bytes of its own.
    let begin = size.saturating_sub((MAX_LOG + MAX_LINES * 64) as u64);
    file.seek(SeekFrom::Start(begin)).await.ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).await.ok()?;
    let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    if begin > 0 && !lines.is_empty() {
        lines.remove(0);
    }
    let last = lines.split_off(lines.len().saturating_sub(MAX_LINES));
    let mut said = Vec::new();
    for line in last {
        said.extend_from_slice(line.splitn(4, |b| *b == b' ').nth(3).unwrap_or_default());
        said.push(b'\n');
    }
    text(&said[said.len().saturating_sub(MAX_LOG)..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[tokio::test]
    async fn the_file_comes_first_and_the_log_second() {
        let dir = std::env::temp_dir().join(format!("windlass-words-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (file, log) = (dir.join("words"), dir.join("0.log"));
        std::fs::write(&file, "").unwrap();
        std::fs::write(&log, "t stdout F one\nt stderr F two words\n").unwrap();
        let mount = v1::Mount {
            container_path: "/dev/termination-log".to_owned(),
            host_path: file.display().to_string(),
            ..v1::Mount::default()
        };
        let mut status = v1::ContainerStatus {
            state: v1::ContainerState::ContainerExited as i32,
            exit_code: 1,
            mounts: vec![mount],
            log_path: log.display().to_string(),
            annotations: HashMap::from([
                (annotations::TERMINATION_PATH.to_owned(), "/dev/termination-log".to_owned()),
                (annotations::TERMINATION_POLICY.to_owned(), "FallbackToLogsOnError".to_owned()),
            ]),
            ..v1::ContainerStatus::default()
        };
        assert_eq!(Source::of(&status).read().await.as_deref(), Some("one\ntwo words\n"));
        std::fs::write(&file, "x".repeat(5000)).unwrap();
        assert_eq!(Source::of(&status).read().await.map(|t| t.len()), Some(4096));
        std::fs::write(&file, "").unwrap();
        status.exit_code = 0;
        assert_eq!(Source::of(&status).read().await, None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
