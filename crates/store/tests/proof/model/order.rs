//! Real time: what was answered before something was called comes before it in the order of revisions.

use super::check::{Found, Kind};
use super::history::{Answer, History};
use super::sequential::wrote;
use super::timeline::{Maker, Timeline, seen};
use store::Revision;

pub(crate) fn check(history: &History, timeline: &Timeline, found: &mut Found) {
    for (number, operation) in history.operations.iter().enumerate() {
        let Some(revision) = seen(operation) else { continue };
        let known = timeline.observed_before(operation.call.index);
        let writes = matches!(&operation.answer, Answer::Txn(result) if wrote(result));
        if revision < known || (writes && revision == known) {
            let what = if writes { "wrote" } else { "read" };
            let text = format!(
                "operation {number} {what} revision {revision}, but {known} was known before it was called: \
                 {operation:?}"
            );
            found.add(Kind::Order, text);
        }
    }
    makers(history, timeline, found);
}

/// Nothing is seen before whoever made it was called.
fn makers(history: &History, timeline: &Timeline, found: &mut Found) {
    for (at, maker) in timeline.makers.iter().enumerate() {
        let revision = at as Revision + 2;
        let Maker::Operation(number) = maker else { continue };
        let seen = timeline.first_seen(revision);
        if history.operations.get(*number).is_some_and(|operation| operation.call.index > seen.index) {
            found.add(Kind::Order, format!("revision {revision} was seen before its writer was called"));
        }
    }
}
