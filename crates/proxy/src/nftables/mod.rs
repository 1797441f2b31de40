//! The nftables mode: what is planned for each Service, the fixed frame around it, and how differences reach
//! the kernel.

mod flows;
mod frame;
mod plan;
mod sync;

pub use flows::{Front, Fronts};
pub use plan::{Part, Rule, plan};
pub use sync::Installed;

/// Name of the table; upstream's, so that people look in the right place.
pub const TABLE: &str = "kube-proxy";
/// Bit of the packet mark that asks for masquerading.
const MASQUERADE: u32 = 0x4000;

/// Chain that asks for masquerading.
const MARK_FOR_MASQUERADE: &str = "mark-for-masquerade";
/// Chain that answers "port unreachable".
const REJECT: &str = "reject-chain";
/// Verdict map from address, protocol and port.
const SERVICE_IPS: &str = "service-ips";
/// Verdict map from load balancers' addresses, protocols and ports that not everybody may use.
const FIREWALL_IPS: &str = "firewall-ips";
/// Verdict map from protocol and port.
const NODE_PORTS: &str = "service-nodeports";
/// Verdict map of addresses, protocols and ports without endpoints.
const NO_ENDPOINTS: &str = "no-endpoint-services";
/// Verdict map of node ports without endpoints.
const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-nodeports";
