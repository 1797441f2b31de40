//! The controlling side of a terminal, read and written without blocking.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::termios::Winsize;
use serde::Deserialize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub(super) struct Terminal(AsyncFd<OwnedFd>);

/// A client's message on the resize channel.
#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width", alias = "width", default)]
    width: u16,
    #[serde(rename = "Height", alias = "height", default)]
    height: u16,
}

impl Terminal {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, linux::Error> {
        Ok(Self(linux::readiness::watch(fd)?))
    }

    /// Reads some bytes; 0 when nobody has the terminal open any more.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = |fd: &OwnedFd| match rustix::io::read(fd, &mut *buffer) {
            Err(Errno::IO) => Ok(0),
            done => Ok(done?),
        };
        // The closure may run several times, but only its last run writes.
        let mut read = read;
        self.0.async_io(Interest::READABLE, |fd| read(fd)).await
    }

    /// Writes all bytes, as if typed.
    pub(super) async fn write(&self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let write = |fd: &OwnedFd| Ok(rustix::io::write(fd, bytes)?);
            let written = self.0.async_io(Interest::WRITABLE, write).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Changes its size as a client asks on the resize channel. Nonsense is ignored.
    pub(super) fn resize(&self, message: &[u8]) {
        let Ok(size) = serde_json::from_slice::<Size>(message) else { return };
        if size.width > 0 && size.height > 0 {
            let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
            // The terminal may be gone by now.
            let _ = rustix::termios::tcsetwinsize(self.0.get_ref(), size);
        }
    }
}
