//! The etcd backend: [`Etcd`], a [`Store`] on a cluster of etcd v3.4 or later.
//!
//! | module | what |
//! | --- | --- |
//! | `options`, `endpoint` | which cluster; connections |
//! | `cluster` | health of the members, calls that fail over |
//! | `failure` | what an error says about whether the call was done |
//! | `convert`, `limits` | the trait's values as etcd's messages |
//! | `revision` | the latest revision, asked once for many |
//! | `resolve` | transactions whose answer was lost |
//! | `watch` | watches that survive their member |
//! | `compactor` | regular compaction, by one API server of many |
//!
//! Promises: reads are linearizable. A write is never repeated blindly: when its answer is lost, its outcome is found
//! out from history where that is possible, and reported as [`StoreError::Unknown`] where it is not. Writers for whom
//! it matters which of them made a change must write distinct bytes (objects have UIDs): the same bytes on top of the
//! same revision are taken for the same write. A watch goes on from the last revision that it delivered when its
//! member dies, is cut off from the others or hangs.
//!
//! Deliberately absent: users and passwords (client certificates are how API servers log in), nested transactions,
//! anything that only some versions from 3.4 to 3.6 have, managing members.

mod cluster;
pub mod compactor;
mod convert;
mod endpoint;
mod failure;
mod leases;
mod limits;
mod options;
mod resolve;
mod revision;
mod watch;

pub use options::{Options, Progress, Tls};

use crate::kv::{LeaseId, Range, RangeOptions, Revision, Store, StoreError, Txn, TxnResult, WatchStream};
use crate::rpc;
use crate::rpc::lease_client::LeaseClient;
use crate::rpc::maintenance_client::MaintenanceClient;
use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use cluster::{Cluster, Repeat, kv};
use failure::Failure;
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::{Response, Status};

/// The store on an etcd cluster. Dropping it ends its watches with [`StoreError::Closed`].
#[derive(Debug)]
pub struct Etcd {
    cluster: Arc<Cluster>,
    latest: revision::Latest,
    _probes: JoinSet<()>,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.cluster.close();
    }
}

impl Etcd {
    /// Connects to the cluster; returns when a member answers. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for endpoints that cannot be used, [`StoreError::Unavailable`] when no member answers
    /// within `patience`; the message says what is wrong with each.
    pub async fn connect(options: Options, patience: Duration) -> Result<Self, StoreError> {
        let cluster = Arc::new(Cluster::new(options)?);
        let mut probes = JoinSet::new();
        for member in 0..cluster.len() {
            let cluster = cluster.clone();
            probes.spawn(async move { cluster.keep_probing(member).await });
        }
        let store = Self { latest: revision::Latest::new(cluster.clone()), cluster, _probes: probes };
        let answered = async {
            loop {
                match store.revision().await {
                    Err(StoreError::Unavailable(_)) => {}
                    other => return other,
                }
            }
        };
        match tokio::time::timeout(patience, answered).await {
            Ok(answer) => answer.map(|_| store),
            Err(_) => Err(StoreError::Unavailable(format!(
                "no member of the etcd cluster answers within {patience:?}: {}; check --etcd-servers and that etcd runs",
                store.cluster.troubles()
            ))),
        }
    }

    /// Fills in the numbers that etcd's errors leave out.
    async fn explain(&self, failure: Failure) -> StoreError {
        match failure.into_error() {
            StoreError::Compacted { .. } => StoreError::Compacted { oldest: self.oldest().await },
            StoreError::Future { .. } => {
                StoreError::Future { current: self.revision().await.unwrap_or(self.cluster.seen()) }
            }
            StoreError::NoSpace { .. } => {
                let used = self.size().await;
                StoreError::NoSpace { used, quota: used }
            }
            other => other,
        }
    }

    /// Like [`Etcd::explain`], for calls that change nothing.
    async fn explain_read(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Unsure(why) => StoreError::Unavailable(why),
            other => self.explain(other).await,
        }
    }

    /// Oldest revision that can be read; 0 when that cannot be found out.
    async fn oldest(&self) -> Revision {
        watch::oldest(&self.cluster).await.unwrap_or(0)
    }

    /// Bytes of a member's database; 0 when that cannot be found out.
    async fn size(&self) -> u64 {
        let asked = self.cluster.call(Repeat::Safe, rpc::StatusRequest {}, |channel, request| async move {
            MaintenanceClient::new(channel).status(request).await
        });
        asked.await.map_or(0, |answer| u64::try_from(answer.db_size).unwrap_or(0))
    }

    async fn page(&self, request: rpc::RangeRequest) -> Result<rpc::RangeResponse, StoreError> {
        let send = |channel, request| async move { kv(channel).range(request).await };
        match self.cluster.call(Repeat::Safe, request, send).await {
            Ok(value) => {
                self.cluster.saw(value.header.as_ref());
                Ok(value)
            }
            Err(failure) => Err(self.explain_read(failure).await),
        }
    }

    /// A range without a limit, in several messages at one revision.
    async fn pages(
        &self,
        start: &Bytes,
        end: Option<&Bytes>,
        options: &RangeOptions,
    ) -> Result<Range, StoreError> {
        let mut request = convert::range_request(start, end, options);
        request.limit = i64::try_from(self.cluster.options.page).unwrap_or(i64::MAX);
        let first = self.page(request.clone()).await?;
        let mut range = convert::range(&first, 0);
        if request.revision == 0 {
            request.revision = range.revision;
        }
        while range.more {
            let Some(last) = range.kvs.last() else { break };
            let mut next = BytesMut::with_capacity(last.key.len() + 1);
            next.extend_from_slice(&last.key);
            next.put_u8(0);
            request.key = next.freeze();
            let page = self.page(request.clone()).await?;
            range.more = page.more;
            range.kvs.extend(page.kvs.iter().map(convert::key_value));
        }
        Ok(range)
    }

    async fn send_txn(&self, repeat: Repeat, txn: rpc::TxnRequest) -> Result<TxnResult, Failure> {
        let send = |channel, request| async move { kv(channel).txn(request).await };
        let answer = self.cluster.call(repeat, txn, send).await?;
        self.cluster.saw(answer.header.as_ref());
        convert::txn_result(&answer).map_err(Failure::Refused)
    }
}

