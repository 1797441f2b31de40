//! Becoming a daemon: away from the terminal, the session and the parent, ready before the parent hears of it.

use super::protocol::{SETUP, Setup};
use super::{events, setup};
use linux::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Forks the shim and returns when it is ready to be talked to.
pub(super) fn start(state: &Path) -> Result<()> {
    linux::process::close_inherited();
    let file = state.join(SETUP);
    let text = std::fs::read(&file).context(|| format!("read {}", file.display()))?;
    let setup: Setup = serde_json::from_slice(&text)
        .map_err(std::io::Error::from)
        .context(|| format!("understand {}", file.display()))?;
    rustix::process::setsid().context(|| "start a session".to_owned())?;
    let (mut ready, mut tell) = std::io::pipe().context(|| "make a pipe".to_owned())?;
    // Moved into the closure: the parent's copy closes when the fork returns, so the pipe ends with the child's.
    let shared_pids = setup.shared_pids;
    let child = linux::process::fork(shared_pids, move || match serve(state, &setup, &mut tell) {
        Ok(shim) => {
            drop(tell);
            run(shim)
        }
        Err(error) => {
            // The parent may be past listening; the log file tells as well.
            let _ = write!(tell, "E{error}");
            eprintln!("{error}");
            1
        }
    })?;
    let mut said = String::new();
    ready.read_to_string(&mut said).context(|| "hear of the shim".to_owned())?;
    if said == "R" {
        return Ok(());
    }
    let why = said.strip_prefix('E').unwrap_or("it ended before it was ready");
    // Reaped here, so that no zombie is left when the parent is slow to end.
    let _ = linux::process::wait(child.pid);
    Err(Error::refused("start the pod's shim", why))
}

fn serve(state: &Path, setup: &Setup, ready: &mut std::io::PipeWriter) -> Result<events::Shim> {
    detach_standard(state)?;
    let shim = setup::prepare(state, setup)?;
    ready.write_all(b"R").context(|| "report readiness".to_owned())?;
    Ok(shim)
}

fn run(shim: events::Shim) -> i32 {
    match shim.run() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

fn open_null() -> Result<rustix::fd::OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .context(|| "open /dev/null".to_owned())
}

fn detach_standard(state: &Path) -> Result<()> {
    let null = open_null()?;
    let path = state.join("shim.log");
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .context(|| format!("open {}", path.display()))?;
    linux::process::replace_standard(&null, 0)?;
    linux::process::replace_standard(&null, 1)?;
    linux::process::replace_standard(&log, 2)?;
    rustix::process::chdir("/").context(|| "change to /".to_owned())
}
