//! The writer's thread: collects what many callers ask for at the same time into one batch.
//!
//! A thread and not a task, because it waits for the disk most of its life. Checkpoints are written by a thread of
//! their own, one at a time.

use super::checkpoint::Job;
use super::core::Core;
use super::request::Request;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::{Builder, JoinHandle};

/// A batch is written when it has so many bytes, even if more callers wait.
const BATCH_BYTES: usize = 4 << 20;

/// Or so many requests.
const BATCH_REQUESTS: usize = 4096;

/// Works until told to stop or until all senders are gone.
pub(crate) fn run(mut core: Core, requests: &Receiver<Request>, to_self: &Sender<Request>) {
    let mut checkpoint: Option<JoinHandle<()>> = None;
    let mut is_stopped = false;
    while !is_stopped {
        let due = core.stage_due();
        core.finish();
        let is_busy = core.forget();
        if let Some(job) = core.due_checkpoint() {
            checkpoint = start(job, to_self.clone());
        }
        let first = match (is_busy, due) {
            (true, _) => requests.try_recv().map_err(|error| error == TryRecvError::Disconnected),
            (false, Some(due)) => {
                requests.recv_timeout(due).map_err(|error| error == RecvTimeoutError::Disconnected)
            }
            (false, None) => requests.recv().map_err(|_| true),
        };
        match first {
            Ok(first) => is_stopped = batch(&mut core, first, requests),
            Err(is_over) => is_stopped = is_over,
        }
    }
    if let Some(thread) = checkpoint {
        core.cancelled().store(true, std::sync::atomic::Ordering::Relaxed);
        // A panic there was reported when it happened.
        let _ = thread.join();
    }
}

/// Serves `first` and what else waits with one sync; `true` when told to stop.
fn batch(core: &mut Core, first: Request, requests: &Receiver<Request>) -> bool {
    let mut next = Some(first);
    let mut count = 0;
    let mut is_stopped = false;
    while let Some(request) = next {
        is_stopped = matches!(request, Request::Stop);
        core.stage(request);
        count += 1;
        let is_full = is_stopped || count == BATCH_REQUESTS || core.pending() >= BATCH_BYTES;
        next = if is_full { None } else { requests.try_recv().ok() };
    }
    core.stage_due();
    core.finish();
    is_stopped
}

/// Writes a checkpoint in a thread of its own.
fn start(job: Job, answer: Sender<Request>) -> Option<JoinHandle<()>> {
    let revision = job.revision;
    let failed = answer.clone();
    let thread = Builder::new().name("store-checkpoint".to_owned()).spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.run()));
        let result = result.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")));
        // The writer that is gone does not care.
        let _ = answer.send(Request::Checkpointed(revision, result));
    });
    match thread {
        Ok(thread) => Some(thread),
        Err(error) => {
            let _ = failed.send(Request::Checkpointed(revision, Err(error)));
            None
        }
    }
}
