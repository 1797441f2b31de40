//! What a table holds already: names of its chains and sets.

use super::attribute::{Attributes, list};
use crate::error::{Context, Result};
use crate::netfilter::{DUMP, exchange};
use std::collections::BTreeSet;

const SUBSYSTEM: u16 = 10 << 8;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const GET_SET: u16 = SUBSYSTEM | 10;
/// Attributes of chains and sets: table, name.
const TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const ANONYMOUS: u32 = 1;

/// Names in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Chains.
    pub chains: BTreeSet<String>,
    /// Sets and maps, those of single rules left out.
    pub sets: BTreeSet<String>,
}

impl Contents {
    /// Whether there is nothing, or no such table.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.sets.is_empty()
    }
}

/// What the IPv4 table `table` of the calling thread's network namespace holds. Blocks.
pub fn contents(table: &str) -> Result<Contents> {
    let mut found = Contents::default();
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
    let named = |attributes: &[u8], name: u16| {
        let get = |wanted| list(attributes).find(|(kind, _)| *kind == wanted).map(|(_, value)| text(value));
        get(name).filter(|_| get(TABLE).as_deref() == Some(table))
    };
    exchange(GET_CHAIN, DUMP, &Attributes::default(), |chain| found.chains.extend(named(chain, CHAIN_NAME)))
        .context(|| format!("list the chains of table {table}"))?;
    let flags = |set: &[u8]| {
        let value = list(set).find(|(kind, _)| *kind == SET_FLAGS).and_then(|(_, value)| value.first_chunk());
        value.map_or(0, |flags| u32::from_be_bytes(*flags))
    };
    exchange(GET_SET, DUMP, &Attributes::default(), |set| {
        found.sets.extend(named(set, SET_NAME).filter(|_| flags(set) & ANONYMOUS == 0));
    })
    .context(|| format!("list the sets of table {table}"))?;
    Ok(found)
}
