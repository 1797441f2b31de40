//! Lists: every case of `resourceVersion` and `resourceVersionMatch`, and pages on consistent snapshots.
//!
//! Source: API concepts, "Semantics for get and list", "Retrieving large results sets in chunks".

use super::cacher::{Cacher, Snapshot};
use super::feed::Feed;
use super::selection::Selection;
use super::token::Token;
use crate::storage;
use api::StoredObject;
use api::transport::ListOptions;
use bytes::Bytes;
use machinery::{FieldErrors, FieldPath, GroupKind, Status};
use std::sync::Arc;
use store::{RangeOptions, StoreError};

/// A page of a list.
#[derive(Debug, Default)]
pub struct Page {
    /// Revision of the snapshot.
    pub revision: i64,
    /// The objects, ordered by key.
    pub items: Vec<Arc<StoredObject>>,
    /// What follows them, from [`list_for_stream`] only.
    pub walk: Option<Walk>,
    /// Token of the next page.
    pub continue_token: Option<String>,
    /// How many objects follow, where known.
    pub remaining: Option<u64>,
}

/// Bytes of objects that are gathered before the rest is left to a [`Walk`].
const AT_ONCE: usize = 256 * 1024;
/// Objects that a walk gives at a time.
const STEP: usize = 64;

/// The rest of a list, read from its snapshot when it is wanted: the first byte does not wait for the last object, and
/// nothing grows with their number.
#[derive(Debug)]
pub struct Walk {
    snapshot: Snapshot,
    prefix: String,
    /// The last object that was given.
    last: Arc<str>,
}

impl Walk {
    /// The next objects; none at the end.
    pub fn step(&mut self) -> Vec<Arc<StoredObject>> {
        let mut found = Vec::with_capacity(STEP);
        let mut last = None;
        for (key, object) in self.snapshot.after(&self.prefix, &self.last).take(STEP) {
            found.push(object.clone());
            last = Some(key);
        }
        if let Some(last) = last.cloned() {
            self.last = last;
        }
        found
    }
}

/// How recent a list must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    Consistent,
    Any,
    NotOlder(i64),
    Exact(i64),
}

