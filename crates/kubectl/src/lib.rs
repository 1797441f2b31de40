//! kubectl, built in: one file per verb under `verbs/`, one row each in [`verbs::VERBS`]; help and the command line are
//! read from that table.
//!
//! Everything it knows about a cluster comes from the cluster: kinds from discovery, tables from the server. Deliberately
//! absent: any knowledge of how the cluster behind the kubeconfig is built. What upstream's kubectl has and this one has
//! not answers an error that says so; the list is in GAPS.md.

mod cli;
mod discovery;
mod error;
mod flags;
mod gotemplate;
mod kustomize;
mod manifest;
mod pods;
mod print;
mod rest;
mod select;
mod session;
mod spdy;
mod stream;
mod streams;
mod terminal;
mod verbs;

pub use streams::{Input, Streams};

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs a command line (with the program's name first) on the process's own streams.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: failed to start: {error}; check the limits of this process");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(arguments, Streams::process()));
    // A read of standard input cannot be taken back; it must not hold up the end.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Runs a command line (with the program's name first) on the given streams and answers its exit code.
pub async fn run(arguments: Vec<OsString>, streams: Streams) -> u8 {
    let outcome = cli::run(arguments, &streams).await;
    let code = match outcome {
        Ok(()) => 0,
        Err(error) => {
            let text = error.text();
            if !text.is_empty() {
                streams.warn(&text);
            }
            error.code()
        }
    };
    streams.flush();
    code
}
