//! [`Batch`]: changes that take effect together or not at all.

use super::DataType;
use super::attribute::Attributes;
use super::expression::{Expression, Verdict};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use std::io;

/// Name that the kernel numbers for anonymous maps.
pub(super) const ANONYMOUS: &str = "__map%d";

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const FAMILY_IPV4: u8 = 2;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const SET_ANONYMOUS: u32 = 1;
const SET_CONSTANT: u32 = 2;
const SET_MAP: u32 = 8;
const SET_TIMEOUT: u32 = 0x10;
const SET_EVAL: u32 = 0x20;
const DATA_IS_VERDICT: u32 = 0xffff_ff00;
/// Elements per message: an attribute's length has 16 bits.
const ELEMENTS_PER_MESSAGE: usize = 200;

/// A batch that the kernel refused. Nothing of it took effect.
#[derive(Debug, thiserror::Error)]
#[error("failed to change nftables ({what}): {source}")]
pub struct NftError {
    what: String,
    source: io::Error,
}

/// Where a base chain sees packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `nat` or `filter`.
    pub kind: &'static str,
    /// 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub number: u32,
    /// Order among chains of one hook.
    pub priority: i32,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name; at most 127 bytes.
    pub name: String,
    /// Set for base chains.
    pub hook: Option<Hook>,
}

/// A named set or verdict map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Parts of its keys.
    pub key: Vec<DataType>,
    /// Whether elements carry verdicts.
    pub verdicts: bool,
    /// Elements are forgotten after so many milliseconds; rules may add them.
    pub timeout: Option<u64>,
}

/// Changes to one IPv4 table.
#[derive(Debug)]
pub struct Batch {
    table: String,
    messages: Vec<u8>,
    /// What each message does, by sequence number, for error messages.
    names: Vec<String>,
    anonymous: u32,
}

impl Batch {
    /// An empty batch for `table`.
    pub fn new(table: &str) -> Self {
        Self { table: table.to_owned(), messages: Vec::new(), names: Vec::new(), anonymous: 0 }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn message(&mut self, what: String, kind: u16, flags: u16, body: Attributes) {
        let sequence = u32::try_from(self.names.len()).unwrap_or(u32::MAX) + 1;
        self.names.push(what);
        put_message(
            &mut self.messages,
            (SUBSYSTEM << 8) | kind,
            REQUEST | ACK | flags,
            sequence,
            FAMILY_IPV4,
            0,
            &body,
        );
    }

    fn body(&self) -> Attributes {
        let mut body = Attributes::default();
        body.text(1, &self.table);
        body
    }

    /// Makes sure that the table exists.
    pub fn add_table(&mut self) {
        let mut body = self.body();
        body.number(2, 0);
        self.message("add table".to_owned(), 0, CREATE, body);
    }

    /// Removes the table with everything in it; it must exist.
    pub fn delete_table(&mut self) {
        let body = self.body();
        self.message("delete table".to_owned(), 2, 0, body);
    }

    /// Makes sure that a chain exists.
    pub fn add_chain(&mut self, chain: &Chain) {
        let mut body = self.body();
        body.text(3, &chain.name);
        if let Some(hook) = chain.hook {
            body.nested(4, |out| {
                out.number(1, hook.number).bytes(2, &hook.priority.to_be_bytes());
            });
            body.text(7, hook.kind);
        }
        self.message(format!("add chain {}", chain.name), 3, CREATE, body);
    }

    /// Removes all rules of a chain.
    pub fn flush_chain(&mut self, name: &str) {
        let mut body = self.body();
        body.text(2, name);
        self.message(format!("flush chain {name}"), 8, 0, body);
    }

    /// Removes a chain that nothing refers to any more.
    pub fn delete_chain(&mut self, name: &str) {
        let mut body = self.body();
        body.text(3, name);
        self.message(format!("delete chain {name}"), 5, 0, body);
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &str, rule: &[Expression]) {
        let mut body = self.body();
        body.text(2, chain);
        body.nested(4, |out| rule.iter().for_each(|expression| expression.write(out)));
        self.message(format!("add a rule to chain {chain}"), 6, CREATE | APPEND, body);
    }

    /// Appends a rule that takes one of `verdicts` at random, each as likely as the others.
    pub fn add_random_rule(&mut self, chain: &str, verdicts: &[Verdict]) {
        use super::expression::Register;
        let count = u32::try_from(verdicts.len()).unwrap_or(u32::MAX);
        let id = self.add_anonymous_map(verdicts);
        let rule = [Expression::Random(Register(0), count), Expression::AnonymousVerdictMap(id, Register(0))];
        self.add_rule(chain, &rule);
    }

    fn add_anonymous_map(&mut self, verdicts: &[Verdict]) -> u32 {
        self.anonymous += 1;
        let id = self.anonymous;
        let mut body = self.body();
        body.text(2, ANONYMOUS).number(3, SET_ANONYMOUS | SET_CONSTANT | SET_MAP);
        body.number(4, DataType::Integer.number()).number(5, DataType::LENGTH);
        body.number(6, DATA_IS_VERDICT).number(7, 0).number(10, id);
        // For `nft list` only: the keys are in the host's byte order (libnftnl's KEYBYTEORDER).
        body.bytes(13, &[&[0, 4][..], &1_u32.to_ne_bytes()].concat());
        self.message("add an anonymous map".to_owned(), 9, CREATE, body);
        // Numbers of numgen are in the host's byte order.
        let elements =
            (0_u32..).zip(verdicts).map(|(n, verdict)| (n.to_ne_bytes().to_vec(), Some(verdict.clone())));
        let elements: Vec<_> = elements.collect();
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.elements("add elements to an anonymous map", 12, CREATE, ANONYMOUS, Some(id), chunk);
        }
        id
    }

