//! [`Watch`]: the stream of one watcher: from history while it is behind, from its queue when it is not.

use super::hub::Watcher;
use super::node::Changes;
use super::shared::Shared;
use super::view::Keys;
use crate::kv::{Commit, Revision, StoreError};
use futures::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Revisions of history that are read at a time.
const CHUNK: usize = 256;

/// Portions of history that are looked through before others may run.
const PORTIONS: usize = 16;

/// The stream of one watcher. Dropping it ends the watch.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    watcher: Arc<Watcher>,
    /// Everything before it was delivered, or is not covered.
    next: Revision,
    /// Up to here the consumer knows.
    told: Revision,
    /// Read from history.
    backlog: VecDeque<Arc<Changes>>,
    is_done: bool,
}

/// What to do next.
enum Step {
    Deliver(Arc<Changes>),
    CatchUp(Revision),
    Progress(Revision),
    Closed,
    Wait,
}

impl Watch {
    /// Watches `keys` from `next` on, which must be in history or in the future.
    pub(crate) fn new(shared: Arc<Shared>, keys: Keys, next: Revision, wants_progress: bool) -> Self {
        let watcher = shared.hub.register(keys, next, wants_progress);
        Self { shared, watcher, next, told: next - 1, backlog: VecDeque::new(), is_done: false }
    }

    /// The events of a commit that are covered and new.
    fn covered(&mut self, changes: &Changes) -> Option<Commit> {
        // After a spell of reading history the queue may repeat what was read.
        if changes.revision < self.next {
            return None;
        }
        self.next = changes.revision + 1;
        let nodes = changes.nodes.iter().filter(|node| self.watcher.keys.contains(&node.kv.key));
        let events: Vec<_> = nodes.map(|node| node.event()).collect();
        if events.is_empty() {
            return None;
        }
        self.told = changes.revision;
        Some(Commit { revision: changes.revision, events })
    }

    fn step(&mut self, context: &Context<'_>) -> Step {
        if let Some(changes) = self.backlog.pop_front() {
            return Step::Deliver(changes);
        }
        let mut queue = self.watcher.queue.lock();
        if let Some(changes) = queue.commits.pop_front() {
            return Step::Deliver(changes);
        }
        if queue.is_closed {
            return Step::Closed;
        }
        if let Some(from) = queue.behind {
            return Step::CatchUp(from.max(self.next));
        }
        if self.watcher.wants_progress && queue.progress > self.told {
            return Step::Progress(queue.progress);
        }
        if !queue.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            queue.waker = Some(context.waker().clone());
        }
        Step::Wait
    }

    fn catch_up(&mut self, from: Revision) -> Result<(), StoreError> {
        // Compaction went past a watcher that had its chance.
        let read = self.shared.history.read(from, CHUNK).map_err(|_| StoreError::Slow)?;
        match read.last() {
            Some(last) => {
                self.watcher.queue.lock().behind = Some(last.revision + 1);
                self.backlog = read.into();
            }
            None => {
                self.shared.hub.rejoin(&self.watcher, from);
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: StoreError) -> Poll<Option<Result<Commit, StoreError>>> {
        self.is_done = true;
        self.shared.hub.unregister(self.watcher.id);
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Watch {
    type Item = Result<Commit, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        let mut portions = 0;
        loop {
            match self.step(context) {
                Step::Deliver(changes) => {
                    if let Some(commit) = self.covered(&changes) {
                        return Poll::Ready(Some(Ok(commit)));
                    }
                }
                Step::CatchUp(from) => {
                    if let Err(error) = self.catch_up(from) {
                        return self.fail(error);
                    }
                    portions += 1;
                    if portions == PORTIONS {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Step::Progress(revision) => {
                    self.next = self.next.max(revision + 1);
                    self.told = revision;
                    return Poll::Ready(Some(Ok(Commit { revision, events: Vec::new() })));
                }
                Step::Closed => return self.fail(StoreError::Closed),
                Step::Wait => return Poll::Pending,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_done {
            self.shared.hub.unregister(self.watcher.id);
        }
    }
}
