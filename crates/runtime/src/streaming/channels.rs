//! The channels of an exec or attach session, whatever carries them.

use super::spdy;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Where output goes.
#[derive(Debug)]
pub(super) enum Output {
    /// A stream of its own.
    Spdy(spdy::Sender),
    /// Messages with a channel number.
    WebSocket(super::websocket::Sender),
}

impl Output {
    /// Sends bytes. False when the client is gone.
    pub(super) async fn send(&self, data: Bytes) -> bool {
        match self {
            Self::Spdy(sender) => sender.send(data).await,
            Self::WebSocket(sender) => sender.send(data).await,
        }
    }

    /// Says that nothing more comes.
    pub(super) async fn finish(&self) {
        match self {
            Self::Spdy(sender) => sender.finish().await,
            Self::WebSocket(_) => {}
        }
    }
}

/// All channels of a session.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) stdin: Option<mpsc::Receiver<Bytes>>,
    pub(super) stdout: Option<Output>,
    pub(super) stderr: Option<Output>,
    pub(super) error: Option<Output>,
    pub(super) resize: Option<mpsc::Receiver<Bytes>>,
    /// Whether errors are a Status in JSON (protocol v4 and later) rather than bare text.
    pub(super) status: bool,
    /// Cancelled when the client is gone.
    pub(super) closed: CancellationToken,
}

/// Which channels a session has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wants {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}
