//! [`ApiServers`]: which API servers live, by a key per server that goes with its lease.
//!
//! Keys, times and meaning are upstream's lease endpoint reconciler's: `/registry/masterleases/<address>`, 15 seconds,
//! renewed every 10; one lease for the whole life of a server instead of one per renewal. A server that leaves in order
//! takes its key away.

use super::kubernetes_service;
use crate::contract::Context;
use crate::storage;
use bytes::Bytes;
use machinery::Status;
use parking_lot::Mutex;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use store::{LeaseId, Op, RangeOptions, Store, StoreError, Txn, WatchStream};

const PREFIX: &str = "/registry/masterleases/";
/// Seconds that a server counts as living after its last renewal.
const TTL: i64 = 15;
/// Time between renewals.
const RENEW: Duration = Duration::from_secs(10);
/// Time between attempts to renew.
const RETRY: Duration = Duration::from_secs(1);
/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// Which API servers live.
pub(crate) struct ApiServers {
    store: Arc<dyn Store>,
    address: IpAddr,
    port: u16,
    lease: Mutex<LeaseId>,
}

fn status(error: StoreError) -> Status {
    storage::status(&error)
}

fn all() -> (Bytes, Option<Bytes>) {
    (Bytes::from_static(PREFIX.as_bytes()), store::kv::prefix_end(PREFIX.as_bytes()))
}

impl ApiServers {
    /// Makes this server known.
    pub(super) async fn register(context: &Context, store: Arc<dyn Store>) -> Result<Self, Status> {
        let advertise = context.config.advertise;
        let servers = Self { store, address: advertise.ip(), port: advertise.port(), lease: Mutex::new(0) };
        servers.announce().await.map_err(status)?;
        Ok(servers)
    }

    fn key(&self) -> Bytes {
        Bytes::from(format!("{PREFIX}{}", self.address))
    }

    async fn announce(&self) -> Result<(), StoreError> {
        let lease = self.store.lease_grant(0, TTL).await?;
        let value = json!({
            "kind": "Endpoints", "apiVersion": "v1", "metadata": {},
            "subsets": [{"addresses": [{"ip": self.address.to_string()}], "ports": [{"port": self.port}]}],
        });
        let put = Op::Put { key: self.key(), value: value.to_string().into(), lease };
        self.store.txn(Txn { success: vec![put], ..Txn::default() }).await?;
        *self.lease.lock() = lease;
        Ok(())
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let lease = *self.lease.lock();
        match self.store.lease_keep_alive(lease).await {
            Ok(_) => {}
            Err(StoreError::LeaseNotFound) => return self.announce().await,
            Err(error) => return Err(error),
        }
        // A server that began at the same address since, or a curious person, may have taken the key away.
        let found = self.store.range(self.key(), None, RangeOptions::default()).await?;
        if found.kvs.first().is_some_and(|kv| kv.lease == lease) { Ok(()) } else { self.announce().await }
    }

    /// The addresses of the servers that live, in order.
    pub(super) async fn living(&self) -> Result<Vec<String>, Status> {
        let (start, end) = all();
        let range = self.store.range(start, end, RangeOptions::default()).await.map_err(status)?;
        let address = |key: &Bytes| std::str::from_utf8(key.get(PREFIX.len()..)?).ok().map(str::to_owned);
        let mut living: Vec<String> = range.kvs.iter().filter_map(|kv| address(&kv.key)).collect();
        living.retain(|address| {
            address
                .parse::<IpAddr>()
                .is_ok_and(|ip| !ip.is_loopback() && ip.is_ipv4() == self.address.is_ipv4())
        });
        Ok(living)
    }

    /// Tells when servers come and go, from now on.
    pub(super) async fn changes(&self) -> Result<WatchStream, Status> {
        let (start, end) = all();
        self.store.watch(start, end, None, false).await.map_err(status)
    }

    /// Renews until the server stops, then takes it off the list.
    pub(super) fn keep(self: &Arc<Self>, context: &Context) {
        let (servers, context) = (self.clone(), context.clone());
        let tasks = context.tasks.clone();
        tasks.spawn("api server lease", async move {
            let stopping = context.tasks.stopping().clone();
            let renewing = async {
                let mut pause = RENEW;
                loop {
                    context.clock.sleep(pause).await;
                    pause = match servers.renew().await {
                        Ok(()) => RENEW,
                        Err(error) => {
                            tracing::warn!(%error, "failed to renew this API server's lease; trying again");
                            RETRY
                        }
                    };
                }
            };
            stopping.run_until_cancelled(renewing).await;
            let farewell = async {
                servers.leave().await?;
                kubernetes_service::endpoints(&context, &servers).await
            };
            match tokio::time::timeout(FAREWELL, farewell).await {
                Ok(Ok(())) => {}
                Ok(Err(status)) => tracing::debug!(%status, "failed to leave the list of API servers"),
                Err(_) => tracing::debug!("no time to leave the list of API servers"),
            }
        });
    }

    async fn leave(&self) -> Result<(), Status> {
        let lease = *self.lease.lock();
        match self.store.lease_revoke(lease).await {
            Ok(()) | Err(StoreError::LeaseNotFound) => Ok(()),
            Err(error) => Err(status(error)),
        }
    }
}
