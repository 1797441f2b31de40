//! Follows the directory of manifests: at once where the kernel tells of changes, and every 20 s besides.

use super::{apply, manifest, start};
use crate::kubelet::Kubelet;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Time between looks; upstream's `fileCheckFrequency`.
const INTERVAL: Duration = Duration::from_secs(20);

/// What the files say: text by path, and what could not be read.
type Files = (Vec<(String, String)>, Vec<String>);

fn read_files(dir: &Path) -> io::Result<Files> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let (mut texts, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        // Links are followed: how configuration management places files.
        if hidden || !std::fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            continue;
        }
        let mut text = String::new();
        let read = std::fs::File::open(&path)
            .and_then(|file| file.take(manifest::MAX_BYTES + 1).read_to_string(&mut text));
        let shown = path.display().to_string();
        match read {
            Ok(length) if length as u64 > manifest::MAX_BYTES => {
                errors.push(format!("{shown}: it is larger than {} bytes", manifest::MAX_BYTES));
            }
            Ok(_) => texts.push((shown, text)),
            // It went between listing and reading.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => errors.push(format!("{shown}: {error}")),
        }
    }
    Ok((texts, errors))
}

/// Reads all manifests and takes them over. Errors are told once, for as long as they stay the same.
async fn look(kubelet: &Arc<Kubelet>, dir: &Path, told: &mut Vec<String>) {
    let path = dir.to_owned();
    let read = tokio::task::spawn_blocking(move || read_files(&path)).await;
    let (texts, mut errors) = match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(found) => found,
        // No directory, no static pods.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Files::default(),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), "failed to read manifests of static pods: {error}; what runs is kept");
            return;
        }
    };
    let seen = client::time::now(&*kubelet.clock).to_string();
    let mut pods = Vec::new();
    for (path, text) in texts {
        match manifest::parse(&text, &path, &kubelet.config.node_name, &seen) {
            Ok(pod) => pods.push((path, pod)),
            Err(why) => errors.push(format!("{path}: {why}")),
        }
    }
    let (kept, more) = manifest::by_name(pods);
    errors.extend(more);
    for error in errors.iter().filter(|error| !told.contains(error)) {
        tracing::warn!("failed to use a manifest: {error}; correct the file");
    }
    *told = errors;
    apply(kubelet, kept.into_iter().map(|(name, pod)| (name, Arc::new(pod))).collect::<BTreeMap<_, _>>());
}

fn watch(dir: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let events = WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF;
    inotify::add_watch(&fd, dir, events)?;
    linux::readiness::watch(fd).map_err(io::Error::other)
}

/// Waits for the next changes; what they are is found out by looking.
async fn changed(watcher: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut ready = watcher.readable().await?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watcher.get_ref(), &mut buffer);
    loop {
        match reader.next() {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    ready.clear_ready();
    Ok(())
}

/// Follows the manifests until dropped. The first look is over when this calls `ready`.
pub(crate) async fn follow(kubelet: Arc<Kubelet>, ready: impl FnOnce()) {
    let mut told = Vec::new();
    let Some(dir) = kubelet.config.static_pod_path.clone() else {
        ready();
        return std::future::pending().await;
    };
    let mut ready = Some(ready);
    loop {
        // Watching begins before looking, so that nothing is missed in between.
        let watcher = watch(&dir).ok();
        look(&kubelet, &dir, &mut told).await;
        if let Some(ready) = ready.take() {
            ready();
        }
        let event = async {
            match &watcher {
                Some(watcher) => changed(watcher).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = event => {}
            // The name of a pod has become free.
            () = kubelet.workers.ended.notified() => start(&kubelet),
            () = kubelet.clock.sleep(INTERVAL) => {}
        }
    }
}
