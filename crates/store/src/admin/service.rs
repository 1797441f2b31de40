//! The answers of the admin socket.

use super::rpc::admin_server::Admin;
use super::rpc::{
    AlarmsRequest, AlarmsResponse, CheckReport, CheckRequest, CheckResponse, CompactRequest, CompactResponse,
    DefragmentRequest, DefragmentResponse, KeyValue, RangeRequest, RangeResponse, SnapshotRequest,
    SnapshotResponse, StatusRequest, StatusResponse,
};
use crate::bolt;
use crate::embedded::{Embedded, SnapshotStream};
use crate::kv::{self, RangeOptions, Revision, Store, StoreError};
use crate::maintenance::{Alarm, Frozen, Maintenance};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Status};

/// Keys and values of one message, in bytes, about.
const PIECE: usize = 1 << 20;

/// The embedded store behind the admin service. Clones share it.
#[derive(Clone, Debug)]
pub struct Service(Arc<Embedded>);

impl Service {
    /// Answers for `store`.
    pub fn new(store: Arc<Embedded>) -> Self {
        Self(store)
    }
}

/// The store's own words: they say what to do.
fn failure(error: &StoreError) -> Status {
    let code = match error {
        StoreError::Compacted { .. } | StoreError::Future { .. } => Code::OutOfRange,
        StoreError::Invalid(_) => Code::InvalidArgument,
        StoreError::NoSpace { .. } => Code::ResourceExhausted,
        StoreError::Corrupt { .. } => Code::DataLoss,
        StoreError::Closed => Code::Unavailable,
        _ => Code::Internal,
    };
    Status::new(code, error.to_string())
}

fn name(alarm: &Alarm) -> String {
    match alarm {
        Alarm::NoSpace => "NOSPACE",
        Alarm::Corrupt => "CORRUPT",
    }
    .to_owned()
}

fn message(kv: kv::KeyValue) -> KeyValue {
    let kv::KeyValue { key, value, create_revision, mod_revision, version, lease } = kv;
    KeyValue { key, value, create_revision, mod_revision, version, lease }
}

/// Cuts keys into messages.
fn pieces(range: kv::Range) -> impl Iterator<Item = RangeResponse> {
    let (revision, count) = (range.revision, range.count as u64);
    let mut rest = range.kvs.into_iter().peekable();
    let mut is_first = true;
    std::iter::from_fn(move || {
        // An empty range has an answer too.
        if rest.peek().is_none() && !is_first {
            return None;
        }
        is_first = false;
        let mut size = 0;
        let mut kvs = Vec::new();
        while size < PIECE {
            let Some(kv) = rest.next() else { break };
            size += kv.key.len() + kv.value.len();
            kvs.push(message(kv));
        }
        Some(RangeResponse { revision, kvs, count })
    })
}

/// A snapshot as etcd writes it.
fn as_etcd(frozen: Arc<dyn Frozen>) -> (Revision, SnapshotStream) {
    let revision = frozen.revision();
    let (pieces, taken) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let written = bolt::write(frozen.as_ref(), |_, piece| {
            pieces.blocking_send(Ok(piece)).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
        });
        if let Err(error) = written {
            // Nobody is there when that was the reason.
            let _ =
                pieces.blocking_send(Err(StoreError::Io(format!("failed to make the snapshot: {error}"))));
        }
    });
    let stream =
        futures::stream::unfold(
            taken,
            |mut taken| async move { taken.recv().await.map(|piece| (piece, taken)) },
        );
    (revision, stream.boxed())
}

