//! Packets through the real kernel, in a network namespace of the test's own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

use ipnet::{IpNet, Ipv4Net};
use linux::link::{Netlink, Route};
use linux::namespace::{Kind, unshare};
use proxy::model::{Backend, Endpoint, Protocol, ServicePort};
use proxy::nftables::{Installed, plan};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
const BALANCER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
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
    part_of(Protocol::Tcp, endpoints, endpoints, affinity, &[])
}

fn part_of(
    protocol: Protocol,
    endpoints: &[Ipv4Addr],
    serving: &[Ipv4Addr],
    affinity: Option<u32>,
    ranges: &[Ipv4Net],
) -> BTreeMap<String, proxy::nftables::Part> {
    let port = ServicePort {
        service: "shop/web".into(),
        name: String::new(),
        protocol,
        port: 80,
        node_port: Some(30080),
        cluster_ip: CLUSTER_IP,
        external_ips: vec![BALANCER],
        balancer_ips: vec![BALANCER],
        source_ranges: ranges.to_vec(),
        affinity,
        internal_local: false,
        external_local: false,
    };
    let at = |addresses: &[Ipv4Addr]| {
        addresses.iter().map(|a| Endpoint { address: *a, port: 8080, local: true }).collect()
    };
    let backend = Backend { port, endpoints: at(endpoints), local: at(endpoints), serving: at(serving) };
    let part = plan(&[backend], "10.244.0.0/16".parse().unwrap(), NODE);
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

/// A server of datagrams at `address` that says who it is.
fn serve_datagrams(address: Ipv4Addr) {
    let socket = UdpSocket::bind((address, 8080)).unwrap();
    std::thread::spawn(move || {
        while let Ok((_, client)) = socket.recv_from(&mut [0; 8]) {
            let _ = socket.send_to(&address.octets()[3..], client);
        }
    });
}

fn ask_by_datagram(socket: &UdpSocket) -> Result<u8, ErrorKind> {
    ask_by_datagram_at(socket, CLUSTER_IP, 80)
}

fn ask_by_datagram_at(socket: &UdpSocket, address: Ipv4Addr, port: u16) -> Result<u8, ErrorKind> {
    // Connected, so that refusals are heard; one may still be left from the last time.
    socket.take_error().unwrap();
    socket.connect((address, port)).map_err(|error| error.kind())?;
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut answer = [0];
    socket.send(b"?").map_err(|error| error.kind())?;
    socket.recv(&mut answer).map_err(|error| error.kind())?;
    Ok(answer[0])
}

/// Asks all the time, each time as a new client, until told to stop; every question must be answered.
fn hammer(stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        let mut asked = 0;
        while !stop.load(Ordering::Relaxed) {
            let client = UdpSocket::bind((NODE, 0)).unwrap();
            let answer = ask_by_datagram(&client);
            assert!(answer.is_ok(), "{answer:?} after {asked} answers");
            asked += 1;
        }
        asked
    })
}

#[tokio::test(flavor = "current_thread")]
async fn no_packet_is_lost_while_rules_change() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped no_packet_is_lost_while_rules_change: needs root");
        return;
    }
    network().await;
    serve_datagrams(pod(5));
    serve_datagrams(pod(6));
    // What leaves the rules goes on serving, as pods do that end well.
    let serving = [pod(5), pod(6)];
    let part = |endpoints: &[Ipv4Addr], affinity| part_of(Protocol::Udp, endpoints, &serving, affinity, &[]);
    let mut installed = Installed::reset(part(&[pod(5)], None)).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..3).map(|_| hammer(&stop)).collect();
    for round in 0..30 {
        installed.update(part(&[pod(5), pod(6)], None)).unwrap();
        installed.update(part(&[pod(6)], None)).unwrap();
        installed.update(part(&[pod(5), pod(6)], Some(60))).unwrap();
        // As after a restart of the proxy, which does not know what is installed.
        installed = Installed::reset(part(&[pod(5 + round % 2)], None)).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let asked: usize = asking.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(asked > 100, "only {asked} questions");
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_of_datagrams_follows_the_endpoints() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped a_client_of_datagrams_follows_the_endpoints: needs root");
        return;
    }
    network().await;
    serve_datagrams(pod(5));
    serve_datagrams(pod(6));
    let part =
        |endpoints: &[Ipv4Addr], serving: &[Ipv4Addr]| part_of(Protocol::Udp, endpoints, serving, None, &[]);
    let client = UdpSocket::bind((NODE, 0)).unwrap();
    let by_port = UdpSocket::bind((NODE, 0)).unwrap();
    let ask_both = || {
        let by_node_port = ask_by_datagram_at(&by_port, NODE, 30080);
        assert_eq!(ask_by_datagram(&client), by_node_port);
        by_node_port
    };
    let mut installed = Installed::reset(part(&[], &[])).unwrap();
    assert!(ask_both().is_err(), "nobody is there");
    installed.update(part(&[pod(5)], &[pod(5)])).unwrap();
    assert_eq!(ask_both(), Ok(5));
    installed.update(part(&[pod(6)], &[pod(5), pod(6)])).unwrap();
    assert_eq!(ask_both(), Ok(5), "who has an endpoint keeps it while it serves");
    installed.update(part(&[pod(6)], &[pod(6)])).unwrap();
    assert_eq!(ask_both(), Ok(6));
    // Changed while no proxy was there.
    Installed::reset(part(&[pod(5)], &[pod(5)])).unwrap();
    assert_eq!(ask_both(), Ok(5));
}

fn ask_from(source: Ipv4Addr, address: Ipv4Addr, port: u16) -> Result<u8, ErrorKind> {
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket.connect((address, port)).map_err(|error| error.kind())?;
    // Dropped by the rules of this very host: the kernel tells the sender.
    socket.send(b"?").map_err(|error| error.kind())?;
    let mut answer = [0];
    socket.recv(&mut answer).map_err(|error| error.kind())?;
    Ok(answer[0])
}

#[tokio::test(flavor = "current_thread")]
async fn source_ranges_guard_the_load_balancers_address() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped source_ranges_guard_the_load_balancers_address: needs root");
        return;
    }
    network().await;
    serve_datagrams(pod(5));
    let part = |ranges: &[&str]| {
        let ranges: Vec<Ipv4Net> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        part_of(Protocol::Udp, &[pod(5)], &[pod(5)], None, &ranges)
    };
    let mut installed = Installed::reset(part(&[])).unwrap();
    let inside = Ipv4Addr::new(10, 9, 9, 1);
    assert_eq!([ask_from(NODE, BALANCER, 80), ask_from(inside, BALANCER, 80)], [Ok(5), Ok(5)]);
    installed.update(part(&["10.9.0.0/16", "172.16.0.0/12"])).unwrap();
    assert_eq!(ask_from(inside, BALANCER, 80), Ok(5));
    assert!(ask_from(NODE, BALANCER, 80).is_err(), "it is in no range");
    assert_eq!([ask_from(NODE, CLUSTER_IP, 80), ask_from(NODE, NODE, 30080)], [Ok(5), Ok(5)]);
    installed.update(part(&["0.0.0.0/0"])).unwrap();
    assert_eq!(ask_from(NODE, BALANCER, 80), Ok(5));
}
