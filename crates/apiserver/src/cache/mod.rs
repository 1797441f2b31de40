//! The watch caches: one per key space, all fed by one watch of the store, serving every list and watch.
//!
//! A cache is a persistent ordered map, so that a list takes a snapshot in constant time and streams it without a
//! lock, and a ring of recent events that all watchers read at their own pace: a slow one costs nobody else
//! anything and is cut off when the ring has moved past it. Caches start when first used.
//!
//! Deliberately absent: encoding, authorization, writes.

mod cacher;
mod event;
mod feed;
mod history;
mod list;
mod selection;
mod token;
mod waiting;
mod watch;

pub use cacher::{Cacher, Load, Snapshot};
pub use event::{CacheEvent, Change, Encoding};
pub use feed::Feed;
pub(crate) use list::CONTINUE_CAUSE;
pub use list::{Page, Walk, list, list_for_stream};
pub use selection::Selection;
pub use watch::{Deliveries, Delivery, watch};
