//! What a crash between a reservation and its commit leaves behind: found and mended from time to time, and at the
//! start, when Services may have been stored by servers that reserved nothing.
//!
//! Every API server does this; mending twice is mending once. Source: upstream's repair controllers (an IPAddress whose
//! Service is missing goes after a minute, a leaked port after three rounds of three minutes).

use super::addresses::{self, Owner, Taken};
use super::services::{Allocators, held_by};
use super::{Failure, Refused};
use crate::contract::Context;
use api::transport::{ListOptions, Target};
use k8s_openapi::api::core::v1::Service;
use machinery::{GroupVersionResource, Status};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(180);
/// A reservation younger than this may still be waiting for its Service.
const GRACE: Duration = Duration::from_secs(60);
/// Rounds that a port without a Service is kept.
const ROUNDS: u32 = 3;

/// Ports without a Service, and for how many rounds.
type Leaks = BTreeMap<i32, u32>;

/// Mends from time to time, until the server stops.
pub(super) fn keep(allocators: Arc<Allocators>, context: &Context) {
    let context = context.clone();
    let tasks = context.tasks.clone();
    tasks.spawn_until_stopped("service allocation repair", async move {
        let mut leaks = Leaks::new();
        loop {
            context.clock.sleep(EVERY).await;
            if let Err(status) = round(&allocators, &context, &mut leaks).await {
                tracing::warn!(%status, "failed to check the addresses and ports of Services; trying again later");
            }
        }
    });
}

/// One round.
pub(super) async fn round(
    allocators: &Allocators,
    context: &Context,
    leaks: &mut Leaks,
) -> Result<(), Status> {
    // Before the Services: what is reserved after this may belong to one that is not listed.
    let used_ports = allocators.ports.used().await?;
    let services = Target::all(GroupVersionResource::new("", "v1", "services"));
    let services = context.loopback.list(&services, &ListOptions::default()).await?;
    let mut addresses: HashMap<String, Owner> = HashMap::new();
    let mut ports = BTreeSet::new();
    for stored in &services.items {
        let service = stored.get::<Service>().map_err(Status::internal)?;
        let owner = super::services::owner(&service);
        let held = held_by(&service);
        addresses.extend(held.ips.into_iter().map(|ip| (ip, owner.clone())));
        ports.extend(held.ports.into_iter().filter(|port| allocators.ports.contains(*port)));
    }
    mend_addresses(allocators, context, &addresses).await?;
    leaks.retain(|port, _| !ports.contains(port) && used_ports.contains(port));
    for port in used_ports.iter().filter(|port| !ports.contains(port)) {
        *leaks.entry(*port).or_default() += 1;
    }
    let gone: Vec<i32> =
        leaks.iter().filter(|(_, rounds)| **rounds >= ROUNDS).map(|(port, _)| *port).collect();
    let missing: Vec<i32> = ports.iter().filter(|port| !used_ports.contains(port)).copied().collect();
    if !gone.is_empty() || !missing.is_empty() {
        tracing::info!(?gone, ?missing, "mending the allocation of node ports");
        allocators.ports.mend(&missing, &gone).await.map_err(status)?;
        leaks.retain(|port, _| !gone.contains(port));
    }
    Ok(())
}

fn status(failure: Failure) -> Status {
    match failure {
        Failure::Store(status) => *status,
        Failure::Refused(refused) => Status::internal(format!("a range refuses: {refused:?}")),
    }
}

async fn mend_addresses(
    allocators: &Allocators,
    context: &Context,
    held: &HashMap<String, Owner>,
) -> Result<(), Status> {
    for (ip, owner) in held.iter().filter(|(ip, _)| allocators.addresses.contains(ip)) {
        let known = context.lookup.get(&addresses::storage(), "", ip).await?;
        if known.as_deref().and_then(addresses::owner).as_ref() == Some(owner) {
            continue;
        }
        match allocators.addresses.take(ip, owner, false).await {
            Ok(Taken { uid, .. }) if !uid.is_empty() => {
                tracing::info!(ip, ?owner, "a Service had no IPAddress; made one");
            }
            Ok(_) => {}
            Err(Failure::Refused(Refused::Taken)) => tracing::warn!(
                ip,
                ?owner,
                "the cluster IP of a Service is allocated to something else; recreate the Service"
            ),
            Err(failure) => return Err(status(failure)),
        }
    }
    let now = context.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(0);
    for stored in context.lookup.list(&addresses::storage(), "").await? {
        let (Some(owner), Some(ip)) = (addresses::owner(&stored), stored.meta().name.as_deref()) else {
            continue;
        };
        let created = stored.meta().creation_timestamp.as_ref().map_or(now, |time| time.0.as_second());
        let age = Duration::from_secs(u64::try_from(now - created).unwrap_or(0));
        if held.get(ip) == Some(&owner) || age < GRACE {
            continue;
        }
        tracing::info!(ip, ?owner, "an IPAddress belongs to no Service; removing it");
        let uid = stored.meta().uid.as_deref().unwrap_or_default().to_owned();
        allocators.addresses.give_back(&Taken { ip: ip.to_owned(), uid }, &owner).await?;
    }
    Ok(())
}
