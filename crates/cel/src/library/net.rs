//! IP addresses and CIDRs (Kubernetes' library).

use super::{fail, none};
use crate::error::EvalError;
use crate::opaque::Opaque;
use crate::signature::{Cost, Function, row};
use crate::value::Val;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Cidr {
    pub(crate) fn is_v4(&self) -> bool {
        self.address.is_ipv4()
    }

    fn masked(&self) -> Self {
        let address = match self.address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask))
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask))
            }
        };
        Self { address, length: self.length }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.is_v4()
            && Self { address: ip, length: self.length }.masked().address == self.masked().address
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    let bad = |why: &str| format!("IP Address {text:?} parse error during conversion from string: {why}");
    if text.contains('%') {
        return Err(bad("IP address with zone value is not allowed"));
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_some() => {
            Err(bad("IPv4-mapped IPv6 address is not allowed"))
        }
        Ok(ip) => Ok(ip),
        Err(_) => Err(bad("unable to parse IP")),
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let bad =
        || format!("network address parse error during conversion from string: invalid CIDR address: {text}");
    let (ip, length) = text.split_once('/').ok_or_else(bad)?;
    let address = parse_ip(ip).map_err(|_| bad())?;
    let canonical = length == "0" || !length.starts_with(['0', '+']);
    let length: u8 = length.parse().ok().filter(|_| canonical).ok_or_else(bad)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if length > most { Err(bad()) } else { Ok(Cidr { address, length }) }
}

const ONE: Cost = Cost::Fixed(1);
const TEXT: Cost = Cost::Text(0, 1);
const FLAG: &[&str] = &["ip.() -> bool"];

pub(super) static TABLE: &[Function] = &[
    row("ip", &["(string) -> ip", "cidr.() -> ip"], TEXT, |_, args| match args {
        [Val::String(text)] => match parse_ip(text) {
            Ok(ip) => Ok(Val::opaque(Opaque::Ip(ip))),
            Err(why) => fail(why),
        },
        args => of_cidr(args, |cidr| Val::opaque(Opaque::Ip(cidr.address))),
    }),
    row("isIP", &["(string) -> bool"], TEXT, |_, args| match args {
        [Val::String(text)] => Ok(Val::Bool(parse_ip(text).is_ok())),
        _ => none(),
    }),
    row("ip.isCanonical", &["(string) -> bool"], Cost::Text(0, 2), |_, args| match args {
        [Val::String(text)] => match parse_ip(text) {
            Ok(ip) => Ok(Val::Bool(ip.to_string() == **text)),
            Err(why) => fail(why),
        },
        _ => none(),
    }),
    row("family", &["ip.() -> int"], ONE, |_, args| {
        of_ip(args, |ip| Val::Int(if ip.is_ipv4() { 4 } else { 6 }))
    }),
    row("isUnspecified", FLAG, ONE, |_, args| of_ip(args, |ip| Val::Bool(ip.is_unspecified()))),
    row("isLoopback", FLAG, ONE, |_, args| of_ip(args, |ip| Val::Bool(ip.is_loopback()))),
    row("isLinkLocalMulticast", FLAG, ONE, |_, args| {
        of_ip(args, |ip| {
            Val::Bool(match ip {
                IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
                IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
            })
        })
    }),
    row("isLinkLocalUnicast", FLAG, ONE, |_, args| {
        of_ip(args, |ip| {
            Val::Bool(match ip {
                IpAddr::V4(ip) => ip.is_link_local(),
                IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
            })
        })
    }),
    row("isGlobalUnicast", FLAG, ONE, |_, args| {
        of_ip(args, |ip| {
            let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
            Val::Bool(match ip {
                IpAddr::V4(v4) => !special && !v4.is_broadcast() && !v4.is_link_local(),
                IpAddr::V6(v6) => !special && v6.segments()[0] & 0xffc0 != 0xfe80,
            })
        })
    }),
    row("cidr", &["(string) -> cidr"], TEXT, |_, args| match args {
        [Val::String(text)] => match parse_cidr(text) {
            Ok(cidr) => Ok(Val::opaque(Opaque::Cidr(cidr))),
            Err(why) => fail(why),
        },
        _ => none(),
    }),
    row("isCIDR", &["(string) -> bool"], TEXT, |_, args| match args {
        [Val::String(text)] => Ok(Val::Bool(parse_cidr(text).is_ok())),
        _ => none(),
    }),
    row("prefixLength", &["cidr.() -> int"], ONE, |_, args| {
        of_cidr(args, |cidr| Val::Int(i64::from(cidr.length)))
    }),
    row("masked", &["cidr.() -> cidr"], ONE, |_, args| {
        of_cidr(args, |cidr| Val::opaque(Opaque::Cidr(cidr.masked())))
    }),
    row("containsIP", &["cidr.(string) -> bool", "cidr.(ip) -> bool"], Cost::Text(0, 2), |_, args| {
        let [Val::Opaque(of), other] = args else { return none() };
        let Opaque::Cidr(cidr) = &**of else { return none() };
        let ip = match other {
            Val::String(text) => match parse_ip(text) {
                Ok(ip) => ip,
                Err(why) => return fail(why),
            },
            Val::Opaque(value) => match &**value {
                Opaque::Ip(ip) => *ip,
                _ => return none(),
            },
            _ => return none(),
        };
        Ok(Val::Bool(cidr.contains(ip)))
    }),
    row("containsCIDR", &["cidr.(string) -> bool", "cidr.(cidr) -> bool"], Cost::Text(0, 2), |_, args| {
        let [Val::Opaque(of), other] = args else { return none() };
        let Opaque::Cidr(cidr) = &**of else { return none() };
        let inner = match other {
            Val::String(text) => match parse_cidr(text) {
                Ok(inner) => inner,
                Err(why) => return fail(why),
            },
            Val::Opaque(value) => match &**value {
                Opaque::Cidr(inner) => *inner,
                _ => return none(),
            },
            _ => return none(),
        };
        Ok(Val::Bool(inner.length >= cidr.length && cidr.contains(inner.address)))
    }),
];

fn of_ip<'a>(args: &[Val<'a>], then: fn(IpAddr) -> Val<'a>) -> Result<Val<'a>, EvalError> {
    let [Val::Opaque(value)] = args else { return none() };
    match &**value {
        Opaque::Ip(ip) => Ok(then(*ip)),
        _ => none(),
    }
}

fn of_cidr<'a>(args: &[Val<'a>], then: fn(Cidr) -> Val<'a>) -> Result<Val<'a>, EvalError> {
    let [Val::Opaque(value)] = args else { return none() };
    match &**value {
        Opaque::Cidr(cidr) => Ok(then(*cidr)),
        _ => none(),
    }
}
