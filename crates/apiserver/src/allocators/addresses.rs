//! [`Addresses`]: cluster IPs, each reserved by the IPAddress object that has it for a name.

use super::{Failure, Refused, find_free, low};
use crate::contract::Context;
use api::StoredObject;
use api::transport::{DeleteOptions, Target, WriteOptions};
use k8s_openapi::api::networking::v1::IPAddress;
use machinery::{GroupResource, GroupVersionResource, Status};
use serde_json::json;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Random candidates that are tried before all addresses in use are looked at.
const GUESSES: usize = 16;
/// How often another server may be faster with an address.
const ATTEMPTS: usize = 64;

/// A Service, as IPAddresses name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// A reserved address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) ip: String,
    /// Of the IPAddress that this reservation has made; empty when there was one for the same Service already.
    pub(super) uid: String,
}

/// Cluster IPs. May be used concurrently.
pub(super) struct Addresses {
    context: Context,
    network: u32,
    bits: u8,
    size: usize,
}

fn target() -> Target {
    Target::all(GroupVersionResource::new("networking.k8s.io", "v1", "ipaddresses"))
}

pub(super) fn storage() -> GroupResource {
    GroupResource::new("networking.k8s.io", "ipaddresses")
}

/// Whom an IPAddress belongs to.
pub(super) fn owner(stored: &StoredObject) -> Option<Owner> {
    let address = stored.get::<IPAddress>().ok()?;
    let parent = &address.spec.parent_ref;
    let is_service = parent.group.as_deref().unwrap_or_default().is_empty() && parent.resource == "services";
    is_service
        .then(|| Owner { namespace: parent.namespace.clone().unwrap_or_default(), name: parent.name.clone() })
}

impl Addresses {
    pub(super) fn new(context: &Context) -> Self {
        let (network, bits) = context.config.service_cidr;
        let host_bits = 32_u32.saturating_sub(u32::from(bits)).min(20);
        // Neither the network's own address nor the broadcast address is given out.
        let size = (1_usize << host_bits).saturating_sub(2);
        Self { context: context.clone(), network: u32::from(network), bits, size }
    }

    pub(super) fn range(&self) -> String {
        format!("{}/{}", Ipv4Addr::from(self.network), self.bits)
    }

    /// Position in the range; the network's own address is not in it.
    fn index(&self, ip: &str) -> Option<usize> {
        let ip = u32::from(ip.parse::<Ipv4Addr>().ok()?);
        let at = usize::try_from(ip.checked_sub(self.network)?.checked_sub(1)?).ok()?;
        (at < self.size).then_some(at)
    }

    fn ip(&self, at: usize) -> String {
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        Ipv4Addr::from(self.network.saturating_add(1).saturating_add(at)).to_string()
    }

    pub(super) fn contains(&self, ip: &str) -> bool {
        self.index(ip).is_some()
    }

    async fn known(&self, ip: &str) -> Result<Option<Arc<StoredObject>>, Status> {
        self.context.lookup.get(&storage(), "", ip).await
    }

    async fn create(&self, ip: &str, owner: &Owner) -> Result<Taken, Status> {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {"name": ip, "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            }},
            "spec": {"parentRef": {"resource": "services", "namespace": owner.namespace, "name": owner.name}},
        });
        let options = WriteOptions::default();
        let created = self.context.loopback.create(&target(), object.to_string().into(), &options).await?;
        let uid = created.meta().uid.as_deref().unwrap_or_default().to_owned();
        Ok(Taken { ip: ip.to_owned(), uid })
    }

    /// Takes one address for `owner`. With `dry_run` it is only looked at.
    pub(super) async fn take(&self, ip: &str, owner: &Owner, dry_run: bool) -> Result<Taken, Failure> {
        if !self.contains(ip) {
            return Err(Failure::Refused(Refused::OutOfRange));
        }
        if !dry_run {
            match self.create(ip, owner).await {
                Err(status) if status.is_already_exists() => {}
                done => return Ok(done?),
            }
        }
        let found = match self.context.loopback.get(&target().named(ip)).await {
            Ok(found) => Some(found),
            Err(status) if status.is_not_found() => None,
            Err(status) => return Err(status.into()),
        };
        match found.as_deref().map(super::addresses::owner) {
            // A server that died half way, or another one at the same creation, of which one will fail.
            Some(Some(found)) if found == *owner => Ok(Taken { ip: ip.to_owned(), uid: String::new() }),
            None if dry_run => Ok(Taken { ip: ip.to_owned(), uid: String::new() }),
            _ => Err(Failure::Refused(Refused::Taken)),
        }
    }

    /// Takes any address for `owner`.
    pub(super) async fn take_any(&self, owner: &Owner, dry_run: bool) -> Result<Taken, Failure> {
        for _ in 0..ATTEMPTS {
            let ip = self.candidate().await?;
            if dry_run {
                return Ok(Taken { ip, uid: String::new() });
            }
            match self.create(&ip, owner).await {
                // Another server was faster, and the cache has not heard of it.
                Err(status) if status.is_already_exists() => {}
                done => return Ok(done?),
            }
        }
        Err(Failure::Refused(Refused::Full))
    }

    /// An address that was free a moment ago.
    async fn candidate(&self) -> Result<String, Failure> {
        let first = low(self.size, 16, 256);
        for _ in 0..GUESSES {
            if self.size <= first {
                break;
            }
            let ip = self.ip(rand::random_range(first..self.size));
            if self.known(&ip).await?.is_none() {
                return Ok(ip);
            }
        }
        let used = self.context.lookup.list(&storage(), "").await?;
        let used: HashSet<usize> =
            used.iter().filter_map(|ip| self.index(ip.meta().name.as_deref()?)).collect();
        let free = find_free(self.size, first, |at| used.contains(&at));
        Ok(self.ip(free.ok_or(Failure::Refused(Refused::Full))?))
    }

    /// Gives an address of `owner` back; `uid` empty is whichever IPAddress is `owner`'s.
    pub(super) async fn give_back(&self, taken: &Taken, owner: &Owner) -> Result<(), Status> {
        let target = target().named(&taken.ip);
        let mut uid = taken.uid.clone();
        if uid.is_empty() {
            let found = match self.context.loopback.get(&target).await {
                Ok(found) => found,
                Err(status) if status.is_not_found() => return Ok(()),
                Err(status) => return Err(status),
            };
            if super::addresses::owner(&found).as_ref() != Some(owner) {
                return Ok(());
            }
            uid = found.meta().uid.as_deref().unwrap_or_default().to_owned();
        }
        let options = DeleteOptions { uid: Some(uid), ..DeleteOptions::default() };
        match self.context.loopback.delete(&target, &options).await {
            Err(status) if !status.is_not_found() && !status.is_conflict() => Err(status),
            _ => Ok(()),
        }
    }
}
