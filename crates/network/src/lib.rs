//! CNI plugins and the pod network between nodes.
//!
//! The plugins are ordinary CNI executables: links to the Windlass binary under their own names, exec'd by
//! whichever runtime is in use. The overlay keeps one vxlan device and the routes to the other nodes' pods.
//!
//! Deliberately absent: Kubernetes objects. Whoever watches Nodes tells the overlay who its peers are.

pub mod cni;
pub mod conf;
pub mod overlay;
pub mod plugins;
