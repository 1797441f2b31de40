//! Streams into containers over WebSockets: exec and attach. The first byte of every message names its channel
//! (`v4.channel.k8s.io`, `v5.channel.k8s.io`; KEP-4006).

use crate::error::{Error, Result, fail, message};
use crate::session::Session;
use crate::terminal::{self, RawMode};
use bytes::{Bytes, BytesMut};
use client::http::WebSocket;
use futures::{SinkExt, StreamExt};
use machinery::Status;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// v5: the channel named by the payload is done.
const CLOSE: u8 = 255;

const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";

/// What flows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Channels {
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
}

/// Where the output goes.
pub(crate) enum Sink<'a> {
    /// The command's own streams.
    Streams,
    /// Standard output is handed over; standard error is the command's own.
    Handler(&'a mut (dyn FnMut(&[u8]) -> Result<()> + Send)),
}

fn framed(channel: u8, payload: &[u8]) -> Message {
    let mut bytes = BytesMut::with_capacity(payload.len() + 1);
    bytes.extend_from_slice(&[channel]);
    bytes.extend_from_slice(payload);
    Message::Binary(bytes.freeze())
}

/// Connects the command's streams with a container's.
pub(crate) async fn run(session: &Session, path: &str, channels: Channels) -> Result<()> {
    let socket = session.rest().await?.transport().websocket(path, &[V5, V4]).await?;
    let raw = if channels.tty { RawMode::set() } else { None };
    let input = channels.stdin.then(|| session.streams.pieces());
    let outcome = exchange(session, socket, input, channels.tty && raw.is_some(), Sink::Streams).await;
    drop(raw);
    outcome
}

/// Runs a command only for how it ends.
pub(crate) async fn run_quiet(session: &Session, path: &str) -> Result<()> {
    let socket = session.rest().await?.transport().websocket(path, &[V5, V4]).await?;
    let (_, mut messages) = socket.stream.split();
    while let Some(Ok(received)) = messages.next().await {
        if let Message::Binary(bytes) = received
            && let Some((&ERROR, payload)) = bytes.split_first()
            && !payload.is_empty()
        {
            let value: Value = serde_json::from_slice(payload)?;
            return if value["status"] == "Success" { Ok(()) } else { Err(Error::Exit(1)) };
        }
    }
    Err(Error::Exit(1))
}

/// Runs with input and output of the caller's own.
pub(crate) async fn run_with(
    session: &Session,
    path: &str,
    input: Option<mpsc::Receiver<Bytes>>,
    output: &mut (dyn FnMut(&[u8]) -> Result<()> + Send),
) -> Result<()> {
    let socket = session.rest().await?.transport().websocket(path, &[V5, V4]).await?;
    exchange(session, socket, input, false, Sink::Handler(output)).await
}

async fn exchange(
    session: &Session,
    socket: WebSocket,
    input: Option<mpsc::Receiver<Bytes>>,
    resize: bool,
    mut output: Sink<'_>,
) -> Result<()> {
    let closes = socket.protocol == V5;
    let (mut sink, mut messages) = socket.stream.split();
    // Both directions run side by side: a container that echoes must not wait for us to read.
    let send = async move {
        let mut input = input;
        let mut resized = if resize { signal(SignalKind::window_change()).ok() } else { None };
        if resize && let Some(size) = terminal::size() {
            sink.send(framed(RESIZE, size.to_string().as_bytes())).await?;
        }
        loop {
            tokio::select! {
                piece = next(&mut input) => match piece {
                    Some(piece) => sink.send(framed(STDIN, &piece)).await?,
                    None => {
                        input = None;
                        if closes {
                            sink.send(framed(CLOSE, &[STDIN])).await?;
                        }
                    }
                },
                () = window_changed(&mut resized) => {
                    if let Some(size) = terminal::size() {
                        sink.send(framed(RESIZE, size.to_string().as_bytes())).await?;
                    }
                }
            }
        }
        #[allow(unreachable_code, reason = "gives the block its type")]
        Ok::<(), tokio_tungstenite::tungstenite::Error>(())
    };
    let receive = async {
        while let Some(received) = messages.next().await {
            let bytes = match received {
                Ok(Message::Binary(bytes)) => bytes,
                Ok(Message::Close(_)) => break,
                Ok(_) => continue,
                Err(error) => return fail(format!("lost the connection to the container: {error}")),
            };
            let Some((channel, payload)) = bytes.split_first() else { continue };
            match (*channel, &mut output) {
                (STDOUT, Sink::Streams) => session.streams.out(payload)?,
                (STDOUT, Sink::Handler(handler)) => handler(payload)?,
                (STDERR, _) => session.streams.err(payload),
                (ERROR, _) if !payload.is_empty() => return outcome(session, payload),
                _ => {}
            }
        }
        Ok(())
    };
    tokio::pin!(send, receive);
    tokio::select! {
        done = &mut receive => done,
        // The container may have ended before it read everything; its outcome is still to come.
        _ = &mut send => receive.await,
    }
}

/// The next piece of input; never without any.
async fn next(input: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

async fn window_changed(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// What the error channel says at the end: how the command ended.
fn outcome(session: &Session, payload: &[u8]) -> Result<()> {
    let value: Value = serde_json::from_slice(payload)
        .map_err(|_| message(String::from_utf8_lossy(payload).trim().to_owned()))?;
    if value["status"] == "Success" {
        return Ok(());
    }
    let causes = value["details"]["causes"].as_array().into_iter().flatten();
    let code = causes
        .filter(|cause| cause["reason"] == "ExitCode")
        .find_map(|cause| cause["message"].as_str()?.parse::<i32>().ok());
    if value["reason"] == "NonZeroExitCode"
        && let Some(code) = code
    {
        session.streams.warn(&format!("command terminated with exit code {code}"));
        return Err(Error::Exit(u8::try_from(code.rem_euclid(256)).unwrap_or(1)));
    }
    let status: Status = serde_json::from_value(value)?;
    fail(status.message)
}
