//! Packets through the real kernel, in a network namespace of the test's own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

use ipnet::{IpNet, Ipv4Net};
use linux::link::{Netlink, Route};
use linux::namespace::{Kind, unshare};
use proxy::model::{Backend, Endpoint, Protocol, ServicePort};
use proxy::nftables::{Installed, plan};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
const NODE: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

/// A namespace whose loopback carries a node's address, two pods' addresses, and a default route.
async fn network() {
    unshare(&[Kind::Network]).unwrap();
    let netlink = Netlink::open().unwrap();
    let lo = netlink.require("lo").await.unwrap();
    netlink.set_up(lo.index).await.unwrap();
    for address in [NODE, pod(5), pod(6)] {
        netlink.ensure_address(lo.index, IpNet::V4(Ipv4Net::new_assert(address, 32))).await.unwrap();
    }
    // A link that leads nowhere: packets need some route before they can be translated or refused.
    let own = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    netlink.add_veth("out", "nowhere", &own, 1500).await.unwrap();
    for name in ["nowhere", "out"] {
        netlink.set_up(netlink.require(name).await.unwrap().index).await.unwrap();
    }
    let out = netlink.require("out").await.unwrap();
    netlink.ensure_address(out.index, "10.9.9.1/24".parse().unwrap()).await.unwrap();
    let gateway = Some(Ipv4Addr::new(10, 9, 9, 2));
    let route = Route { destination: Ipv4Net::default(), gateway, link: out.index, onlink: false };
    netlink.ensure_route(&route).await.unwrap();
}

fn pod(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, 0, last)
}

fn part(endpoints: &[Ipv4Addr], affinity: Option<u32>) -> BTreeMap<String, proxy::nftables::Part> {
    let port = ServicePort {
        service: "shop/web".into(),
        name: String::new(),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: Some(30080),
        cluster_ip: CLUSTER_IP,
        external_ips: Vec::new(),
        affinity,
        internal_local: false,
        external_local: false,
    };
    let endpoints = endpoints.iter().map(|a| Endpoint { address: *a, port: 8080, local: true }).collect();
    let part = plan(&[Backend { port, endpoints }], "10.244.0.0/16".parse().unwrap());
    BTreeMap::from([("shop/web".to_owned(), part)])
}

/// A server at `address` that says who it is.
fn serve(address: Ipv4Addr) {
    let listener = TcpListener::bind((address, 8080)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(&address.octets()[3..]);
        }
    });
}

fn ask(address: Ipv4Addr, port: u16) -> Result<u8, ErrorKind> {
    let target = SocketAddrV4::new(address, port).into();
    let mut stream =
        TcpStream::connect_timeout(&target, Duration::from_secs(2)).map_err(|error| error.kind())?;
    let mut answer = [0];
    stream.read_exact(&mut answer).map_err(|error| error.kind())?;
    Ok(answer[0])
}

#[tokio::test(flavor = "current_thread")]
async fn services_lead_to_endpoints() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped services_lead_to_endpoints: needs root");
        return;
    }
    network().await;
    serve(pod(5));
    serve(pod(6));
    let mut installed = Installed::reset(part(&[pod(5)], None)).unwrap();
    assert_eq!(ask(CLUSTER_IP, 80), Ok(5));
    assert_eq!(ask(NODE, 30080), Ok(5));

    installed.update(part(&[pod(5), pod(6)], None)).unwrap();
    let mut seen: Vec<u8> = (0..40).map(|_| ask(CLUSTER_IP, 80).unwrap()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [5, 6], "both endpoints get a share");

    installed.update(part(&[pod(5), pod(6)], Some(60))).unwrap();
    let first = ask(CLUSTER_IP, 80).unwrap();
    assert!((0..20).all(|_| ask(CLUSTER_IP, 80) == Ok(first)), "a client keeps its endpoint");

    installed.update(part(&[], None)).unwrap();
    assert_eq!(ask(CLUSTER_IP, 80), Err(ErrorKind::ConnectionRefused));
    assert_eq!(ask(NODE, 30080), Err(ErrorKind::ConnectionRefused));

    installed.update(BTreeMap::from([("shop/web".to_owned(), proxy::nftables::Part::default())])).unwrap();
    assert!(installed.parts().is_empty());
    Installed::reset(part(&[pod(6)], None)).unwrap();
    assert_eq!(ask(CLUSTER_IP, 80), Ok(6));
}
