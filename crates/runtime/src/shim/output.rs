//! A container's output: read once, written to the log and to whoever is attached. Somebody attached who reads
//! slowly slows the container down, as its own terminal would; nothing is dropped and memory stays bounded.

use super::log::{Log, Stream};
use super::poll::{Interest, Poll, Token};
use linux::Result;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

const CHUNK: usize = 32 * 1024;

/// One stream of output.
#[derive(Debug)]
pub(super) struct Output {
    stream: Stream,
    /// `None` once it has ended.
    source: Option<(OwnedFd, Token)>,
    sinks: Vec<Sink>,
}

#[derive(Debug)]
struct Sink {
    fd: OwnedFd,
    token: Token,
    pending: Vec<u8>,
}

impl Output {
    /// Watches `fd`, which must not block.
    pub(super) fn new(stream: Stream, fd: OwnedFd, poll: &mut Poll) -> Result<Self> {
        let token = poll.add(&fd, Interest::Read)?;
        Ok(Self { stream, source: Some((fd, token)), sinks: Vec::new() })
    }

    pub(super) fn owns(&self, token: Token) -> bool {
        self.source.as_ref().is_some_and(|(_, own)| *own == token)
            || self.sinks.iter().any(|sink| sink.token == token)
    }

    /// Copies further output to `fd` as well.
    pub(super) fn attach(&mut self, fd: OwnedFd, poll: &mut Poll) -> Result<()> {
        // Without a source there is nothing to come: dropping the descriptor says so.
        if self.source.is_some() {
            linux::Context::context(rustix::io::ioctl_fionbio(&fd, true), || "attach".to_owned())?;
            let token = poll.add(&fd, Interest::Nothing)?;
            self.sinks.push(Sink { fd, token, pending: Vec::new() });
        }
        Ok(())
    }

    /// Something happened to the descriptor behind `token`.
    pub(super) fn ready(&mut self, token: Token, poll: &Poll, log: Option<&mut Log>, now: i64) {
        if self.source.as_ref().is_some_and(|(_, own)| *own == token) {
            self.pump(poll, log, now);
        } else if let Some(at) = self.sinks.iter().position(|sink| sink.token == token) {
            // Nothing was awaited: nobody reads any more.
            let idle = self.sinks[at].pending.is_empty();
            if idle || !self.sinks[at].flush() {
                poll.remove(&self.sinks.remove(at).fd);
            }
            self.settle(poll);
        }
    }

    /// Reads all that is there now, however slow the attached are: for a container that has ended.
    pub(super) fn drain(&mut self, poll: &Poll, mut log: Option<&mut Log>, now: i64) {
        while self.pump(poll, log.as_deref_mut(), now) {}
        if let Some(log) = log {
            log.end(self.stream, now);
        }
        self.close_source(poll);
        self.settle(poll);
    }

    // Explicitly: the runtime may hold a copy of the descriptor, which would keep it watched.
    fn close_source(&mut self, poll: &Poll) {
        if let Some((fd, _)) = self.source.take() {
            poll.remove(fd);
        }
    }

    // One chunk. False when there is nothing more for now, or ever.
    fn pump(&mut self, poll: &Poll, log: Option<&mut Log>, now: i64) -> bool {
        let Some((source, _)) = &self.source else { return false };
        let mut chunk = [0; CHUNK];
        let length = match rustix::io::read(source, &mut chunk) {
            Err(Errno::AGAIN) => return false,
            Err(Errno::INTR) => return true,
            // A terminal answers EIO when nobody has it open any more.
            Ok(0) | Err(_) => {
                if let Some(log) = log {
                    log.end(self.stream, now);
                }
                self.close_source(poll);
                self.settle(poll);
                return false;
            }
            Ok(length) => length,
        };
        if let Some(log) = log {
            log.add(self.stream, &chunk[..length], now);
        }
        self.sinks.retain_mut(|sink| {
            sink.pending.extend_from_slice(&chunk[..length]);
            sink.flush() || {
                poll.remove(&sink.fd);
                false
            }
        });
        self.settle(poll);
        true
    }

    // Reads on only when every sink is empty; watches for room in those that are not; ends those that are done.
    fn settle(&mut self, poll: &Poll) {
        let ended = self.source.is_none();
        self.sinks.retain(|sink| {
            let done = ended && sink.pending.is_empty();
            if done {
                poll.remove(&sink.fd);
            }
            !done
        });
        let mut waiting = false;
        for sink in &self.sinks {
            let full = !sink.pending.is_empty();
            waiting |= full;
            // Registered since it was attached: cannot fail.
            let _ = poll.change(&sink.fd, sink.token, if full { Interest::Write } else { Interest::Nothing });
        }
        if let Some((fd, token)) = &self.source {
            let _ = poll.change(fd, *token, if waiting { Interest::Nothing } else { Interest::Read });
        }
    }
}

impl Sink {
    // False when nobody reads any more.
    fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.fd, &self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}
