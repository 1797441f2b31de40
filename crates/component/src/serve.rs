//! One HTTP server for every daemon: plain or TLS listeners, HTTP/1.1 and HTTP/2 with upgrades, limits against
//! hostile clients, and a shutdown that lets requests finish.
//!
//! What a request needs to know about its connection is an [`Arc<ConnInfo>`] in its extensions. Deliberately
//! absent: routing, authentication, bodies' contents. Clear text HTTP/2 needs prior knowledge (no `Upgrade: h2c`).

use crate::Tasks;
use crate::answers::Arrivals;
use crate::coalesce::coalesced;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Any error that ends a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of a response.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
/// A request as it arrived.
pub type Request = http::Request<Incoming>;
/// A response to send.
pub type Response = http::Response<Body>;

/// A body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// What is known about the connection that a request came over. Every request carries an `Arc<ConnInfo>` in its
/// extensions.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// Who connected.
    pub peer: SocketAddr,
    /// Which of our addresses they connected to.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The client's certificate chain, leaf first, verified against the listener's client CA; empty without one.
    pub client_certificates: Vec<CertificateDer<'static>>,
    /// SHA-256 of the leaf, kept by whoever needs it first: every request of the connection has the same.
    pub fingerprint: OnceLock<[u8; 32]>,
}

/// Answers requests. Called concurrently. A panic in the answer ends only its connection, so wrap what may panic.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Upgrades are taken with `hyper::upgrade::on(&mut request)`.
    fn handle(&self, request: Request) -> BoxFuture<'static, Response>;

    /// Whether the answer takes no more than some microseconds of computing: then it is given where the request was
    /// read. All others on one HTTP/2 connection are worked on at the same time.
    fn is_brief(&self, _request: &Request) -> bool {
        false
    }
}

impl<F> Handler for F
where
    F: Fn(Request) -> BoxFuture<'static, Response> + Send + Sync + 'static,
{
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        self(request)
    }
}

/// Bounds on what one client can cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's headers.
    pub header_bytes: u32,
    /// Time to send a request's headers; also how long an idle HTTP/1.1 connection is kept.
    pub header_timeout: Duration,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// HTTP/2 requests at once on one connection.
    pub concurrent_streams: u32,
    /// HTTP/2 streams that a client may reset before they are accepted (rapid reset, CVE-2023-44487).
    pub pending_resets: usize,
    /// Connections at once on the listener; more wait in the kernel's queue.
    pub connections: usize,
    /// Idle time after which an HTTP/2 connection is probed with a PING.
    pub keep_alive: Duration,
    /// After a stop, time for open requests to finish.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 128 * 1024,
            header_timeout: Duration::from_secs(90),
            handshake_timeout: Duration::from_secs(10),
            concurrent_streams: 250,
            pending_resets: 20,
            connections: 16 * 1024,
            keep_alive: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// What a client may send before we have read it, on one stream and on all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of one stream's answer that wait for a slow client.
const SEND_BUFFER: usize = 256 * 1024;
/// Time to answer a PING.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Starts tasks of HTTP/2 connections that were not agreed on with TLS or recognized by their first bytes.
#[derive(Clone)]
struct Spawner(Tasks);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: std::future::Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.0.spawn("http2 stream", async move {
            future.await;
        });
    }
}

struct Server {
    tls: Option<TlsAcceptor>,
    limits: Limits,
    tasks: Tasks,
    handler: Arc<dyn Handler>,
    /// For connections that have not agreed on a protocol with TLS.
    builder: auto::Builder<Spawner>,
}