#[tonic::async_trait]
impl Admin for Service {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let stats = self.0.stats();
        let alarms = self.0.alarms().await.map_err(|error| failure(&error))?;
        Ok(Response::new(StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            directory: self.0.directory(),
            revision: stats.revision,
            compacted: stats.compacted,
            keys: stats.keys,
            leases: stats.leases,
            watchers: stats.watchers,
            bytes: stats.bytes,
            history_bytes: stats.history_bytes,
            log_bytes: stats.log_bytes,
            checkpoint_bytes: stats.checkpoint_bytes,
            quota: stats.quota,
            alarms: alarms.iter().map(name).collect(),
            failure: self.0.failure().map(|error| error.to_string()).unwrap_or_default(),
            syncs: stats.syncs,
            sync_nanoseconds: stats.sync_nanoseconds,
            slow_syncs: stats.slow_syncs,
        }))
    }

    type RangeStream = BoxStream<'static, Result<RangeResponse, Status>>;

    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<Self::RangeStream>, Status> {
        let RangeRequest { key, range_end, revision, limit, keys_only } = request.into_inner();
        let options = RangeOptions {
            revision: Some(revision),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            keys_only,
            ..RangeOptions::default()
        };
        let end = Some(range_end).filter(|end| !end.is_empty());
        let range = self.0.range(key, end, options).await.map_err(|error| failure(&error))?;
        Ok(Response::new(futures::stream::iter(pieces(range).map(Ok)).boxed()))
    }

    async fn compact(&self, request: Request<CompactRequest>) -> Result<Response<CompactResponse>, Status> {
        let bytes_before = self.0.stats().bytes;
        let revision = match request.into_inner().revision {
            0 => self.0.stats().revision,
            revision => revision,
        };
        match self.0.compact(revision).await {
            // There was no history.
            Err(StoreError::Compacted { oldest }) if oldest == revision => {}
            other => other.map_err(|error| failure(&error))?,
        }
        self.0.settle().await.map_err(|error| failure(&error))?;
        let stats = self.0.stats();
        let answer = CompactResponse { compacted: stats.compacted, bytes_before, bytes_after: stats.bytes };
        Ok(Response::new(answer))
    }

    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        let bytes_before = Maintenance::status(self.0.as_ref()).size;
        self.0.defragment().await.map_err(|error| failure(&error))?;
        let bytes_after = Maintenance::status(self.0.as_ref()).size;
        Ok(Response::new(DefragmentResponse { bytes_before, bytes_after }))
    }

    type CheckStream = BoxStream<'static, Result<CheckResponse, Status>>;

    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<Self::CheckStream>, Status> {
        let (told, tell) = mpsc::channel(1);
        let store = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let outcome = store.verify(|done, total| {
                // Who is slow to listen misses some; who is gone lets it end by itself.
                let _ = told.try_send(Ok(CheckResponse { done, total, report: None }));
            });
            let last = match outcome {
                Ok(report) => Ok(CheckResponse {
                    done: report.bytes,
                    total: report.bytes,
                    report: Some(CheckReport {
                        revision: report.revision,
                        oldest: report.oldest,
                        keys: report.keys,
                        leases: report.leases,
                        bytes: report.bytes,
                    }),
                }),
                Err(error) => Err(failure(&error)),
            };
            let _ = told.blocking_send(last);
        });
        let stream = futures::stream::unfold(tell, |mut tell| async move {
            tell.recv().await.map(|message| (message, tell))
        });
        Ok(Response::new(stream.boxed()))
    }

    type SnapshotStream = BoxStream<'static, Result<SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let stats = self.0.stats();
        let expected = stats.bytes.saturating_sub(stats.history_bytes);
        let (revision, data) = match request.into_inner().etcd {
            true => as_etcd(self.0.freeze()),
            false => self.0.snapshot().map_err(|error| failure(&error))?,
        };
        let first = SnapshotResponse { revision, expected, data: Bytes::new() };
        let rest = data.map(|piece| match piece {
            Ok(data) => Ok(SnapshotResponse { revision: 0, expected: 0, data }),
            Err(error) => Err(failure(&error)),
        });
        Ok(Response::new(futures::stream::iter([Ok(first)]).chain(rest).boxed()))
    }

    async fn alarms(&self, request: Request<AlarmsRequest>) -> Result<Response<AlarmsResponse>, Status> {
        let alarms = self.0.alarms().await.map_err(|error| failure(&error))?;
        if request.into_inner().disarm {
            for alarm in &alarms {
                self.0.disarm(*alarm).await.map_err(|error| failure(&error))?;
            }
        }
        Ok(Response::new(AlarmsResponse { alarms: alarms.iter().map(name).collect() }))
    }
}
