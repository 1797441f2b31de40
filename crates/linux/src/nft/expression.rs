//! Expressions: the instructions that rules are made of. They load packet fields into registers, compare,
//! look up and end in a verdict.

use super::attribute::Attributes;
use std::net::Ipv4Addr;

/// A register of four bytes; concatenated keys take neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u8);

impl Register {
    /// NFT_REG32_00 and up.
    fn number(self) -> u32 {
        8 + u32::from(self.0)
    }
}

/// NFT_REG_VERDICT.
const VERDICT_REGISTER: u32 = 0;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Let it pass this hook.
    Accept,
    /// Throw it away.
    Drop,
    /// Go on behind the caller's jump.
    Return,
    /// Go to a chain and come back.
    Jump(String),
    /// Go to a chain for good.
    Goto(String),
}

impl Verdict {
    /// Writes NFTA_DATA_VERDICT.
    pub(super) fn write(&self, out: &mut Attributes) {
        let (code, chain): (i32, Option<&str>) = match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
            Self::Return => (-5, None),
        };
        out.nested(2, |out| {
            out.bytes(1, &code.to_be_bytes());
            if let Some(chain) = chain {
                out.text(2, chain);
            }
        });
    }
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads the IPv4 source address.
    SourceAddress(Register),
    /// Loads the IPv4 destination address.
    DestinationAddress(Register),
    /// Loads the transport destination port.
    DestinationPort(Register),
    /// Loads the transport protocol.
    Protocol(Register),
    /// Loads the packet's mark.
    LoadMark(Register),
    /// Sets the packet's mark.
    StoreMark(Register),
    /// Loads a constant of at most 16 bytes.
    Load(Register, Vec<u8>),
    /// Goes on only if the register starts with these bytes.
    Equal(Register, Vec<u8>),
    /// Goes on only if it does not.
    NotEqual(Register, Vec<u8>),
    /// `register = (register & mask) ^ xor`, four bytes.
    Bitwise(Register, [u8; 4], [u8; 4]),
    /// Goes on only if the key starting at the register is in the set; the flag inverts.
    InSet(String, Register, bool),
    /// Takes the verdict that the map has for the key starting at the register; goes on if it has none.
    VerdictMap(String, Register),
    /// Takes the verdict that the anonymous map numbered so in this batch has for the register.
    AnonymousVerdictMap(u32, Register),
    /// Loads a random number below a bound.
    Random(Register, u32),
    /// Adds the key starting at the register to a set, or renews its timeout (milliseconds).
    Remember(String, Register, u64),
    /// Goes on only if the destination address is one of this host (loads its type on the way).
    DestinationIsLocal(Register),
    /// Goes on only for the first packet of a connection (loads the connection's state on the way).
    ConnectionIsNew(Register),
    /// Translates the destination to the address in the first and the port in the second register.
    DestinationNat(Register, Register),
    /// Translates the source to the address of the outgoing link, with a random port.
    Masquerade,
    /// Answers that the port is unreachable.
    Reject,
    /// Ends.
    Verdict(Verdict),
}

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const META_MARK: u32 = 3;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_NEW: u32 = 8;
const FIB_RESULT_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 2;
const RTN_LOCAL: u32 = 2;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const NFPROTO_IPV4: u32 = 2;
const NAT_DNAT: u32 = 1;
const RANDOM_FULLY: u32 = 1 << 4;
const NUMGEN_RANDOM: u32 = 1;
const DYNSET_UPDATE: u32 = 1;
const REJECT_ICMP_UNREACHABLE: u32 = 0;
const ICMP_PORT_UNREACHABLE: u8 = 3;

impl Expression {
    /// `ip daddr <address>`.
    pub fn to(address: Ipv4Addr) -> [Self; 2] {
        [Self::DestinationAddress(Register(0)), Self::Equal(Register(0), address.octets().to_vec())]
    }

    /// `ip saddr <address>`.
    pub fn from(address: Ipv4Addr) -> [Self; 2] {
        [Self::SourceAddress(Register(0)), Self::Equal(Register(0), address.octets().to_vec())]
    }

