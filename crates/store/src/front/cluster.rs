//! etcd's Cluster service: a list of one member, which cannot be changed.

use super::{Front, error};
use crate::rpc::*;
use tonic::{Request, Response, Status};

fn refused() -> Status {
    error::unsupported(
        "this server is one member and cannot have others; migrate to an etcd cluster to have several",
    )
}

#[tonic::async_trait]
impl cluster_server::Cluster for Front {
    async fn member_list(
        &self,
        _: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let member = Member {
            id: self.0.member,
            name: self.0.config.name.clone(),
            // Nobody can be a peer of it.
            peer_urls: Vec::new(),
            client_urls: self.0.config.client_urls.clone(),
            is_learner: false,
        };
        // etcd's answer carries no revision either.
        Ok(Response::new(MemberListResponse { header: self.header(0), members: vec![member] }))
    }

    async fn member_add(&self, _: Request<MemberAddRequest>) -> Result<Response<MemberAddResponse>, Status> {
        Err(refused())
    }

    async fn member_remove(
        &self,
        _: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        Err(refused())
    }

    async fn member_update(
        &self,
        _: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        Err(refused())
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        Err(refused())
    }
}
