//! [`Waiting`]: the watchers of a cache that have seen everything.
//!
//! An event wakes them all; each then comes back for what is due, and waits again. Nothing is allocated or linked for
//! that: a watcher keeps its place from its beginning to its end.

use std::task::Waker;

/// A watcher's place, from [`Waiting::enter`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(usize);

/// The watchers of a cache that have seen everything. The cache's lock protects it.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Waiting {
    /// A place for a new watcher.
    pub(super) fn enter(&mut self) -> Place {
        Place(self.free.pop().unwrap_or_else(|| {
            self.wakers.push(None);
            self.wakers.len() - 1
        }))
    }

    /// The watcher is gone.
    pub(super) fn leave(&mut self, place: Place) {
        self.wakers[place.0] = None;
        self.free.push(place.0);
    }

    /// How many watchers there are, waiting or not.
    pub(super) fn watchers(&self) -> usize {
        self.wakers.len() - self.free.len()
    }

    /// The watcher waits.
    pub(super) fn wait(&mut self, place: Place, waker: &Waker) {
        match &mut self.wakers[place.0] {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Everyone who waits, to be woken without the lock.
    pub(super) fn take(&mut self) -> Vec<Waker> {
        self.wakers.iter_mut().filter_map(Option::take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_each_waker_is_taken_once() {
        let waker = futures::task::noop_waker();
        let mut waiting = Waiting::default();
        let (a, b) = (waiting.enter(), waiting.enter());
        waiting.wait(a, &waker);
        waiting.wait(a, &waker);
        waiting.wait(b, &waker);
        assert_eq!(waiting.take().len(), 2);
        assert!(waiting.take().is_empty(), "whoever was woken has to wait again");
        waiting.wait(a, &waker);
        waiting.leave(a);
        assert!(waiting.take().is_empty());
        assert_eq!(waiting.enter().0, a.0);
        assert_eq!(waiting.wakers.len(), 2);
    }
}
