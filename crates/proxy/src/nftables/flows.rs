//! Flows of datagrams that lead where their Service does not lead any more.
//!
//! The kernel decides once per flow where it goes. A client that goes on sending from the same port would keep an
//! endpoint that is gone, or the lack of one, for as long as it sends: its flow is forgotten, so that the next packet
//! is judged by the rules of now. An endpoint that still serves while it terminates keeps its flows. TCP ends by itself.

use super::plan::Part;
use linux::conntrack::{Flow, flows, forget};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

const UDP: u8 = 17;

/// Where clients send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Front {
    /// The address; any of this node's when `None`.
    pub address: Option<Ipv4Addr>,
    /// The port.
    pub port: u16,
}

/// Where datagrams may lead, by where they are sent to.
pub type Fronts = BTreeMap<Front, BTreeSet<SocketAddrV4>>;

/// What changed in a way that leaves flows astray, and where it may lead now.
pub(super) fn changed(changes: &[(Part, Part)]) -> Fronts {
    let mut found = Fronts::new();
    for (old, new) in changes {
        for front in old.datagrams.keys().chain(new.datagrams.keys()) {
            let (before, now) = (old.datagrams.get(front), new.datagrams.get(front));
            let none = BTreeSet::new();
            let (before, now) = (before.unwrap_or(&none), now.unwrap_or(&none));
            if before.is_empty() && !now.is_empty() || !before.is_subset(now) {
                found.insert(*front, now.clone());
            }
        }
    }
    found
}

/// Where datagrams may lead, of all parts: what was before is not known.
pub(super) fn all<'a>(parts: impl Iterator<Item = &'a Part>) -> Fronts {
    parts.flat_map(|part| part.datagrams.clone()).collect()
}

/// Forgets the flows to `fronts` that lead elsewhere. Blocks. What cannot be forgotten is logged: it ends when its
/// client is silent for a while.
pub(super) fn forget_astray(fronts: &Fronts) {
    let listed = match fronts.keys().collect::<Vec<_>>().as_slice() {
        [] => return,
        [only] => flows(UDP, only.address, Some(only.port)),
        _ => flows(UDP, None, None),
    };
    let done = listed.and_then(|flows| {
        let astray = flows.iter().filter(|flow| is_astray(flow, fronts, is_local));
        astray.map(forget).collect::<Result<Vec<()>, _>>()
    });
    if let Err(error) = done {
        tracing::warn!("{error}; clients that send datagrams may keep an endpoint that is gone");
    }
}

fn is_local(address: Ipv4Addr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn is_astray(flow: &Flow, fronts: &Fronts, is_local: impl Fn(Ipv4Addr) -> bool) -> bool {
    let (address, port) = (*flow.destination.ip(), flow.destination.port());
    if let Some(now) = fronts.get(&Front { address: Some(address), port }) {
        return !now.contains(&flow.answering);
    }
    match fronts.get(&Front { address: None, port }) {
        Some(now) if flow.translated => !now.contains(&flow.answering),
        // From when there was no endpoint; others have nothing to do with this node's ports.
        Some(_) => is_local(address),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port)
    }

    fn part(endpoints: &[u8]) -> Part {
        let mut part = Part::default();
        for front in
            [Front { address: Some(*at(96, 0).ip()), port: 53 }, Front { address: None, port: 30053 }]
        {
            part.datagrams.insert(front, endpoints.iter().map(|last| at(*last, 5353)).collect());
        }
        part
    }

    #[test]
    fn flows_go_astray_when_endpoints_leave_or_the_first_comes() {
        let fronts = |old: &[u8], new: &[u8]| changed(&[(part(old), part(new))]).len();
        assert_eq!(fronts(&[5], &[5, 6]), 0, "who has an endpoint keeps it");
        assert_eq!(fronts(&[5, 6], &[6]), 2);
        assert_eq!(fronts(&[], &[6]), 2);
        assert_eq!(changed(&[(part(&[5]), Part::default())]).len(), 2);
    }

    #[test]
    fn only_flows_that_lead_elsewhere_are_astray() {
        let now = part(&[6]).datagrams;
        let astray = |destination, answering| {
            let translated = destination != answering;
            let flow = Flow { protocol: UDP, source: at(1, 999), destination, answering, translated };
            is_astray(&flow, &now, |address| address == *at(2, 0).ip())
        };
        assert!(astray(at(96, 53), at(5, 5353)));
        assert!(!astray(at(96, 53), at(6, 5353)));
        assert!(astray(at(96, 53), at(96, 53)), "there was no endpoint");
        assert!(astray(at(2, 30053), at(5, 5353)) && astray(at(2, 30053), at(2, 30053)));
        assert!(!astray(at(2, 30053), at(6, 5353)));
        assert!(!astray(at(7, 30053), at(7, 30053)), "some other host's port");
        assert!(!astray(at(96, 54), at(5, 5353)), "some other port");
    }
}
