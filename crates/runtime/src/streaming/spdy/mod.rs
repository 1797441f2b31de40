//! The server's side of a SPDY/3.1 connection: streams that the client opens, each with headers and bytes both ways.
//!
//! There is no flow control, as other implementations of Kubernetes' streaming have none: a stream that is not read
//! holds up its connection. Deliberately absent: streams opened by the server, priorities, settings.

mod frame;
mod headers;

pub(crate) use headers::Headers;

use bytes::{Bytes, BytesMut};
use component::Tasks;
use frame::Frame;
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The most streams open at once on one connection.
const MAX_STREAMS: usize = 2000;

/// Data frames that wait for whoever reads a stream, and frames that wait to be sent.
const QUEUE: usize = 16;

/// The most data sent in one frame, in bytes.
const MAX_DATA: usize = 32 * 1024;

/// A stream that the client opened.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) headers: Headers,
    /// What the client sends; ends with its last byte.
    pub(crate) incoming: mpsc::Receiver<Bytes>,
    pub(crate) outgoing: Sender,
}

impl Stream {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// What we send on a stream.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    stream: u32,
    frames: mpsc::Sender<Frame>,
}

impl Sender {
    /// Sends bytes. False when the connection is gone.
    pub(crate) async fn send(&self, mut data: Bytes) -> bool {
        while !data.is_empty() {
            let part = data.split_to(data.len().min(MAX_DATA));
            if self.frames.send(Frame::Data { stream: self.stream, fin: false, data: part }).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&self) {
        // Gone: nobody needs to hear it.
        let _ = self.frames.send(Frame::Data { stream: self.stream, fin: true, data: Bytes::new() }).await;
    }

    /// Ends the stream in both directions.
    pub(crate) async fn reset(&self) {
        const CANCEL: u32 = 5;
        let _ = self.frames.send(Frame::Reset { stream: self.stream, status: CANCEL }).await;
    }
}

/// A connection's streams as they are opened.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) streams: mpsc::Receiver<Stream>,
    /// Cancelled when the client is gone.
    pub(crate) closed: CancellationToken,
    frames: mpsc::Sender<Frame>,
}

impl Connection {
    /// Serves SPDY on `io`, in tasks of `tasks`.
    pub(crate) fn serve(io: impl AsyncRead + AsyncWrite + Send + 'static, tasks: &Tasks) -> Result<Self> {
        let (read, write) = tokio::io::split(io);
        let (frames, to_send) = mpsc::channel(QUEUE);
        let (opened, streams) = mpsc::channel(QUEUE);
        let closed = CancellationToken::new();
        let mut reader = Reader {
            headers: headers::Reader::new(),
            replies: headers::Writer::new()?,
            frames: frames.clone(),
            opened,
            incoming: HashMap::new(),
        };
        let token = closed.clone();
        tasks.spawn_until_stopped("spdy", async move {
            let _guard = token.clone().drop_guard();
            let ended = token.run_until_cancelled(reader.run(read)).await;
            if let Some(Err(error)) = ended {
                tracing::debug!(%error, "a SPDY connection ended");
            }
        });
        let token = closed.clone();
        tasks.spawn_until_stopped("spdy", async move {
            if let Err(error) = send(write, to_send).await {
                tracing::debug!(%error, "a SPDY connection ended");
                token.cancel();
            }
        });
        Ok(Self { streams, closed, frames })
    }

    /// Says goodbye, after everything that was sent before, and waits until the client has hung up.
    pub(crate) async fn close(self) {
        if self.frames.send(Frame::GoAway).await.is_ok() {
            drop(self.frames);
            drop(self.streams);
            self.closed.cancelled().await;
        }
    }
}

async fn send(mut io: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Frame>) -> Result<()> {
    let mut buffer = BytesMut::new();
    while let Some(frame) = frames.recv().await {
        let last = frame == Frame::GoAway;
        frame::encode(&frame, &mut buffer);
        while let Ok(more) = frames.try_recv() {
            frame::encode(&more, &mut buffer);
        }
        io.write_all(&buffer).await?;
        buffer.clear();
        io.flush().await?;
        if last {
            return io.shutdown().await;
        }
    }
    Ok(())
}

struct Reader {
    headers: headers::Reader,
    replies: headers::Writer,
    frames: mpsc::Sender<Frame>,
    opened: mpsc::Sender<Stream>,
    incoming: HashMap<u32, mpsc::Sender<Bytes>>,
}

impl Reader {
    async fn run(&mut self, mut io: impl AsyncRead + Unpin) -> Result<()> {
        let mut buffer = BytesMut::with_capacity(64 * 1024);
        loop {
            while let Some(frame) = frame::decode(&mut buffer)? {
                self.handle(frame).await?;
            }
            if io.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn handle(&mut self, frame: Frame) -> Result<()> {
        let gone = |_| Error::from(ErrorKind::BrokenPipe);
        match frame {
            Frame::Open { stream, fin, block } => {
                let headers = self.headers.read(&block)?;
                if stream % 2 == 0
                    || self.incoming.contains_key(&stream)
                    || self.incoming.len() >= MAX_STREAMS
                {
                    return Err(Error::new(ErrorKind::InvalidData, "the client opens streams it must not"));
                }
                let (sender, incoming) = mpsc::channel(QUEUE);
                if !fin {
                    self.incoming.insert(stream, sender);
                }
                let block = self.replies.write(&[])?.into();
                self.frames.send(Frame::Reply { stream, block }).await.map_err(gone)?;
                let outgoing = Sender { stream, frames: self.frames.clone() };
                // Nobody takes streams any more: the session is over, what is left is to be read away.
                let _ = self.opened.send(Stream { headers, incoming, outgoing }).await;
            }
            Frame::Data { stream, fin, data } => {
                if let Some(sender) = self.incoming.get(&stream)
                    && (fin || !data.is_empty())
                    && (data.is_empty() || sender.send(data).await.is_err() || fin)
                {
                    self.incoming.remove(&stream);
                }
            }
            Frame::Reset { stream, .. } => drop(self.incoming.remove(&stream)),
            Frame::Ping(id) if id % 2 == 1 => self.frames.send(Frame::Ping(id)).await.map_err(gone)?,
            Frame::Headers { block } => drop(self.headers.read(&block)?),
            Frame::Reply { block, .. } => drop(self.headers.read(&block)?),
            Frame::GoAway | Frame::Ping(_) | Frame::Other => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
