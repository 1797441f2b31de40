//! Waits for a log file to grow or to be rotated (inotify), never by asking again and again.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    /// Another file now has the name.
    pub(super) replaced: bool,
}

/// Watches one file by name.
pub(super) struct Watcher {
    fd: AsyncFd<OwnedFd>,
    name: PathBuf,
}

impl Watcher {
    /// Starts watching. The directory of `path` must exist.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF;
        inotify::add_watch(&fd, dir, events)?;
        let name = path.file_name().map(PathBuf::from).unwrap_or_default();
        let fd = linux::readiness::watch(fd).map_err(io::Error::other)?;
        Ok(Self { fd, name })
    }

    /// Waits for the next event about the file.
    pub(super) async fn next(&mut self) -> io::Result<Happened> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut happened = None;
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(self.fd.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        let about = event.file_name().map(|n| n.to_string_lossy().into_owned());
                        if about.is_some_and(|n| Path::new(&n) == self.name) {
                            let replaced = event
                                .events()
                                .intersects(inotify::ReadFlags::CREATE | inotify::ReadFlags::MOVED_TO);
                            let before = happened.is_some_and(|h: Happened| h.replaced);
                            happened = Some(Happened { replaced: replaced || before });
                        } else if event.events().contains(inotify::ReadFlags::IGNORED) {
                            return Err(io::Error::other("the log directory is gone"));
                        }
                    }
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
            if let Some(happened) = happened {
                return Ok(happened);
            }
        }
    }
}
