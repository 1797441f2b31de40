//! Addresses and networks.

use machinery::{FieldErrors, FieldPath};
use std::net::IpAddr;

/// What a malformed address is told.
pub const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
/// What a malformed network is told.
pub const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Reports a malformed address.
pub fn ip(address: &str, path: FieldPath, errors: &mut FieldErrors) {
    if address.parse::<IpAddr>().is_err() {
        errors.invalid(path, address, NOT_AN_IP);
    }
}

/// The address and prefix length of a network; `None` when it is malformed.
pub fn parse_cidr(cidr: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = cidr.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    if length.is_empty() || length.len() > 3 || !length.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some((address, length))
}

/// Reports a malformed network.
pub fn cidr(cidr: &str, path: FieldPath, errors: &mut FieldErrors) {
    if parse_cidr(cidr).is_none() {
        errors.invalid(path, cidr, NOT_A_CIDR);
    }
}

/// Whether `address` lies in a network.
pub fn contains(network: (IpAddr, u8), address: IpAddr) -> bool {
    let (base, length) = network;
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let shift = 32 - u32::from(length.min(32));
            shift == 32 || u32::from(base) >> shift == u32::from(address) >> shift
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let shift = 128 - u32::from(length.min(128));
            shift == 128 || u128::from(base) >> shift == u128::from(address) >> shift
        }
        _ => false,
    }
}

/// What forbids an address as a destination of traffic; `None` when nothing does.
pub fn not_an_endpoint(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("may not be unspecified (0.0.0.0 or ::)");
    }
    if address.is_loopback() {
        return Some("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if link_local {
        return Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    let link_local_multicast = match address {
        IpAddr::V4(v4) => v4.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(v6) => v6.octets().starts_with(&[0xff, 0x02]),
    };
    link_local_multicast.then_some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
}
