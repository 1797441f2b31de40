//! Sessions over WebSocket: numbered channels (`v4.channel.k8s.io`, `v5.channel.k8s.io` and their base64 form), and
//! a tunnel of bytes for SPDY inside.

use super::channels::{Channels, Output, Wants};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use component::Tasks;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use std::collections::HashMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

/// The longest message accepted, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

const QUEUE: usize = 16;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// In v5, a message `[255, n]` ends channel n.
const CLOSE: u8 = 255;

/// How channels are written into messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// A byte for the channel, then the data.
    Binary,
    /// A digit for the channel, then the data in base64, as text.
    Base64,
}

/// Sends on one channel.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    channel: u8,
    form: Form,
    messages: mpsc::Sender<Message>,
}

impl Sender {
    pub(super) async fn send(&self, data: Bytes) -> bool {
        let message = match self.form {
            Form::Binary => {
                let mut whole = BytesMut::with_capacity(1 + data.len());
                whole.extend_from_slice(&[self.channel]);
                whole.extend_from_slice(&data);
                Message::Binary(whole.freeze())
            }
            Form::Base64 => Message::Text(format!("{}{}", self.channel, STANDARD.encode(&data)).into()),
        };
        self.messages.send(message).await.is_ok()
    }
}

/// The end of a session. Without this code (RFC 6455, 7.4.1) clients report a broken connection.
fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("") }))
}

async fn accept<I: AsyncRead + AsyncWrite + Unpin>(io: I) -> WebSocketStream<I> {
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// The channels of a session over an upgraded connection, and what ends the connection in good order when dropped.
pub(super) async fn channels<I>(
    io: I,
    form: Form,
    wants: Wants,
    tasks: &Tasks,
) -> (Channels, mpsc::Sender<Message>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, stream) = accept(io).await.split();
    let (messages, to_send) = mpsc::channel(QUEUE);
    let closed = CancellationToken::new();
    let mut incoming = HashMap::new();
    let mut input = |channel: u8, wanted: bool| {
        let (sender, receiver) = mpsc::channel(QUEUE);
        wanted.then(|| {
            incoming.insert(channel, sender);
            receiver
        })
    };
    let (stdin, resize) = (input(STDIN, wants.stdin), input(RESIZE, wants.tty));
    let sender = |channel: u8| Sender { channel, form, messages: messages.clone() };
    let output = |channel: u8, wanted: bool| wanted.then(|| Output::WebSocket(sender(channel)));
    let channels = Channels {
        stdin,
        stdout: output(STDOUT, wants.stdout),
        stderr: output(STDERR, wants.stderr && !wants.tty),
        error: output(ERROR, true),
        resize,
        status: true,
        closed: closed.clone(),
    };
    tasks.spawn_until_stopped("websocket", write(sink, to_send, closed.clone()));
    tasks.spawn_until_stopped("websocket", read(stream, form, incoming, messages.clone(), closed));
    // Clients take the first message as the sign that the session has begun.
    let first = if wants.stdout {
        STDOUT
    } else if wants.stderr {
        STDERR
    } else {
        ERROR
    };
    sender(first).send(Bytes::new()).await;
    (channels, messages)
}

async fn write<I: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<I>, Message>,
    mut messages: mpsc::Receiver<Message>,
    closed: CancellationToken,
) {
    while let Some(message) = messages.recv().await {
        if matches!(message, Message::Close(_)) {
            break;
        }
        if sink.send(message).await.is_err() {
            closed.cancel();
            return;
        }
    }
    // The peer may have hung up first.
    let _ = sink.send(goodbye()).await;
    let _ = sink.close().await;
}

async fn read<I: AsyncRead + AsyncWrite + Unpin>(
    mut stream: SplitStream<WebSocketStream<I>>,
    form: Form,
    mut incoming: HashMap<u8, mpsc::Sender<Bytes>>,
    messages: mpsc::Sender<Message>,
    closed: CancellationToken,
) {
    let _guard = closed.drop_guard();
    while let Some(Ok(message)) = stream.next().await {
        let Some((channel, data)) = (match message {
            Message::Binary(mut whole) if form == Form::Binary && !whole.is_empty() => {
                let channel = whole.split_to(1)[0];
                Some((channel, whole))
            }
            Message::Text(text) if form == Form::Base64 => decode(text.as_str()),
            Message::Ping(data) => {
                // Full of output: the peer sees that it is alive.
                let _ = messages.try_send(Message::Pong(data));
                None
            }
            Message::Close(_) => return,
            _ => None,
        }) else {
            continue;
        };
        if channel == CLOSE {
            data.first().map(|ended| incoming.remove(ended));
        } else if let Some(sender) = incoming.get(&channel)
            && !data.is_empty()
            && sender.send(data).await.is_err()
        {
            incoming.remove(&channel);
        }
    }
}

fn decode(text: &str) -> Option<(u8, Bytes)> {
    let channel = u8::try_from(text.chars().next()?.to_digit(10)?).ok()?;
    Some((channel, STANDARD.decode(&text[1..]).ok()?.into()))
}

/// A tunnel: bytes in binary messages, both ways. Returns its inner end.
pub(super) async fn tunnel<I>(io: I, tasks: &Tasks) -> DuplexStream
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut stream) = accept(io).await.split();
    let (inner, outer) = tokio::io::duplex(64 * 1024);
    let (mut from_inner, mut to_inner) = tokio::io::split(outer);
    tasks.spawn_until_stopped("websocket", async move {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(data) if to_inner.write_all(&data).await.is_err() => return,
                Message::Close(_) => break,
                _ => {}
            }
        }
        // Gone already.
        let _ = to_inner.shutdown().await;
    });
    tasks.spawn_until_stopped("websocket", async move {
        let mut buffer = BytesMut::with_capacity(32 * 1024);
        while let Ok(1..) = from_inner.read_buf(&mut buffer).await {
            if sink.send(Message::Binary(buffer.split().freeze())).await.is_err() {
                return;
            }
            buffer.reserve(32 * 1024);
        }
        let _ = sink.send(goodbye()).await;
        let _ = sink.close().await;
    });
    inner
}
