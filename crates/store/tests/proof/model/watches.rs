//! etcd's guarantees of a watch: ordered, unique, reliable, atomic, resumable (a watch from a revision has all since
//! then, so it is reliable from there), bookmarkable (progress promises that nothing before it is missing).

use super::check::{Found, Kind};
use super::history::{History, Watched};
use super::sequential::{covers, same_change, same_changes};
use super::timeline::{Maker, Timeline};
use store::{Commit, Event, EventKind, Revision};

pub(crate) fn check(history: &History, timeline: &Timeline, found: &mut Found) {
    for (number, watch) in history.watches.iter().enumerate() {
        Checker { history, timeline, watch, number, found }.run();
    }
}

struct Checker<'a> {
    history: &'a History,
    timeline: &'a Timeline,
    watch: &'a Watched,
    number: usize,
    found: &'a mut Found,
}

impl Checker<'_> {
    fn add(&mut self, kind: Kind, text: &str) {
        let Watched { start, end, from, .. } = self.watch;
        let text = format!("watch {} of {start:?}..{end:?} from {from:?}: {text}", self.number);
        self.found.add(kind, text);
    }

    /// What the watch covers of a revision.
    fn covered(&self, revision: Revision) -> Vec<Event> {
        let (changes, _) = self.timeline.changes(revision);
        let Watched { start, end, .. } = self.watch;
        changes.iter().filter(|event| covers(start, end, &event.kv.key)).cloned().collect()
    }

    fn run(&mut self) {
        // Everything up to here was delivered, is not covered, or need not be delivered.
        let mut position = self.watch.from.map_or_else(|| self.start(), |from| from - 1);
        let mut last = 0;
        for (_, commit) in &self.watch.items {
            let revision = commit.revision;
            if revision == last && !commit.events.is_empty() {
                self.add(Kind::WatchUnique, &format!("revision {revision} was delivered twice"));
            } else if revision < last {
                self.add(Kind::WatchOrder, &format!("revision {revision} was delivered after {last}"));
            }
            if commit.events.is_empty() {
                self.missing(position + 1..revision + 1, Kind::WatchProgress);
                if revision > self.timeline.last() {
                    self.add(Kind::WatchProgress, &format!("progress of {revision}, which does not exist"));
                }
            } else {
                self.missing(position + 1..revision, Kind::WatchReliable);
                self.commit(commit, position);
            }
            position = position.max(revision);
            last = last.max(revision);
        }
    }

    /// Where a watch from now started at the latest: everything whose maker was called later is covered. If it
    /// delivered something before, it started before.
    fn start(&self) -> Revision {
        let opened = self.watch.opened.index;
        let makers = self.timeline.makers.iter().position(|maker| {
            matches!(maker, Maker::Operation(number) if self.history.operations[*number].call.index > opened)
        });
        let latest = makers.map_or(self.timeline.last(), |at| at as Revision + 1);
        let first = self.watch.items.iter().find(|(_, commit)| !commit.events.is_empty());
        first.map_or(latest, |(_, commit)| latest.min(commit.revision - 1))
    }

    /// Nothing of `revisions` may be covered.
    fn missing(&mut self, revisions: std::ops::Range<Revision>, kind: Kind) {
        for revision in revisions {
            let mut covered = self.covered(revision);
            if self.history.forgets_removals && self.watch.from == Some(revision) {
                covered.retain(|event| event.kind == EventKind::Put);
            }
            if !covered.is_empty() {
                self.add(kind, &format!("revision {revision} is missing: {covered:?}"));
                return;
            }
        }
    }

    fn commit(&mut self, commit: &Commit, position: Revision) {
        let revision = commit.revision;
        if revision <= position && self.watch.from.is_some_and(|from| revision < from) {
            self.add(Kind::WatchContent, &format!("revision {revision} is older than asked for"));
        }
        let from_now =
            self.watch.from.is_none().then(|| self.timeline.observed_before(self.watch.call.index));
        if from_now.is_some_and(|known| revision <= known) {
            self.add(Kind::WatchContent, &format!("revision {revision} is from before the watch"));
        }
        let mut expected = self.covered(revision);
        if self.history.forgets_removals
            && self.watch.from == Some(revision)
            && commit.events.len() < expected.len()
        {
            expected.retain(|event| event.kind == EventKind::Put);
        }
        let (_, is_ordered) = self.timeline.changes(revision);
        let is_same = match is_ordered {
            true => {
                commit.events.len() == expected.len()
                    && commit.events.iter().zip(&expected).all(|(left, right)| same_change(left, right))
            }
            false => same_changes(&commit.events, &expected),
        };
        if !is_same {
            // Less than happened is a torn commit, anything else an invention.
            let is_part = commit.events.len() < expected.len()
                && commit.events.iter().all(|event| expected.iter().any(|other| same_change(event, other)));
            let kind = if is_part { Kind::WatchAtomic } else { Kind::WatchContent };
            let text = format!("revision {revision} is {:?}, expected {expected:?}", commit.events);
            self.add(kind, &text);
            return;
        }
        let before = self.timeline.at(revision - 1);
        for event in &commit.events {
            let previous = before.and_then(|keys| keys.get(&event.kv.key));
            // History may have forgotten it.
            let may_lack = self.history.auto_compaction || self.compacts();
            if event.previous.as_ref() != previous && !(may_lack && event.previous.is_none()) {
                let text = format!("revision {revision}: {event:?} followed {previous:?}");
                self.add(Kind::WatchContent, &text);
            }
        }
    }

    fn compacts(&self) -> bool {
        let operations = &self.history.operations;
        operations.iter().any(|operation| matches!(operation.request, super::Request::Compact(_)))
    }
}
