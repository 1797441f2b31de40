//! The table of controllers, in upstream's order and under upstream's names.

use crate::context::Context;
use futures::future::BoxFuture;

/// One controller.
#[derive(Clone, Copy)]
pub struct Descriptor {
    /// Name for `--controllers`.
    pub name: &'static str,
    /// Name in events.
    pub component: &'static str,
    /// Whether `*` includes it.
    pub by_default: bool,
    /// Runs until dropped.
    pub run: fn(Context) -> BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Descriptor({})", self.name)
    }
}

macro_rules! row {
    ($name:literal, $component:literal, $run:path) => {
        Descriptor {
            name: $name,
            component: $component,
            by_default: true,
            run: |context| Box::pin($run(context)),
        }
    };
}

/// Every controller.
pub const TABLE: &[Descriptor] = &[
    row!("serviceaccount-controller", "serviceaccount-controller", crate::service_account::run),
    row!("root-ca-certificate-publisher-controller", "root-ca-cert-publisher", crate::root_ca::run),
    row!("replicationcontroller-controller", "replication-controller", crate::replica_set::run_replication),
    row!("replicaset-controller", "replicaset-controller", crate::replica_set::run),
    row!("endpoints-controller", "endpoint-controller", crate::endpoints::run),
    row!("endpointslice-controller", "endpoint-slice-controller", crate::endpoint_slice::run),
    row!("daemonset-controller", "daemonset-controller", crate::daemon_set::run),
    row!("statefulset-controller", "statefulset-controller", crate::stateful_set::run),
    row!("job-controller", "job-controller", crate::job::run),
    row!("cronjob-controller", "cronjob-controller", crate::cron_job::run),
    row!("ttl-after-finished-controller", "ttl-after-finished-controller", crate::ttl_after_finished::run),
    row!(
        "endpointslice-mirroring-controller",
        "endpoint-slice-mirroring-controller",
        crate::endpoint_slice_mirroring::run
    ),
    row!("ephemeral-volume-controller", "ephemeral_volume", crate::ephemeral_volume::run),
    row!("deployment-controller", "deployment-controller", crate::deployment::run),
    row!("garbage-collector-controller", "garbage-collector-controller", crate::garbage_collector::run),
    row!("node-ipam-controller", "cidrAllocator", crate::node_ipam::run),
    row!("node-lifecycle-controller", "node-controller", crate::node_lifecycle::run),
    row!("taint-eviction-controller", "taint-eviction-controller", crate::taint_eviction::run),
    row!("pod-garbage-collector-controller", "pod-garbage-collector", crate::pod_gc::run),
    row!("disruption-controller", "controllermanager", crate::disruption::run),
    row!("persistentvolume-binder-controller", "persistentvolume-controller", crate::volume_binder::run),
    row!("local-path-provisioner", "windlass.io/local-path", crate::local_path::run),
    row!(
        "persistentvolumeclaim-protection-controller",
        "pvc-protection-controller",
        crate::volume_protection::run_claims
    ),
    row!(
        "persistentvolume-protection-controller",
        "pv-protection-controller",
        crate::volume_protection::run_volumes
    ),
    row!(
        "clusterrole-aggregation-controller",
        "clusterrole-aggregation-controller",
        crate::role_aggregation::run
    ),
    row!("resourcequota-controller", "resourcequota-controller", crate::resource_quota::run),
    row!(
        "certificatesigningrequest-signing-controller",
        "certificate-controller-csrsigning",
        crate::certificates::run_signing
    ),
    row!(
        "certificatesigningrequest-approving-controller",
        "certificate-controller-csrapproving",
        crate::certificates::run_approving
    ),
    row!(
        "certificatesigningrequest-cleaner-controller",
        "certificate-controller-csrcleaner",
        crate::certificates::run_cleaning
    ),
    row!("namespace-controller", "namespace-controller", crate::namespace::run),
];
