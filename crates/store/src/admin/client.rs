//! Both doors to the service: [`connect`] to a running cluster's socket, [`open`] a directory at rest.

use super::rpc::admin_client::AdminClient;
use super::rpc::admin_server::AdminServer;
use super::{MAX_MESSAGE, Service};
use crate::embedded::Embedded;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::ServiceExt;

/// A client of the service.
pub type Client = AdminClient<Wire>;

/// How a request gets to the service.
#[derive(Clone, Debug)]
pub enum Wire {
    /// Over the socket.
    Socket(Channel),
    /// In this process.
    Here(AdminServer<Service>),
}

/// Connects to the socket `path`.
///
/// # Errors
/// When nobody answers there.
pub async fn connect(path: &Path) -> io::Result<Client> {
    // Asked for first, because a channel's error hides which one it was.
    drop(tokio::net::UnixStream::connect(path).await?);
    let socket = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address only fills the :authority header.
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(Duration::from_secs(10));
    let channel = endpoint.connect_with_connector(connector).await.map_err(io::Error::other)?;
    Ok(client(Wire::Socket(channel)))
}

/// A client of `store` in this process.
pub fn open(store: Arc<Embedded>) -> Client {
    let service = AdminServer::new(Service::new(store)).max_encoding_message_size(MAX_MESSAGE);
    client(Wire::Here(service))
}

fn client(wire: Wire) -> Client {
    AdminClient::new(wire).max_decoding_message_size(MAX_MESSAGE)
}

impl tower::Service<http::Request<Body>> for Wire {
    type Response = http::Response<Body>;
    type Error = tonic::codegen::StdError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Each call waits for itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match self.clone() {
            Self::Socket(channel) => Box::pin(async move { Ok(channel.oneshot(request).await?) }),
            Self::Here(service) => Box::pin(async move { Ok(service.oneshot(request).await?) }),
        }
    }
}
