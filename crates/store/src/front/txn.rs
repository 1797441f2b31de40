//! Transactions. Most are the store's own and run as they are. What the trait has no word for (transactions inside
//! transactions, `!=`, puts that keep the value or the lease) is decided here from what the keys hold, and run
//! under the condition that none of them changed meanwhile; if one did, again.
//!
//! That is etcd's meaning: it too decides all branches, nested ones included, before the first operation.

use super::kv::{delete_answer, delete_op, end, put_answer, put_op};
use super::{Front, error, range};
use crate::kv::{self, KeyValue, Op, OpResult, RangeOptions, Revision, StoreError};
use crate::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::rpc::request_op::Request as Kind;
use crate::rpc::response_op::Response as Answer;
use crate::rpc::{
    Compare, DeleteRangeResponse, PutRequest, PutResponse, RangeResponse, RequestOp, ResponseHeader,
    ResponseOp, TxnRequest, TxnResponse,
};
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use tonic::Status;

/// Every failed attempt means that someone else's write went through, so this is reached only on keys that are
/// written all the time.
const ATTEMPTS: usize = 128;

/// Runs a transaction that was checked.
pub(super) async fn run(front: &Front, request: TxnRequest) -> Result<TxnResponse, Status> {
    let Some(txn) = direct(&request) else { return decided(front, &request).await };
    let result = front.0.store.txn(txn).await.map_err(error::status)?;
    let ops = if result.succeeded { &request.success } else { &request.failure };
    let mut results = result.results.into_iter();
    let responses = ops.iter().map(|op| answer(op, results.next(), result.revision)).collect();
    Ok(TxnResponse { header: front.header(result.revision), succeeded: result.succeeded, responses })
}

/// Runs a put that keeps the value or the lease.
pub(super) async fn put(front: &Front, put: PutRequest) -> Result<PutResponse, Status> {
    let op = RequestOp { request: Some(Kind::RequestPut(put)) };
    let request = TxnRequest { success: vec![op], ..TxnRequest::default() };
    let response = decided(front, &request).await?;
    match response.responses.into_iter().next().and_then(|op| op.response) {
        Some(Answer::ResponsePut(answer)) => Ok(PutResponse { header: response.header, ..answer }),
        _ => Err(Status::internal("etcdserver: a put was answered by something else")),
    }
}

/// The transaction in the store's words, if it has them.
fn direct(request: &TxnRequest) -> Option<kv::Txn> {
    Some(kv::Txn {
        compares: request.compare.iter().map(condition).collect::<Option<_>>()?,
        success: request.success.iter().map(direct_op).collect::<Option<_>>()?,
        failure: request.failure.iter().map(direct_op).collect::<Option<_>>()?,
    })
}

fn direct_op(op: &RequestOp) -> Option<Op> {
    match op.request.as_ref()? {
        Kind::RequestPut(put) if put.ignore_value || put.ignore_lease => None,
        Kind::RequestPut(put) => Some(put_op(put)),
        Kind::RequestTxn(_) => None,
        other => read_or_delete(other),
    }
}

fn read_or_delete(kind: &Kind) -> Option<Op> {
    match kind {
        Kind::RequestRange(request) => Some(Op::Range {
            start: request.key.clone(),
            end: end(&request.range_end),
            options: range::options(request),
        }),
        Kind::RequestDeleteRange(delete) => Some(delete_op(delete)),
        Kind::RequestPut(_) | Kind::RequestTxn(_) => None,
    }
}

/// What a comparison compares with. A target without its value is compared with zero, as in etcd.
enum Operand {
    Number(i64),
    Bytes(Bytes),
}

