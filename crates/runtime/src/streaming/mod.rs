//! The streaming server: exec, attach and port-forward over SPDY/3.1 or WebSocket, at URLs with a token that works
//! once and not for long.
//!
//! It listens on loopback only: the kubelet, who has checked who asks, passes clients on. Deliberately absent:
//! authentication beyond the token, TLS, the numbered-channel form of port-forward over WebSocket.

mod channels;
mod forward;
mod negotiate;
mod remote;
mod spdy;
mod status;
mod terminal;
mod websocket;

use crate::server::{Error, Inner};
use channels::{Channels, Output, Wants};
use cri::v1;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use linux::Context;
use negotiate::{Agreed, Carrier, negotiate, refuse};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

/// How long a URL works, and how long a client may take to open its streams.
const PATIENCE: Duration = Duration::from_secs(60);

/// URLs handed out and not used yet.
const MAX_TOKENS: usize = 1000;

const SPDY_CHANNELS: [&str; 5] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", ""];
const WEBSOCKET_CHANNELS: [&str; 3] = ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
const FORWARD: &str = "portforward.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// What a token stands for.
#[derive(Clone, Debug)]
pub(crate) enum Session {
    Exec(v1::ExecRequest),
    Attach(v1::AttachRequest),
    PortForward(v1::PortForwardRequest),
}

impl Session {
    fn path(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Attach(_) => "attach",
            Self::PortForward(_) => "portforward",
        }
    }

    fn wants(&self) -> Wants {
        match self {
            Self::Exec(of) => Wants { stdin: of.stdin, stdout: of.stdout, stderr: of.stderr, tty: of.tty },
            Self::Attach(of) => Wants { stdin: of.stdin, stdout: of.stdout, stderr: of.stderr, tty: of.tty },
            Self::PortForward(_) => Wants::default(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let wants = self.wants();
        if matches!(self, Self::PortForward(_)) {
            return Ok(());
        }
        if !wants.stdin && !wants.stdout && !wants.stderr {
            return Err(Error::Invalid("one of stdin, stdout, or stderr must be set".into()));
        }
        if wants.tty && wants.stderr {
            return Err(Error::Invalid("tty and stderr cannot both be true".into()));
        }
        Ok(())
    }
}

/// The server before and while it listens.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    tokens: Mutex<HashMap<String, (Session, Instant)>>,
}

impl Server {
    /// Takes a port.
    pub(crate) async fn bind() -> Result<Self, Error> {
        let what = || "listen on 127.0.0.1 for exec, attach and port-forward".to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context(what)?;
        let address = listener.local_addr().context(what)?;
        Ok(Self { address, listener: Mutex::new(Some(listener)), tokens: Mutex::default() })
    }

    /// Serves until the runtime's tasks stop.
    pub(crate) fn start(&self, inner: &Arc<Inner>) {
        let Some(listener) = self.listener.lock().take() else { return };
        let inner = inner.clone();
        inner.clone().tasks.spawn_until_stopped("streaming", async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    // Out of descriptors, mostly: others will be given back.
                    inner.clock.sleep(Duration::from_millis(100)).await;
                    continue;
                };
                // Typed text should not wait for more of it.
                let _ = socket.set_nodelay(true);
                let serving = inner.clone();
                inner.tasks.spawn_until_stopped("streaming", async move {
                    let service = service_fn(|request| handle(serving.clone(), request));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .with_upgrades();
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a streaming connection ended");
                    }
                });
            }
        });
    }

    /// Hands out a URL for a session.
    pub(crate) fn prepare(&self, inner: &Inner, session: Session) -> Result<String, Error> {
        session.check()?;
        let (now, path) = (inner.clock.instant(), session.path());
        let token: String = rand::random::<[u8; 16]>().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut tokens = self.tokens.lock();
        tokens.retain(|_, (_, until)| *until > now);
        if tokens.len() >= MAX_TOKENS {
            return Err(Error::State(
                "too many exec, attach and port-forward requests wait for their clients".into(),
            ));
        }
        tokens.insert(token.clone(), (session, now + PATIENCE));
        Ok(format!("http://{}/{path}/{token}", self.address))
    }

    fn take(&self, now: Instant, path: &str) -> Option<Session> {
        let (kind, token) = path.trim_start_matches('/').split_once('/')?;
        let (session, until) = self.tokens.lock().remove(token)?;
        (session.path() == kind && until > now).then_some(session)
    }
}