/// Serves `listener` (bound, any blocking mode) until `tasks` stops: then accepts no more, lets open requests
/// finish within [`Limits::drain`] and closes. Must be called inside a tokio runtime. Returns the listener's
/// address.
pub fn serve(
    listener: std::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
    tasks: &Tasks,
    handler: Arc<dyn Handler>,
) -> io::Result<SocketAddr> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let mut builder = auto::Builder::new(Spawner(tasks.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes as usize)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.concurrent_streams)
        .max_pending_accept_reset_streams(limits.pending_resets)
        .max_header_list_size(limits.header_bytes)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.keep_alive)
        .keep_alive_timeout(PING_TIMEOUT);
    let tls = tls.map(TlsAcceptor::from);
    let server = Arc::new(Server { tls, limits, tasks: tasks.clone(), handler, builder });
    tasks.spawn_until_stopped("http listener", accept(listener, server));
    Ok(address)
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    let slots = Arc::new(Semaphore::new(server.limits.connections));
    loop {
        // The semaphore is never closed, so this fails only if that changes.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let shared = server.clone();
                server.tasks.spawn("http connection", async move {
                    shared.connection(stream, peer).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: accepting again at once would spin.
                tracing::warn!(%error, "failed to accept a connection; raise the limit of open files if this lasts");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// For a connection that agreed on HTTP/2.
fn http2_builder(limits: &Limits, arrivals: Arrivals) -> http2::Builder<Arrivals> {
    let mut http2 = http2::Builder::new(arrivals);
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.concurrent_streams)
        .max_pending_accept_reset_streams(limits.pending_resets)
        .max_header_list_size(limits.header_bytes)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.keep_alive)
        .keep_alive_timeout(PING_TIMEOUT);
    http2
}

/// Whether the client speaks HTTP/2 without asking, as gRPC's do. Nothing is taken from the stream.
async fn has_preface(stream: &TcpStream, patience: Duration) -> bool {
    let mut start = [0; 3];
    // An error is found again, and told, by who reads.
    matches!(tokio::time::timeout(patience, stream.peek(&mut start)).await, Ok(Ok(3)) if start == *b"PRI")
}

/// The answer, worked on in a task of its own. Dropping it ends the work.
fn detached(tasks: &Tasks, answer: BoxFuture<'static, Response>) -> BoxFuture<'static, Response> {
    let task = tasks.run(answer);
    Box::pin(async move {
        match task.await {
            Ok(response) => response,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and with it whoever waits here.
                Err(_) => std::future::pending().await,
            },
        }
    })
}

impl Server {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "failed to set TCP_NODELAY");
        }
        let (client_certificates, fingerprint) = (Vec::new(), OnceLock::new());
        let mut info = ConnInfo { peer, local, tls: false, client_certificates, fingerprint };
        let Some(acceptor) = &self.tls else {
            let knows = tokio::select! {
                () = self.tasks.stopping().cancelled() => return,
                knows = has_preface(&stream, self.limits.header_timeout) => knows,
            };
            return if knows { self.http2(stream, info).await } else { self.http(stream, info).await };
        };
        let handshake = tokio::time::timeout(self.limits.handshake_timeout, acceptor.accept(stream));
        let stream = tokio::select! {
            () = self.tasks.stopping().cancelled() => return,
            result = handshake => match result {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => return tracing::debug!(%peer, "TLS handshake timed out"),
            },
        };
        info.tls = true;
        if let Some(chain) = stream.get_ref().1.peer_certificates() {
            info.client_certificates = chain.iter().map(|c| c.clone().into_owned()).collect();
        }
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.http2(stream, info).await;
        } else {
            self.http(stream, info).await;
        }
    }

    /// Answers requests of a connection; `apart` says that what takes long runs in tasks of its own.
    fn service(
        &self,
        info: ConnInfo,
        apart: bool,
    ) -> impl hyper::service::Service<
        Request,
        Response = Response,
        Error = Infallible,
        Future: Future<Output = Result<Response, Infallible>> + Send + 'static,
    > + use<> {
        let (info, handler, tasks) = (Arc::new(info), self.handler.clone(), self.tasks.clone());
        hyper::service::service_fn(move |mut request: Request| {
            request.extensions_mut().insert(info.clone());
            let apart = apart && !handler.is_brief(&request);
            let mut answer = handler.handle(request);
            if apart {
                answer = detached(&tasks, answer);
            }
            async move { Ok(answer.await) }
        })
    }

    /// HTTP/1.1, or HTTP/2 with prior knowledge.
    async fn http<S>(&self, stream: S, info: ConnInfo)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = info.peer;
        let service = self.service(info, false);
        let connection = self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.tasks.stopping().cancelled() => {
                connection.as_mut().graceful_shutdown();
                self.drained(peer, connection).await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, error, "connection ended with an error");
        }
    }

    async fn http2<S>(&self, stream: S, info: ConnInfo)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = info.peer;
        let service = self.service(info, true);
        let mut connection = coalesced(TokioIo::new(stream), |stream, arrivals| {
            http2_builder(&self.limits, arrivals).serve_connection(stream, service)
        });
        let result = tokio::select! {
            result = &mut connection => result,
            () = self.tasks.stopping().cancelled() => {
                Pin::new(connection.connection()).graceful_shutdown();
                self.drained(peer, connection).await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, error, "connection ended with an error");
        }
    }

    /// Waits for open requests of a connection that accepts no more.
    async fn drained(
        &self,
        peer: SocketAddr,
        connection: impl Future<Output = Result<(), BoxError>>,
    ) -> Result<(), BoxError> {
        tokio::time::timeout(self.limits.drain, connection).await.unwrap_or_else(|_| {
            tracing::debug!(%peer, "a request was cut off by shutdown");
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn hello() -> Arc<dyn Handler> {
        Arc::new(|request: Request| -> BoxFuture<'static, Response> {
            let peer = request.extensions().get::<Arc<ConnInfo>>().map(|info| info.peer.ip().to_string());
            Box::pin(async move { Response::new(full(peer.unwrap_or_default())) })
        })
    }

    #[tokio::test]
    async fn answers_and_stops() {
        let tasks = Tasks::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = serve(listener, None, Limits::default(), &tasks, hello()).unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 1024];
        let n = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..n]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("127.0.0.1"), "{answer}");
        assert!(tasks.stop_and_wait(Duration::from_secs(5)).await);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "the idle connection is closed");
    }

    #[tokio::test]
    async fn slow_headers_are_cut_off() {
        let tasks = Tasks::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let limits = Limits { header_timeout: Duration::from_millis(50), ..Limits::default() };
        let address = serve(listener, None, limits, &tasks, hello()).unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the server gave up waiting");
        assert!(tasks.stop_and_wait(Duration::from_secs(5)).await);
    }
}