    /// Writes the expression as one element of NFTA_RULE_EXPRESSIONS; checks of local types and of states take more.
    pub(super) fn write(&self, out: &mut Attributes) {
        match self {
            Self::SourceAddress(into) => payload(out, *into, NETWORK_HEADER, 12, 4),
            Self::DestinationAddress(into) => payload(out, *into, NETWORK_HEADER, 16, 4),
            Self::DestinationPort(into) => payload(out, *into, TRANSPORT_HEADER, 2, 2),
            Self::Protocol(into) => element(out, "meta", |data| {
                data.number(1, into.number()).number(2, META_L4PROTO);
            }),
            Self::LoadMark(into) => element(out, "meta", |data| {
                data.number(1, into.number()).number(2, META_MARK);
            }),
            Self::StoreMark(from) => element(out, "meta", |data| {
                data.number(2, META_MARK).number(3, from.number());
            }),
            Self::Load(into, bytes) => element(out, "immediate", |data| {
                data.number(1, into.number()).nested(2, |value| {
                    value.bytes(1, bytes);
                });
            }),
            Self::Equal(register, bytes) => compare(out, *register, CMP_EQ, bytes),
            Self::NotEqual(register, bytes) => compare(out, *register, CMP_NEQ, bytes),
            Self::Bitwise(register, mask, xor) => element(out, "bitwise", |data| {
                data.number(1, register.number()).number(2, register.number()).number(3, 4);
                data.nested(4, |value| {
                    value.bytes(1, mask);
                });
                data.nested(5, |value| {
                    value.bytes(1, xor);
                });
            }),
            Self::InSet(set, key, invert) => element(out, "lookup", |data| {
                data.text(1, set).number(2, key.number()).number(5, u32::from(*invert));
            }),
            Self::VerdictMap(map, key) => element(out, "lookup", |data| {
                data.text(1, map).number(2, key.number()).number(3, VERDICT_REGISTER);
            }),
            Self::AnonymousVerdictMap(id, key) => element(out, "lookup", |data| {
                data.text(1, super::batch::ANONYMOUS).number(2, key.number()).number(3, VERDICT_REGISTER);
                data.number(4, *id);
            }),
            Self::Random(into, below) => element(out, "numgen", |data| {
                data.number(1, into.number()).number(2, *below).number(3, NUMGEN_RANDOM).number(4, 0);
            }),
            Self::Remember(set, key, timeout) => element(out, "dynset", |data| {
                data.text(1, set).number(3, DYNSET_UPDATE).number(4, key.number());
                data.bytes(6, &timeout.to_be_bytes());
            }),
            Self::DestinationIsLocal(scratch) => {
                element(out, "fib", |data| {
                    data.number(1, scratch.number()).number(2, FIB_RESULT_ADDRTYPE).number(3, FIB_DADDR);
                });
                // The kernel stores the type in its own byte order.
                compare(out, *scratch, CMP_EQ, &RTN_LOCAL.to_ne_bytes());
            }
            Self::ConnectionIsNew(scratch) => {
                element(out, "ct", |data| {
                    data.number(1, scratch.number()).number(2, CT_STATE);
                });
                Self::Bitwise(*scratch, CT_NEW.to_ne_bytes(), [0; 4]).write(out);
                compare(out, *scratch, CMP_NEQ, &[0; 4]);
            }
            Self::DestinationNat(address, port) => element(out, "nat", |data| {
                data.number(1, NAT_DNAT).number(2, NFPROTO_IPV4);
                data.number(3, address.number()).number(5, port.number());
            }),
            Self::Masquerade => element(out, "masq", |data| {
                data.number(1, RANDOM_FULLY);
            }),
            Self::Reject => element(out, "reject", |data| {
                data.number(1, REJECT_ICMP_UNREACHABLE).bytes(2, &[ICMP_PORT_UNREACHABLE]);
            }),
            Self::Verdict(verdict) => element(out, "immediate", |data| {
                data.number(1, VERDICT_REGISTER).nested(2, |value| verdict.write(value));
            }),
        }
    }
}

fn element(out: &mut Attributes, name: &str, fill: impl FnOnce(&mut Attributes)) {
    out.nested(1, |element| {
        element.text(1, name).nested(2, fill);
    });
}

fn payload(out: &mut Attributes, into: Register, base: u32, offset: u32, length: u32) {
    element(out, "payload", |data| {
        data.number(1, into.number()).number(2, base).number(3, offset).number(4, length);
    });
}

fn compare(out: &mut Attributes, register: Register, operation: u32, bytes: &[u8]) {
    element(out, "cmp", |data| {
        data.number(1, register.number()).number(2, operation).nested(3, |value| {
            value.bytes(1, bytes);
        });
    });
}