fn operand(compare: &Compare) -> Operand {
    let number = |number: Option<i64>| Operand::Number(number.unwrap_or(0));
    let union = compare.target_union.as_ref();
    match CompareTarget::try_from(compare.target).unwrap_or_default() {
        CompareTarget::Version => number(match union {
            Some(TargetUnion::Version(value)) => Some(*value),
            _ => None,
        }),
        CompareTarget::Create => number(match union {
            Some(TargetUnion::CreateRevision(value)) => Some(*value),
            _ => None,
        }),
        CompareTarget::Mod => number(match union {
            Some(TargetUnion::ModRevision(value)) => Some(*value),
            _ => None,
        }),
        CompareTarget::Lease => number(match union {
            Some(TargetUnion::Lease(value)) => Some(*value),
            _ => None,
        }),
        CompareTarget::Value => Operand::Bytes(match union {
            Some(TargetUnion::Value(value)) => value.clone(),
            _ => Bytes::new(),
        }),
    }
}

fn condition(compare: &Compare) -> Option<kv::Compare> {
    let want = match CompareResult::try_from(compare.result).unwrap_or_default() {
        CompareResult::Equal => Ordering::Equal,
        CompareResult::Greater => Ordering::Greater,
        CompareResult::Less => Ordering::Less,
        CompareResult::NotEqual => return None,
    };
    let key = compare.key.clone();
    Some(match (CompareTarget::try_from(compare.target).unwrap_or_default(), operand(compare)) {
        (CompareTarget::Version, Operand::Number(than)) => kv::Compare::Version(key, want, than),
        (CompareTarget::Create, Operand::Number(than)) => kv::Compare::CreateRevision(key, want, than),
        (CompareTarget::Mod, Operand::Number(than)) => kv::Compare::ModRevision(key, want, than),
        (CompareTarget::Lease, Operand::Number(than)) => kv::Compare::Lease(key, want, than),
        (_, Operand::Bytes(than)) => kv::Compare::Value(key, want, than),
        (CompareTarget::Value, Operand::Number(_)) => return None,
    })
}

/// Whether `compare` holds for what its key is now.
fn holds(compare: &Compare, now: Option<&KeyValue>) -> bool {
    let found = match operand(compare) {
        // Never true of a key that does not exist, whatever the comparison.
        Operand::Bytes(than) => match now {
            Some(kv) => kv.value.cmp(&than),
            None => return false,
        },
        Operand::Number(than) => {
            let read = |kv: &KeyValue| match CompareTarget::try_from(compare.target).unwrap_or_default() {
                CompareTarget::Create => kv.create_revision,
                CompareTarget::Mod => kv.mod_revision,
                CompareTarget::Lease => kv.lease,
                CompareTarget::Version | CompareTarget::Value => kv.version,
            };
            now.map_or(0, read).cmp(&than)
        }
    };
    match CompareResult::try_from(compare.result).unwrap_or_default() {
        CompareResult::Equal => found == Ordering::Equal,
        CompareResult::Greater => found == Ordering::Greater,
        CompareResult::Less => found == Ordering::Less,
        CompareResult::NotEqual => found != Ordering::Equal,
    }
}

/// What the keys that decide hold.
type Known = BTreeMap<Bytes, Option<KeyValue>>;

/// A transaction whose branches are decided.
struct Decided<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Op(&'a RequestOp),
    Txn(Decided<'a>),
}

async fn decided(front: &Front, request: &TxnRequest) -> Result<TxnResponse, Status> {
    let mut keys = BTreeSet::new();
    deciding(request, &mut keys);
    for _ in 0..ATTEMPTS {
        let known = match read(front, &keys).await {
            Ok(known) => known,
            // Compaction went past the revision between two reads.
            Err(StoreError::Compacted { .. }) => continue,
            Err(error) => return Err(error::status(error)),
        };
        let mut ops = Vec::new();
        let decided = decide(request, &known, &mut ops)?;
        let guard = |(key, now): (&Bytes, &Option<KeyValue>)| {
            let revision = now.as_ref().map_or(0, |kv| kv.mod_revision);
            kv::Compare::ModRevision(key.clone(), Ordering::Equal, revision)
        };
        let compares = known.iter().map(guard).collect();
        let txn = kv::Txn { compares, success: ops, failure: Vec::new() };
        let result = front.0.store.txn(txn).await.map_err(error::status)?;
        if result.succeeded {
            let mut results = result.results.into_iter();
            let answer = nested_answer(&decided, &mut results, result.revision);
            return Ok(TxnResponse { header: front.header(result.revision), ..answer });
        }
    }
    Err(Status::resource_exhausted("etcdserver: too many requests"))
}

/// The keys that decide what `request` does.
fn deciding(request: &TxnRequest, keys: &mut BTreeSet<Bytes>) {
    keys.extend(request.compare.iter().map(|compare| compare.key.clone()));
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Kind::RequestPut(put)) if put.ignore_value || put.ignore_lease => {
                keys.insert(put.key.clone());
            }
            Some(Kind::RequestTxn(txn)) => deciding(txn, keys),
            _ => {}
        }
    }
}

