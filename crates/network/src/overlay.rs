//! The pod network between nodes: one vxlan device and a route to each peer's pods, or a plain route where
//! the peer is on the same subnet.
//!
//! Hardware addresses of tunnel ends follow from node addresses, so nodes need not tell each other anything
//! but the address and the pod CIDR that their Node objects carry.

use ipnet::{IpNet, Ipv4Net};
use linux::link::{LinkError, Netlink, Route, Vxlan};
use linux::nft::{Batch, Chain, Expression, Hook, Register};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Name of the tunnel device.
pub const DEVICE: &str = "windlass.vx";
/// Its network identifier and UDP port (RFC 7348's port is 4789; 8472 is Linux' own and what others use).
const NETWORK_ID: u32 = 1;
const PORT: u16 = 8472;
/// Bytes that the tunnel adds to a packet over IPv4.
pub const OVERHEAD: u32 = 50;

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// Its address.
    pub address: Ipv4Addr,
    /// Addresses of its pods.
    pub pod_cidr: Ipv4Net,
}

/// This node's end of the pod network.
#[derive(Debug)]
pub struct Overlay {
    netlink: Netlink,
    local: Ipv4Addr,
    installed: BTreeSet<Route>,
}

/// The hardware address of the tunnel end at `address`: locally administered, and the address itself.
fn hardware(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x77, a, b, c, d]
}

impl Overlay {
    /// Makes the end at the node's address `local` in the calling thread's namespace. Returns the overlay and the
    /// MTU for its pods.
    pub async fn start(local: Ipv4Addr) -> Result<(Self, u32), LinkError> {
        let netlink = Netlink::open().map_err(LinkError::from)?;
        let mtu = mtu(&netlink, local).await?;
        Ok((Self { netlink, local, installed: BTreeSet::new() }, mtu.saturating_sub(OVERHEAD)))
    }

    /// Makes the routes be those to `peers` and no others. Only differences reach the kernel.
    pub async fn sync(&mut self, peers: &[Peer], mtu: u32) -> Result<(), LinkError> {
        let neighbours = self.connected().await?;
        let mut wanted = BTreeSet::new();
        for peer in peers.iter().filter(|peer| peer.address != self.local) {
            let direct = neighbours.iter().find(|(net, _)| net.contains(&peer.address));
            if let Some((_, link)) = direct {
                let gateway = Some(peer.address);
                wanted.insert(Route { destination: peer.pod_cidr, gateway, link: *link, onlink: false });
            } else {
                wanted.insert(self.tunnel_to(peer, mtu).await?);
            }
        }
        for stale in self.installed.difference(&wanted) {
            self.netlink.delete_route(stale).await?;
        }
        for new in wanted.difference(&self.installed) {
            self.netlink.ensure_route(new).await?;
        }
        self.installed = wanted;
        Ok(())
    }

    async fn tunnel_to(&self, peer: &Peer, mtu: u32) -> Result<Route, LinkError> {
        let vxlan = Vxlan {
            name: DEVICE.to_owned(),
            id: NETWORK_ID,
            local: self.local,
            port: PORT,
            address: hardware(self.local),
            mtu,
        };
        let device = self.netlink.ensure_vxlan(&vxlan).await?;
        let (gateway, address) = (peer.pod_cidr.network(), hardware(peer.address));
        self.netlink.ensure_neighbour(device.index, gateway, &address).await?;
        self.netlink.ensure_forwarding(device.index, &address, peer.address).await?;
        Ok(Route { destination: peer.pod_cidr, gateway: Some(gateway), link: device.index, onlink: true })
    }

    /// Subnets that this node is connected to, with their links.
    async fn connected(&self) -> Result<Vec<(Ipv4Net, u32)>, LinkError> {
        let mut found = Vec::new();
        for link in self.netlink.links().await? {
            if link.name == "lo" || link.name == DEVICE || link.name == crate::conf::BRIDGE {
                continue;
            }
            for address in self.netlink.addresses(link.index).await? {
                if let IpNet::V4(net) = address {
                    found.push((net, link.index));
                }
            }
        }
        Ok(found)
    }
}

/// The MTU of the link that carries `local`, 1500 when none does.
async fn mtu(netlink: &Netlink, local: Ipv4Addr) -> Result<u32, LinkError> {
    for link in netlink.links().await? {
        let addresses = netlink.addresses(link.index).await?;
        if addresses.iter().any(|net| net.addr() == std::net::IpAddr::V4(local)) {
            return Ok(link.mtu.clamp(1280, 9000));
        }
    }
    Ok(1500)
}

/// Name of the nftables table that lets pods reach what lies outside of the pod network.
pub const TABLE: &str = "windlass-pods";

/// Rules by which packets from this node's pods (`own`) to places outside of the pod network (`all`) leave with
/// the node's address: nobody out there knows the way back to a pod.
pub fn masquerade(own: Ipv4Net, all: Ipv4Net) -> Batch {
    const SOURCE_NAT: i32 = 100;
    let (a, hook) = (Register(0), Hook { kind: "nat", number: 4, priority: SOURCE_NAT });
    let network = |net: Ipv4Net| net.network().octets().to_vec();
    let mut batch = Batch::new(TABLE);
    batch.add_table();
    batch.delete_table();
    batch.add_table();
    batch.add_chain(&Chain { name: "postrouting".to_owned(), hook: Some(hook) });
    batch.add_rule(
        "postrouting",
        &[
            Expression::SourceAddress(a),
            Expression::Bitwise(a, own.netmask().octets(), [0; 4]),
            Expression::Equal(a, network(own)),
            Expression::DestinationAddress(a),
            Expression::Bitwise(a, all.netmask().octets(), [0; 4]),
            Expression::NotEqual(a, network(all)),
            Expression::Masquerade,
        ],
    );
    batch
}
