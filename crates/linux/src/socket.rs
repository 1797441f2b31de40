//! Unix sockets: addresses of any length, and passing open descriptors.

use crate::error::{Context, Error, Result};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

/// The most descriptors that one message carries here.
pub const MAX_DESCRIPTORS: usize = 4;

/// A socket's address that fits into the kernel's 108 bytes however deep its directory lies. Keeps the directory
/// open: use the path while this value lives.
#[derive(Debug)]
pub struct Address {
    _dir: OwnedFd,
    path: PathBuf,
}

impl Address {
    /// The address of the socket at `path`, whose directory must exist.
    pub fn of(path: &Path) -> Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::refused(format!("use socket {}", path.display()), "it has no directory"));
        };
        let dir = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("open {}", parent.display()))?;
        let path = if path.as_os_str().len() < 100 {
            path.to_owned()
        } else {
            PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
        };
        Ok(Self { _dir: dir, path })
    }

    /// What to pass to `bind` or `connect`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A connected pair of sockets that keep message borders.
pub fn message_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .context(|| "make a pair of sockets".to_owned())
}

/// Sends `bytes`, and with the first of them `descriptors` (at most [`MAX_DESCRIPTORS`]). Returns how many bytes
/// went. Does not wrap the error, so that callers see "would block".
pub fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[rustix::fd::BorrowedFd<'_>],
) -> std::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    let slice = [IoSlice::new(bytes)];
    Ok(rustix::net::sendmsg(socket, &slice, &mut control, SendFlags::NOSIGNAL)?)
}

/// Receives into `bytes` and adds descriptors that came along to `descriptors`. Returns how many bytes came.
pub fn receive(
    socket: impl AsFd,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> std::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slice = [IoSliceMut::new(bytes)];
    let received = rustix::net::recvmsg(socket, &mut slice, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn descriptors_travel_with_bytes() {
        let (ours, theirs) = message_pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        assert_eq!(send(&ours, b"hi", &[writer.as_fd()]).unwrap(), 2);
        drop(writer);
        let (mut bytes, mut fds) = ([0; 8], Vec::new());
        assert_eq!(receive(&theirs, &mut bytes, &mut fds).unwrap(), 2);
        assert_eq!(fds.len(), 1);
        std::fs::File::from(fds.remove(0)).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }
}
