//! Port-forward: pairs of streams, one for data and one for errors, each pair a connection to a port of the pod.

use super::spdy::{Connection, Stream};
use crate::server::{Error, Inner, blocking};
use crate::shim::protocol::NETNS;
use bytes::Bytes;
use linux::Context;
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a connection inside the pod may take.
const CONNECT: Duration = Duration::from_secs(30);

/// Half-open pairs that a client may leave behind.
const MAX_HALVES: usize = 256;

/// Serves a client until it hangs up.
pub(super) async fn serve(inner: &Arc<Inner>, sandbox: &str, mut connection: Connection) {
    let mut halves: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = connection.streams.recv().await {
        let Some(request) = stream.header("requestid").or(stream.header("port")).map(str::to_owned) else {
            stream.outgoing.reset().await;
            continue;
        };
        let Some(other) = halves.remove(&request) else {
            if halves.len() < MAX_HALVES {
                halves.insert(request, stream);
            } else {
                stream.outgoing.reset().await;
            }
            continue;
        };
        let is_data = stream.header("streamtype") == Some("data");
        let (data, error) = if is_data { (stream, other) } else { (other, stream) };
        let (inner, sandbox) = (inner.clone(), sandbox.to_owned());
        let tasks = inner.tasks.clone();
        tasks.spawn_until_stopped("port-forward", async move { pair(&inner, &sandbox, data, error).await });
    }
}

async fn pair(inner: &Arc<Inner>, sandbox: &str, mut data: Stream, error: Stream) {
    let port = data.header("port").and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
    match connect(inner, sandbox, port).await {
        Ok(socket) => copy(socket, &mut data).await,
        Err(why) => {
            let text = format!(
                "an error occurred forwarding {port} -> {port}: error forwarding port {port} to pod {sandbox}: {why}"
            );
            error.outgoing.send(text.into()).await;
        }
    }
    error.outgoing.finish().await;
    data.outgoing.finish().await;
}

async fn connect(inner: &Arc<Inner>, sandbox: &str, port: u16) -> Result<TcpStream, Error> {
    let netns = inner.config.state_dir(sandbox).join(NETNS);
    let socket = blocking(move || connect_blocking(&netns, port)).await?;
    socket.set_nonblocking(true).context(|| "connect".to_owned())?;
    Ok(TcpStream::from_std(socket).context(|| "connect".to_owned())?)
}

// The socket belongs to the namespace it is made in, whichever thread uses it later.
fn connect_blocking(netns: &Path, port: u16) -> Result<std::net::TcpStream, Error> {
    let dial = || {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        std::net::TcpStream::connect_timeout(&v4, CONNECT)
            .or_else(|first| std::net::TcpStream::connect_timeout(&v6, CONNECT).map_err(|_| first))
            .context(|| format!("connect to localhost:{port} inside the pod"))
    };
    // A pod on the host's network has none of its own.
    Ok(if netns.exists() { linux::namespace::inside_network(netns, dial)? } else { dial()? })
}

async fn copy(socket: TcpStream, data: &mut Stream) {
    let (mut read, mut write) = socket.into_split();
    let (incoming, outgoing) = (&mut data.incoming, &data.outgoing);
    let inward = async {
        while let Some(bytes) = incoming.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The other side may have hung up.
        let _ = write.shutdown().await;
    };
    let outward = async {
        let mut chunk = vec![0; 32 * 1024];
        while let Ok(length @ 1..) = read.read(&mut chunk).await {
            if !outgoing.send(Bytes::copy_from_slice(&chunk[..length])).await {
                return;
            }
        }
        outgoing.finish().await;
    };
    tokio::pin!(inward, outward);
    // Once the pod has said all it has to say, what the client adds matters no more.
    tokio::select! {
        () = &mut outward => {}
        () = &mut inward => outward.await,
    }
}
