//! Links, addresses, routes and neighbours of one network namespace, over rtnetlink.
//!
//! Every "make it so" call is idempotent: what already is as asked is left alone, because whoever calls may
//! be repeating a run that was killed half way.

use futures::TryStreamExt;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::NeighbourFlags;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan,
    RouteMessageBuilder,
};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::Path;

pub use ipnet::{IpNet, Ipv4Net};

/// A netlink operation that failed; the message says which, on what, and the kernel's reason.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what}: {why}")]
pub struct LinkError {
    what: String,
    why: String,
    errno: i32,
}

impl LinkError {
    fn new(what: impl Into<String>, error: &rtnetlink::Error) -> Self {
        let errno = match error {
            rtnetlink::Error::NetlinkError(message) => message.code.map_or(0, |code| code.get().abs()),
            _ => 0,
        };
        let why = match errno {
            0 => error.to_string(),
            errno => io::Error::from_raw_os_error(errno).to_string(),
        };
        Self { what: what.into(), why, errno }
    }

    fn is(&self, errno: i32) -> bool {
        self.errno == errno
    }
}

type Result<T> = std::result::Result<T, LinkError>;

/// What is known of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Hardware address; empty for links without one.
    pub address: Vec<u8>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Whether it is set up.
    pub up: bool,
    /// Index of the bridge that it is a port of.
    pub controller: Option<u32>,
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            address: Vec::new(),
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            controller: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(address) => link.address = address,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Controller(index) if index != 0 => link.controller = Some(index),
                _ => {}
            }
        }
        link
    }
}

/// A route to add or remove.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// Where to.
    pub destination: Ipv4Net,
    /// Next hop; `None` for directly connected.
    pub gateway: Option<Ipv4Addr>,
    /// Out of which link.
    pub link: u32,
    /// The gateway counts as connected although no address says so.
    pub onlink: bool,
}

impl Route {
    fn message(&self) -> RouteMessage {
        let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(self.destination.network(), self.destination.prefix_len())
            .output_interface(self.link);
        if let Some(gateway) = self.gateway {
            builder = builder.gateway(gateway);
        } else {
            builder = builder.scope(netlink_packet_route::route::RouteScope::Link);
        }
        if self.onlink {
            builder = builder.onlink();
        }
        builder.build()
    }
}

/// A vxlan tunnel end (RFC 7348).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// Interface name.
    pub name: String,
    /// Network identifier.
    pub id: u32,
    /// Address of this end.
    pub local: Ipv4Addr,
    /// UDP port of both ends.
    pub port: u16,
    /// Hardware address.
    pub address: [u8; 6],
    /// Largest inner packet in bytes.
    pub mtu: u32,
}

