//! The trait's values as etcd's messages and back.
//!
//! What arrives is copied out of the message that it came in: a value that is kept for weeks must not hold on to the
//! megabytes that it once travelled with.

use crate::kv::{
    Compare, Event, EventKind, KeyValue, Op, OpResult, Range, RangeOptions, Revision, StoreError, Txn,
    TxnResult,
};
use crate::rpc;
use crate::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use bytes::Bytes;
use std::cmp::Ordering;

/// To the end of the key space.
pub(super) const END: &[u8] = b"\0";

/// `[start, end)` as etcd writes it. The empty key does not exist, and etcd refuses it.
pub(super) fn keys(start: &Bytes, end: Option<&Bytes>) -> (Bytes, Bytes) {
    let first = if start.is_empty() && end.is_some() { Bytes::from_static(END) } else { start.clone() };
    let last = match end {
        None => Bytes::new(),
        // Nothing lies before the empty key; to etcd an empty end means something else.
        Some(end) if end.is_empty() => first.clone(),
        Some(end) => end.clone(),
    };
    (first, last)
}

pub(super) fn range_request(start: &Bytes, end: Option<&Bytes>, options: &RangeOptions) -> rpc::RangeRequest {
    let (key, range_end) = keys(start, end);
    rpc::RangeRequest {
        key,
        range_end,
        limit: i64::try_from(options.limit).unwrap_or(i64::MAX),
        revision: options.revision.unwrap_or(0),
        keys_only: options.keys_only,
        count_only: options.count_only,
        ..rpc::RangeRequest::default()
    }
}

fn compare(compare: &Compare) -> rpc::Compare {
    let (key, order, target, value) = match compare {
        Compare::ModRevision(key, order, revision) => {
            (key, order, CompareTarget::Mod, TargetUnion::ModRevision(*revision))
        }
        Compare::CreateRevision(key, order, revision) => {
            (key, order, CompareTarget::Create, TargetUnion::CreateRevision(*revision))
        }
        Compare::Version(key, order, version) => {
            (key, order, CompareTarget::Version, TargetUnion::Version(*version))
        }
        Compare::Value(key, order, value) => {
            (key, order, CompareTarget::Value, TargetUnion::Value(value.clone()))
        }
        Compare::Lease(key, order, lease) => (key, order, CompareTarget::Lease, TargetUnion::Lease(*lease)),
    };
    let result = match order {
        Ordering::Equal => CompareResult::Equal,
        Ordering::Greater => CompareResult::Greater,
        Ordering::Less => CompareResult::Less,
    };
    rpc::Compare {
        result: result.into(),
        target: target.into(),
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(value),
    }
}

fn op(op: &Op) -> rpc::RequestOp {
    use rpc::request_op::Request;
    let request = match op {
        Op::Put { key, value, lease } => Request::RequestPut(rpc::PutRequest {
            key: key.clone(),
            value: value.clone(),
            lease: *lease,
            prev_kv: true,
            ..rpc::PutRequest::default()
        }),
        Op::Delete { start, end } => {
            let (key, range_end) = keys(start, end.as_ref());
            Request::RequestDeleteRange(rpc::DeleteRangeRequest { key, range_end, prev_kv: true })
        }
        Op::Range { start, end, options } => {
            Request::RequestRange(range_request(start, end.as_ref(), options))
        }
    };
    rpc::RequestOp { request: Some(request) }
}

pub(super) fn txn_request(txn: &Txn) -> rpc::TxnRequest {
    rpc::TxnRequest {
        compare: txn.compares.iter().map(compare).collect(),
        success: txn.success.iter().map(op).collect(),
        failure: txn.failure.iter().map(op).collect(),
    }
}

pub(super) fn key_value(kv: &rpc::KeyValue) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(&kv.key),
        value: Bytes::copy_from_slice(&kv.value),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

pub(super) fn revision(header: Option<&rpc::ResponseHeader>) -> Revision {
    header.map_or(0, |header| header.revision)
}

/// `at` is the revision of the answer that this range is part of.
pub(super) fn range(response: &rpc::RangeResponse, at: Revision) -> Range {
    Range {
        revision: response.header.as_ref().map_or(at, |header| header.revision.max(at)),
        kvs: response.kvs.iter().map(key_value).collect(),
        more: response.more,
        count: usize::try_from(response.count).unwrap_or(0),
    }
}

pub(super) fn txn_result(response: &rpc::TxnResponse) -> Result<TxnResult, StoreError> {
    use rpc::response_op::Response;
    let at = revision(response.header.as_ref());
    let result = |response: &rpc::ResponseOp| match &response.response {
        Some(Response::ResponsePut(put)) => Ok(OpResult::Put(put.prev_kv.as_ref().map(key_value))),
        Some(Response::ResponseDeleteRange(delete)) => {
            Ok(OpResult::Delete(delete.prev_kvs.iter().map(key_value).collect()))
        }
        Some(Response::ResponseRange(found)) => Ok(OpResult::Range(range(found, at))),
        Some(Response::ResponseTxn(_)) | None => {
            Err(StoreError::Io("etcd answered a transaction with something else".to_owned()))
        }
    };
    Ok(TxnResult {
        succeeded: response.succeeded,
        revision: at,
        results: response.responses.iter().map(result).collect::<Result<_, _>>()?,
    })
}

/// A change, and its revision.
pub(super) fn event(event: &rpc::Event) -> Option<(Revision, Event)> {
    let kv = event.kv.as_ref()?;
    let kind = match event.r#type() {
        rpc::event::EventType::Put => EventKind::Put,
        rpc::event::EventType::Delete => EventKind::Delete,
    };
    let previous = event.prev_kv.as_ref().map(key_value);
    Some((kv.mod_revision, Event { kind, kv: key_value(kv), previous }))
}
