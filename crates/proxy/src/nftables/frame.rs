//! The frame: base chains, helper chains and empty maps, made once.

use super::{
    FIREWALL_IPS, MARK_FOR_MASQUERADE, MASQUERADE, NO_ENDPOINT_NODE_PORTS, NO_ENDPOINTS, NODE_PORTS, REJECT,
    SERVICE_IPS,
};
use linux::nft::{Batch, Chain, DataType, Expression, Hook, Register, Set, Verdict};

const A: Register = Register(0);
const B: Register = Register(1);
const C: Register = Register(2);

const DSTNAT: i32 = -100;
const SRCNAT: i32 = 100;
/// Chain that keeps out whom a load balancer's address does not serve.
const FIREWALL: &str = "firewall-check";
/// Before the host's own filter chains: what has no endpoint is refused whatever they say.
const BEFORE_FILTER: i32 = -10;

const NAT_HOOKS: &[(&str, u32, i32, &str)] = &[
    ("nat-prerouting", 0, DSTNAT, "services"),
    ("nat-output", 3, DSTNAT, "services"),
    ("nat-postrouting", 4, SRCNAT, "masquerading"),
];
const FILTER_HOOKS: &[(&str, u32)] = &[("filter-input", 1), ("filter-forward", 2), ("filter-output", 3)];

/// Where load balancers' source ranges are checked: before the address is translated.
const PRE_DNAT_HOOKS: &[(&str, u32)] = &[("filter-prerouting-pre-dnat", 0), ("filter-output-pre-dnat", 3)];

const ADDRESS_KEY: &[DataType] = &[DataType::Ipv4, DataType::Protocol, DataType::Port];
const PORT_KEY: &[DataType] = &[DataType::Protocol, DataType::Port];
const MAPS: &[(&str, &[DataType])] = &[
    (SERVICE_IPS, ADDRESS_KEY),
    (FIREWALL_IPS, ADDRESS_KEY),
    (NODE_PORTS, PORT_KEY),
    (NO_ENDPOINTS, ADDRESS_KEY),
    (NO_ENDPOINT_NODE_PORTS, PORT_KEY),
];
const HELPERS: &[&str] = &["services", "masquerading", "no-endpoints", FIREWALL, MARK_FOR_MASQUERADE, REJECT];

/// The frame's chains.
pub(super) fn chains() -> impl Iterator<Item = &'static str> {
    let hooks = NAT_HOOKS
        .iter()
        .map(|(name, ..)| *name)
        .chain(FILTER_HOOKS.iter().chain(PRE_DNAT_HOOKS).map(|(name, _)| *name));
    hooks.chain(HELPERS.iter().copied())
}

/// The frame's maps.
pub(super) fn maps() -> impl Iterator<Item = &'static str> {
    MAPS.iter().map(|(map, _)| *map)
}

/// Adds the frame to a batch whose table is new, or has none but empty chains.
pub(super) fn build(batch: &mut Batch) {
    let chain = |name: &str, hook| Chain { name: name.to_owned(), hook };
    for (map, key) in MAPS {
        batch.add_set(&Set { name: (*map).to_owned(), key: key.to_vec(), verdicts: true, timeout: None });
    }
    for name in HELPERS {
        batch.add_chain(&chain(name, None));
    }
    for (name, number, priority, target) in NAT_HOOKS {
        batch.add_chain(&chain(name, Some(Hook { kind: "nat", number: *number, priority: *priority })));
        batch.add_rule(name, &[Expression::Verdict(Verdict::Jump((*target).to_owned()))]);
    }
    for (name, number) in FILTER_HOOKS {
        let hook = Hook { kind: "filter", number: *number, priority: BEFORE_FILTER };
        batch.add_chain(&chain(name, Some(hook)));
        batch.add_rule(name, &[Expression::Verdict(Verdict::Jump("no-endpoints".to_owned()))]);
    }
    for (name, number) in PRE_DNAT_HOOKS {
        let hook = Hook { kind: "filter", number: *number, priority: DSTNAT - 10 };
        batch.add_chain(&chain(name, Some(hook)));
        let check = [Expression::ConnectionIsNew(A), Expression::Verdict(Verdict::Jump(FIREWALL.to_owned()))];
        batch.add_rule(name, &check);
    }
    batch.add_rule(FIREWALL, &by_destination(FIREWALL_IPS));
    dispatch(batch, "services", SERVICE_IPS, NODE_PORTS);
    dispatch(batch, "no-endpoints", NO_ENDPOINTS, NO_ENDPOINT_NODE_PORTS);
    batch.add_rule(REJECT, &[Expression::Reject]);
    let (bit, others) = (MASQUERADE.to_ne_bytes(), (!MASQUERADE).to_ne_bytes());
    let set_bit = [Expression::LoadMark(A), Expression::Bitwise(A, others, bit), Expression::StoreMark(A)];
    batch.add_rule(MARK_FOR_MASQUERADE, &set_bit);
    let unmarked = [
        Expression::LoadMark(A),
        Expression::Bitwise(A, bit, [0; 4]),
        Expression::Equal(A, vec![0; 4]),
        Expression::Verdict(Verdict::Return),
    ];
    batch.add_rule("masquerading", &unmarked);
    let clear_bit =
        [Expression::LoadMark(A), Expression::Bitwise(A, others, [0; 4]), Expression::StoreMark(A)];
    batch.add_rule("masquerading", &clear_bit);
    batch.add_rule("masquerading", &[Expression::Masquerade]);
}

/// What the map says about address, protocol and port.
fn by_destination(map: &str) -> [Expression; 4] {
    [
        Expression::DestinationAddress(A),
        Expression::Protocol(B),
        Expression::DestinationPort(C),
        Expression::VerdictMap(map.to_owned(), A),
    ]
}

/// First by address, protocol and port; then, for addresses of this host other than loopback, by protocol and
/// port.
fn dispatch(batch: &mut Batch, chain: &str, by_address: &str, by_port: &str) {
    batch.add_rule(chain, &by_destination(by_address));
    batch.add_rule(
        chain,
        &[
            Expression::DestinationIsLocal(A),
            Expression::DestinationAddress(A),
            Expression::Bitwise(A, [255, 0, 0, 0], [0; 4]),
            Expression::NotEqual(A, vec![127, 0, 0, 0]),
            Expression::Protocol(A),
            Expression::DestinationPort(B),
            Expression::VerdictMap(by_port.to_owned(), A),
        ],
    );
}
