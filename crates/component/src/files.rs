//! Files that are replaced while we run: certificates, policies, configurations. Their directories are watched with
//! inotify, so nothing polls, and a mounted ConfigMap (whose files are links that move) is followed too.
//!
//! Deliberately absent: reading formats, and deciding what a bad new content means; whoever follows a file does.

use crate::Tasks;
use futures::future::BoxFuture;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::unix::pipe;

/// Takes a file's new content; an error says why it cannot be used.
pub type Apply = Arc<dyn Fn(Vec<u8>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Changes in the directories of some files.
pub struct Changes(pipe::Receiver);

impl Changes {
    /// Watches the directories that hold `paths`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When a directory is missing, or the kernel has no watch left.
    pub fn of(paths: &[PathBuf]) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        for path in paths {
            let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
            inotify::add_watch(&fd, directory, what)?;
        }
        // To tokio it is something to read bytes from, as a pipe is.
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(fd)?))
    }

    /// Waits until something in one of the directories changed; several changes may be told as one.
    ///
    /// # Errors
    /// When the kernel's answer cannot be read.
    pub async fn next(&mut self) -> io::Result<()> {
        let mut events = [0_u8; 4096];
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut events) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Calls `apply` with the content of `path` whenever it differs from what was there before, beginning with
/// `known`; until `tasks` stops. What cannot be read or used is logged, and the previous content stays in force.
///
/// # Errors
/// When the file's directory cannot be watched.
pub fn follow(
    tasks: &Tasks,
    what: &'static str,
    path: &Path,
    known: Vec<u8>,
    apply: Apply,
) -> io::Result<()> {
    let mut changes = Changes::of(&[path.to_owned()])?;
    let path = path.to_owned();
    tasks.spawn_until_stopped("file watch", async move {
        let mut known = known;
        loop {
            // Looked at before the first wait too: it may have changed between its reading and the watch.
            match tokio::fs::read(&path).await {
                // Whoever writes in place passes through an empty file.
                Ok(content) if content == known || content.is_empty() => {}
                Ok(content) => {
                    match apply(content.clone()).await {
                        Ok(()) => tracing::info!(path = %path.display(), "{what} was read anew"),
                        Err(error) => tracing::error!(
                            path = %path.display(),
                            "failed to reload {what}: {error}; the previous one stays in force"
                        ),
                    }
                    known = content;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::error!(
                    path = %path.display(),
                    "failed to read {what}: {error}; the previous one stays in force"
                ),
            }
            if let Err(error) = changes.next().await {
                tracing::error!(path = %path.display(), "failed to watch {what}: {error}; restart to reload it");
                return;
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn replaced_and_rewritten_files_are_read_anew() {
        let dir = std::env::temp_dir().join(format!("windlass-files-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("policy");
        std::fs::write(&path, "a").unwrap();
        let (seen, mut told) = mpsc::unbounded_channel();
        let tasks = Tasks::new();
        let apply: Apply = Arc::new(move |content| {
            seen.send(content).unwrap();
            Box::pin(async { Ok(()) })
        });
        follow(&tasks, "the policy", &path, b"a".to_vec(), apply).unwrap();
        let mut next = async || tokio::time::timeout(Duration::from_secs(10), told.recv()).await.unwrap();
        std::fs::write(&path, "b").unwrap();
        assert_eq!(next().await.as_deref(), Some(&b"b"[..]));
        // As a mounted ConfigMap changes: by a rename.
        std::fs::write(dir.join("new"), "c").unwrap();
        std::fs::rename(dir.join("new"), &path).unwrap();
        assert_eq!(next().await.as_deref(), Some(&b"c"[..]));
        assert!(tasks.stop_and_wait(Duration::from_secs(5)).await);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
