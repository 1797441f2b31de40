//! nftables over netlink: tables, chains, rules, sets and verdict maps, changed in one atomic batch.
//!
//! Only what the service proxy and port mappings need, encoded by hand, so that no `nft` program has to be
//! installed. Names and numbers are those of `linux/netfilter/nf_tables.h`; everything is big-endian on the wire.

pub(crate) mod attribute;
mod batch;
mod contents;
mod expression;

pub use batch::{Batch, Chain, Hook, NftError, Set, apply};
pub use contents::{Contents, contents};
pub use expression::{Expression, Register, Verdict};

/// What a concatenated key or a value is made of; the numbers let `nft list` print elements readably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// IPv4 address, 4 bytes.
    Ipv4,
    /// Transport protocol, 1 byte (padded to 4 in concatenations).
    Protocol,
    /// Port, 2 bytes big-endian (padded to 4 in concatenations).
    Port,
    /// Mark, 4 bytes.
    Mark,
    /// Plain number, 4 bytes.
    Integer,
}

impl DataType {
    fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Mark => 19,
            Self::Integer => 4,
        }
    }

    /// Length in a concatenation: every part takes whole registers of 4 bytes.
    const LENGTH: u32 = 4;
}

/// Pads one part of a concatenated key to a register.
pub fn part(bytes: &[u8]) -> [u8; 4] {
    let mut padded = [0; 4];
    padded[..bytes.len()].copy_from_slice(bytes);
    padded
}

#[cfg(test)]
mod tests;
