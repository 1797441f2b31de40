//! The shim: one small process for each pod that is the pod's pause process, the parent of its containers, the
//! owner of their output and the witness of their ends. It outlives the runtime, which finds it again by its socket.
//!
//! It has one thread and no async runtime: it forks, and it must stay small. Deliberately absent: images, networks,
//! CRI, any decision. What it is told comes from the runtime only, over a socket that only root can open.

pub(crate) mod client;
mod connection;
mod containers;
mod daemon;
mod events;
mod exec;
mod log;
mod output;
mod poll;
pub(crate) mod protocol;
mod setup;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the shim: `args` are those after `shim`, one: the pod's state directory. Must be called before any thread
/// starts. Returns in the foreground process once the shim is ready, with its failure on standard error otherwise.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let (Some(state), None) = (args.next().map(PathBuf::from), args.next()) else {
        eprintln!("usage: windlass shim STATE_DIRECTORY (started by the container runtime, not by hand)");
        return ExitCode::from(2);
    };
    match daemon::start(&state) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
