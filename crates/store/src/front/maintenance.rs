//! etcd's Maintenance service.

use super::{API_VERSION, Front, error};
use crate::bolt;
use crate::maintenance::Alarm;
use crate::rpc::alarm_request::AlarmAction;
use crate::rpc::*;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

/// Pieces of a snapshot that wait for a client.
const PIECES: usize = 4;

fn kind(alarm: Alarm) -> AlarmType {
    match alarm {
        Alarm::NoSpace => AlarmType::Nospace,
        Alarm::Corrupt => AlarmType::Corrupt,
    }
}

fn alarm(kind: i32) -> Option<Alarm> {
    match AlarmType::try_from(kind) {
        Ok(AlarmType::Nospace) => Some(Alarm::NoSpace),
        Ok(AlarmType::Corrupt) => Some(Alarm::Corrupt),
        _ => None,
    }
}

impl Front {
    fn alarm_member(&self, alarm: Alarm) -> AlarmMember {
        AlarmMember { member_id: self.0.member, alarm: kind(alarm).into() }
    }

    async fn raised(&self) -> Result<Vec<Alarm>, Status> {
        self.0.maintenance.alarms().await.map_err(error::status)
    }
}

#[tonic::async_trait]
impl maintenance_server::Maintenance for Front {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let request = request.into_inner();
        let wanted = alarm(request.alarm);
        let mut concerned = Vec::new();
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => {
                let raised = self.raised().await?;
                concerned.extend(raised.into_iter().filter(|alarm| wanted.is_none_or(|one| one == *alarm)));
            }
            Ok(AlarmAction::Activate) => {
                let alarm = wanted.ok_or_else(|| error::invalid("no alarm is named"))?;
                self.0.maintenance.raise(alarm).await.map_err(error::status)?;
                concerned.push(alarm);
            }
            Ok(AlarmAction::Deactivate) => {
                let named = match wanted {
                    Some(alarm) => vec![alarm],
                    None => self.raised().await?,
                };
                for alarm in named {
                    if self.0.maintenance.disarm(alarm).await.map_err(error::status)? {
                        concerned.push(alarm);
                    }
                }
            }
            Err(_) => return Err(error::invalid("unknown action of an alarm request")),
        }
        let alarms = concerned.into_iter().map(|alarm| self.alarm_member(alarm)).collect();
        Ok(Response::new(AlarmResponse { header: self.header_now().await?, alarms }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let status = self.0.maintenance.status();
        let errors = self
            .raised()
            .await?
            .into_iter()
            .map(|alarm| format!("memberID:{} alarm:{} ", self.0.member, kind(alarm).as_str_name()));
        // Of raft there is nothing; its index counts up as the revision does.
        let index = status.revision.unsigned_abs();
        Ok(Response::new(StatusResponse {
            header: self.header(status.revision),
            version: API_VERSION.to_owned(),
            db_size: status.size as i64,
            leader: self.0.member,
            raft_index: index,
            raft_term: 1,
            raft_applied_index: index,
            errors: errors.collect(),
            db_size_in_use: status.in_use as i64,
            db_size_quota: status.quota as i64,
            ..StatusResponse::default()
        }))
    }

    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        self.0.maintenance.defragment().await.map_err(error::status)?;
        Ok(Response::new(DefragmentResponse { header: self.header_now().await? }))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let digest = self.0.maintenance.digest(None).await.map_err(error::status)?;
        Ok(Response::new(HashResponse { header: self.header(digest.revision), hash: digest.hash }))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        let revision = Some(request.into_inner().revision).filter(|revision| *revision > 0);
        let digest = self.0.maintenance.digest(revision).await.map_err(error::status)?;
        Ok(Response::new(HashKvResponse {
            header: self.header_now().await?,
            hash: digest.hash,
            compact_revision: digest.compacted,
            hash_revision: digest.revision,
        }))
    }

    type SnapshotStream = BoxStream<'static, Result<SnapshotResponse, Status>>;

    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        let frozen = self.0.maintenance.freeze();
        let header = self.header(frozen.revision());
        let (pieces, received) = mpsc::channel::<(u64, Bytes)>(PIECES);
        let writing = tokio::task::spawn_blocking(move || {
            // An error means that the client went away.
            bolt::write(frozen.as_ref(), |remaining, piece| {
                pieces.blocking_send((remaining, piece)).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
            })
        });
        let received =
            tokio_stream::wrappers::ReceiverStream::new(received).map(move |(remaining_bytes, blob)| {
                Ok(SnapshotResponse { header, remaining_bytes, blob, ..Default::default() })
            });
        // A panic must not look like the end of the snapshot.
        let end = futures::stream::once(async move {
            match writing.await {
                Ok(Ok(())) => None,
                _ => Some(Err(Status::internal("etcdserver: failed to make a snapshot; try again"))),
            }
        });
        Ok(Response::new(received.chain(end.filter_map(|end| async move { end })).boxed()))
    }

    async fn move_leader(
        &self,
        _: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        Err(Status::failed_precondition("etcdserver: bad leader transferee"))
    }

    async fn downgrade(&self, _: Request<DowngradeRequest>) -> Result<Response<DowngradeResponse>, Status> {
        Err(error::unsupported("downgrades are not supported by this server"))
    }
}
