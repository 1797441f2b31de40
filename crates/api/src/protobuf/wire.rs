//! The wire format of protobuf: numbered fields of four kinds.

use crate::DecodeError;

/// The value of a field as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message, in order.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

pub(super) fn bad(why: &str) -> DecodeError {
    DecodeError(format!("proto: {why}"))
}

/// Reads a varint off the front.
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or_else(|| bad("unexpected EOF"))?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(bad("integer overflow"))
}

/// Writes a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        // The seven low bits, and that more follow.
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a field's number and wire type.
pub(super) fn put_key(out: &mut Vec<u8>, number: u16, wire: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire));
}

/// Writes a field of bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u16, bytes: &[u8]) {
    put_key(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecodeError> {
    let (head, rest) = bytes.split_at_checked(len).ok_or_else(|| bad("unexpected EOF"))?;
    *bytes = rest;
    Ok(head)
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Wire<'a>), DecodeError> {
        let key = varint(&mut self.0)?;
        let number = u32::try_from(key >> 3).map_err(|_| bad("illegal tag"))?;
        let wire = match key & 7 {
            0 => Wire::Varint(varint(&mut self.0)?),
            1 => {
                let bytes = take(&mut self.0, 8)?;
                Wire::Fixed64(u64::from_le_bytes(bytes.try_into().map_err(|_| bad("unexpected EOF"))?))
            }
            2 => {
                let len = usize::try_from(varint(&mut self.0)?).map_err(|_| bad("negative length"))?;
                Wire::Bytes(take(&mut self.0, len)?)
            }
            5 => {
                let bytes = take(&mut self.0, 4)?;
                Wire::Fixed32(u32::from_le_bytes(bytes.try_into().map_err(|_| bad("unexpected EOF"))?))
            }
            other => return Err(bad(&format!("illegal wireType {other}"))),
        };
        Ok((number, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}
