//! [`coalesced`]: an HTTP/2 connection whose many small writes leave in few records and system calls.
//!
//! An HTTP/2 server flushes after every frame, and over TLS each flush is a record and a system call of its own. A
//! thousand watches on a few connections would cost a million of both for a thousand events. Here a flush only
//! says that it is wanted: what all streams have written while the connection was polled leaves together at the
//! end of the poll. Nothing waits for more to come.
//!
//! The streams' answers are polled here too ([`Answers`]), so that what they write is sent in the same poll.
//!
//! Deliberately absent: HTTP/1.1, whose upgrades take the stream away from the connection.

use crate::answers::{Answers, Arrivals, Nudge};
use crate::serve::BoxError;
use hyper::rt::{Read, ReadBufCursor, Write};
use parking_lot::Mutex;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// Bytes that wait at most before a writer has to; a write may go over it once.
const LIMIT: usize = 64 * 1024;
/// Buffers larger than this are given back when they are empty: most connections are idle most of the time.
const KEEP: usize = 4 * 1024;

struct Stream<S> {
    inner: S,
    out: Vec<u8>,
    /// Bytes of `out` that have left.
    sent: usize,
    /// The inner stream holds bytes that it has to flush.
    is_dirty: bool,
    /// A writer was sent away because the buffer was full.
    is_blocked: bool,
}

impl<S: Write + Unpin> Stream<S> {
    /// Sends everything that waits.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out[self.sent..])) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.sent += written,
                Err(error) => return Poll::Ready(Err(error)),
            }
            self.is_dirty = true;
        }
        self.sent = 0;
        self.out.clear();
        self.out.shrink_to(KEEP);
        if self.is_dirty {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.is_dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Makes room for at least one more write.
    fn room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sent >= LIMIT {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        if self.out.len() - self.sent >= LIMIT && self.drain(cx)?.is_pending() {
            self.is_blocked = true;
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

/// The side of the stream that the connection holds.
pub(crate) struct Handle<S>(Arc<Mutex<Stream<S>>>);

impl<S: Read + Unpin> Read for Handle<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().inner).poll_read(cx, buf)
    }
}

impl<S: Write + Unpin> Write for Handle<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let stream = &mut *self.0.lock();
        ready!(stream.room(cx))?;
        stream.out.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = &mut *self.0.lock();
        ready!(stream.room(cx))?;
        bufs.iter().for_each(|buf| stream.out.extend_from_slice(buf));
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // At the end of the poll; see the module's documentation.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut *self.0.lock();
        ready!(stream.drain(cx))?;
        Pin::new(&mut stream.inner).poll_shutdown(cx)
    }
}

/// Flushes a stream whenever the connection on it has been polled. The end of the connection, or the error of a
/// write, ends it.
pub(crate) struct Coalesced<C, S> {
    connection: C,
    stream: Arc<Mutex<Stream<S>>>,
    answers: Answers,
    nudge: Arc<Nudge>,
    waker: Waker,
}

/// The connection that `connect` makes on `stream`, with an executor for its streams.
pub(crate) fn coalesced<C, S>(stream: S, connect: impl FnOnce(Handle<S>, Arrivals) -> C) -> Coalesced<C, S> {
    let stream = Stream { inner: stream, out: Vec::new(), sent: 0, is_dirty: false, is_blocked: false };
    let stream = Arc::new(Mutex::new(stream));
    let arrivals = Arrivals::default();
    let connection = connect(Handle(stream.clone()), arrivals.clone());
    let (nudge, waker) = Nudge::new();
    Coalesced { connection, stream, answers: Answers::new(arrivals), nudge, waker }
}

impl<C, S> Coalesced<C, S> {
    /// The connection, to tell it something.
    pub(crate) fn connection(&mut self) -> &mut C {
        &mut self.connection
    }
}

impl<C, S, E> Future for Coalesced<C, S>
where
    C: Future<Output = Result<(), E>> + Unpin,
    S: Write + Unpin,
    E: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { connection, stream, answers, nudge, waker } = self.get_mut();
        let inner = &mut Context::from_waker(waker);
        nudge.run(cx, || {
            // The streams first: they are what is woken most often, and the connection sends what they write.
            answers.advance(inner);
            if let Poll::Ready(result) = Pin::new(&mut *connection).poll(inner) {
                return Poll::Ready(result.map_err(Into::into));
            }
            answers.advance(inner);
            let mut stream = stream.lock();
            if stream.drain(inner)?.is_ready() && std::mem::take(&mut stream.is_blocked) {
                // A writer waits for the room that there is now.
                inner.waker().wake_by_ref();
            }
            Poll::Pending
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncReadExt;

    /// Writes pieces, flushing after each, then ends.
    struct Writer<S> {
        handle: Handle<S>,
        pieces: Vec<Vec<u8>>,
        ends: bool,
    }

    impl<S: Write + Unpin> Future for Writer<S> {
        type Output = Result<(), io::Error>;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            let this = self.get_mut();
            while let Some(piece) = this.pieces.last() {
                let written = ready!(Pin::new(&mut this.handle).poll_write(cx, piece))?;
                assert_eq!(written, piece.len());
                this.pieces.pop();
                ready!(Pin::new(&mut this.handle).poll_flush(cx))?;
            }
            if this.ends { Pin::new(&mut this.handle).poll_shutdown(cx) } else { Poll::Pending }
        }
    }

    async fn through(pipe: usize, pieces: Vec<Vec<u8>>, ends: bool) -> Vec<u8> {
        let expected: usize = pieces.iter().map(Vec::len).sum();
        let (near, mut far) = tokio::io::duplex(pipe);
        let connection = coalesced(TokioIo::new(near), |handle, _| Writer { handle, pieces, ends });
        let mut read = vec![0; expected];
        tokio::select! {
            biased;
            _ = connection, if !ends => unreachable!("it never ends"),
            result = far.read_exact(&mut read) => { result.unwrap(); }
        }
        read
    }

    #[tokio::test]
    async fn what_was_written_leaves_without_a_further_poll() {
        assert_eq!(through(1024, vec![b"b".to_vec(), b"a".to_vec()], false).await, b"ab");
    }

    #[tokio::test]
    async fn more_than_fits_leaves_in_order() {
        let pieces: Vec<Vec<u8>> = (0..=255_u8).rev().map(|byte| vec![byte; 5000]).collect();
        let expected: Vec<u8> = (0..=255_u8).flat_map(|byte| vec![byte; 5000]).collect();
        assert!(through(1000, pieces, false).await == expected);
    }

    #[tokio::test]
    async fn an_end_sends_what_waits() {
        let (near, mut far) = tokio::io::duplex(64);
        let pieces = vec![vec![7; 1000]];
        let connection = coalesced(TokioIo::new(near), |handle, _| Writer { handle, pieces, ends: true });
        let mut read = Vec::new();
        let (ended, _) = tokio::join!(connection, far.read_to_end(&mut read));
        ended.unwrap();
        assert_eq!(read, [7; 1000]);
    }
}