async fn handle(inner: Arc<Inner>, mut request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let Some(session) = inner.streaming.take(inner.clock.instant(), request.uri().path()) else {
        let why =
            "the URL is unknown, was used before, or is older than a minute; ask for a new one".to_owned();
        return Ok(*refuse(StatusCode::NOT_FOUND, why));
    };
    let (spdy, websocket): (&[&str], &[&str]) = match session {
        Session::PortForward(_) => (&[FORWARD], &[TUNNEL]),
        _ => (&SPDY_CHANNELS, &WEBSOCKET_CHANNELS),
    };
    let agreed = match negotiate(request.headers(), spdy, websocket) {
        Ok(agreed) => agreed,
        Err(refusal) => return Ok(*refusal),
    };
    let response = agreed.response();
    let upgrade = hyper::upgrade::on(&mut request);
    let tasks = inner.tasks.clone();
    tasks.spawn_until_stopped("streaming", async move {
        match upgrade.await {
            Ok(upgraded) => run(&inner, session, &agreed, TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "a client did not switch protocols"),
        }
    });
    Ok(response)
}

type Io = TokioIo<hyper::upgrade::Upgraded>;

async fn run(inner: &Arc<Inner>, session: Session, agreed: &Agreed, io: Io) {
    let tasks = &inner.tasks;
    let connection = match (&session, agreed.carrier) {
        (Session::PortForward(_), Carrier::WebSocket) => {
            spdy::Connection::serve(websocket::tunnel(io, tasks).await, tasks)
        }
        (_, Carrier::Spdy) => spdy::Connection::serve(io, tasks),
        (_, Carrier::WebSocket) => {
            let form = if agreed.protocol.contains("base64") {
                websocket::Form::Base64
            } else {
                websocket::Form::Binary
            };
            let (channels, messages) = websocket::channels(io, form, session.wants(), tasks).await;
            remote(inner, session, channels).await;
            // After all output; the client may have left.
            let _ = messages.send(Message::Close(None)).await;
            return;
        }
    };
    let mut connection = match connection {
        Ok(connection) => connection,
        Err(error) => {
            tracing::warn!(%error, "a SPDY connection could not be served");
            return;
        }
    };
    if let Session::PortForward(request) = &session {
        return forward::serve(inner, &request.pod_sandbox_id, connection).await;
    }
    match collect(inner, &mut connection, session.wants(), agreed).await {
        Some(channels) => {
            remote(inner, session, channels).await;
            // A client that does not hang up by itself is not waited for.
            let patience = inner.clock.sleep(PATIENCE);
            tokio::select! { () = connection.close() => {}, () = patience => {} }
        }
        None => tracing::debug!("a client did not open the streams of its session in time"),
    }
}

async fn remote(inner: &Arc<Inner>, session: Session, channels: Channels) {
    match session {
        Session::Exec(request) => remote::exec(inner, request, channels).await,
        Session::Attach(request) => remote::attach(inner, request, channels).await,
        Session::PortForward(_) => {}
    }
}

// Waits for every stream that the session needs; clients open them one after the other.
async fn collect(
    inner: &Inner,
    connection: &mut spdy::Connection,
    wants: Wants,
    agreed: &Agreed,
) -> Option<Channels> {
    let version = agreed.protocol.as_str();
    let resizes = wants.tty && matches!(version, "v4.channel.k8s.io" | "v3.channel.k8s.io");
    let mut channels = Channels {
        stdin: None,
        stdout: None,
        stderr: None,
        error: None,
        resize: None,
        status: version == "v4.channel.k8s.io",
        closed: connection.closed.clone(),
    };
    let mut missing = 1 + [wants.stdin, wants.stdout, wants.stderr && !wants.tty, resizes]
        .iter()
        .filter(|wanted| **wanted)
        .count();
    let timeout = inner.clock.sleep(PATIENCE);
    tokio::pin!(timeout);
    while missing > 0 {
        let stream = tokio::select! {
            stream = connection.streams.recv() => stream?,
            () = &mut timeout => return None,
        };
        let kind = stream.header("streamtype").unwrap_or("").to_owned();
        let output = Output::Spdy(stream.outgoing);
        match kind.as_str() {
            "error" => channels.error = Some(output),
            "stdin" => channels.stdin = Some(stream.incoming),
            "stdout" => channels.stdout = Some(output),
            "stderr" => channels.stderr = Some(output),
            "resize" => channels.resize = Some(stream.incoming),
            _ => continue,
        }
        missing -= 1;
    }
    Some(channels)
}
