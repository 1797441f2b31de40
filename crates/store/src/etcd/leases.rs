//! All leases of a cluster, for who copies it.

use super::Etcd;
use super::cluster::Repeat;
use crate::kv::{LeaseId, StoreError};
use crate::rpc;
use crate::rpc::lease_client::LeaseClient;

impl Etcd {
    /// Ids and granted seconds of all leases, in order of id.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn leases(&self) -> Result<Vec<(LeaseId, i64)>, StoreError> {
        let list = |channel, request| async move { LeaseClient::new(channel).lease_leases(request).await };
        let listed = match self.cluster.call(Repeat::Safe, rpc::LeaseLeasesRequest {}, list).await {
            Ok(listed) => listed,
            Err(failure) => return Err(self.explain_read(failure).await),
        };
        let ask =
            |channel, request| async move { LeaseClient::new(channel).lease_time_to_live(request).await };
        let mut leases = Vec::new();
        for lease in listed.leases {
            let request = rpc::LeaseTimeToLiveRequest { id: lease.id, keys: false };
            match self.cluster.call(Repeat::Safe, request, ask).await {
                // One that has just ended has -1.
                Ok(found) if found.ttl >= 0 => leases.push((lease.id, found.granted_ttl)),
                Ok(_) => {}
                Err(failure) => return Err(self.explain_read(failure).await),
            }
        }
        leases.sort_unstable();
        Ok(leases)
    }
}