    /// Makes sure that a set or map exists.
    pub fn add_set(&mut self, set: &Set) {
        let mut body = self.body();
        let kind = set.key.iter().fold(0, |kind, part| (kind << 6) | part.number());
        let length = u32::try_from(set.key.len()).unwrap_or(1) * DataType::LENGTH;
        // Single parts have their natural length, concatenations whole registers.
        let length = match set.key.as_slice() {
            [DataType::Port] => 2,
            [DataType::Protocol] => 1,
            _ => length,
        };
        let mut flags = 0;
        if set.verdicts {
            flags |= SET_MAP;
        }
        if set.timeout.is_some() {
            flags |= SET_TIMEOUT | SET_EVAL;
        }
        self.anonymous += 1;
        body.text(2, &set.name).number(3, flags).number(4, kind).number(5, length);
        if set.verdicts {
            body.number(6, DATA_IS_VERDICT).number(7, 0);
        }
        body.number(10, self.anonymous);
        if let Some(timeout) = set.timeout {
            body.bytes(11, &timeout.to_be_bytes());
        }
        self.message(format!("add set {}", set.name), 9, CREATE, body);
    }

    /// Removes a set or map that no rule refers to any more.
    pub fn delete_set(&mut self, name: &str) {
        let mut body = self.body();
        body.text(2, name);
        self.message(format!("delete set {name}"), 11, 0, body);
    }

    /// Adds elements: keys, and verdicts for maps.
    pub fn add_elements(&mut self, set: &str, elements: &[(Vec<u8>, Option<Verdict>)]) {
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.elements("add elements to", 12, CREATE, set, None, chunk);
        }
    }

    /// Removes elements, which must be there.
    pub fn delete_elements(&mut self, set: &str, elements: &[(Vec<u8>, Option<Verdict>)]) {
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.elements("delete elements of", 14, 0, set, None, chunk);
        }
    }

    /// Removes all elements of a set or map.
    pub fn flush_set(&mut self, set: &str) {
        let mut body = self.body();
        body.text(2, set);
        self.message(format!("flush set {set}"), 14, 0, body);
    }

    fn elements(
        &mut self,
        what: &str,
        kind: u16,
        flags: u16,
        set: &str,
        id: Option<u32>,
        elements: &[(Vec<u8>, Option<Verdict>)],
    ) {
        let mut body = self.body();
        body.text(2, set);
        if let Some(id) = id {
            body.number(4, id);
        }
        body.nested(3, |list| {
            for (key, verdict) in elements {
                list.nested(1, |element| {
                    element.nested(1, |value| {
                        value.bytes(1, key);
                    });
                    if let Some(verdict) = verdict {
                        element.nested(2, |data| verdict.write(data));
                    }
                });
            }
        });
        self.message(format!("{what} {set}"), kind, flags, body);
    }
}

