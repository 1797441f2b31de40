//! The runtime: sandboxes and containers as CRI has them, over images and shims.
//!
//! What must survive this process lives elsewhere: processes in their shims, records on disk. Deliberately absent:
//! decisions of the kubelet (restarts, garbage collection of containers, log rotation).

mod cleanup;
mod containers;
mod error;
mod events;
pub(crate) mod exec;
mod image_service;
mod import_service;
pub(crate) mod model;
mod readiness;
mod records;
mod sandboxes;
mod service;
mod stats;
mod status;
mod watch;

pub use cleanup::cleanup;
pub use error::Error;

use crate::cni::Cni;
use crate::images::{Limits, Registries, Store};
use component::{SharedClock, Tasks};
use cri::v1::image_service_server::ImageServiceServer;
use cri::v1::runtime_service_server::RuntimeServiceServer;
use cri::windlass::images_server::ImagesServer;
use linux::Context;
use linux::cgroup::Cgroups;
use model::Model;
use parking_lot::Mutex;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;

/// How a runtime is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where images, container filesystems and records live; survives reboots.
    pub root: PathBuf,
    /// Where sockets and pinned namespaces live; may be lost at a reboot.
    pub state: PathBuf,
    /// The unix socket to serve CRI on.
    pub socket: PathBuf,
    /// Directory of CNI configurations. Without any, only pods on the host's network run.
    pub cni_conf_dir: PathBuf,
    /// Directories of CNI plugins.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// The program and arguments that run [`crate::shim::main`]; the pod's state directory is appended.
    pub shim_command: Vec<OsString>,
    /// `certs.d` directories that say how registries are reached, the most important first; see
    /// [`crate::images::Registries`].
    pub registry_dirs: Vec<PathBuf>,
    /// Windlass's own version.
    pub version: String,
}

/// A running runtime. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: Tasks,
    pub(crate) images: Store,
    pub(crate) cgroups: Cgroups,
    pub(crate) cni: Cni,
    pub(crate) registries: Registries,
    pub(crate) model: Mutex<Model>,
    pub(crate) events: tokio::sync::broadcast::Sender<cri::v1::ContainerEventResponse>,
    pub(crate) streaming: crate::streaming::Server,
}

impl Inner {
    /// Nanoseconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        let since = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }
}

impl Runtime {
    /// The images of this node.
    pub fn images(&self) -> &Store {
        &self.inner.images
    }
}

/// Starts the runtime: finds the sandboxes of an earlier one again, then serves CRI at the configured socket until
/// `tasks` stop. Returns when it can be talked to.
pub async fn serve(config: Config, clock: SharedClock, tasks: Tasks) -> Result<Runtime, Error> {
    for dir in [&config.root, &config.state] {
        private_dir(dir)?;
    }
    let (root, limits) = (config.root.clone(), Limits::default());
    let images = blocking(move || Ok(Store::open(&root, limits)?)).await?;
    let cni = Cni {
        conf_dir: config.cni_conf_dir.clone(),
        bin_dirs: config.cni_bin_dirs.clone(),
        cache_dir: config.root.join("cni-results"),
    };
    let registries = Registries { directories: config.registry_dirs.clone() };
    let (events, _) = tokio::sync::broadcast::channel(1024);
    let streaming = crate::streaming::Server::bind().await?;
    let listener = listen(&config.socket).await?;
    cleanup::remember(&config)?;
    let inner = Arc::new(Inner {
        cgroups: Cgroups::detect()?,
        images,
        cni,
        registries,
        model: Mutex::new(Model::default()),
        events,
        streaming,
        config,
        clock,
        tasks,
    });
    watch::recover(&inner).await?;
    inner.streaming.start(&inner);
    accept(&inner, listener);
    Ok(Runtime { inner })
}

fn accept(inner: &Arc<Inner>, listener: UnixListener) {
    let limit = cri::MAX_MESSAGE_BYTES;
    let runtime = RuntimeServiceServer::new(service::Service(inner.clone()))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    let images = ImageServiceServer::new(image_service::Service(inner.clone()))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    let import = ImagesServer::new(import_service::Service(inner.clone()));
    let stopping = inner.tasks.stopping().clone();
    inner.tasks.spawn("cri", async move {
        let server =
            tonic::transport::Server::builder().add_service(runtime).add_service(images).add_service(import);
        let incoming = UnixListenerStream::new(listener);
        // Streams of events have no end of their own: stop at once rather than wait for their readers.
        let serving = server.serve_with_incoming(incoming);
        if let Some(Err(error)) = stopping.run_until_cancelled(serving).await {
            tracing::error!(%error, "the container runtime's server ended");
        }
    });
}

// A socket that nobody answers on is left by a dead process; one that somebody answers on is theirs.
async fn listen(path: &Path) -> Result<UnixListener, Error> {
    let what = || format!("listen on {}", path.display());
    if let Some(dir) = path.parent() {
        private_dir(dir)?;
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(linux::Error::refused(
            what(),
            "another runtime answers there; stop it or use another socket",
        )
        .into());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context(what)?,
        _ => {}
    }
    let listener = UnixListener::bind(path).context(what)?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).context(what)?;
    Ok(listener)
}

fn private_dir(dir: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(dir);
    Ok(made.context(|| format!("make {}", dir.display()))?)
}

/// Runs something that blocks, off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::Interrupted))
}
