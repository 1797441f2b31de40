//! The controller manager: the loops that make the cluster become what its objects say.
//!
//! One folder per controller, one row per controller in [`table`]. Each computes a *plan*, a pure function of what it
//! sees, tested on tables, and lets one executor do the I/O through the API. All share one set of informers.
//! Deliberately absent: any way to the store or the API server other than [`client::Client`].

mod certificates;
mod common;
mod config;
mod context;
mod cron_job;
mod daemon_set;
mod deployment;
mod disruption;
mod endpoint_slice;
mod endpoint_slice_mirroring;
mod endpoints;
mod ephemeral_volume;
mod garbage_collector;
mod job;
mod local_path;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod pod_gc;
mod replica_set;
mod resource_quota;
mod role_aggregation;
mod root_ca;
mod service_account;
mod stateful_set;
mod table;
mod taint_eviction;
mod ttl_after_finished;
mod volume_binder;
mod volume_protection;

pub use config::{Config, Error};
pub use context::Context;
pub use table::{Descriptor, TABLE};

use client::{Client, LeaderConfig, LeaderElector};
use component::{SharedClock, Tasks};

/// Runs every enabled controller until `tasks` stop. With leader election it waits for the lease first, and returns
/// when the lease is lost: the caller should end the process or call again.
pub async fn run(config: Config, client: Client, clock: SharedClock, tasks: Tasks) -> Result<(), Error> {
    config.check()?;
    let client = client.with_field_manager("kube-controller-manager");
    let stopping = tasks.stopping().clone();
    let Some(identity) = config.leader_identity.clone() else {
        start(&Context::new(config, client, clock, tasks));
        stopping.cancelled().await;
        return Ok(());
    };
    let lease = LeaderConfig::new("kube-controller-manager", &identity);
    let elector = LeaderElector::new(client.clone(), lease, clock.clone());
    elector
        .run(&stopping, |leading| async move {
            let led = tasks.child();
            start(&Context::new(config, client, clock, led.clone()));
            leading.cancelled().await;
            led.stop();
        })
        .await;
    Ok(())
}

/// Starts every enabled controller; each waits for its own caches.
fn start(context: &Context) {
    for descriptor in TABLE {
        if context.config.enables(descriptor.name, descriptor.by_default) {
            let run = (descriptor.run)(context.for_component(descriptor.component));
            context.tasks.spawn_until_stopped(descriptor.name, run);
        }
    }
}
