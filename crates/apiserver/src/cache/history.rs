//! What happened before a cache was filled, read from the store for watches that resume from there.
//!
//! A cache knows its key space since the server first listed it, or since its ring last forgot something; the store
//! knows more. Deliberately absent: keeping any of it, for a client that resumes from so far back does it once.

use super::cacher::Cacher;
use super::event::CacheEvent;
use super::feed::{FRESH, Feed};
use crate::storage;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use machinery::Status;
use std::sync::Arc;
use store::{Commit, StoreError};

/// The changes of one commit; `Err` when the store failed half way, after which there would be a gap.
pub(super) type Past = BoxStream<'static, Result<Vec<Arc<CacheEvent>>, StoreError>>;

/// The changes of `cacher`'s key space after revision `after`, up to `until`. 410 when the store has forgotten them.
pub(super) async fn since(feed: &Feed, cacher: &Arc<Cacher>, after: i64, until: i64) -> Result<Past, Status> {
    let refuse = |error: StoreError| match error {
        StoreError::Compacted { oldest } => {
            Status::expired(format!("too old resource version: {after} ({oldest})"))
        }
        other => storage::status(&other),
    };
    let prefix = storage::prefix(cacher.storage());
    let end = store::kv::prefix_end(prefix.as_bytes());
    let watch = feed.store().watch(Bytes::from(prefix), end, Some(after.saturating_add(1)), true);
    let mut commits = watch.await.map_err(refuse)?;
    // Progress tells even of a time in which nothing happened here, so there is always a first answer.
    let first = match tokio::time::timeout(FRESH, commits.next()).await {
        Ok(Some(first)) => first.map_err(refuse)?,
        Ok(None) => return Err(storage::status(&StoreError::Closed)),
        Err(_) => return Err(Status::expired(format!("too old resource version: {after} ({until})"))),
    };
    let cacher = cacher.clone();
    let now = feed.clock().instant();
    let events = move |commit: Commit| {
        let revision = commit.revision;
        if revision > until {
            return Vec::new();
        }
        commit.events.iter().filter_map(|event| cacher.past(revision, event, now)).collect()
    };
    let known = stream::unfold(Some((Some(Ok(first)), commits)), move |state| async move {
        let (first, mut commits) = state?;
        let commit = match first {
            Some(first) => first,
            None => commits.next().await.unwrap_or(Err(StoreError::Closed)),
        };
        // Ends with what reaches the present, without waiting for anything after it.
        let goes_on = commit.as_ref().is_ok_and(|commit| commit.revision < until);
        Some((commit, goes_on.then_some((None, commits))))
    });
    Ok(known.map(move |commit| commit.map(&events)).boxed())
}
