//! Readiness of many descriptors, each under a token.

use linux::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Names a registered descriptor. Never used twice.
pub(super) type Token = u64;

/// What to wait for. Hang-ups and errors are always reported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Interest {
    Nothing,
    Read,
    Write,
    Both,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Nothing => EventFlags::empty(),
            Self::Read => EventFlags::IN,
            Self::Write => EventFlags::OUT,
            Self::Both => EventFlags::IN | EventFlags::OUT,
        }
    }
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) token: Token,
    /// Something to read, or the end.
    pub(super) read: bool,
    /// Room to write, or nobody who reads.
    pub(super) write: bool,
}

/// A set of descriptors to wait for.
#[derive(Debug)]
pub(super) struct Poll {
    epoll: OwnedFd,
    next: Token,
}

impl Poll {
    pub(super) fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context(|| "make an epoll".to_owned())?;
        Ok(Self { epoll, next: 1 })
    }

    pub(super) fn add(&mut self, fd: impl AsFd, interest: Interest) -> Result<Token> {
        let token = self.next;
        self.next += 1;
        epoll::add(&self.epoll, fd, EventData::new_u64(token), interest.flags())
            .context(|| "watch a descriptor".to_owned())?;
        Ok(token)
    }

    pub(super) fn change(&self, fd: impl AsFd, token: Token, interest: Interest) -> Result<()> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(token), interest.flags())
            .context(|| "watch a descriptor".to_owned())
    }

    /// Stops watching a descriptor that stays open elsewhere.
    pub(super) fn remove(&self, fd: impl AsFd) {
        // Not registered any more: just what is wanted.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until something is ready, at most `patience` if given: then nothing is.
    pub(super) fn wait(&self, patience: Option<Duration>) -> Result<Vec<Ready>> {
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context(|| "wait for events".to_owned()),
        }
        let ready = events.into_iter().map(|event| {
            let flags = event.flags;
            let over = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            Ready {
                token: event.data.u64(),
                read: over || flags.contains(EventFlags::IN),
                write: over || flags.contains(EventFlags::OUT),
            }
        });
        Ok(ready.collect())
    }
}
