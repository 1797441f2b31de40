//! Ranges: what the store does not do itself (order, bounds of revisions) is done here on what it found.

use super::kv::key_value;
use crate::kv::{KeyValue, Range, RangeOptions};
use crate::rpc::range_request::{SortOrder, SortTarget};
use crate::rpc::{RangeRequest, RangeResponse};
use bytes::Bytes;
use std::cmp::Ordering;

/// Bounds on revisions were given.
fn is_bounded(request: &RangeRequest) -> bool {
    let RangeRequest { min_mod_revision, max_mod_revision, min_create_revision, max_create_revision, .. } =
        request;
    [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision]
        .iter()
        .any(|bound| **bound != 0)
}

/// The order to bring the keys into, if it is not the store's own.
fn order(request: &RangeRequest) -> Option<(SortTarget, SortOrder)> {
    let target = SortTarget::try_from(request.sort_target).unwrap_or_default();
    match SortOrder::try_from(request.sort_order).unwrap_or_default() {
        SortOrder::None if target == SortTarget::Key => None,
        SortOrder::Ascend if target == SortTarget::Key => None,
        // As etcd does: a target alone means ascending.
        SortOrder::None => Some((target, SortOrder::Ascend)),
        order => Some((target, order)),
    }
}

/// What to ask the store.
pub(super) fn options(request: &RangeRequest) -> RangeOptions {
    // Without an order, etcd cuts before it sorts by a target.
    let needs_all = is_bounded(request) || request.sort_order != SortOrder::None as i32;
    let needs_values = order(request).is_some_and(|(target, _)| target == SortTarget::Value);
    RangeOptions {
        revision: Some(request.revision).filter(|revision| *revision > 0),
        limit: if needs_all { 0 } else { usize::try_from(request.limit).unwrap_or(0) },
        count_only: request.count_only,
        keys_only: request.keys_only && !needs_values,
    }
}

fn is_within(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

fn compare(target: SortTarget, a: &KeyValue, b: &KeyValue) -> Ordering {
    match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    }
}

/// The answer, without its header.
pub(super) fn answer(request: &RangeRequest, found: Range) -> RangeResponse {
    let Range { mut kvs, mut more, count, .. } = found;
    if is_bounded(request) {
        kvs.retain(|kv| is_within(request, kv));
    }
    match order(request) {
        Some((target, SortOrder::Descend)) => kvs.sort_by(|a, b| compare(target, b, a)),
        Some((target, _)) => kvs.sort_by(|a, b| compare(target, a, b)),
        None => {}
    }
    let limit = usize::try_from(request.limit).unwrap_or(0);
    if limit > 0 && kvs.len() > limit {
        kvs.truncate(limit);
        more = true;
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    let kvs = kvs.into_iter().map(key_value).collect();
    RangeResponse { header: None, kvs, more, count: count as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Range {
        let kv = |key: &'static str, value: &'static str, create, modified| KeyValue {
            key: key.into(),
            value: value.into(),
            create_revision: create,
            mod_revision: modified,
            version: 1,
            lease: 0,
        };
        let kvs = vec![kv("a", "3", 2, 9), kv("b", "1", 3, 3), kv("c", "2", 4, 8)];
        Range { revision: 9, count: 3, kvs, more: false }
    }

    fn keys(request: RangeRequest) -> String {
        let answer = answer(&request, found());
        let keys: Vec<_> =
            answer.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect();
        format!("{}{}/{}", keys.concat(), if answer.more { "+" } else { "" }, answer.count)
    }

    fn sorted(target: SortTarget, order: SortOrder, limit: i64) -> RangeRequest {
        RangeRequest { sort_target: target.into(), sort_order: order.into(), limit, ..Default::default() }
    }

    #[test]
    fn order_and_limit() {
        assert_eq!(keys(sorted(SortTarget::Key, SortOrder::Descend, 2)), "cb+/3");
        assert_eq!(keys(sorted(SortTarget::Value, SortOrder::Ascend, 0)), "bca/3");
        assert_eq!(keys(sorted(SortTarget::Mod, SortOrder::None, 0)), "bca/3");
        assert_eq!(keys(sorted(SortTarget::Create, SortOrder::Descend, 1)), "c+/3");
    }

    #[test]
    fn bounds_of_revisions() {
        let request =
            RangeRequest { min_mod_revision: 4, max_mod_revision: 8, limit: 5, ..Default::default() };
        assert_eq!(options(&request).limit, 0, "the bounds come before the limit");
        assert_eq!(keys(request), "c/3", "the count is that of the range");
    }

    #[test]
    fn values_are_needed_to_sort_by_them() {
        let request = RangeRequest { keys_only: true, ..sorted(SortTarget::Value, SortOrder::Ascend, 0) };
        assert!(!options(&request).keys_only);
        assert!(answer(&request, found()).kvs.iter().all(|kv| kv.value.is_empty()));
    }
}
