//! Tracked flows of the calling thread's network namespace, over ctnetlink: finding those to a port, forgetting one.
//!
//! Numbers are those of `linux/netfilter/nfnetlink_conntrack.h`. IPv4 only. Deliberately absent: events, and making or
//! changing entries.

use crate::error::{Context, Result};
use crate::netfilter::{ACK, DUMP, exchange};
use crate::nft::attribute::{Attributes, list};
use std::net::{Ipv4Addr, SocketAddrV4};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const FILTER: u16 = 25;
const FILTER_ORIGINAL_FLAGS: u16 = 1;
/// Bits of [`FILTER_ORIGINAL_FLAGS`]: which parts of the original tuple must be as given (kernel 5.8).
const BY_ADDRESS: u32 = 1 << 1;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_PORT: u32 = 1 << 5;
/// Bit of the status: the destination was translated.
const DESTINATION_NAT: u32 = 1 << 5;

/// A tracked flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its transport protocol, as IP headers number it.
    pub protocol: u8,
    /// Who began it.
    pub source: SocketAddrV4,
    /// Whom it was sent to.
    pub destination: SocketAddrV4,
    /// Who answers; another than `destination` when that was translated.
    pub answering: SocketAddrV4,
    /// Whether the destination was translated.
    pub translated: bool,
}

/// The flows of a protocol, narrowed to those that were sent to an address or a port. Blocks while the kernel walks
/// its table.
pub fn flows(protocol: u8, address: Option<Ipv4Addr>, port: Option<u16>) -> Result<Vec<Flow>> {
    let mut flags = BY_PROTOCOL;
    let mut body = Attributes::default();
    body.nested(TUPLE_ORIGINAL, |tuple| {
        if let Some(address) = address {
            flags |= BY_ADDRESS;
            tuple.nested(1, |ip| {
                ip.bytes(2, &address.octets());
            });
        }
        tuple.nested(2, |transport| {
            transport.bytes(1, &[protocol]);
            if let Some(port) = port {
                flags |= BY_PORT;
                transport.bytes(3, &port.to_be_bytes());
            }
        });
    });
    body.nested(FILTER, |filter| {
        filter.bytes(FILTER_ORIGINAL_FLAGS, &flags.to_ne_bytes());
    });
    let mut found = Vec::new();
    exchange(GET, DUMP, &body, |attributes| found.extend(flow(attributes)))
        .context(|| format!("list tracked flows of protocol {protocol}"))?;
    Ok(found)
}

/// Forgets a flow, so that its next packet is judged anew. One that is gone is fine.
pub fn forget(flow: &Flow) -> Result<()> {
    let mut body = Attributes::default();
    body.nested(TUPLE_ORIGINAL, |tuple| {
        tuple.nested(1, |ip| {
            ip.bytes(1, &flow.source.ip().octets()).bytes(2, &flow.destination.ip().octets());
        });
        tuple.nested(2, |transport| {
            transport.bytes(1, &[flow.protocol]);
            transport.bytes(2, &flow.source.port().to_be_bytes());
            transport.bytes(3, &flow.destination.port().to_be_bytes());
        });
    });
    match exchange(DELETE, ACK, &body, |_| ()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        done => {
            done.context(|| format!("forget the tracked flow from {} to {}", flow.source, flow.destination))
        }
    }
}

/// One side of a flow: protocol, source, destination.
fn tuple(bytes: &[u8]) -> Option<(u8, SocketAddrV4, SocketAddrV4)> {
    let (mut protocol, mut addresses, mut ports) = (None, [None; 2], [None; 2]);
    for (kind, value) in list(bytes) {
        for (inner, value) in list(value) {
            match (kind, inner) {
                (1, 1 | 2) => {
                    addresses[usize::from(inner) - 1] =
                        value.first_chunk::<4>().map(|ip| Ipv4Addr::from(*ip));
                }
                (2, 1) => protocol = value.first().copied(),
                (2, 2 | 3) => {
                    ports[usize::from(inner) - 2] = value.first_chunk().map(|port| u16::from_be_bytes(*port));
                }
                _ => {}
            }
        }
    }
    let side = |n: usize| Some(SocketAddrV4::new(addresses[n]?, ports[n]?));
    Some((protocol?, side(0)?, side(1)?))
}

fn flow(bytes: &[u8]) -> Option<Flow> {
    let (mut original, mut reply, mut status) = (None, None, 0);
    for (kind, value) in list(bytes) {
        match kind {
            TUPLE_ORIGINAL => original = tuple(value),
            TUPLE_REPLY => reply = tuple(value),
            STATUS => status = u32::from_be_bytes(*value.first_chunk()?),
            _ => {}
        }
    }
    let ((protocol, source, destination), (_, answering, _)) = (original?, reply?);
    Some(Flow { protocol, source, destination, answering, translated: status & DESTINATION_NAT != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{Expression, Register};
    use std::net::UdpSocket;

    #[test]
    fn flows_are_found_by_where_they_go_and_forgotten() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped flows_are_found_by_where_they_go_and_forgotten: needs root");
            return;
        }
        let alone = std::thread::spawn(|| {
            crate::namespace::unshare(&[crate::namespace::Kind::Network]).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let netlink = crate::link::Netlink::open().unwrap();
                netlink.set_up(netlink.require("lo").await.unwrap().index).await.unwrap();
            });
            // Flows are tracked only where rules need them.
            let mut batch = crate::nft::Batch::new("t");
            batch.add_table();
            let hook = crate::nft::Hook { kind: "nat", number: 3, priority: -100 };
            batch.add_chain(&crate::nft::Chain { name: "out".into(), hook: Some(hook) });
            let (a, b) = (Register(0), Register(1));
            let translate = [
                Expression::DestinationPort(a),
                Expression::Equal(a, 9_u16.to_be_bytes().to_vec()),
                Expression::Load(a, vec![127, 0, 0, 1]),
                Expression::Load(b, vec![0, 10]),
                Expression::DestinationNat(a, b),
            ];
            batch.add_rule("out", &translate);
            crate::nft::apply(&batch).unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            for port in [5301, 5302] {
                client.send_to(b"?", ("127.0.0.1", port)).unwrap();
            }
            let found = flows(17, None, Some(5301)).unwrap();
            let here = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            let flow = Flow {
                protocol: 17,
                source: here(client.local_addr().unwrap().port()),
                destination: here(5301),
                answering: here(5301),
                translated: false,
            };
            assert_eq!(found, [flow]);
            assert_eq!(flows(17, Some(Ipv4Addr::LOCALHOST), Some(5301)).unwrap(), found);
            assert_eq!(flows(17, Some(Ipv4Addr::new(127, 0, 0, 2)), None).unwrap(), []);
            assert_eq!(flows(6, None, None).unwrap(), []);
            forget(&flow).unwrap();
            forget(&flow).unwrap();
            assert_eq!(flows(17, None, Some(5301)).unwrap(), []);
            assert_eq!(flows(17, None, None).unwrap().len(), 1);
        });
        alone.join().unwrap();
    }

    #[test]
    fn flows_that_are_cut_off_are_left_out() {
        assert_eq!(flow(&[8, 0, 1, 0x80, 1, 2, 3, 4]), None);
        assert_eq!(flow(&[3, 0, 1, 0]), None, "an attribute shorter than its header");
    }
}
