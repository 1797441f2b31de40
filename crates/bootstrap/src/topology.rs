//! The network of `--isolated`: a namespace per node, joined by a bridge in a namespace of its own, the fabric.
//!
//! Nothing leads out: the fabric has no link to the host and does not forward. Nodes still have a default
//! route, into the fabric, because a packet to a Service's address must have some route before it can be
//! translated. The namespaces are pinned below the data directory and outlive every process, so pods keep their
//! network through a crash of everything above them.

use crate::layout::Layout;
use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};
use linux::link::{Netlink, Route};
use linux::namespace;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The nodes' subnet.
const SUBNET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 200, 0, 0), 24);
/// The fabric's own address: where everything goes that has nowhere else to go.
const FABRIC: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 254);
const FABRIC_NAME: &str = "fabric";
const BRIDGE: &str = "fabric0";
const MTU: u32 = 1500;

/// A node of an isolated cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node's name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its network namespace.
    pub namespace: PathBuf,
}

/// The places of `nodes` nodes, whether made already or not.
pub fn places(layout: &Layout, nodes: u32) -> Vec<Place> {
    let host = |number| Ipv4Addr::from(u32::from(SUBNET.network()) + number);
    let place = |number| {
        let name = format!("node-{number}");
        Place { address: host(number), namespace: layout.namespaces().join(&name), name }
    };
    (1..=nodes).map(place).collect()
}

/// The namespace of the fabric; a node's link there has the node's name.
pub fn fabric(layout: &Layout) -> PathBuf {
    layout.namespaces().join(FABRIC_NAME)
}

/// Makes namespaces, links, addresses and routes for `places`; what exists is kept. Must be called inside a tokio
/// runtime.
pub async fn ensure(layout: &Layout, places: &[Place]) -> Result<()> {
    std::fs::create_dir_all(layout.namespaces())
        .with_context(|| format!("failed to make {}", layout.namespaces().display()))?;
    ensure_namespace(&fabric(layout))?;
    let middle = Netlink::open_in(&fabric(layout)).context("failed to enter the fabric's namespace")?;
    let bridge = middle.ensure_bridge(BRIDGE, MTU).await?;
    middle.ensure_address(bridge.index, IpNet::V4(Ipv4Net::new_assert(FABRIC, SUBNET.prefix_len()))).await?;
    for place in places {
        ensure_namespace(&place.namespace)?;
        let inside = Netlink::open_in(&place.namespace)
            .with_context(|| format!("failed to enter the namespace of {}", place.name))?;
        if middle.link(&place.name).await?.is_none() {
            let namespace = File::open(&place.namespace)
                .with_context(|| format!("failed to open {}", place.namespace.display()))?;
            middle.add_veth(&place.name, "eth0", &namespace, MTU).await?;
        }
        let outer = middle.require(&place.name).await?;
        middle.set_controller(outer.index, bridge.index, false).await?;
        middle.set_up(outer.index).await?;
        inside.set_up(inside.require("lo").await?.index).await?;
        let link = inside.require("eth0").await?;
        inside.set_up(link.index).await?;
        let address = Ipv4Net::new_assert(place.address, SUBNET.prefix_len());
        inside.ensure_address(link.index, IpNet::V4(address)).await?;
        let route =
            Route { destination: Ipv4Net::default(), gateway: Some(FABRIC), link: link.index, onlink: false };
        inside.ensure_route(&route).await?;
    }
    Ok(())
}

fn ensure_namespace(path: &Path) -> Result<()> {
    // A file without a namespace on it is a leftover of a run that was killed half way, or of a reboot.
    let alive = namespace::open(path).is_ok() && is_namespace(path);
    if !alive {
        namespace::unpin(path)?;
        namespace::make_network(path)?;
    }
    Ok(())
}

fn is_namespace(path: &Path) -> bool {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == NSFS_MAGIC)
}

/// Removes every namespace that [`ensure`] made; links and addresses go with them.
pub fn remove(layout: &Layout) -> Result<()> {
    for entry in std::fs::read_dir(layout.namespaces()).into_iter().flatten().flatten() {
        namespace::unpin(&entry.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nodes_reach_each_other_and_nothing_else() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped nodes_reach_each_other_and_nothing_else: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let places = places(&layout, 2);
        ensure(&layout, &places).await.unwrap();
        ensure(&layout, &places).await.unwrap();
        let server = namespace::inside_network(&places[0].namespace, || {
            Ok(std::net::TcpListener::bind((places[0].address, 0)).unwrap())
        })
        .unwrap();
        let port = server.local_addr().unwrap().port();
        namespace::inside_network(&places[1].namespace, || {
            std::net::TcpStream::connect((places[0].address, port)).unwrap();
            Ok(())
        })
        .unwrap();
        let outside = std::net::TcpStream::connect_timeout(
            &(places[0].address, port).into(),
            std::time::Duration::from_millis(1),
        );
        remove(&layout).unwrap();
        assert!(outside.is_err(), "the host must not reach into an isolated cluster");
        assert!(!is_namespace(&places[0].namespace));
    }
}