/// Reads a resource version; 400 when it is not a number.
pub(super) fn parse_version(text: &str) -> Result<i64, Status> {
    text.parse::<u64>().ok().and_then(|v| i64::try_from(v).ok()).ok_or_else(|| {
        Status::bad_request(format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

fn forbidden(field: &str, why: &str) -> Status {
    let mut errors = FieldErrors::new();
    errors.forbidden(FieldPath::new(field), why);
    Status::invalid(&GroupKind::new("meta.k8s.io", "ListOptions"), "", &errors)
}

fn freshness(options: &ListOptions) -> Result<Freshness, Status> {
    const MATCH: &str = "resourceVersionMatch";
    let version = options.resource_version.as_deref();
    if options.send_initial_events.is_some() {
        return Err(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    let kind = options.resource_version_match.as_deref();
    match kind {
        None | Some("Exact" | "NotOlderThan") => {}
        Some(other) => {
            let mut errors = FieldErrors::new();
            errors.not_supported(FieldPath::new(MATCH), other, &["Exact", "NotOlderThan", ""]);
            return Err(Status::invalid(&GroupKind::new("meta.k8s.io", "ListOptions"), "", &errors));
        }
    }
    if kind.is_some() && options.continue_token.is_some() {
        return Err(forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
    }
    let Some(version) = version else {
        return match kind {
            Some(_) => {
                Err(forbidden(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
            }
            None => Ok(Freshness::Consistent),
        };
    };
    let parsed = parse_version(version)?;
    match (kind, parsed) {
        (Some("Exact"), 0) => {
            Err(forbidden(MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""))
        }
        (_, 0) => Ok(Freshness::Any),
        (Some("Exact"), exact) => Ok(Freshness::Exact(exact)),
        (None, exact) if options.limit > 0 => Ok(Freshness::Exact(exact)),
        (_, at_least) => Ok(Freshness::NotOlder(at_least)),
    }
}

/// The whole key space, not older than asked for.
async fn current(feed: &Feed, cacher: &Cacher, freshness: Freshness) -> Result<Snapshot, Status> {
    match freshness {
        Freshness::Consistent => feed.wait_consistent().await?,
        Freshness::NotOlder(revision) => feed.wait_for(revision).await?,
        Freshness::Any | Freshness::Exact(_) => {}
    }
    // Read before the snapshot: the caches have reached at least this.
    let applied = feed.applied();
    let mut snapshot = cacher.snapshot();
    snapshot.revision = snapshot.revision.max(applied);
    Ok(snapshot)
}

const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can \
     start a new list without the continue parameter, or use the continue token in this response to retrieve the \
     remainder of the results. Continuing with the provided token results in an inconsistent list - objects that \
     were created, modified, or deleted between the time the first chunk was returned and now may show up in the \
     list.";

/// The key space as it was at `revision`: a kept snapshot, the present one if nothing changed since, or history.
async fn exact(feed: &Feed, cacher: &Cacher, revision: i64) -> Result<Snapshot, StoreError> {
    if let Some(kept) = cacher.kept(revision) {
        return Ok(kept);
    }
    let prefix = storage::prefix(cacher.storage());
    let skip = prefix.len();
    let end = store::kv::prefix_end(prefix.as_bytes());
    let options = RangeOptions { revision: Some(revision), ..RangeOptions::default() };
    let range = feed.store().range(Bytes::from(prefix), end, options).await?;
    let objects = range
        .kvs
        .into_iter()
        .filter_map(|kv| {
            let key = std::str::from_utf8(kv.key.get(skip..)?).ok()?;
            let object = StoredObject::new(kv.mod_revision, kv.value).ok()?;
            Some((Arc::from(key), Arc::new(object)))
        })
        .collect();
    Ok(Snapshot { revision, objects })
}

/// Lists what `selection` selects.
pub async fn list(
    feed: &Feed,
    cacher: &Cacher,
    selection: &Selection,
    options: &ListOptions,
) -> Result<Page, Status> {
    read(feed, cacher, selection, options, usize::MAX).await
}

/// The same; of a long list without selectors and limit only the beginning is gathered.
pub async fn list_for_stream(
    feed: &Feed,
    cacher: &Cacher,
    selection: &Selection,
    options: &ListOptions,
) -> Result<Page, Status> {
    read(feed, cacher, selection, options, AT_ONCE).await
}

async fn read(
    feed: &Feed,
    cacher: &Cacher,
    selection: &Selection,
    options: &ListOptions,
    at_once: usize,
) -> Result<Page, Status> {
    let freshness = freshness(options)?;
    let token = options.continue_token.as_deref().map(Token::decode).transpose()?;
    if token.is_some() && !matches!(freshness, Freshness::Consistent | Freshness::Any) {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    let (snapshot, start) = match (token, freshness) {
        (Some(token), _) => {
            let start = format!("{}{}", selection.prefix(), token.start);
            let snapshot = if token.rv > 0 {
                match exact(feed, cacher, token.rv).await {
                    Ok(snapshot) => snapshot,
                    Err(StoreError::Compacted { .. }) => {
                        return Err(expired_continue(&token.start));
                    }
                    Err(error) => return Err(storage::status(&error)),
                }
            } else {
                current(feed, cacher, Freshness::Consistent).await?
            };
            (snapshot, start)
        }
        (None, Freshness::Exact(revision)) => {
            feed.wait_for(revision).await?;
            let snapshot = exact(feed, cacher, revision).await.map_err(|error| storage::status(&error))?;
            (snapshot, String::new())
        }
        (None, freshness) => (current(feed, cacher, freshness).await?, String::new()),
    };
    // Upstream's cache ignores the limit of lists that take anything.
    let limit = match (freshness, &options.continue_token) {
        (Freshness::Any, None) => 0,
        _ => usize::try_from(options.limit).unwrap_or(usize::MAX),
    };
    if limit == 0 && start.is_empty() && at_once < usize::MAX && selection.is_whole_prefix() {
        return Ok(beginning(snapshot, selection.prefix(), at_once));
    }
    Ok(page(feed, cacher, snapshot, selection, &start, limit))
}

/// So much of everything with a prefix, and a walk through the rest.
fn beginning(snapshot: Snapshot, prefix: &str, at_once: usize) -> Page {
    let mut page = Page { revision: snapshot.revision, ..Page::default() };
    let (mut bytes, mut last) = (0, None);
    for (key, object) in snapshot.range(prefix, "") {
        if bytes >= at_once {
            break;
        }
        bytes += object.raw().len();
        page.items.push(object.clone());
        last = Some(key.clone());
    }
    if let Some(last) = last.filter(|_| bytes >= at_once) {
        page.walk = Some(Walk { snapshot, prefix: prefix.to_owned(), last });
    }
    page
}

fn page(
    feed: &Feed,
    cacher: &Cacher,
    snapshot: Snapshot,
    selection: &Selection,
    start: &str,
    limit: usize,
) -> Page {
    let mut page = Page { revision: snapshot.revision, ..Page::default() };
    let (mut rest, mut last) = (0_u64, "");
    for (key, object) in snapshot.range(selection.prefix(), start) {
        if limit > 0 && page.items.len() == limit {
            if page.continue_token.is_none() {
                // Right after the last one, so that a list that goes on inconsistently misses nothing new.
                let start = last.strip_prefix(selection.prefix()).unwrap_or(last);
                page.continue_token = Some(Token::new(snapshot.revision, &format!("{start}\0")).encode());
                if !selection.is_whole_prefix() {
                    break;
                }
            }
            rest += 1;
            continue;
        }
        if selection.matches(key, object) {
            page.items.push(object.clone());
            last = key;
        }
    }
    if page.continue_token.is_some() {
        // Only an unfiltered count is known without looking at every object.
        page.remaining = selection.is_whole_prefix().then_some(rest);
        cacher.keep(snapshot, feed.clock().instant());
    }
    page
}

/// 410 with a token that goes on inconsistently, in `metadata.continue` of the Status.
fn expired_continue(start: &str) -> Status {
    let mut status = Status::expired(TOO_OLD);
    let cause = machinery::StatusCause {
        reason: CONTINUE_CAUSE.to_owned(),
        message: Token::new(-1, start).encode(),
        field: String::new(),
    };
    status.details = Some(Box::new(machinery::StatusDetails {
        causes: vec![cause],
        ..machinery::StatusDetails::default()
    }));
    status
}

/// Marks the cause that carries the token until the Status is written, where it moves to `metadata.continue`.
pub(crate) const CONTINUE_CAUSE: &str = "\u{0}continue";

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rv: Option<&str>, kind: Option<&str>, limit: u64) -> ListOptions {
        ListOptions {
            resource_version: rv.map(str::to_owned),
            resource_version_match: kind.map(str::to_owned),
            limit,
            ..ListOptions::default()
        }
    }

    #[test]
    fn a_walk_gives_what_follows_and_nothing_else() {
        let object = || {
            let raw = Bytes::from_static(br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#);
            Arc::new(StoredObject::new(1, raw).unwrap())
        };
        let key = |namespace: &str, number: usize| Arc::from(format!("{namespace}/{number:04}"));
        let namespaces = ["a", "b", "c"];
        let keys = namespaces.iter().flat_map(|namespace| (0..300).map(move |number| key(namespace, number)));
        let snapshot = Snapshot { revision: 7, objects: keys.map(|key| (key, object())).collect() };
        for (at_once, prefix, expected) in [(1, "b/", 300), (600, "b/", 300), (1, "", 900), (1, "d/", 0)] {
            let mut page = beginning(snapshot.clone(), prefix, at_once);
            let mut found = page.items.clone();
            while let Some(step) = page.walk.as_mut().map(Walk::step).filter(|step| !step.is_empty()) {
                found.extend(step);
            }
            let all: Vec<_> = snapshot.range(prefix, "").map(|(_, object)| object.clone()).collect();
            assert_eq!(found.len(), expected, "{prefix:?}, {at_once} bytes at once");
            assert!(found.iter().zip(&all).all(|(one, other)| Arc::ptr_eq(one, other)));
        }
    }

    #[test]
    fn the_table_of_resource_version_semantics() {
        let rows = [
            (options(None, None, 0), Freshness::Consistent),
            (options(Some("0"), None, 0), Freshness::Any),
            (options(Some("7"), None, 0), Freshness::NotOlder(7)),
            (options(Some("7"), None, 5), Freshness::Exact(7)),
            (options(Some("7"), Some("Exact"), 0), Freshness::Exact(7)),
            (options(Some("7"), Some("NotOlderThan"), 5), Freshness::NotOlder(7)),
            (options(Some("0"), Some("NotOlderThan"), 0), Freshness::Any),
        ];
        for (options, expected) in rows {
            assert_eq!(freshness(&options).unwrap(), expected, "{options:?}");
        }
        for bad in [
            options(None, Some("Exact"), 0),
            options(Some("0"), Some("Exact"), 0),
            options(Some("x"), None, 0),
        ] {
            assert!(freshness(&bad).is_err(), "{bad:?}");
        }
    }
}