/// A netlink connection to one network namespace. Must be made and used inside a tokio runtime; calls may be
/// concurrent.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Netlink {
    /// Connects to the namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        // Not a supervised task: it lives exactly as long as this value, which aborts it.
        Ok(Self { handle, driver: tokio::spawn(connection) })
    }

    /// Connects to the namespace bound at `path` (such as `/run/netns/x` or `/proc/1/ns/net`).
    pub fn open_in(path: &Path) -> io::Result<Self> {
        let netns = File::open(path)?;
        let runtime = tokio::runtime::Handle::current();
        // A socket belongs to the namespace of the thread that made it; a thread of its own may switch.
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
            nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET)?;
            let _inside = runtime.enter();
            Self::open()
        })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that enters the namespace panicked")))
    }

    /// The link called `name`, if there is one.
    pub async fn link(&self, name: &str) -> Result<Option<Link>> {
        let found = self.handle.link().get().match_name(name).execute().try_next().await;
        match found.map_err(|e| LinkError::new(format!("look up link {name}"), &e)) {
            Ok(found) => Ok(found.map(Link::from)),
            Err(error) if error.is(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The link called `name`; an error when there is none.
    pub async fn require(&self, name: &str) -> Result<Link> {
        let missing = || LinkError {
            what: format!("find link {name}"),
            why: "no such link".to_owned(),
            errno: libc::ENODEV,
        };
        self.link(name).await?.ok_or_else(missing)
    }

    /// All links.
    pub async fn links(&self) -> Result<Vec<Link>> {
        let all: std::result::Result<Vec<_>, _> = self.handle.link().get().execute().try_collect().await;
        Ok(all.map_err(|e| LinkError::new("list links", &e))?.into_iter().map(Link::from).collect())
    }

    async fn add(&self, what: String, message: LinkMessage) -> Result<()> {
        match self.handle.link().add(message).execute().await.map_err(|e| LinkError::new(what, &e)) {
            Err(error) if !error.is(libc::EEXIST) => Err(error),
            _ => Ok(()),
        }
    }

    async fn set(&self, what: &str, message: LinkMessage) -> Result<()> {
        self.handle.link().set(message).execute().await.map_err(|e| LinkError::new(what, &e))
    }

    /// Makes sure that the bridge `name` exists and is up, with a hardware address that stays. One that the kernel
    /// picks follows the ports that come and go, and what is behind the bridge would send to the old one until its
    /// neighbour entries expire.
    pub async fn ensure_bridge(&self, name: &str, mtu: u32) -> Result<Link> {
        if self.link(name).await?.is_none() {
            let bridge = LinkBridge::new(name).mtu(mtu).address(random_hardware().to_vec()).up().build();
            self.add(format!("add bridge {name}"), bridge).await?;
        }
        let link = self.require(name).await?;
        // Bridges of earlier versions were made without: an address that is set is kept, even if it is the same.
        let keep = LinkUnspec::new_with_index(link.index).address(link.address.clone()).up().build();
        self.set("set a bridge up", keep).await?;
        Ok(link)
    }

    /// Makes sure that the tunnel end exists as described and is up; one that differs is made anew.
    pub async fn ensure_vxlan(&self, vxlan: &Vxlan) -> Result<Link> {
        if let Some(link) = self.link(&vxlan.name).await? {
            if link.address == vxlan.address && link.mtu == vxlan.mtu {
                self.set_up(link.index).await?;
                return Ok(link);
            }
            self.delete(link.index).await?;
        }
        let message = LinkVxlan::new(&vxlan.name, vxlan.id)
            .local(vxlan.local)
            .port(vxlan.port)
            .learning(false)
            .address(vxlan.address.to_vec())
            .mtu(vxlan.mtu)
            .up()
            .build();
        self.add(format!("add vxlan {}", vxlan.name), message).await?;
        self.require(&vxlan.name).await
    }

    /// Adds a veth pair: `name` here, `peer` in the namespace `netns`, both with `mtu`.
    pub async fn add_veth(&self, name: &str, peer: &str, netns: &File, mtu: u32) -> Result<()> {
        let peer_message = LinkUnspec::new_with_name(peer).mtu(mtu).setns_by_fd(netns.as_raw_fd()).build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name.to_owned())
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer_message)))
            .build();
        let what = format!("add veth {name}");
        self.handle.link().add(message).execute().await.map_err(|e| LinkError::new(what, &e))
    }

    /// Sets a link up.
    pub async fn set_up(&self, index: u32) -> Result<()> {
        self.set("set a link up", LinkUnspec::new_with_index(index).up().build()).await
    }

    /// Sets a link down.
    pub async fn set_down(&self, index: u32) -> Result<()> {
        self.set("set a link down", LinkUnspec::new_with_index(index).down().build()).await
    }

    /// Makes `index` a port of the bridge `controller`; with `hairpin`, frames may leave where they came in,
    /// so that a pod reaches itself through a Service.
    pub async fn set_controller(&self, index: u32, controller: u32, hairpin: bool) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).controller(controller).build();
        self.set("add a link to a bridge", message).await?;
        if hairpin {
            use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
            use netlink_packet_route::link::InfoBridgePort;
            let message =
                LinkBridgePort::new(index).append_info_data(InfoBridgePort::HairpinMode(true)).build();
            // The kernel reads what belongs to a port only from RTM_NEWLINK; without CREATE it changes the link.
            let request = self.handle.link().add(message).set_flags(NLM_F_REQUEST | NLM_F_ACK);
            request.execute().await.map_err(|e| LinkError::new("set hairpin mode", &e))?;
        }
        Ok(())
    }

    /// Removes a link; one that is already gone is fine.
    pub async fn delete(&self, index: u32) -> Result<()> {
        match self.handle.link().del(index).execute().await.map_err(|e| LinkError::new("delete a link", &e)) {
            Err(error) if !error.is(libc::ENODEV) => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the link called `name`; returns whether there was one.
    pub async fn delete_by_name(&self, name: &str) -> Result<bool> {
        match self.link(name).await? {
            None => Ok(false),
            Some(link) => self.delete(link.index).await.map(|()| true),
        }
    }

    /// Makes sure that a link has an address.
    pub async fn ensure_address(&self, index: u32, address: IpNet) -> Result<()> {
        let IpNet::V4(v4) = address else {
            return Err(LinkError {
                what: format!("add address {address}"),
                why: "only IPv4 is supported".to_owned(),
                errno: 0,
            });
        };
        let what = format!("add address {address}");
        let request = self.handle.address().add(index, IpAddr::V4(v4.addr()), v4.prefix_len());
        match request.execute().await.map_err(|e| LinkError::new(what, &e)) {
            Err(error) if !error.is(libc::EEXIST) => Err(error),
            _ => Ok(()),
        }
    }

    /// The addresses of a link, IPv4 first.
    pub async fn addresses(&self, index: u32) -> Result<Vec<IpNet>> {
        use netlink_packet_route::address::AddressAttribute;
        let all: std::result::Result<Vec<_>, _> =
            self.handle.address().get().set_link_index_filter(index).execute().try_collect().await;
        let mut found = Vec::new();
        for message in all.map_err(|e| LinkError::new("list addresses", &e))? {
            for attribute in &message.attributes {
                if let AddressAttribute::Address(address) = attribute
                    && let Ok(net) = IpNet::new(*address, message.header.prefix_len)
                {
                    found.push(net);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Makes sure that a route exists, in place of another one to the same destination.
    pub async fn ensure_route(&self, route: &Route) -> Result<()> {
        let what = format!("add route to {}", route.destination);
        self.handle
            .route()
            .add(route.message())
            .replace()
            .execute()
            .await
            .map_err(|e| LinkError::new(what, &e))
    }

    /// Removes a route; one that is already gone is fine.
    pub async fn delete_route(&self, route: &Route) -> Result<()> {
        let what = format!("delete route to {}", route.destination);
        match self.handle.route().del(route.message()).execute().await.map_err(|e| LinkError::new(what, &e)) {
            Err(error) if !error.is(libc::ESRCH) && !error.is(libc::ENODEV) => Err(error),
            _ => Ok(()),
        }
    }

    /// The IPv4 routes of the main table.
    pub async fn routes(&self) -> Result<Vec<Route>> {
        let query = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let all: std::result::Result<Vec<_>, _> =
            self.handle.route().get(query).execute().try_collect().await;
        Ok(all.map_err(|e| LinkError::new("list routes", &e))?.iter().filter_map(route_of).collect())
    }

    /// Makes sure that `address` resolves to `hardware` on a link, for good.
    pub async fn ensure_neighbour(&self, index: u32, address: Ipv4Addr, hardware: &[u8; 6]) -> Result<()> {
        let request =
            self.handle.neighbours().add(index, address.into()).link_layer_address(hardware).replace();
        request.execute().await.map_err(|e| LinkError::new(format!("add neighbour {address}"), &e))
    }

    /// Makes sure that frames to `hardware` on a vxlan link go to the tunnel end at `remote`.
    pub async fn ensure_forwarding(&self, index: u32, hardware: &[u8; 6], remote: Ipv4Addr) -> Result<()> {
        let request = self
            .handle
            .neighbours()
            .add_bridge(index, hardware)
            .destination(remote.into())
            .flags(NeighbourFlags::Own)
            .replace();
        request.execute().await.map_err(|e| LinkError::new(format!("add forwarding to {remote}"), &e))
    }
}

/// A hardware address of nobody else: locally administered, for one interface.
fn random_hardware() -> [u8; 6] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let [a, b, c, d, e, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    [0x0a, a, b, c, d, e]
}

fn route_of(message: &RouteMessage) -> Option<Route> {
    if message.header.table != 254 {
        return None;
    }
    let (mut destination, mut gateway, mut link) = (Ipv4Addr::UNSPECIFIED, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::Oif(index) => link = Some(*index),
            _ => {}
        }
    }
    let destination = Ipv4Net::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Route { destination, gateway, link: link?, onlink: false })
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self {
            what: "open a netlink socket".to_owned(),
            why: error.to_string(),
            errno: error.raw_os_error().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Kind, own, unshare};

    #[tokio::test(flavor = "current_thread")]
    async fn a_bridge_keeps_its_address_while_ports_come_and_go() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped a_bridge_keeps_its_address_while_ports_come_and_go: needs root");
            return;
        }
        unshare(&[Kind::Network]).unwrap();
        let here = File::from(own(Kind::Network).unwrap());
        let netlink = Netlink::open().unwrap();
        let made = netlink.ensure_bridge("br", 1500).await.unwrap();
        // One of an earlier version, whose address the kernel has picked.
        netlink.add("add a bridge".to_owned(), LinkBridge::new("old").up().build()).await.unwrap();
        let old = netlink.ensure_bridge("old", 1500).await.unwrap();
        for (bridge, port, end) in [(&made, "a", "b"), (&old, "c", "d")] {
            netlink.add_veth(port, end, &here, 1500).await.unwrap();
            let port = netlink.require(port).await.unwrap();
            netlink.set_controller(port.index, bridge.index, false).await.unwrap();
            assert_eq!(netlink.require(&bridge.name).await.unwrap().address, bridge.address);
            netlink.delete(port.index).await.unwrap();
            assert_eq!(netlink.ensure_bridge(&bridge.name, 1500).await.unwrap().address, bridge.address);
        }
    }
}
