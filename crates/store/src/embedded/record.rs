//! Records: what the payload of a frame says. A frame holds one or more records and is applied as a whole.
//!
//! Layout, all little-endian: a tag byte, then fixed-width numbers; keys and values carry a 32-bit length. New
//! kinds of record get new tags; an unknown tag is an error, never skipped.

use crate::kv::{LeaseId, Revision};

/// Version of the on-disk format, in the header of each file.
pub(crate) const FORMAT: u32 = 1;

const SEGMENT: u8 = 1;
const COMMIT: u8 = 2;
const GRANT: u8 = 3;
const REVOKE: u8 = 4;
const COMPACT: u8 = 5;
const CHECKPOINT: u8 = 6;
const KEY: u8 = 7;
const FOOTER: u8 = 8;
const ALARM: u8 = 9;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// One record, borrowed from its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// First of a segment: its number, and the revision before its first commit.
    Segment { format: u32, number: u64, revision: Revision },
    /// The changes of one revision, in order.
    Commit { revision: Revision, changes: Vec<Change<'a>> },
    /// A lease began.
    Grant { id: LeaseId, ttl: i64 },
    /// A lease ended; its keys went in a commit beside it.
    Revoke { id: LeaseId },
    /// History before this revision is forgotten.
    Compact { revision: Revision },
    /// An alarm was set or taken back; its number is etcd's.
    Alarm { kind: u8, is_set: bool },
    /// First of a checkpoint: the revision whose state it holds.
    Checkpoint { format: u32, revision: Revision },
    /// A key of a checkpoint.
    Key { key: &'a [u8], value: &'a [u8], create: Revision, modified: Revision, version: i64, lease: LeaseId },
    /// Last of a checkpoint: number of keys and leases, and checksum over the checksums of the payloads.
    Footer { keys: u64, leases: u64, digest: u32 },
}

/// A change of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// It is written.
    Put { key: &'a [u8], value: &'a [u8], lease: LeaseId },
    /// It is removed.
    Delete { key: &'a [u8] },
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&number.to_le_bytes());
}

impl Record<'_> {
    /// Appends the record.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Segment { format, number: segment, revision } => {
                out.push(SEGMENT);
                out.extend_from_slice(&format.to_le_bytes());
                number(out, *segment as i64);
                number(out, *revision);
            }
            Self::Commit { revision, changes } => {
                out.push(COMMIT);
                number(out, *revision);
                out.extend_from_slice(&(changes.len() as u32).to_le_bytes());
                changes.iter().for_each(|change| change.encode(out));
            }
            Self::Grant { id, ttl } => {
                out.push(GRANT);
                number(out, *id);
                number(out, *ttl);
            }
            Self::Revoke { id } => {
                out.push(REVOKE);
                number(out, *id);
            }
            Self::Compact { revision } => {
                out.push(COMPACT);
                number(out, *revision);
            }
            Self::Alarm { kind, is_set } => out.extend_from_slice(&[ALARM, *kind, u8::from(*is_set)]),
            Self::Checkpoint { format, revision } => {
                out.push(CHECKPOINT);
                out.extend_from_slice(&format.to_le_bytes());
                number(out, *revision);
            }
            Self::Key { key, value, create, modified, version, lease } => {
                out.push(KEY);
                bytes(out, key);
                bytes(out, value);
                [*create, *modified, *version, *lease].into_iter().for_each(|n| number(out, n));
            }
            Self::Footer { keys, leases, digest } => {
                out.push(FOOTER);
                number(out, *keys as i64);
                number(out, *leases as i64);
                out.extend_from_slice(&digest.to_le_bytes());
            }
        }
    }
}

impl Change<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put { key, value, lease } => {
                out.push(PUT);
                bytes(out, key);
                bytes(out, value);
                number(out, *lease);
            }
            Self::Delete { key } => {
                out.push(DELETE);
                bytes(out, key);
            }
        }
    }
}

