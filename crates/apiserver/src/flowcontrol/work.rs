//! How many seats a request takes, and for how long after it was answered (KEP-1040, "Width of a request").
//!
//! A list takes more seats the more bytes it holds in memory at once, a write keeps seats for the events that its
//! watchers get. Deliberately absent: measuring; these are estimates made before the request runs.

use crate::cache::{Feed, Load};
use crate::contract::Attributes;
use crate::request::Query;
use machinery::GroupResource;
use std::time::Duration;

/// Bytes of a list for which it takes one seat.
const BYTES_PER_SEAT: u64 = 100_000;
/// Bytes that a list from the cache holds at once, since it is streamed.
const STREAMED: u64 = 1_000_000;
/// Seats of a list at most, and of a write's events.
const MAX_LIST_SEATS: u64 = 100;
const MAX_WRITE_SEATS: u64 = 10;
/// Watchers that one seat serves, and for how long.
const WATCHERS_PER_SEAT: usize = 10;
const EVENT_TIME: Duration = Duration::from_millis(5);

/// The estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Seats while the request runs.
    pub(super) seats: u32,
    /// Seats afterwards, for as long as `after`.
    pub(super) last: u32,
    pub(super) after: Duration,
}

impl Work {
    /// A request like any other.
    pub(super) const ONE: Self = Self { seats: 1, last: 0, after: Duration::ZERO };

    /// Seats that must be free for the request to start.
    pub(super) fn width(self) -> u32 {
        self.seats.max(self.last)
    }
}

/// What a list asks for, as far as it decides the cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Listing {
    limit: u64,
    /// Whether the watch cache's newest state does not answer it.
    past: bool,
    selected: bool,
    initial_events: bool,
}

impl Listing {
    /// Reads the query of a list or watch.
    pub(crate) fn of(query: &Query) -> Self {
        let filled = |name: &str| query.get(name).is_some_and(|value| !value.is_empty());
        Self {
            limit: query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(0),
            past: filled("continue") || query.get("resourceVersionMatch") == Some("Exact"),
            selected: filled("fieldSelector") || filled("labelSelector"),
            initial_events: query.flag("sendInitialEvents"),
        }
    }

    /// Reads the options of a list or watch in process.
    pub(crate) fn of_options(options: &api::transport::ListOptions) -> Self {
        Self {
            limit: options.limit,
            past: options.continue_token.is_some()
                || options.resource_version_match.as_deref() == Some("Exact"),
            selected: options.field_selector.is_some() || options.label_selector.is_some(),
            initial_events: options.send_initial_events == Some(true),
        }
    }
}

/// Estimates a request. `max_seats` is the most that its priority level gives to one.
pub(super) fn estimate(
    feed: Option<&Feed>,
    attributes: &Attributes,
    listing: Listing,
    max_seats: u32,
) -> Work {
    let Some(feed) = feed.filter(|_| attributes.resource_request) else { return Work::ONE };
    match attributes.verb.as_ref() {
        "watch" if !listing.initial_events => Work::ONE,
        "list" | "watch" if attributes.name.is_empty() => {
            let Some(load) = load(feed, attributes) else { return Work::ONE };
            let seats = list_seats(&load, listing, attributes.verb == "watch").min(u64::from(max_seats));
            Work { seats: u32::try_from(seats.max(1)).unwrap_or(1), ..Work::ONE }
        }
        "create" | "update" | "patch" | "delete" if attributes.subresource.is_empty() => {
            let watchers = load(feed, attributes).map_or(0, |load| load.watchers);
            write_work(watchers, max_seats)
        }
        _ => Work::ONE,
    }
}

fn load(feed: &Feed, attributes: &Attributes) -> Option<Load> {
    feed.load(&GroupResource { group: attributes.group.clone(), resource: attributes.resource.clone() })
}

fn list_seats(load: &Load, listing: Listing, watch: bool) -> u64 {
    let all = load.objects as u64;
    let limited = if listing.limit > 0 { all.min(listing.limit) } else { all };
    let cached = watch || !listing.past;
    let held = if !cached && listing.selected { limited.max(all / 2) } else { limited };
    let mut bytes = held.saturating_mul(load.average_bytes as u64);
    if cached {
        bytes = bytes.min(STREAMED);
    }
    bytes.div_ceil(BYTES_PER_SEAT).min(MAX_LIST_SEATS)
}

fn write_work(watchers: usize, max_seats: u32) -> Work {
    if watchers < WATCHERS_PER_SEAT {
        return Work::ONE;
    }
    let wanted = u32::try_from(watchers.div_ceil(WATCHERS_PER_SEAT)).unwrap_or(u32::MAX);
    let last = u64::from(wanted.min(max_seats)).clamp(1, MAX_WRITE_SEATS);
    let last = u32::try_from(last).unwrap_or(1);
    // Fewer seats than wanted are kept for longer.
    Work { seats: 1, last, after: EVENT_TIME.saturating_mul(wanted) / last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_take_seats_by_their_bytes() {
        let load = |objects, average_bytes| Load { objects, average_bytes, watchers: 0 };
        let all = Listing::default();
        let page = Listing { limit: 100, ..all };
        let past = Listing { past: true, ..all };
        let past_selected = Listing { selected: true, limit: 10, ..past };
        assert_eq!(list_seats(&load(99, 1_010), all, false), 1);
        assert_eq!(list_seats(&load(1_000, 1_000), all, false), 10);
        assert_eq!(list_seats(&load(1_000, 1_000), page, false), 1);
        assert_eq!(list_seats(&load(100_000, 1_000), all, false), 10, "streamed from the cache");
        assert_eq!(list_seats(&load(100_000, 1_000), past, false), 100, "the most that there are");
        assert_eq!(list_seats(&load(1_000, 1_000), past_selected, false), 5);
        assert_eq!(list_seats(&load(0, 0), all, true), 0);
    }

    #[test]
    fn writes_keep_seats_for_their_watchers() {
        assert_eq!(write_work(9, 10), Work::ONE);
        assert_eq!(write_work(25, 10), Work { seats: 1, last: 3, after: Duration::from_millis(5) });
        // A hundred seats were wanted: ten of them for ten times as long.
        assert_eq!(write_work(1000, 10), Work { seats: 1, last: 10, after: Duration::from_millis(50) });
        assert_eq!(write_work(1000, 10).width(), 10);
    }
}