/// Reads all of them at one revision.
async fn read(front: &Front, keys: &BTreeSet<Bytes>) -> Result<Known, StoreError> {
    let store = &front.0.store;
    let revision: Revision = store.revision().await?;
    let mut known = Known::new();
    for key in keys {
        let options = RangeOptions { revision: Some(revision), ..RangeOptions::default() };
        let mut range = store.range(key.clone(), None, options).await?;
        known.insert(key.clone(), range.kvs.pop());
    }
    Ok(known)
}

fn decide<'a>(request: &'a TxnRequest, known: &Known, ops: &mut Vec<Op>) -> Result<Decided<'a>, Status> {
    let of = |key: &Bytes| known.get(key).and_then(Option::as_ref);
    let succeeded = request.compare.iter().all(|compare| holds(compare, of(&compare.key)));
    let mut steps = Vec::new();
    for op in if succeeded { &request.success } else { &request.failure } {
        match &op.request {
            Some(Kind::RequestTxn(txn)) => {
                steps.push(Step::Txn(decide(txn, known, ops)?));
                continue;
            }
            Some(Kind::RequestPut(put)) => ops.push(keeping(put, of(&put.key))?),
            Some(other) => ops.extend(read_or_delete(other)),
            None => {}
        }
        steps.push(Step::Op(op));
    }
    Ok(Decided { succeeded, steps })
}

/// A put with what it keeps filled in.
fn keeping(put: &PutRequest, now: Option<&KeyValue>) -> Result<Op, Status> {
    if !put.ignore_value && !put.ignore_lease {
        return Ok(put_op(put));
    }
    let now = now.ok_or_else(|| error::invalid("key not found"))?;
    Ok(Op::Put {
        key: put.key.clone(),
        value: if put.ignore_value { now.value.clone() } else { super::kv::owned(&put.value) },
        lease: if put.ignore_lease { now.lease } else { put.lease },
    })
}

/// `results` are those of the operations, in order, nested ones included.
fn nested_answer(
    decided: &Decided<'_>,
    results: &mut std::vec::IntoIter<OpResult>,
    revision: Revision,
) -> TxnResponse {
    let steps = decided.steps.iter();
    let responses = steps.map(|step| match step {
        Step::Op(op) => answer(op, results.next(), revision),
        Step::Txn(inner) => {
            let inner = nested_answer(inner, results, revision);
            ResponseOp { response: Some(Answer::ResponseTxn(inner)) }
        }
    });
    let responses = responses.collect();
    TxnResponse { header: header(revision), succeeded: decided.succeeded, responses }
}

/// Inside a transaction etcd's headers carry the revision only.
fn header(revision: Revision) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

fn answer(op: &RequestOp, result: Option<OpResult>, revision: Revision) -> ResponseOp {
    let response = match (op.request.as_ref(), result) {
        (Some(Kind::RequestRange(request)), Some(OpResult::Range(found))) => {
            let header = header(found.revision);
            Some(Answer::ResponseRange(RangeResponse { header, ..range::answer(request, found) }))
        }
        (Some(Kind::RequestPut(put)), Some(OpResult::Put(previous))) => {
            Some(Answer::ResponsePut(PutResponse { header: header(revision), ..put_answer(put, previous) }))
        }
        (Some(Kind::RequestDeleteRange(delete)), Some(OpResult::Delete(removed))) => {
            let answer = delete_answer(delete, removed);
            Some(Answer::ResponseDeleteRange(DeleteRangeResponse { header: header(revision), ..answer }))
        }
        _ => None,
    };
    ResponseOp { response }
}