fn put_message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
    body: &Attributes,
) {
    let length = u32::try_from(20 + body.0.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&0_u32.to_ne_bytes());
    out.push(family);
    out.push(0);
    out.extend_from_slice(&resource.to_be_bytes());
    out.extend_from_slice(&body.0);
}

/// Applies a batch in the calling thread's network namespace. Blocks for as long as the kernel takes
/// (milliseconds); call it on a blocking thread.
pub fn apply(batch: &Batch) -> Result<(), NftError> {
    if batch.is_empty() {
        return Ok(());
    }
    exchange(batch).map_err(|(what, source)| NftError { what, source })
}

fn exchange(batch: &Batch) -> Result<(), (String, io::Error)> {
    let failed = |source: io::Error| ("netlink".to_owned(), source);
    let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
    socket.bind_auto().map_err(failed)?;
    let last = u32::try_from(batch.names.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(batch.messages.len() + 40);
    put_message(&mut bytes, BATCH_BEGIN, REQUEST, 0, 0, SUBSYSTEM, &Attributes::default());
    bytes.extend_from_slice(&batch.messages);
    put_message(&mut bytes, BATCH_END, REQUEST, last + 1, 0, SUBSYSTEM, &Attributes::default());
    // A netlink message is sent whole or not at all; the buffers must hold it and all its answers.
    let room = bytes.len().max(batch.names.len() * 512).saturating_mul(2).max(1 << 20);
    force_buffers(&socket, room).map_err(failed)?;
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map_err(failed)?;
    let mut answered = 0;
    let mut first_error = None;
    while answered < last {
        let (answer, _) = socket.recv_from_full().map_err(failed)?;
        let mut rest = answer.as_slice();
        while let Some((sequence, code, length)) = next_answer(rest) {
            rest = rest.get(length..).unwrap_or_default();
            if code != 0 && first_error.is_none() {
                let what = usize::try_from(sequence)
                    .ok()
                    .and_then(|n| n.checked_sub(1))
                    .and_then(|n| batch.names.get(n));
                let what = what.cloned().unwrap_or_else(|| "batch".to_owned());
                first_error = Some((what, io::Error::from_raw_os_error(-code)));
            }
            if code != 0 && sequence == 0 {
                // The kernel refused the batch as a whole and answers nothing else.
                answered = last;
            }
            answered += 1;
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// Sequence number, error code and padded length of the first answer in `bytes`.
fn next_answer(bytes: &[u8]) -> Option<(u32, i32, usize)> {
    const ERROR: u16 = 2;
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok();
    let length = usize::try_from(u32::from_ne_bytes(word(0)?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let sequence = u32::from_ne_bytes(word(8)?);
    if length < 16 {
        return None;
    }
    let code = if kind == ERROR { i32::from_ne_bytes(word(16)?) } else { 0 };
    Some((sequence, code, length.next_multiple_of(4)))
}

/// Sets the socket's buffers beyond the usual limit; needs CAP_NET_ADMIN, as everything here does.
fn force_buffers(socket: &Socket, bytes: usize) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    use std::os::fd::{AsRawFd, BorrowedFd};
    // SAFETY: the descriptor belongs to `socket`, which outlives the borrow.
    #[allow(unsafe_code, reason = "netlink-sys offers only the raw descriptor")]
    let descriptor = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    setsockopt(&descriptor, sockopt::SndBufForce, &bytes)?;
    setsockopt(&descriptor, sockopt::RcvBufForce, &bytes)?;
    Ok(())
}
