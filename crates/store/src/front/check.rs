//! What etcd refuses before it does anything, in etcd's words.

use super::error::{empty_key, invalid, unsupported};
use crate::rpc::request_op::Request as Kind;
use crate::rpc::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, range_request,
};
use tonic::Status;

/// Transactions inside transactions at most.
const MAX_DEPTH: usize = 16;

pub(crate) fn range(request: &RangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(empty_key());
    }
    let is_known = range_request::SortOrder::try_from(request.sort_order).is_ok()
        && range_request::SortTarget::try_from(request.sort_target).is_ok();
    if is_known { Ok(()) } else { Err(invalid("invalid sort option")) }
}

pub(crate) fn put(request: &PutRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(empty_key());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(invalid("value is provided"));
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(invalid("lease is provided"));
    }
    Ok(())
}

pub(crate) fn delete(request: &DeleteRangeRequest) -> Result<(), Status> {
    if request.key.is_empty() { Err(empty_key()) } else { Ok(()) }
}

/// Keys that one transaction writes twice are found by the store.
pub(crate) fn txn(request: &TxnRequest, max_ops: usize) -> Result<(), Status> {
    nested(request, max_ops, MAX_DEPTH)
}

fn nested(request: &TxnRequest, max_ops: usize, depth: usize) -> Result<(), Status> {
    let TxnRequest { compare, success, failure } = request;
    let used = compare.len().max(success.len()).max(failure.len());
    if used > max_ops || depth == 0 {
        return Err(invalid("too many operations in txn request"));
    }
    compare.iter().try_for_each(condition)?;
    success.iter().chain(failure).try_for_each(|op| operation(op, max_ops - used, depth))
}

fn condition(compare: &Compare) -> Result<(), Status> {
    if compare.key.is_empty() {
        return Err(empty_key());
    }
    if !compare.range_end.is_empty() {
        return Err(unsupported(
            "compares over a range of keys are not supported by this server; compare key by key",
        ));
    }
    Ok(())
}

fn operation(op: &RequestOp, max_ops: usize, depth: usize) -> Result<(), Status> {
    match &op.request {
        Some(Kind::RequestRange(request)) => range(request),
        Some(Kind::RequestPut(request)) => put(request),
        Some(Kind::RequestDeleteRange(request)) => delete(request),
        Some(Kind::RequestTxn(request)) => nested(request, max_ops, depth - 1),
        // etcd's words for an operation without content.
        None => Err(invalid("key not found")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
    use super::*;

    fn operation(kind: Kind) -> RequestOp {
        RequestOp { request: Some(kind) }
    }

    #[test]
    fn transactions_are_bounded() {
        let put = || operation(Kind::RequestPut(PutRequest { key: "a".into(), ..Default::default() }));
        let of = |count| TxnRequest { success: (0..count).map(|_| put()).collect(), ..Default::default() };
        assert!(txn(&of(3), 3).is_ok());
        assert!(txn(&of(4), 3).unwrap_err().message().contains("too many operations"));
        let inside = TxnRequest { success: vec![operation(Kind::RequestTxn(of(3)))], ..Default::default() };
        assert!(txn(&inside, 4).is_ok());
        assert!(txn(&inside, 3).is_err(), "what is outside counts inside");
        let deep = (0..40).fold(of(1), |txn, _| TxnRequest {
            success: vec![operation(Kind::RequestTxn(txn))],
            ..Default::default()
        });
        assert!(txn(&deep, 128).is_err());
    }

    #[test]
    fn what_is_ignored_must_not_be_given() {
        let request = |value: &str, lease, ignore_value, ignore_lease| PutRequest {
            key: "k".into(),
            value: value.to_owned().into(),
            lease,
            ignore_value,
            ignore_lease,
            ..Default::default()
        };
        assert_eq!(
            put(&request("v", 0, true, false)).unwrap_err().message(),
            "etcdserver: value is provided"
        );
        assert_eq!(put(&request("", 7, false, true)).unwrap_err().message(), "etcdserver: lease is provided");
        assert!(put(&request("v", 7, false, false)).is_ok());
    }
}