/// Decodes a payload. Ends after the first error. Never allocates more than the payload's size warrants.
pub(crate) struct Decoder<'a>(pub(crate) &'a [u8]);

/// A payload that checks but makes no sense: written by another version, or by a bug.
pub(crate) type DecodeError = &'static str;

const SHORT: DecodeError = "a record ends too early";

impl<'a> Decoder<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(SHORT)?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| SHORT)?))
    }

    fn number(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.take(8)?.try_into().map_err(|_| SHORT)?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn change(&mut self) -> Result<Change<'a>, DecodeError> {
        match self.byte()? {
            PUT => Ok(Change::Put { key: self.bytes()?, value: self.bytes()?, lease: self.number()? }),
            DELETE => Ok(Change::Delete { key: self.bytes()? }),
            _ => Err("an unknown kind of change"),
        }
    }

    fn commit(&mut self) -> Result<Record<'a>, DecodeError> {
        let revision = self.number()?;
        let count = self.u32()? as usize;
        // A change takes at least five bytes.
        if count > self.0.len() / 5 {
            return Err(SHORT);
        }
        let changes = (0..count).map(|_| self.change()).collect::<Result<_, _>>()?;
        Ok(Record::Commit { revision, changes })
    }

    fn record(&mut self) -> Result<Record<'a>, DecodeError> {
        Ok(match self.byte()? {
            SEGMENT => Record::Segment {
                format: self.u32()?,
                number: self.number()? as u64,
                revision: self.number()?,
            },
            COMMIT => self.commit()?,
            GRANT => Record::Grant { id: self.number()?, ttl: self.number()? },
            REVOKE => Record::Revoke { id: self.number()? },
            COMPACT => Record::Compact { revision: self.number()? },
            ALARM => Record::Alarm { kind: self.byte()?, is_set: self.byte()? != 0 },
            CHECKPOINT => Record::Checkpoint { format: self.u32()?, revision: self.number()? },
            KEY => Record::Key {
                key: self.bytes()?,
                value: self.bytes()?,
                create: self.number()?,
                modified: self.number()?,
                version: self.number()?,
                lease: self.number()?,
            },
            FOOTER => Record::Footer {
                keys: self.number()? as u64,
                leases: self.number()? as u64,
                digest: self.u32()?,
            },
            _ => return Err("an unknown kind of record; was it written by a newer version?"),
        })
    }
}

impl<'a> Iterator for Decoder<'a> {
    type Item = Result<Record<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.0 = &[];
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Record<'static>> {
        let put = Change::Put { key: b"k", value: b"value", lease: -3 };
        vec![
            Record::Segment { format: FORMAT, number: 3, revision: 9 },
            Record::Commit { revision: 10, changes: vec![put, Change::Delete { key: b"" }] },
            Record::Grant { id: 5, ttl: 60 },
            Record::Revoke { id: i64::MAX },
            Record::Compact { revision: 4 },
            Record::Alarm { kind: 1, is_set: true },
            Record::Checkpoint { format: FORMAT, revision: 3 },
            Record::Key { key: b"k", value: b"", create: 1, modified: 2, version: 2, lease: 5 },
            Record::Footer { keys: 1, leases: 1, digest: 77 },
        ]
    }

    #[test]
    fn round_trip() {
        let mut payload = Vec::new();
        samples().iter().for_each(|record| record.encode(&mut payload));
        let decoded: Vec<_> = Decoder(&payload).map(|record| record.expect("decodes")).collect();
        assert_eq!(decoded, samples());
    }

    #[test]
    fn a_cut_or_changed_payload_never_panics() {
        for record in samples() {
            let mut payload = Vec::new();
            record.encode(&mut payload);
            for cut in 1..payload.len() {
                assert!(Decoder(&payload[..cut]).any(|record| record.is_err()), "{record:?} cut at {cut}");
            }
            for at in 0..payload.len() {
                let mut changed = payload.clone();
                changed[at] = 0xff;
                let _ = Decoder(&changed).count();
            }
        }
    }
}
