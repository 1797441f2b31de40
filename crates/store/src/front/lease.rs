//! etcd's Lease service.

use super::{Front, error};
use crate::kv::StoreError;
use crate::rpc::*;
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

/// Shortest lease that is granted, in seconds: what etcd gives with its default timing.
const MIN_TTL: i64 = 2;

/// Longest lease, in seconds.
const MAX_TTL: i64 = 9_000_000_000;

#[tonic::async_trait]
impl lease_server::Lease for Front {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        if ttl > MAX_TTL {
            return Err(Status::out_of_range("etcdserver: too large lease TTL"));
        }
        let ttl = ttl.max(MIN_TTL);
        let id = self.0.store.lease_grant(id, ttl).await.map_err(error::status)?;
        let header = self.header_now().await?;
        Ok(Response::new(LeaseGrantResponse { header, id, ttl, error: String::new() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        self.0.store.lease_revoke(request.into_inner().id).await.map_err(error::status)?;
        Ok(Response::new(LeaseRevokeResponse { header: self.header_now().await? }))
    }

    type LeaseKeepAliveStream = BoxStream<'static, Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let front = self.clone();
        let answers = request.into_inner().then(move |request| {
            let front = front.clone();
            async move { front.renew(request?.id).await }
        });
        // A stream of a server that stops would hold its shutdown up.
        let stopping = self.0.tasks.stopping().clone().cancelled_owned();
        Ok(Response::new(answers.take_until(stopping).boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let answer = LeaseTimeToLiveResponse { header: self.header_now().await?, id, ..Default::default() };
        Ok(Response::new(match self.0.maintenance.lease(id).await {
            Ok(lease) => LeaseTimeToLiveResponse {
                ttl: lease.remaining,
                granted_ttl: lease.granted,
                keys: if keys { lease.keys } else { Vec::new() },
                ..answer
            },
            Err(StoreError::LeaseNotFound) => LeaseTimeToLiveResponse { ttl: -1, ..answer },
            Err(error) => return Err(error::status(error)),
        }))
    }

    async fn lease_leases(
        &self,
        _: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let mut ids = self.0.maintenance.leases().await.map_err(error::status)?;
        ids.sort_unstable();
        let leases = ids.into_iter().map(|id| LeaseStatus { id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header: self.header_now().await?, leases }))
    }
}

impl Front {
    async fn renew(&self, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
        let ttl = match self.0.store.lease_keep_alive(id).await {
            Ok(ttl) => ttl,
            // How etcd says that it is gone.
            Err(StoreError::LeaseNotFound) => 0,
            Err(error) => return Err(error::status(error)),
        };
        Ok(LeaseKeepAliveResponse { header: self.header_now().await?, id, ttl })
    }
}