#[async_trait]
impl Store for Etcd {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.latest.get().await
    }

    async fn range(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        options: RangeOptions,
    ) -> Result<Range, StoreError> {
        if start.is_empty() && end.is_none() {
            // There is no such key, and etcd refuses to look.
            return Ok(Range { revision: self.revision().await?, ..Range::default() });
        }
        if end.is_some() && options.limit == 0 && !options.count_only {
            let asked = self.pages(&start, end.as_ref(), &options).await;
            return match asked {
                // Compaction went past the latest revision between two pages: it is not the caller's.
                Err(StoreError::Compacted { .. }) if options.revision.is_none() => {
                    self.pages(&start, end.as_ref(), &options).await
                }
                other => other,
            };
        }
        let response = self.page(convert::range_request(&start, end.as_ref(), &options)).await?;
        Ok(convert::range(&response, 0))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        limits::check(&txn)?;
        let request = convert::txn_request(&txn);
        if resolve::is_read_only(&txn) {
            return match self.send_txn(Repeat::Safe, request).await {
                Ok(result) => Ok(result),
                Err(failure) => Err(self.explain_read(failure).await),
            };
        }
        let before = self.cluster.seen();
        match self.send_txn(Repeat::Never, request.clone()).await {
            Ok(result) => Ok(result),
            Err(Failure::Unsure(why)) => self.resolve(&txn, request, before, why).await,
            Err(failure) => Err(self.explain(failure).await),
        }
    }

    async fn watch(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        from: Option<Revision>,
        progress: bool,
    ) -> Result<WatchStream, StoreError> {
        let from = match from {
            Some(from) => from,
            None => self.revision().await? + 1,
        };
        let watch = watch::Watch::open(self.cluster.clone(), (start, end), from, progress).await?;
        Ok(watch.stream().boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let request = rpc::CompactionRequest { revision, physical: false };
        let send = |channel, request| async move { kv(channel).compact(request).await };
        match self.cluster.call(Repeat::Safe, request, send).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.explain(failure).await),
        }
    }

    async fn lease_grant(&self, id: LeaseId, ttl: i64) -> Result<LeaseId, StoreError> {
        loop {
            // An id of ours makes the request one that can be repeated.
            let wanted = if id == 0 { rand::random_range(1..LeaseId::MAX) } else { id };
            let request = rpc::LeaseGrantRequest { id: wanted, ttl };
            let tried = std::sync::atomic::AtomicUsize::new(0);
            let send = |channel, request| {
                tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                async move { LeaseClient::new(channel).lease_grant(request).await }
            };
            match self.cluster.call(Repeat::Safe, request, send).await {
                Ok(_) => return Ok(wanted),
                Err(Failure::Refused(StoreError::LeaseExists)) if id == 0 => {
                    // Chosen at random out of 2^63: it is the one that an earlier attempt has made.
                    if tried.into_inner() > 1 {
                        return Ok(wanted);
                    }
                }
                Err(failure) => return Err(self.explain(failure).await),
            }
        }
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        let tried = std::sync::atomic::AtomicUsize::new(0);
        let send = |channel, request| {
            tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move { LeaseClient::new(channel).lease_revoke(request).await }
        };
        match self.cluster.call(Repeat::Safe, rpc::LeaseRevokeRequest { id }, send).await {
            Ok(_) => Ok(()),
            // An earlier attempt, whose answer was lost, has ended it.
            Err(Failure::Refused(StoreError::LeaseNotFound)) if tried.into_inner() > 1 => Ok(()),
            Err(failure) => Err(self.explain(failure).await),
        }
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, StoreError> {
        let send = |channel, request: tonic::Request<rpc::LeaseKeepAliveRequest>| async move {
            let (metadata, extensions, message) = request.into_parts();
            let stream = futures::stream::once(std::future::ready(message)).chain(futures::stream::pending());
            let request = tonic::Request::from_parts(metadata, extensions, stream);
            let mut answers = LeaseClient::new(channel).lease_keep_alive(request).await?.into_inner();
            match answers.message().await? {
                Some(answer) => Ok(Response::new(answer)),
                None => Err(Status::unavailable("the member ended the stream without an answer")),
            }
        };
        match self.cluster.call(Repeat::Safe, rpc::LeaseKeepAliveRequest { id }, send).await {
            Ok(answer) if answer.ttl > 0 => Ok(answer.ttl),
            Ok(_) => Err(StoreError::LeaseNotFound),
            Err(failure) => Err(self.explain_read(failure).await),
        }
    }
}
