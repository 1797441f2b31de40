//! One connection of the runtime: bytes in and out, with descriptors beside them.

use super::poll::{Interest, Poll, Token};
use super::protocol::{self, Reply, Request};
use linux::{Context, Result};
use rustix::fd::{AsFd, OwnedFd};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;

/// A peer that leaves more than this unread, in bytes, is dropped.
const MAX_UNREAD: usize = 16 << 20;

/// What a connection has become by its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// One request, one reply.
    Plain,
    /// Hears of every change.
    Watcher,
    /// Belongs to an exec'd process.
    Exec(i32),
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    passed: Vec<OwnedFd>,
    to_pass: Vec<OwnedFd>,
    pub(super) role: Role,
    /// To be closed once everything is out.
    pub(super) last_words: bool,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Result<Self> {
        stream.set_nonblocking(true).context(|| "accept a connection".to_owned())?;
        Ok(Self {
            stream,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            passed: Vec::new(),
            to_pass: Vec::new(),
            role: Role::Plain,
            last_words: false,
        })
    }

    pub(super) fn register(&self, poll: &mut Poll) -> Result<Token> {
        poll.add(&self.stream, Interest::Read)
    }

    /// Reads what is there. `None` when the peer is gone or talks nonsense.
    pub(super) fn receive(&mut self) -> Option<Vec<(Request, Vec<OwnedFd>)>> {
        let mut requests = Vec::new();
        let mut bytes = [0; 16 * 1024];
        loop {
            match linux::socket::receive(&self.stream, &mut bytes, &mut self.passed) {
                Ok(0) => return if requests.is_empty() { None } else { Some(requests) },
                Ok(length) => self.incoming.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(requests),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
            loop {
                match protocol::decode::<Request>(&mut self.incoming) {
                    Ok(Some(request)) => requests.push((request, std::mem::take(&mut self.passed))),
                    Ok(None) => break,
                    Err(error) => {
                        eprintln!("failed to understand the runtime: {error}");
                        return None;
                    }
                }
            }
        }
    }

    /// Queues a reply with descriptors and sends as much as goes. False when the peer is gone.
    pub(super) fn send(&mut self, poll: &Poll, token: Token, reply: &Reply, pass: Vec<OwnedFd>) -> bool {
        let Ok(frame) = protocol::encode(reply) else { return false };
        if self.outgoing.len() + frame.len() > MAX_UNREAD {
            return false;
        }
        if !pass.is_empty() {
            self.to_pass = pass;
        }
        self.outgoing.extend_from_slice(&frame);
        self.flush(poll, token)
    }

    /// Sends what is queued. False when the peer is gone, or has heard its last words.
    pub(super) fn flush(&mut self, poll: &Poll, token: Token) -> bool {
        while !self.outgoing.is_empty() {
            let pass: Vec<_> = self.to_pass.iter().map(AsFd::as_fd).collect();
            match linux::socket::send(&self.stream, &self.outgoing, &pass) {
                Ok(sent) => {
                    self.outgoing.drain(..sent);
                    self.to_pass.clear();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        let interest = if self.outgoing.is_empty() { Interest::Read } else { Interest::Both };
        let watched = poll.change(&self.stream, token, interest).is_ok();
        watched && !(self.last_words && self.outgoing.is_empty())
    }
}
