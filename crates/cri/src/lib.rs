//! The Container Runtime Interface v1 as of Kubernetes v1.36: messages, client and server, and how to connect.
//!
//! Deliberately absent: any behaviour. The kubelet and the runtime meet only through these types.

use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint, Uri};

/// The generated messages, clients and servers of package `runtime.v1`.
#[allow(missing_docs, clippy::all, clippy::too_many_lines, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");

    impl std::fmt::Debug for AuthConfig {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("AuthConfig")
                .field("username", &self.username)
                .field("server_address", &self.server_address)
                .finish_non_exhaustive()
        }
    }
}

/// The generated messages, client and server of package `windlass.runtime.v1`: what the CRI has no call for.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod windlass {
    tonic::include_proto!("windlass.runtime.v1");
}

pub use tonic;

/// The largest message either side accepts, in bytes: what upstream's kubelet uses.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Why a runtime endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint is not a unix socket.
    #[error(
        "failed to use runtime endpoint {0:?}: only unix sockets are supported; give unix:///path/to/socket"
    )]
    Endpoint(String),
    /// Nothing answers there.
    #[error("failed to connect to the container runtime at {path}: {why}; check that the runtime is running")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}

/// Clients for both services of one runtime. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Sandboxes and containers.
    pub runtime: v1::runtime_service_client::RuntimeServiceClient<Channel>,
    /// Images.
    pub images: v1::image_service_client::ImageServiceClient<Channel>,
}

impl Clients {
    /// Both clients on `channel`, with the CRI's message limits.
    pub fn new(channel: Channel) -> Self {
        let runtime = v1::runtime_service_client::RuntimeServiceClient::new(channel.clone());
        let images = v1::image_service_client::ImageServiceClient::new(channel);
        Self {
            runtime: runtime
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            images: images
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        }
    }

    /// Connects to the runtime that listens on the unix socket `path`.
    pub async fn connect(path: &Path) -> Result<Self, ConnectError> {
        Ok(Self::new(connect_unix(path).await?))
    }
}

/// The socket's path in an endpoint as flags give it: `unix:///run/x.sock`, `unix:/run/x.sock` or `/run/x.sock`.
pub fn endpoint_path(endpoint: &str) -> Result<PathBuf, ConnectError> {
    let path =
        endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    if path.starts_with('/') && !path.contains("://") {
        return Ok(PathBuf::from(path));
    }
    Err(ConnectError::Endpoint(endpoint.to_owned()))
}

/// A channel to the gRPC server on the unix socket `path`. Fails when nothing listens now; later it reconnects by
/// itself. Gives up on one attempt to connect after 10 s.
pub async fn connect_unix(path: &Path) -> Result<Channel, ConnectError> {
    let socket = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address only fills the :authority header: gRPC servers on unix sockets expect "localhost".
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(Duration::from_secs(10));
    endpoint.connect_with_connector(connector).await.map_err(|error| ConnectError::Connect {
        path: path.to_owned(),
        why: std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn endpoints_name_unix_sockets() {
        for form in ["unix:///run/a.sock", "unix:/run/a.sock", "/run/a.sock"] {
            assert_eq!(endpoint_path(form).unwrap(), Path::new("/run/a.sock"));
        }
        for bad in ["tcp://127.0.0.1:1", "npipe:////./pipe/x", "", "run/a.sock"] {
            assert!(endpoint_path(bad).unwrap_err().to_string().contains("only unix sockets"), "{bad}");
        }
    }

    #[test]
    fn field_numbers_are_those_of_the_wire() {
        // image_ref = 20: tag 0xa2 0x01 (20 << 3 | 2 = 162); length 1; "x".
        let spec = v1::ImageSpec { image_ref: "x".to_owned(), ..Default::default() };
        assert_eq!(spec.encode_to_vec(), [0xa2, 0x01, 1, b'x']);
        // A field of Windows (16) from a peer is skipped, not an error.
        let config = v1::ContainerConfig::decode(&[0x82, 0x01, 0][..]).unwrap();
        assert_eq!(config, v1::ContainerConfig::default());
    }

    #[test]
    fn credentials_stay_out_of_debug() {
        let auth = v1::AuthConfig { username: "u".into(), password: "secret".into(), ..Default::default() };
        let request = v1::PullImageRequest { auth: Some(auth), ..Default::default() };
        let shown = format!("{request:?}");
        assert!(shown.contains("\"u\"") && !shown.contains("secret"), "{shown}");
    }

    #[tokio::test]
    async fn a_dead_socket_is_named() {
        let error = connect_unix(Path::new("/nonexistent/r.sock")).await.unwrap_err().to_string();
        assert!(error.contains("/nonexistent/r.sock") && error.contains("check that the runtime"), "{error}");
    }
}
