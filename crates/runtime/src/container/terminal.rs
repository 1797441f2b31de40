//! A terminal for a container's process, taken from the container's own `/dev/pts`, so that its name means
//! something inside.

use linux::{Context, Error, Result};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use std::path::Path;

/// Opens a terminal, makes it this session's, puts it in the place of the standard three and sends its controlling
/// side to the shim. `console` also shows it at `/dev/console`.
pub(super) fn open(notices: BorrowedFd<'_>, console: bool) -> Result<()> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())
        .context(|| "open /dev/pts/ptmx in the container".to_owned())?;
    rustix::pty::unlockpt(&master).context(|| "unlock the terminal".to_owned())?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, peer).context(|| "open the terminal".to_owned())?;
    if console {
        let name = rustix::pty::ptsname(&master, Vec::new()).context(|| "name the terminal".to_owned())?;
        let name = name.into_string().map_err(|_| Error::refused("name the terminal", "it is not text"))?;
        show_as_console(Path::new(&name))?;
    }
    linux::socket::send(notices, b"T", &[master.as_fd()]).context(|| "hand over the terminal".to_owned())?;
    rustix::process::ioctl_tiocsctty(&slave).context(|| "take the terminal".to_owned())?;
    for number in 0..3 {
        linux::process::replace_standard(&slave, number)?;
    }
    Ok(())
}

fn show_as_console(terminal: &Path) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::open("/dev/console", flags | OFlags::PATH, Mode::empty())
        .or_else(|_| rustix::fs::open("/dev/console", flags, Mode::from_raw_mode(0o600)));
    let target = made.context(|| "make /dev/console".to_owned())?;
    let tree = linux::mount::clone_tree(terminal, false)?;
    linux::mount::attach(tree, target)
}
