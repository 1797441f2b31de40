//! The unix socket, mode 0600.

use super::rpc::admin_server::AdminServer;
use super::{MAX_MESSAGE, Service};
use crate::embedded::Embedded;
use component::Tasks;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};

/// Serves `store` on the unix socket `path` until the tasks stop. A socket that nobody answers on, which a process that
/// was killed left, is replaced.
///
/// # Errors
/// When the path is too long for a socket, is something else, or somebody answers there.
pub async fn serve(path: &Path, store: Arc<Embedded>, tasks: &Tasks) -> io::Result<()> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there"));
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
            std::fs::remove_file(path)?;
        }
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something else than a socket is there",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let service = AdminServer::new(Service::new(store)).max_encoding_message_size(MAX_MESSAGE);
    let accepted = futures::stream::unfold(listener, |listener| async move {
        let stream = listener.accept().await.map(|(stream, _)| stream);
        Some((stream, listener))
    });
    let path = path.to_owned();
    let stopping = tasks.stopping().clone();
    tasks.spawn("store admin socket", async move {
        let serving = tonic::transport::Server::builder().add_service(service).serve_with_incoming(accepted);
        if let Some(Err(error)) = stopping.run_until_cancelled(serving).await {
            tracing::error!(%error, "the admin socket of the store ended");
        }
        // What stays is replaced at the next start.
        let _ = std::fs::remove_file(path);
    });
    Ok(())
}
