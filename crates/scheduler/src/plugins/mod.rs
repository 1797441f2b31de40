//! The plugins, one file each, and the table of those that are on by default.

mod balanced_allocation;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod pod_topology_spread;
mod scheduling_gates;
pub mod selectors;
mod taint_toleration;
mod volume_binding;

use crate::framework::{Framework, Handle};

/// Registers a plugin at its extension points.
type Register = fn(&mut Framework, &Handle);

/// Plugins in the order of their calls: cheap and decisive filters first.
pub const DEFAULTS: &[(&str, Register)] = &[
    ("SchedulingGates", scheduling_gates::register),
    ("NodeUnschedulable", node_unschedulable::register),
    ("NodeName", node_name::register),
    ("TaintToleration", taint_toleration::register),
    ("NodeAffinity", node_affinity::register),
    ("NodePorts", node_ports::register),
    ("NodeResourcesFit", node_resources_fit::register),
    ("VolumeBinding", volume_binding::register),
    ("PodTopologySpread", pod_topology_spread::register),
    ("InterPodAffinity", inter_pod_affinity::register),
    ("NodeResourcesBalancedAllocation", balanced_allocation::register),
    ("ImageLocality", image_locality::register),
];

/// A framework with the default plugins.
pub fn defaults(handle: &Handle) -> Framework {
    let mut framework = Framework::default();
    for (_, register) in DEFAULTS {
        register(&mut framework, handle);
    }
    framework
}

#[cfg(test)]
mod tests;
