//! etcd's KV service.

use super::{Front, check, error, range, txn};
use crate::kv::{KeyValue, Op, OpResult, Txn, TxnResult};
use crate::rpc::*;
use bytes::Bytes;
use prost::Message;
use tonic::{Request, Response, Status};

/// A key and its value as etcd's clients see it; shares the bytes.
pub(super) fn key_value(kv: KeyValue) -> crate::rpc::KeyValue {
    crate::rpc::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

/// The end of a range: none for a single key.
pub(super) fn end(range_end: &Bytes) -> Option<Bytes> {
    (!range_end.is_empty()).then(|| range_end.clone())
}

/// The value of a put. It came as a slice of the buffer that the message was received in, which is larger; the
/// store would keep all of it as long as the value lives.
pub(super) fn owned(value: &Bytes) -> Bytes {
    Bytes::copy_from_slice(value)
}

pub(super) fn put_op(put: &PutRequest) -> Op {
    Op::Put { key: put.key.clone(), value: owned(&put.value), lease: put.lease }
}

pub(super) fn delete_op(delete: &DeleteRangeRequest) -> Op {
    Op::Delete { start: delete.key.clone(), end: end(&delete.range_end) }
}

pub(super) fn put_answer(put: &PutRequest, previous: Option<KeyValue>) -> PutResponse {
    PutResponse { header: None, prev_kv: previous.filter(|_| put.prev_kv).map(key_value) }
}

pub(super) fn delete_answer(delete: &DeleteRangeRequest, removed: Vec<KeyValue>) -> DeleteRangeResponse {
    DeleteRangeResponse {
        header: None,
        deleted: removed.len() as i64,
        prev_kvs: if delete.prev_kv { removed.into_iter().map(key_value).collect() } else { Vec::new() },
    }
}

impl Front {
    fn check_size(&self, request: &impl Message) -> Result<(), Status> {
        if request.encoded_len() > self.0.config.max_request_bytes {
            return Err(error::invalid("request is too large"));
        }
        Ok(())
    }

    /// Runs one operation as a transaction of its own.
    async fn single(&self, op: Op) -> Result<(TxnResult, Option<OpResult>), Status> {
        let txn = Txn { compares: Vec::new(), success: vec![op], failure: Vec::new() };
        let mut result = self.0.store.txn(txn).await.map_err(error::status)?;
        let first = result.results.pop();
        Ok((result, first))
    }
}

#[tonic::async_trait]
impl kv_server::Kv for Front {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        check::range(&request)?;
        let options = range::options(&request);
        let found = self.0.store.range(request.key.clone(), end(&request.range_end), options).await;
        let found = found.map_err(error::status)?;
        let header = self.header(found.revision);
        Ok(Response::new(RangeResponse { header, ..range::answer(&request, found) }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let put = request.into_inner();
        check::put(&put)?;
        self.check_size(&put)?;
        if put.ignore_value || put.ignore_lease {
            return txn::put(self, put).await.map(Response::new);
        }
        let (result, answer) = self.single(put_op(&put)).await?;
        let previous = match answer {
            Some(OpResult::Put(previous)) => previous,
            _ => None,
        };
        let header = self.header(result.revision);
        Ok(Response::new(PutResponse { header, ..put_answer(&put, previous) }))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let delete = request.into_inner();
        check::delete(&delete)?;
        let (result, answer) = self.single(delete_op(&delete)).await?;
        let removed = match answer {
            Some(OpResult::Delete(removed)) => removed,
            _ => Vec::new(),
        };
        let header = self.header(result.revision);
        Ok(Response::new(DeleteRangeResponse { header, ..delete_answer(&delete, removed) }))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = request.into_inner();
        check::txn(&request, self.0.config.max_txn_ops)?;
        self.check_size(&request)?;
        txn::run(self, request).await.map(Response::new)
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let CompactionRequest { revision, physical } = request.into_inner();
        self.0.store.compact(revision).await.map_err(error::status)?;
        if physical {
            self.0.maintenance.settle().await.map_err(error::status)?;
        }
        Ok(Response::new(CompactionResponse { header: self.header_now().await? }))
    }
}
